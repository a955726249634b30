"""The instructor's notebook as the key to a lab, and what is run of it: set-up, a student's answer, the check."""

import ast
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.grading.notebook import cell_name, load

SEED = 'INTERNLM_COURSE_SEED'


@dataclass(frozen=True)
class Exercise:
    """One exercise of the instructor's notebook.

    Attributes:
        answer: the reference's text; stub: what the student was given.
        check: the text of the check cell; tolerance: of its values.
        partial: whether the parts of the check that agree earn their share.
        functions: what the cell defines.
        uses: functions of the package that the reference calls, where a copy without answers says so.
    """

    name: str
    points: float
    answer: str
    stub: str
    check: str
    tolerance: dict[str, float]
    partial: bool
    functions: tuple[str, ...]
    uses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Key:
    """The instructor's notebook: set-up, exercises, the texts of other cells, and the imports outside set-up."""

    lab: str
    setup: tuple[str, ...]
    exercises: dict[str, Exercise]
    others: dict[str, str]
    imports: dict[str, str]

    @property
    def points(self) -> float:
        """What all exercises are worth."""
        return sum(exercise.points for exercise in self.exercises.values())


def defined(source: str) -> tuple[str, ...]:
    """The functions that a cell defines at its top level; none where it is no Python."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return tuple(dict.fromkeys(re.findall(r'^(?:async )?def (\w+)', source, re.M)))
    return tuple(node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _imports(source: str) -> dict[str, str]:
    """The imports at the top level of a cell, by the name that they bind; none of the course itself."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return {}
    found = {}
    for node in body:
        module = node.module if isinstance(node, ast.ImportFrom) else ''
        if isinstance(node, ast.Import | ast.ImportFrom) and not (module or '').startswith('internlm_course'):
            for alias in node.names:
                if not alias.name.startswith('internlm_course'):
                    line = type(node)(**{**vars(node), 'names': [alias]})
                    found[alias.asname or alias.name.partition('.')[0]] = ast.unparse(line)
    return found


def read_key(labs: Path, lab: str) -> Key:
    """The key of a lab from `labs`/solutions/LAB.ipynb and the student's `labs`/LAB.ipynb.

    Raises:
        CourseError: one of them is missing or broken, or has no exercises.
    """
    paths = (labs / 'solutions' / f'{lab}.ipynb', labs / f'{lab}.ipynb')
    for path in paths:
        if not path.is_file():
            there = ', '.join(sorted(path.stem for path in labs.glob('*.ipynb'))) or 'none'
            raise CourseError(
                f'There is no {path}, which marks of lab "{lab}" need.',
                f'Labs there: {there}; --labs names another folder.',
            )
    solved, blank = (load(path) for path in paths)
    stubs = {cell_name(cell): cell.source for cell in blank.cells}
    checks = {
        cell.metadata['course']['check']: cell
        for cell in solved.cells
        if cell.metadata.get('course', {}).get('check') and cell.metadata.get('nbgrader', {}).get('grade')
    }
    setup, exercises, others, imports = [], {}, {}, {}
    for cell in solved.cells:
        name, metadata = cell_name(cell), cell.metadata
        if name in checks:
            check = checks[name]
            course = check.metadata['course']
            exercises[name] = Exercise(
                name,
                check.metadata['nbgrader']['points'],
                cell.source,
                stubs.get(name, ''),
                check.source,
                dict(course.get('tolerance', {})),
                bool(course.get('partial')),
                defined(cell.source),
                tuple(metadata.get('course', {}).get('uses', ())),
            )
        elif cell.cell_type == 'code':
            others[name] = stubs.get(name, cell.source)
            if metadata.get('course', {}).get('setup'):
                setup.append(cell.source)
            else:
                imports = {**_imports(cell.source), **imports}
    if not exercises:
        raise CourseError(f'{paths[0]} has no exercise with points.', 'Build it with: internlm-course notebooks.')
    return Key(lab, tuple(setup), exercises, others, imports)


def digest(source: str) -> str:
    """Sixteen digits that stand for a cell's text."""
    return hashlib.sha256(source.encode('utf-8', 'surrogatepass')).hexdigest()[:16]


def names(source: str) -> set[str]:
    """Every name that a cell reads."""
    try:
        return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(re.findall(r'[^\W\d]\w*', source))


def rebuilt(
    key: Key,
    exercise: Exercise,
    source: str,
    seed: str,
    kernel: str,
    before: Iterable[str] = (),
    more: Sequence[str] = (),
) -> dict:
    """The notebook that is run: set-up, the imports of other cells that the answer uses, the answer, the check.

    Args:
        seed: of this exercise; it stands in the check cell alone.
        kernel: name of the kernel that runs it.
        before: answers to other exercises, to run first.
        more: further answers, answer-1 and so on, each followed by a check of its own, check-1 and so on.
    """
    used = names(source).union(*map(names, more))
    needed = [line for name, line in key.imports.items() if name in used]
    check = f'__import__("os").environ[{SEED!r}] = {seed!r}\n{exercise.check}'
    parts = [
        *((f'setup-{i}', text) for i, text in enumerate(key.setup)),
        ('imports', '\n'.join(needed)),
        *((f'before-{i}', text) for i, text in enumerate(before)),
        ('answer', source),
        ('check', check),
        *(part for i, other in enumerate(more, 1) for part in ((f'answer-{i}', other), (f'check-{i}', check))),
    ]
    cells = [
        dict(id=name, cell_type='code', source=text, metadata={}, outputs=[], execution_count=None)
        for name, text in parts
        if text
    ]
    return dict(
        nbformat=4,
        nbformat_minor=5,
        cells=cells,
        metadata=dict(kernelspec=dict(name=kernel, display_name=kernel, language='python')),
    )
