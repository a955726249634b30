"""What a lab needs at run time: budget and tally, `attempt` for exercises, values out as JSON, the student's own light.

Values leave the kernel and are compared with the reference's elsewhere (compare.py, nbval). The points that a check cell
ends with are those at home, against the course's own functions; nbgrader takes them for its own."""
import copy
import gc
import html
import inspect
import json
import math
import os
import random
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from internlm_course.classroom.compare import same
from internlm_course.classroom.kernel import Clock, after_cell, line, rich
from internlm_course.course import Course
from internlm_course.machine import trim_memory
from internlm_course.memory import PeakMemory
from internlm_course.store import Artifact

NOT_ATTEMPTED = 'not attempted · 未作答'
UNSOLVED = dict(error='not attempted')  # the value of a stub
WRONG = 'not right yet · 还不对'
NOTHING = 'your function returned nothing: is a `return` missing? · 函数没有返回值：是不是漏了 return？'
_wrong: set[str] = set()  # the student's functions that self_check last found wrong
EXPECTED = Path(__file__).parent / 'expected'
CODE = ('data', 'model', 'pretrain', 'deploy', 'evaluate', 'agents', 'finetune', 'marking')


def runs_folder() -> Path:
    """Where labs keep what they make: $INTERNLM_COURSE_RUNS, else `runs` of the notebook's repository or own folder."""
    if chosen := os.environ.get('INTERNLM_COURSE_RUNS'):
        return Path(chosen)
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / 'internlm_course').is_dir()), here) / 'runs'


@dataclass(frozen=True)
class Earned:
    """What a check cell ends with: its points, which nbgrader reads as partial credit, and for the student a line."""
    points: float
    says: str = field(compare=False)

    def __repr__(self) -> str:
        return f'{self.points:g}'

    def _repr_html_(self) -> str:
        return f'<b>{html.escape(self.says, quote=False)}</b>'


