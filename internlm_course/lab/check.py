"""What a lab needs at run time: budget and tally, `attempt` for exercises, values out as JSON, the student's own light.

Values leave the kernel and are compared with the reference's elsewhere (compare.py, nbval). The points that a check
cell ends with are those at home, against the course's own functions; nbgrader takes them for its own."""
import html
import json
import math
import os
import random
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from internlm_course.course import Course
from internlm_course.lab.kernel import Clock, after_cell, definitions, line, markup, plain, rich
from internlm_course.lab.trial import NOT_ATTEMPTED, NOTHING, UNKNOWN, Trial, advice, json_value, unsolved
from internlm_course.machine import give_back
from internlm_course.memory import PeakMemory
from internlm_course.store import Artifact

WRONG = 'not right yet · 还不对'
_wrong: set[str] = set()  # the student's functions that self_check last found wrong
EXPECTED = Path(__file__).parent / 'expected'
CODE = ('world', 'data', 'model', 'pretrain', 'deploy', 'evaluate', 'agents', 'finetune', 'align', 'marking', 'verify',
        'blocklist', 'tokenfiles')


def runs_folder() -> Path:
    """Where labs keep what they make: $INTERNLM_COURSE_RUNS, else `runs` of the notebook's repository or own folder."""
    if chosen := os.environ.get('INTERNLM_COURSE_RUNS'):
        return Path(chosen)
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / 'internlm_course').is_dir()), here) / 'runs'


COLOURS = {'✓': 'seagreen', '✗': 'crimson', '○': 'gray'}


@dataclass(frozen=True)
class Earned:
    """What a check cell ends with: its points, which nbgrader reads as partial credit, and for the student a line."""
    points: float
    says: str = field(compare=False)

    def __repr__(self) -> str:
        return f'{self.points:g}'

    def _repr_html_(self) -> str:
        return markup(self.says, COLOURS[self.says[0]])


class Lab:
    """One lab: prints its budget, opens the course, measures seconds and the peak memory of the kernel and all it
    starts.

    Args:
        minutes: of cells that run; gigabytes: of anonymous memory.
        points: what each exercise is worth, by the name of its cell, in their order.

    Attributes:
        open: name of the lab that this kernel opened last.
    """
    open = ''

    def __init__(self, name: str, minutes: float = 5, gigabytes: float = 2, scale: str = 'tiny',
                 points: dict[str, float] | None = None):
        self.name, self.minutes, self.gigabytes = name, minutes, gigabytes
        Lab.open = name
        self.points, self.earned = points or {}, dict.fromkeys(points or {}, 0)
        self.course = Course.open(scale, runs_folder())
        self.clock, self.memory = Clock(), PeakMemory()
        definitions.watch()
        self.memory.__enter__()
        here = Path.cwd()
        if here.name == 'labs' and (here.parent / 'internlm_course').is_dir():
            copy = f'work/{name}.ipynb'
            said = (f'✗ This is the template of the course, which the next update replaces. Open your copy, {copy}, '
                    'which `make lab` made, and close this tab without saving. · 这是课程的模板，更新时会被替换。'
                    f'请打开 `make lab` 生成的副本 {copy}，再关掉这一页，不要保存。')
            rich(plain(said), markup(said, COLOURS['✗']).replace(copy, f'<a href="../{copy}">{copy}</a>'))
        print(f'Budget · 预算: {minutes:g} min, {gigabytes:g} GB (2 cores, scale {scale} · 双核)')

    def keep(self, name: str, make: Callable[[Path], dict | None], **settings) -> Artifact:
        """Makes something once and fetches it from then on.

        Args:
            make: fills the folder it is given, and returns metrics.
            settings: what it depends on.
        """
        kept = self.course.store.build(f'lab-{name}', settings, make, CODE)
        give_back()  # servers and OpenCompass want room beside a kernel
        return kept

    def expected(self, check: str) -> Any:
        """What the reference printed at this check, for a plot to compare with; None where there is none."""
        path = EXPECTED / f'{self.name}.json'
        return json.loads(path.read_text('utf-8')).get(check) if path.exists() else None

    def band(self) -> list[list[float]] | None:
        """The range of this lab's loss curve over seeds, from staff/expected_curve.py; None where there
        is none."""
        path = EXPECTED / f'{self.name[:2]}_curve.json'
        return json.loads(path.read_text('utf-8'))['band'] if path.exists() else None

    def check(self, exercise: str, **parts: tuple[Callable, Callable, Sequence[tuple]]) -> Earned:
        """An exercise's graded check, the last line of its cell: puts values out, returns the points at home, all or
        none.

        Args:
            parts: by the name under which its values go out: the student's function, the course's own, and the cases.
        """
        # A student's prints are no values, and nbgrader takes a cell that writes to stderr for one that failed.
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            trials = {name: Trial(*part, self.expected(name)) for name, part in parts.items()}
        _put_out({name: trial.values for name, trial in trials.items()})
        tried, points = list(trials.values()), self.points[exercise]
        right, count = sum(sum(trial.agree) for trial in tried), sum(len(trial.agree) for trial in tried)
        earned = self.earned[exercise] = points if right == count else 0
        if earned:
            return Earned(earned,
                          f'✓ {exercise}: all {count} cases right: {earned:g} of {points:g} points · '
                          f'{count} 例全对：{earned:g} 分')
        if all(trial.why == NOT_ATTEMPTED for trial in tried):
            return Earned(0, f'○ {exercise}: not attempted: 0 of {points:g} points · 未作答：{points:g} 分中得 0 分')
        says = [f'✗ {exercise}: {right} of {count} cases right; points need all of them: 0 of {points:g} points · '
                f'{count} 例中对 {right} 例；全对才得分：{points:g} 分中得 0 分']
        for trial in tried:
            if trial.why:
                says.append(f'{trial.mine.__name__}: {trial.why}')
            elif not all(trial.agree) and trial.mine.__name__ not in _wrong:  # else the self-check showed one
                right, count = sum(trial.agree), len(trial.agree)
                says += [f'{trial.mine.__name__}: {right} of {count} cases right · {count} 例中对 {right} 例',
                         *trial.difference(), *advice(trial, self.name)]
        return Earned(0, '\n'.join(says))

    def finish(self) -> None:
        """Prints what the lab took, beside its budget, and the tally of its exercises; keeps both as
        <runs>/<lab>.json."""
        self.memory.__exit__()
        seconds, passed, peak = self.clock.running(), self.clock.passed(), self.memory.peak_bytes
        record = dict(lab=self.name, seconds=round(seconds, 1), solving_seconds=round(passed, 1),
                      peak_memory_bytes=peak, method=self.memory.method, points=self.earned, possible=self.points)
        (self.course.store.root.parent / f'{self.name}.json').write_text(json.dumps(record) + '\n', 'utf-8')
        kept = seconds <= self.minutes * 60 and peak <= self.gigabytes * 1e9
        print(f'Measured · 实测: {seconds:.0f} s of {self.minutes * 60:.0f} s, {peak / 1e9:.2f} GB of '
              f'{self.gigabytes:g} GB '
              f'({self.memory.method}): {"within the budget · 未超预算" if kept else "over the budget · 超出预算"}')
        print('Since the first cell, reading and solving included · 自第一个单元起，含阅读与作答: '
              f'{passed / 60:.0f} min')
        if self.points:
            self._tally()

    def _tally(self) -> None:
        """Shows the points at home by exercise; in JupyterLab an open one is a link to its cell."""
        # As the server calls the notebook
        file = quote(Path(os.environ.get('JPY_SESSION_NAME', f'{self.name}.ipynb')).name)
        lines = [f'Points on this computer · 本机得分: {sum(self.earned.values()):g} of {sum(self.points.values()):g}']
        table = ''
        for number, (name, points) in enumerate(self.points.items(), 1):
            earned, mark = f'{self.earned[name]:g} of {points:g}', '' if self.earned[name] else 'open · 未完成'
            lines.append(f'{number:3}. {name:16}{earned:10}{mark}'.rstrip())
            link = mark and f'<a href="{file}#cell-id={name}">{mark}</a>'
            table += f'<tr><td>{number}. {name}</td><td>{earned}</td><td>{link}</td></tr>'
        rich('\n'.join(lines), f'<b>{lines[0]}</b><table>{table}</table>')


