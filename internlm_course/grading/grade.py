"""Marks for a class: every submission is rebuilt, run with nbval in sandboxed kernels, and compared with the reference.

The expected values are made when marks are given, by the reference under a secret seed, and never leave this process.
What a student earned is kept in OUT/.grading as soon as it is known, so that a run that was killed goes on from there.
"""
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from internlm_course.errors import CourseError
from internlm_course.grading import changes, feedback, mistakes, tables
from internlm_course.grading.absence import check_parts
from internlm_course.grading.answers import MOST_FILES, Answers, helpers, pick, read_cells
from internlm_course.grading.environment import environment
from internlm_course.grading.kernels import Job, Kernels, choose_mode
from internlm_course.grading.rebuild import Key, digest, read_key
from internlm_course.grading.submissions import Refused, Student, Submission, align, find, read_roster
from internlm_course.grading.verdict import Known, Mark, checks, judge, mark, untouched
from internlm_course.store import code_version

STATE = '.grading'
WORST = ('killed', 'memory', 'flood', 'timeout', 'tampered', 'error', 'wrong', 'not attempted')


@dataclass(frozen=True)
class Settings:
    """What an instructor chooses.

    Attributes:
        lab: the lab; None for the one that the submissions name.
        labs: folder of the labs, with solutions/.
        only: the key or name of the one student to grade now.
        jobs: submissions at once; timeout: seconds of CPU time, and memory: bytes, for an exercise.
    """

    lab: str | None = None
    labs: Path = Path('labs')
    roster: Path | None = None
    seed_file: Path | None = None
    only: str | None = None
    jobs: int = 0
    timeout: float = 10
    memory: int = 2 << 30
    no_sandbox: bool = False


def read_seed(out: Path, given: Path | None) -> bytes:
    """The secret from which the seeds of all exercises are made: of a file, or one made once and kept in `out`.

    Raises:
        CourseError: the file cannot be read, or holds nothing.
    """
    path = given or out / STATE / 'seed'
    try:
        if not given and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(16) + '\n')
        seed = path.read_bytes().strip()
    except OSError as error:
        raise CourseError(f'The seed {path} cannot be read: {error.strerror}.',
                          'Give a file with a long random text.') from error
    if not seed:
        raise CourseError(f'The seed {path} is empty.', 'Put a long random text into it, or delete it.')
    return seed


def seed_of(secret: bytes, lab: str, exercise: str) -> str:
    """The seed of one exercise, which tells nothing of another's."""
    return hmac.new(secret, f'{lab}/{exercise}'.encode(), hashlib.sha256).hexdigest()[:20]


class Grader:
    """Gives marks for one lab; the expected values stay here.

    Raises:
        CourseError: the reference does not earn its own points.
    """

    def __init__(self, key: Key, kernels: Kernels, secret: bytes):
        self.key, self.kernels = key, kernels
        self.seeds = {name: seed_of(secret, key.lab, name) for name in key.exercises}
        said = kernels.run([Job(name, exercise.answer, self.seeds[name]) for name, exercise in key.exercises.items()])
        self.wanted = {name: checks(said.get(name, {})) for name in key.exercises}
        for name in key.exercises:
            values = json.dumps(self.wanted[name])
            if not self.wanted[name] or said[name]['ended'] or '{"error": "' in values.replace('"error": "nan"', ''):
                why = said.get(name, {}).get('why') or said.get(name, {}).get('ended') or said.get(name)
                raise CourseError(
                    f'The reference of exercise "{name}" puts out no values to compare with: {str(why)[:300]}.',
                    'Run its cells in the labs/solutions notebook.',
                )
        self.known = self._known()

    def _known(self) -> dict[str, list[Known]]:
        """The known-wrong answers by exercise, with what they put out under the seeds; one that puts out nothing is
        left aside."""
        known: dict[str, list[Known]] = {name: [] for name in self.key.exercises}
        answers = {
            name: [(function, mistake) for function, found in functions.items() for mistake in found]
            for name, functions in mistakes.known(self.key.lab).items()
            if name in known
        }
        jobs = [
            Job(name, self.key.exercises[name].answer, self.seeds[name], more=tuple(m.source for _, m in found))
            for name, found in answers.items()
        ]
        for name, said in self.kernels.run(jobs).items() if jobs else ():
            parts = {mine: part for part, mine, _ in check_parts(self.key.exercises[name].check)}
            for number, (function, mistake) in enumerate(answers[name], 1):
                part, values = parts.get(function), checks(said, f'check-{number}') or {}
                if part in values and not said['cells'][f'answer-{number}']['error']:
                    known[name].append(Known(mistake, part, values[part]))
        return known

    def mark(self, answers: Answers) -> dict[str, Mark]:
        """A mark for each exercise."""
        jobs, marks = [], {}
        for name, exercise in self.key.exercises.items():
            if name not in answers.cells or untouched(answers.cells[name], exercise):
                marks[name] = mark('not attempted')
            else:
                jobs.append(Job(name, answers.cells[name], self.seeds[name], helpers(name, answers)))
        said = self.kernels.run(jobs) if jobs else {}
        marks |= {
            job.exercise: judge(
                self.key.exercises[job.exercise],
                said.get(job.exercise),
                self.wanted[job.exercise],
                self.known[job.exercise],
            )
            for job in jobs
        }
        return {name: marks[name] for name in self.key.exercises}