class Lab:
    """One lab: prints its budget, opens the course, measures seconds and the peak memory of the kernel and all it starts.

    Args:
        minutes: of cells that run; gigabytes: of anonymous memory.
        points: what each exercise is worth, by the name of its cell, in their order.
    """

    def __init__(self, name: str, minutes: float = 5, gigabytes: float = 2, scale: str = 'tiny',
                 points: dict[str, float] | None = None):
        self.name, self.minutes, self.gigabytes = name, minutes, gigabytes
        self.points, self.earned = points or {}, dict.fromkeys(points or {}, 0)
        self.course = Course.open(scale, runs_folder())
        self.clock, self.memory = Clock(), PeakMemory()
        self.memory.__enter__()
        here = Path.cwd()
        if here.name == 'labs' and (here.parent / 'internlm_course').is_dir():
            line('✗', f"This is the course's template, which the next update replaces: work in work/{name}.ipynb (make lab puts it there). · "
                      f'这是课程的模板，更新时会被替换：请在 work/{name}.ipynb 里作答（make lab 会放好）。', 'crimson')
        print(f'Budget · 预算: {minutes:g} min, {gigabytes:g} GB (2 cores, scale {scale} · 双核)')

    def keep(self, name: str, make: Callable[[Path], dict | None], **settings) -> Artifact:
        """Makes something once and fetches it from then on.

        Args:
            make: fills the folder it is given, and returns metrics.
            settings: what it depends on.
        """
        kept = self.course.store.build(f'lab-{name}', settings, make, CODE)
        give_back()
        return kept

    def expected(self, check: str) -> Any:
        """What the reference printed at this check, for a plot to compare with; None where there is none."""
        path = EXPECTED / f'{self.name}.json'
        return json.loads(path.read_text('utf-8')).get(check) if path.exists() else None

    def band(self) -> list[list[float]] | None:
        """The range of this lab's loss curve over seeds, from tests/bench/expected_curve.py; None where there is none."""
        path = EXPECTED / f'{self.name[:2]}_curve.json'
        return json.loads(path.read_text('utf-8'))['band'] if path.exists() else None

    def check(self, exercise: str, **parts: tuple[Callable, Callable, Sequence[tuple]]) -> Earned:
        """An exercise's graded check, the last line of its cell: puts values out, returns the points at home, all or none.

        Args:
            parts: by the name under which its values go out: the student's function, the course's own, and the cases.
        """
        # A student's prints are no values, and nbgrader takes a cell that writes to stderr for one that failed.
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            got = {name: values_of(mine, cases) for name, (mine, _, cases) in parts.items()}
            wanted = {name: values_of(own, cases) for name, (_, own, cases) in parts.items()}
        _put_out(got)
        agree = [same(*pair) for name in parts for pair in zip(got[name], wanted[name], strict=True)]
        points, right = self.points[exercise], sum(agree)
        earned = self.earned[exercise] = points if all(agree) else 0
        sign, said = '✓' if earned else '✗', (f"{right} of {len(agree)} cases as the reference's at home · "
                                              f'在家核对，{len(agree)} 例中 {right} 例与参考一致')
        if all(value == UNSOLVED for values in got.values() for value in values):
            sign, said = '○', NOT_ATTEMPTED
        return Earned(earned, f'{sign} {exercise}: {said}; {earned:g} of {points:g} points · 分')

    def finish(self) -> None:
        """Prints what the lab took, beside its budget, and the tally of its exercises; keeps both as <runs>/<lab>.json."""
        self.memory.__exit__()
        seconds, passed, peak = self.clock.running(), self.clock.passed(), self.memory.peak_bytes
        record = dict(lab=self.name, seconds=round(seconds, 1), solving_seconds=round(passed, 1), peak_memory_bytes=peak,
                      method=self.memory.method, points=self.earned, possible=self.points)
        (self.course.store.root.parent / f'{self.name}.json').write_text(json.dumps(record) + '\n', 'utf-8')
        kept = seconds <= self.minutes * 60 and peak <= self.gigabytes * 1e9
        print(f'Measured · 实测: {seconds:.0f} s of {self.minutes * 60:.0f} s, {peak / 1e9:.2f} GB of {self.gigabytes:g} GB '
              f'({self.memory.method}): {"within the budget · 未超预算" if kept else "over the budget · 超出预算"}')
        print(f'Since the first cell, reading and solving included · 自第一个单元起，含阅读与作答: {passed / 60:.0f} min')
        if self.points:
            self._tally()

    def _tally(self) -> None:
        """Shows the points at home by exercise; in JupyterLab an open one is a link to its cell."""
        file = quote(Path(os.environ.get('JPY_SESSION_NAME', f'{self.name}.ipynb')).name)  # as the server calls the notebook
        lines = [f'Points at home · 在家得分: {sum(self.earned.values()):g} of {sum(self.points.values()):g}']
        table = ''
        for number, (name, points) in enumerate(self.points.items(), 1):
            earned, mark = f'{self.earned[name]:g} of {points:g}', '' if self.earned[name] else 'open · 未完成'
            lines.append(f'{number:3}. {name:16}{earned:10}{mark}'.rstrip())
            link = mark and f'<a href="{file}#cell-id={name}">{mark}</a>'
            table += f'<tr><td>{number}. {name}</td><td>{earned}</td><td>{link}</td></tr>'
        rich('\n'.join(lines), f'<b>{lines[0]}</b><table>{table}</table>')


def give_back() -> None:
    """Returns freed memory to the system, where the C library can: servers and OpenCompass want room beside a kernel."""
    gc.collect()
    trim_memory()


def attempt(mine: Callable, own: Callable) -> Callable:
    """The student's function where it works and is not known to be wrong; elsewhere the package's own, and a line that says so.

    So what is wrong in one exercise neither stops the lab nor colours the next exercise red.
    """
    said = set()

    def call(*args, **options):
        value, why = None, WRONG if mine.__name__ in _wrong else NOTHING
        try:
            value = mine(*args, **options) if why == NOTHING else None
        except Exception as error:
            why = NOT_ATTEMPTED if isinstance(error, NotImplementedError) else f'{type(error).__name__}: {error}'
        if value is not None:
            return value
        answer = own(*args, **options)
        if why not in said and not (answer is None and why == NOTHING):
            said.add(why)
            after_cell(f"{mine.__name__}: {why} (the package's own goes on · 由课程包代劳)")
        return answer
    return call


def seeded(name: str) -> random.Random:
    """The source of a check's inputs: the same for everyone at home; at grading $INTERNLM_COURSE_SEED makes it another."""
    return random.Random(f'{name}/{os.environ.get("INTERNLM_COURSE_SEED", "0")}')


