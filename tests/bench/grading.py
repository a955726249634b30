"""What marks cost, and whether they are the same each time: a class of lab 3, four fifths honest and one fifth hostile.

`python tests/bench/grading.py [SUBMISSIONS] [LAB]` (100 and lab 3) prints a line of JSON. The class is graded as the
command does it, as many submissions at a time as there are cores; each submission's seconds are those on the clock in
which it had a core. Beside that, in the same run and as many at a time, bare nbval runs the cells of honest
submissions in one kernel. Then the class is graded twice more, once killed half-way and taken up again, and all that
was written must be the same bytes. Secret seed, roster and class are fixed.
"""

import hashlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / 'tests' / 'labs')]

import hostile  # noqa: E402

from internlm_course.grading import grade as grading  # noqa: E402
from internlm_course.grading.mistakes import known  # noqa: E402
from internlm_course.grading.rebuild import Key, read_key  # noqa: E402
from internlm_course.grading.verdict import untouched  # noqa: E402

CORES = os.cpu_count() or 1
MOST_SECONDS, MOST_RATIO = 8, 1.5  # the bars
BARE = 20  # honest submissions that bare nbval runs, too
ATTACKS = (
    'endless', 'sleeps', 'leaves at once', 'leaves in the check', 'kills everything', 'segmentation fault',
    'stops itself', 'memory', 'fork bomb', 'prints without end', 'fills the disk', 'patched json', 'patched check',
    'always equal', "the package's own", 'transformer that answers', 'display hook that swallows', 'orphan',
    'deep list', 'syntax error',
)  # fmt: skip


def honest(key: Key, rng: random.Random) -> dict[str, str]:
    """Answers of a student who does most exercises, some of them wrong in a way that is known, and leaves some out."""
    wrong = known(key.lab)
    found = {}
    for name, exercise in key.exercises.items():
        mistake = rng.choice([each.source for found in wrong[name].values() for each in found])
        found[name] = rng.choices([exercise.answer, mistake, exercise.stub], [70, 20, 10])[0]
    return found


def write_class(key: Key, many: int, folder: Path) -> tuple[dict[str, dict[str, str]], set[str]]:
    """Writes the notebooks; {student: answers}, and who of them is hostile."""
    rng, answers, attackers = random.Random('class'), {}, set()
    blank = json.loads((ROOT / 'labs' / f'{key.lab}.ipynb').read_text('utf-8'))
    for number in range(many):
        student = f'student{number:03}'
        answers[student] = honest(key, rng)
        if number % 5 == 4:
            attackers.add(student)
            answers[student]['slow'] = hostile.CELLS[ATTACKS[number // 5 % len(ATTACKS)]][2]
        for cell in blank['cells']:
            cell['source'] = answers[student].get(cell['id'], cell['source'])
        (folder / f'{student}.ipynb').write_text(json.dumps(blank), 'utf-8')
    return answers, attackers


def timed(folder: Path, out: Path, settings: grading.Settings) -> tuple[list[dict], dict[str, float], float]:
    """Grades the class: rows, the seconds of each submission, and those until the first one began."""
    seconds, began = {}, time.monotonic()
    started, mark = [], grading.Grader.mark

    def measured(self, answers):
        start = time.monotonic()
        started.append(start - began)
        marks = mark(self, answers)
        seconds[json.dumps(answers.cells)] = time.monotonic() - start
        return marks

    grading.Grader.mark = measured
    try:
        rows = grading.grade(folder, out, settings, lambda line: None)
    finally:
        grading.Grader.mark = mark
    return rows, seconds, min(started)


def bare(key: Key, answers: dict[str, str], folder: Path) -> float:
    """Seconds that nbval takes for set-up, the answers that are there, and their checks, in one kernel without a
    sandbox; errors may come."""
    done = {name: exercise for name, exercise in key.exercises.items() if not untouched(answers[name], exercise)}
    parts = [*key.setup, *(text for name, exercise in done.items() for text in (answers[name], exercise.check))]
    cells = [
        dict(id=f'c{i}', cell_type='code', source=text, metadata={}, outputs=[], execution_count=None)
        for i, text in enumerate(parts)
    ]
    file = folder / f'{time.monotonic_ns()}.ipynb'
    file.write_text(json.dumps(dict(nbformat=4, nbformat_minor=5, metadata={}, cells=cells)), 'utf-8')
    line = ['-q', '-c', os.devnull, '--noconftest', '--nbval-lax', '--nbval-current-env', str(file)]
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, '-m', 'pytest', *line],
        stdout=subprocess.DEVNULL,
        cwd=folder,
        env=dict(os.environ, PYTHONPATH=str(ROOT), INTERNLM_COURSE_RUNS=str(folder / 'runs')),
    )
    assert ended.returncode in (0, 1), ended.returncode  # all passed, or a cell raised
    return time.monotonic() - began


