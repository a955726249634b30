"""What marks cost: processor and wall seconds for a submission to a lab, beside bare nbval of the same cells in the
same run.

`python tests/bench/grading.py [LAB] [COPIES]`, as root with cgroup v1's cpuacct or any user on an idle computer (wall
time alone).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from internlm_course.grading.grade import Settings, grade
from internlm_course.grading.rebuild import read_key

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = Path('/sys/fs/cgroup/cpuacct/bench-grading')


def processor_seconds() -> float | None:
    """Of this process and all that it started; None where the system does not tell."""
    try:
        ACCOUNT.mkdir(exist_ok=True)
        (ACCOUNT / 'cgroup.procs').write_text(str(os.getpid()))
        return int((ACCOUNT / 'cpuacct.usage').read_text()) / 1e9
    except OSError:
        return None


def measured(call) -> dict[str, float | None]:
    """Wall and processor seconds of a call."""
    before, began = processor_seconds(), time.monotonic()
    call()
    after = processor_seconds()
    return dict(wall=time.monotonic() - began, processor=None if before is None else after - before)


def bare(key, folder: Path) -> None:
    """nbval on set-up, answers and checks, in one kernel without a sandbox."""
    parts = [*key.setup, *(text for exercise in key.exercises.values() for text in (exercise.answer, exercise.check))]
    cells = [
        dict(id=f'c{i}', cell_type='code', source=text, metadata={}, outputs=[], execution_count=None)
        for i, text in enumerate(parts)
    ]
    notebook = dict(nbformat=4, nbformat_minor=5, metadata={}, cells=cells)
    (folder / 'bare.ipynb').write_text(json.dumps(notebook))
    line = [
        sys.executable,
        '-m',
        'pytest',
        '-q',
        '-c',
        os.devnull,
        '--noconftest',
        '--nbval-lax',
        '--nbval-current-env',
        str(folder / 'bare.ipynb'),
    ]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, cwd=folder, env=dict(os.environ, PYTHONPATH=str(ROOT)))


def main(lab: str = '03_pretraining', copies: str = '10') -> None:
    """Prints one line of JSON."""
    key, many = read_key(ROOT / 'labs', lab), int(copies)
    with tempfile.TemporaryDirectory(prefix='bench-') as top:
        top = Path(top)
        solved = (ROOT / 'labs' / 'solutions' / f'{lab}.ipynb').read_bytes()

        def graded(number: int) -> dict:
            (top / f'in{number}').mkdir()
            for i in range(number):
                (top / f'in{number}' / f'student{i}.ipynb').write_bytes(solved)
            return measured(
                lambda: grade(
                    top / f'in{number}', top / f'out{number}', Settings(lab, ROOT / 'labs'), lambda line: None
                )
            )

        one, all_ = graded(1), graded(1 + many)
        each = {name: (all_[name] - one[name]) / many for name in one if one[name] is not None}
        alone = measured(lambda: bare(key, top))
        print(
            json.dumps(
                dict(
                    lab=lab,
                    submissions=many,
                    each=each,
                    start=one,
                    bare_nbval=alone,
                    ratio={name: each[name] / alone[name] for name in each},
                )
            )
        )


if __name__ == '__main__':
    main(*sys.argv[1:])