def row_of(
    student: Student, key: Key, marks: dict[str, Mark], notes: list[dict], answers: Answers | None, status: str = ''
) -> dict[str, Any]:
    """The row of a student, as grades.json has it; `ran` proves which of the student's cells were run."""
    statuses = [each.status for each in marks.values()]
    worst = next((name for name in WORST if name in statuses), 'ok')
    ran = {name: digest(source) for name, source in answers.cells.items()} if answers else {}
    return dict(
        student=student.student,
        name=student.name,
        status=status or worst,
        points=sum(each.points for each in marks.values()),
        possible=key.points,
        exercises={name: asdict(each) for name, each in marks.items()},
        notes=notes,
        ran=ran,
        ids=dict(id=student.id, sis=student.sis, email=student.email, section=student.section),
    )


class Class:
    """All submissions to one lab, with what is known of them in `out`."""

    def __init__(self, submissions: Path, out: Path, settings: Settings):
        self.out, self.settings = out, settings
        found = find(submissions)
        self.rows = align(found, read_roster(settings.roster) if settings.roster else [])
        self.key = read_key(settings.labs, settings.lab or self._lab(found))
        out.mkdir(parents=True, exist_ok=True)
        self.secret = read_seed(out, settings.seed_file)
        parts = [
            repr(self.key),
            repr(mistakes.known(self.key.lab)),
            hashlib.sha256(self.secret).hexdigest(),
            json.dumps(environment()),
            code_version('grading', 'lab'),
            settings.timeout,
            settings.memory,
            settings.no_sandbox,
        ]
        self.version = digest(json.dumps(list(map(str, parts))))

    @staticmethod
    def _lab(found: dict[str, Submission]) -> str:
        """The one lab that the notebooks say they are of."""
        labs: dict[str, int] = {}
        for submission in found.values():
            for file in submission.files[:MOST_FILES]:
                try:
                    lab = read_cells(file.read())[1]
                except (Refused, CourseError):
                    continue
                labs[lab] = labs.get(lab, 0) + bool(lab)
        labs = {lab: count for lab, count in labs.items() if lab}
        if len(labs) != 1:
            raise CourseError(
                f'The submissions are of {len(labs)} labs{": " + ", ".join(sorted(labs)) if labs else ""}.',
                'Say which to grade: --lab 03_pretraining.',
            )
        return next(iter(labs))

    def kept(self, student: str) -> Path:
        """Where a student's row is kept."""
        return self.out / STATE / 'rows' / f'{digest(student)}.json'

    def known(self, student: str, state: str) -> dict | None:
        """The row of an earlier run, if nothing that it depends on has changed."""
        try:
            stored = json.loads(self.kept(student).read_text('utf-8'))
            return stored['row'] if state in ('', stored['state']) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def wanted(self, student: Student) -> bool:
        """Whether --only lets this student be graded."""
        only = self.settings.only
        return only is None or only in (student.student, student.name, student.id, student.email)

    def state(self, answers: Answers | None, faults: list[str], student: Student) -> str:
        """Sixteen digits for all that a row depends on."""
        return digest(json.dumps([self.version, asdict(answers) if answers else None, faults, asdict(student)]))