def numbers(rng: random.Random, *shape: int):
    """Normal random numbers from a check's source, as a float64 numpy array of this shape, rounded to three digits."""
    import numpy as np
    return np.array([round(rng.gauss(0, 1), 3) for _ in range(math.prod(shape))]).reshape(shape)


def values_of(function: Callable, cases: Sequence[tuple]) -> list:
    """The function's value at each case as JSON can hold it; an error stands as {"error": its name}."""
    return [_outcome(function, case)[0] for case in cases]


def _outcome(function: Callable, case: tuple) -> tuple[Any, Exception | None]:
    """The function's value at a case, and the error if it raised one."""
    try:
        return _plain(function(*copy.deepcopy(case))), None
    except NotImplementedError as error:
        return UNSOLVED, error
    except Exception as error:
        return dict(error=type(error).__name__), error


def show_values(check: str, values: Any) -> None:
    """Puts values out as the one line of JSON that is compared outside."""
    _put_out({check: _plain(values)})


def _put_out(checks: dict[str, Any]) -> None:
    """A line of JSON for each check, for programs; a notebook shows it folded."""
    text = '\n'.join(json.dumps(dict(check=check, values=values), ensure_ascii=False) for check, values in checks.items())
    rich(text, '<details style="font-size: smaller; opacity: 0.7"><summary>values, for comparison · 供比对的数值</summary>'
               f'<pre style="white-space: pre-wrap">{html.escape(text)}</pre></details>')


def self_check(mine: Callable, own: Callable, cases: Sequence[tuple], hint: str) -> None:
    """The student's own light: green where all cases agree with the package, red with the first that does not, and a hint;
    grey where nothing is written yet."""
    outcomes, wanted = [_outcome(mine, case) for case in cases], values_of(own, cases)
    agree = [same(value, other) for (value, _), other in zip(outcomes, wanted, strict=True)]
    said = f'{mine.__name__}: {sum(agree)} of {len(cases)} agree · '
    (_wrong.discard if all(agree) else _wrong.add)(mine.__name__)
    if all(agree):
        line('✓', f'{said}全部一致', 'seagreen')
        return
    wrong = agree.index(False)
    value, error = outcomes[wrong]
    if value == UNSOLVED:
        _wrong.discard(mine.__name__)
        line('○', f'{mine.__name__}: {NOT_ATTEMPTED}', 'gray')
        return
    call = f'{mine.__name__}({", ".join(_short(repr(argument), 100) for argument in cases[wrong])})'
    where = f'case {wrong + 1} · 第 {wrong + 1} 例: {call}'
    why = [_returned(value)] if error is None else _raised(mine, error)
    expected = f'expected · 应为 {_short(json.dumps(wanted[wrong], ensure_ascii=False))}'
    line('✗', '\n'.join([f'{said}{len(cases)} 例中 {sum(agree)} 例一致', where, *why, expected, hint]), 'crimson')


def _returned(value: Any) -> str:
    if value is None:
        return NOTHING
    fault = isinstance(value, dict) and value.keys() == UNSOLVED.keys()
    return f'yours · 你的 {_short(value["error"] if fault else json.dumps(value, ensure_ascii=False))}'


def _raised(mine: Callable, error: Exception) -> list[str]:
    """The error, and the innermost line of the cell of `mine` that led to it."""
    file = getattr(getattr(inspect.unwrap(mine), '__code__', None), 'co_filename', None)
    inside = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    where = [f'line {frame.lineno} of your cell · 你的单元第 {frame.lineno} 行: {frame.line}'.rstrip(': ') for frame in inside]
    return [_short(f'{type(error).__name__}: {error}'), *where[-1:]]


def _short(text: str, most: int = 200) -> str:
    """The text on one line, its middle cut out where it is longer."""
    text = ' '.join(text.split())
    return text if len(text) <= most else f'{text[:most * 3 // 4]} … {text[-most // 4:]}'


def _plain(value: Any) -> Any:
    """The value as JSON has it; what JSON has not becomes {"error": …}, so that a check never fails to print."""
    if hasattr(value, 'tolist'):
        value = value.tolist()  # numpy and torch
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else dict(error=str(value))
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return dict(error=f'a {type(value).__name__} is no JSON value')