def side_by_side(calls: Iterable[Callable[[], float]]) -> list[float]:
    """What the calls return, made as many at a time as there are cores."""
    with ThreadPoolExecutor(CORES) as pool:
        return [job.result() for job in [pool.submit(call) for call in calls]]


def command(folder: Path, out: Path, seed: Path, lab: str) -> subprocess.Popen:
    """The same by the command line."""
    line = ['grade', folder, '--out', out, '--lab', lab, '--labs', ROOT / 'labs', '--seed-file', seed]
    return subprocess.Popen(
        [sys.executable, '-m', 'internlm_course.cli', *map(str, line)],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
    )


def written(out: Path) -> dict[str, str]:
    """The digest of each file that an instructor gets."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob('*'))
        if path.is_file() and '.grading' not in path.parts
    }


def main(submissions: str = '100', lab: str = '03_pretraining') -> None:
    """Prints one line of JSON."""
    key, many = read_key(ROOT / 'labs', lab), int(submissions)
    with tempfile.TemporaryDirectory(prefix='bench-') as top:
        folder, seed, work = Path(top, 'in'), Path(top, 'seed'), Path(top, 'bare')
        folder.mkdir()
        work.mkdir()
        seed.write_text('the seed of the bench\n')
        answers, attackers = write_class(key, many, folder)
        settings = grading.Settings(lab, ROOT / 'labs', seed_file=seed)
        rows, seconds, start = timed(folder, Path(top, 'first'), settings)
        each = {student: seconds.get(json.dumps(answers[student])) for student in answers}
        some = [student for student in answers if student not in attackers][:BARE]
        alone = side_by_side(lambda student=student: bare(key, answers[student], work) for student in some)
        again = command(folder, Path(top, 'second'), seed, lab)
        again.communicate()
        killed = command(folder, Path(top, 'third'), seed, lab)
        for _ in range(many // 2):
            killed.stdout.readline()
        killed.kill()
        killed.wait()
        resumed = command(folder, Path(top, 'third'), seed, lab)
        known = many - sum('/' in line for line in resumed.communicate()[0].splitlines())
        files = [written(Path(top, name)) for name in ('first', 'second', 'third')]
    took = [value for value in each.values() if value is not None]
    median, peer = statistics.median(took), statistics.median(alone)
    ratio = statistics.median(each[student] for student in some) / peer
    print(
        json.dumps(
            dict(
                lab=lab,
                submissions=many,
                hostile=len(attackers),
                cores=CORES,
                machine=platform.processor() or platform.machine(),
                load=os.getloadavg(),
                seconds=dict(
                    median=round(median, 2),
                    honest=round(statistics.median(each[student] for student in each if student not in attackers), 2),
                    worst=round(max(took), 2),
                    start=round(start, 2),
                    bare_nbval=round(peer, 2),
                ),
                ratio=round(ratio, 2),
                statuses=Counter(mark['status'] for row in rows for mark in row['exercises'].values()),
                same_bytes=files[0] == files[1],
                resumed_same_bytes=files[0] == files[2],
                files=len(files[0]),
                rows_kept_by_the_killed_run=known,
                met=bool(
                    median <= MOST_SECONDS and ratio <= MOST_RATIO and files[0] == files[1] == files[2] and files[0]
                ),
            )
        )
    )


if __name__ == '__main__':
    main(*sys.argv[1:])