def attempt(mine: Callable, own: Callable) -> Callable:
    """The student's function where it works and is not known to be wrong; elsewhere the package's own, and a line that
    says so.

    So what is wrong in one exercise neither stops the lab nor colours the next exercise red.
    """
    said = set()

    def call(*args, **options):
        value, why = None, WRONG if mine.__name__ in _wrong else NOTHING
        try:
            value = mine(*args, **options) if why == NOTHING else None
        except Exception as error:
            why = unsolved(mine, error) or f'{type(error).__name__}: {error}'
        if value is not None:
            return value
        answer = own(*args, **options)
        if why not in said and not (answer is None and why == NOTHING):
            said.add(why)
            after_cell(f"{mine.__name__}: {why} (the package's own goes on · 由课程包代劳)")
        return answer
    return call


def seeded(name: str) -> random.Random:
    """The source of a check's inputs: the same for everyone at home; at grading $INTERNLM_COURSE_SEED makes it
    another."""
    return random.Random(f'{name}/{os.environ.get("INTERNLM_COURSE_SEED", "0")}')


def numbers(rng: random.Random, *shape: int):
    """Normal random numbers from a check's source, as a float64 numpy array of this shape, rounded to three digits."""
    import numpy as np
    return np.array([round(rng.gauss(0, 1), 3) for _ in range(math.prod(shape))]).reshape(shape)


def show_values(check: str, values: Any) -> None:
    """Puts values out as the one line of JSON that is compared outside."""
    _put_out({check: json_value(values)})


def _put_out(checks: dict[str, Any]) -> None:
    """A line of JSON for each check, for programs; a notebook shows it folded."""
    text = '\n'.join(json.dumps(dict(check=check, values=values), ensure_ascii=False)
                     for check, values in checks.items())
    rich(text,
         '<details style="font-size: smaller; opacity: 0.7">'
         '<summary>values, for marking by machine; nothing to do · 供机器评分，不用管</summary>'
         f'<pre style="white-space: pre-wrap">{html.escape(text)}</pre></details>')


def self_check(mine: Callable, own: Callable, cases: Sequence[tuple], hint: str) -> None:
    """The student's own light: green where all cases agree with the package; red with the first that does not, the
    advice for a known mistake, and a hint; grey where nothing is written yet."""
    trial, name, count = Trial(mine, own, cases), mine.__name__, len(cases)
    right = sum(trial.agree)
    (_wrong.discard if right == count or trial.why == NOT_ATTEMPTED or not trial.known else _wrong.add)(name)
    if right == count:
        line('✓', f'{name}: all {count} examples right · {count} 例全对', 'seagreen')
    elif trial.why == NOT_ATTEMPTED:
        line('○', f'{name}: {NOT_ATTEMPTED}', 'gray')
    elif trial.why:
        line('✗', f'{name}: {trial.why}', 'crimson')
    elif not trial.known:
        line('○', f'{name}: {UNKNOWN}', 'gray')
    else:
        line('✗', '\n'.join([f'{name}: {right} of {count} examples right · {count} 例中对 {right} 例',
                             *trial.difference(), *advice(trial, Lab.open), hint]), 'crimson')
