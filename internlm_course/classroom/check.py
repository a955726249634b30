"""What a lab needs at run time: its budget, `attempt` for exercises, values out as one JSON line, and the student's own green or red line.

Nothing here decides a grade: values leave the kernel, and are compared elsewhere (compare.py, nbval)."""
import copy
import gc
import html
import json
import math
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from internlm_course.classroom.compare import same
from internlm_course.course import Course
from internlm_course.machine import trim_memory
from internlm_course.memory import PeakMemory
from internlm_course.store import Artifact

NOT_ATTEMPTED = 'not attempted · 未作答'
EXPECTED = Path(__file__).parent / 'expected'
CODE = ('data', 'model', 'pretrain', 'deploy', 'evaluate', 'agents', 'finetune', 'marking')


def runs_folder() -> Path:
    """Where labs keep what they make: $INTERNLM_COURSE_RUNS, else `runs` of the repository that the notebook lies in, else of its own folder."""
    if chosen := os.environ.get('INTERNLM_COURSE_RUNS'):
        return Path(chosen)
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / 'internlm_course').is_dir()), here) / 'runs'


class Lab:
    """One lab: prints its budget, opens the course, measures seconds and the peak anonymous memory of the kernel and all that it starts."""

    def __init__(self, name: str, minutes: float = 5, gigabytes: float = 2, scale: str = 'tiny'):
        self.name, self.minutes, self.gigabytes = name, minutes, gigabytes
        self.course = Course.open(scale, runs_folder())
        self.began, self.memory = time.monotonic(), PeakMemory()
        self.memory.__enter__()
        print(f'Budget · 预算: {minutes:g} min, {gigabytes:g} GB (2 cores, scale {scale} · 双核)')

    def keep(self, name: str, make: Callable[[Path], dict | None], **settings) -> Artifact:
        """Makes something once and fetches it from then on: `make(folder)` fills the folder and returns its metrics; `settings` name what it depends on."""
        kept = self.course.store.build(f'lab-{name}', settings, make, CODE)
        give_back()
        return kept

    def expected(self, check: str) -> Any:
        """What the reference printed at this check, for a plot to compare with; None before there is a reference."""
        path = EXPECTED / f'{self.name}.json'
        return json.loads(path.read_text('utf-8')).get(check) if path.exists() else None

    def band(self) -> list[list[float]] | None:
        """The range of this lab's loss curve over seeds, from tests/bench/expected_curve.py; None before it was measured."""
        path = EXPECTED / f'{self.name[:2]}_curve.json'
        return json.loads(path.read_text('utf-8'))['band'] if path.exists() else None

    def finish(self) -> None:
        """Prints what the lab took, beside its budget, and keeps it as <runs>/<lab>.json."""
        self.memory.__exit__()
        seconds, peak = time.monotonic() - self.began, self.memory.peak_bytes / 1e9
        record = dict(lab=self.name, seconds=round(seconds, 1), peak_memory_bytes=self.memory.peak_bytes, method=self.memory.method)
        (self.course.store.root.parent / f'{self.name}.json').write_text(json.dumps(record) + '\n', 'utf-8')
        kept = seconds <= self.minutes * 60 and peak <= self.gigabytes
        print(f'Measured · 实测: {seconds:.0f} s of {self.minutes * 60:.0f} s, {peak:.2f} GB of {self.gigabytes:g} GB ({self.memory.method}): '
              f'{"within the budget · 未超预算" if kept else "over the budget · 超出预算"}')


def give_back() -> None:
    """Returns freed memory to the system, where the C library can: a kernel lives long, and a server and OpenCompass want room beside it."""
    gc.collect()
    trim_memory()


def attempt(mine: Callable, own: Callable) -> Callable:
    """The student's function where it works; where it is not written yet, or fails, the package's own, and one line that says so."""
    said = []

    def call(*args, **options):
        try:
            return mine(*args, **options)
        except Exception as error:
            why = NOT_ATTEMPTED if isinstance(error, NotImplementedError) else f'{type(error).__name__}: {error}'
            if why not in said:
                said.append(why)
                print(f"{mine.__name__}: {why} (the package's own goes on · 由课程包代劳)")
        return own(*args, **options)
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
    values = []
    for case in cases:
        try:
            values.append(_plain(function(*copy.deepcopy(case))))
        except NotImplementedError:
            values.append(dict(error='not attempted'))
        except Exception as error:
            values.append(dict(error=type(error).__name__))
    return values


def show_values(check: str, values: Any) -> None:
    """Prints values as the one JSON line that is compared outside."""
    print(json.dumps(dict(check=check, values=_plain(values)), ensure_ascii=False))


def show(check: str, function: Callable, cases: Sequence[tuple]) -> None:
    """Prints the student's values at the cases; an exercise that is not written yet says so first."""
    values = values_of(function, cases)
    if values and all(value == dict(error='not attempted') for value in values):
        print(NOT_ATTEMPTED)
    show_values(check, values)


def self_check(mine: Callable, own: Callable, cases: Sequence[tuple], hint: str) -> None:
    """The student's own light: green where every case agrees with the package, red with the first difference and a hint, grey if not attempted."""
    got, wanted = values_of(mine, cases), values_of(own, cases)
    wrong = next((i for i in range(len(cases)) if not same(got[i], wanted[i])), None)
    if wrong is None:
        _line('🟢', f'{mine.__name__}: {len(cases)} of {len(cases)} agree · 全部一致', 'green')
    elif got[wrong] == dict(error='not attempted'):
        _line('⚪', f'{mine.__name__}: {NOT_ATTEMPTED}', 'gray')
    else:
        shown = [json.dumps(value, ensure_ascii=False)[:200] for value in (got[wrong], wanted[wrong])]
        _line('🔴', f'{mine.__name__}, case {wrong + 1}: yours · 你的 {shown[0]}, expected · 应为 {shown[1]}. {hint}', 'crimson')


def _line(sign: str, text: str, colour: str) -> None:
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        get_ipython = None
    if get_ipython is None or get_ipython() is None:
        print(sign, text)
    else:
        display({'text/plain': f'{sign} {text}', 'text/html': f'<b style="color: {colour}">{sign} {html.escape(text)}</b>'}, raw=True)


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