def grade(submissions: Path, out: Path, settings: Settings, say: Callable[[str], None] = print) -> list[dict]:
    """Grades a class and writes OUT/grades.csv, grades.json, canvas.csv, moodle.csv, class.html and feedback/; where
    marks changed, changes.csv, too.

    Returns:
        a row for each student of the roster, then for those not in it.

    Raises:
        CourseError: nothing can be graded at all; what is wrong with one submission stands in its row.
    """
    group = Class(submissions, out, settings)
    if settings.only is not None and not any(group.wanted(student) for student, _ in group.rows):
        raise CourseError(
            f'There is no student "{settings.only}".', f'Students: {", ".join(s.student for s, _ in group.rows[:20])}.'
        )
    mode, faults = choose_mode(settings.no_sandbox)
    rows: dict[str, dict] = {}
    todo, sources = [], {}
    for student, submission in group.rows:
        row, work, answers = _without_running(group, student, submission)
        if answers is not None:
            sources[student.student] = answers.cells
        if row is not None:
            rows[student.student] = row
        elif work is not None:
            todo.append(work)
    if todo:
        _run(group, mode, todo, rows, say, submissions)
    about = dict(
        lab=group.key.lab,
        possible=group.key.points,
        environment=environment(),
        sandbox="none: students' code ran with the instructor's own rights" if mode == 'none' else 'sandboxed',
    )
    ordered = [rows[student.student] for student, _ in group.rows]
    changes.tell(out, group.key.lab, ordered, say)
    tables.write_all(out, group.key, ordered, about)
    feedback.write_pages(out, group.key, ordered, sources, about['sandbox'])
    return ordered


def _without_running(
    group: Class, student: Student, submission: Submission | None
) -> tuple[dict | None, tuple | None, Answers | None]:
    """A student's row where nothing has to be run, else what to run; and the answers, where they were read."""
    key = group.key
    if not group.wanted(student):
        nothing = {name: mark('not attempted') for name in key.exercises}
        note = dict(en='Not graded yet.', zh='尚未评分。')
        return group.known(student.student, '') or row_of(student, key, nothing, [note], None, 'not graded'), None, None
    if submission is None:
        note = dict(en='Nothing was handed in.', zh='没有提交。')
        return (
            row_of(
                student, key, {name: mark('not attempted') for name in key.exercises}, [note], None, 'not attempted'
            ),
            None,
            None,
        )
    answers, faults, _ = pick(submission, key)
    notes = [dict(en=f'Refused: {fault}.', zh=f'拒收：{fault}。') for fault in faults]
    state = group.state(answers, faults, student)
    if answers is None:
        return (
            row_of(student, key, {name: mark('unreadable') for name in key.exercises}, notes, None, 'unreadable'),
            None,
            None,
        )
    if group.settings.only is None and (row := group.known(student.student, state)):
        return row, None, answers
    return None, (student, answers, [*notes, *answers.notes], state), answers


def _run(
    group: Class, mode: str, todo: list[tuple], rows: dict[str, dict], say: Callable[[str], None], submissions: Path
) -> None:
    """Runs submissions side by side; a row is kept as soon as it is known."""
    jobs = max(1, group.settings.jobs or os.cpu_count() or 1)
    here = Path(__file__).resolve().parents[2]
    hidden = (here, group.settings.labs, group.out, submissions)
    with (
        Kernels(group.key, mode, group.settings.timeout, group.settings.memory, hidden) as kernels,
        ThreadPoolExecutor(jobs) as pool,
    ):
        grader = Grader(group.key, kernels, group.secret)
        running = {
            pool.submit(grader.mark, answers): (student, answers, notes, state)
            for student, answers, notes, state in todo
        }
        for count, done in enumerate(as_completed(running), 1):
            student, answers, notes, state = running[done]
            try:
                row = row_of(student, group.key, done.result(), notes, answers)
                tables.write(group.kept(student.student), json.dumps(dict(state=state, row=row)))
            except Exception as error:  # a row for everybody; the next run tries again
                fault = dict(
                    en=f'Grading itself failed: {type(error).__name__}.', zh=f'评分程序出错：{type(error).__name__}。'
                )
                row = row_of(
                    student, group.key, {name: mark('killed') for name in group.key.exercises}, [*notes, fault], answers
                )
            rows[student.student] = row
            say(f'{count}/{len(todo)} {student.student}: {row["points"]:g} of {group.key.points:g} ({row["status"]})')
