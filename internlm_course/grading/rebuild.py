"""A student's notebook, in whatever state, and from it the instructor's with the student's exercise cells.

Only the text of exercise cells is taken, by the cell's id; where a tool dropped the ids by nbgrader's name of the
cell, by the comment `# exercise: NAME`, or by the function that it defines. Whatever else was changed is said, and
changes nothing.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from internlm_course.errors import CourseError
from internlm_course.grading.notebook import cell_name, load

MOST_BYTES = 64 << 20  # of a notebook
MOST_TEXT = 256 << 10  # characters of an answer
MARKER = re.compile(r'^#+[ \t]*(?:exercise|练习)[ \t]*[:：][ \t]*([a-z0-9][a-z0-9-]*)', re.M)
SEED = 'INTERNLM_COURSE_SEED'


@dataclass(frozen=True)
class Exercise:
    """One exercise of the instructor's notebook.

    Attributes:
        answer: the reference's text; stub: what the student was given.
        check: the text of the check cell; tolerance: of its values.
        partial: whether the parts of the check that agree earn their share.
        functions: what the cell defines.
    """

    name: str
    points: float
    answer: str
    stub: str
    check: str
    tolerance: dict[str, float]
    partial: bool
    functions: tuple[str, ...]


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


@dataclass
class Answers:
    """What was taken from a submission.

    Attributes:
        cells: the student's text by exercise; one that is not there is missing.
        notes: what was changed and what was done about it, in English and Chinese.
        lab: as the notebook says.
    """

    cells: dict[str, str] = field(default_factory=dict)
    notes: list[dict[str, str]] = field(default_factory=list)
    lab: str = ''

    def note(self, en: str, zh: str) -> None:
        """Remembers a sentence, once."""
        if dict(en=en, zh=zh) not in self.notes:
            self.notes.append(dict(en=en, zh=zh))


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


def _text(value: Any) -> str:
    """A cell's source, which is a text or a list of them; what UTF-8 cannot hold is replaced."""
    value = ''.join(part for part in value if isinstance(part, str)) if isinstance(value, list) else value
    return value.encode('utf-8', 'replace').decode() if isinstance(value, str) else ''


def _mapping(value: Any) -> Mapping:
    return value if isinstance(value, Mapping) else {}


def read_cells(content: bytes) -> tuple[list[dict[str, str]], str]:
    """The cells of a notebook of any version as dicts of `id`, `kind` and `source`, and the lab that it says it is.

    Raises:
        CourseError: it is no notebook.
    """
    if len(content) > MOST_BYTES:
        raise CourseError(
            f'The notebook is larger than {MOST_BYTES >> 20} MB.', 'Clear its outputs and hand it in again.'
        )
    try:
        notebook = json.loads(content.decode('utf-8-sig'))
    except (ValueError, RecursionError, MemoryError) as error:
        raise CourseError(
            f'It is no notebook that can be read ({type(error).__name__}).', 'Hand in the .ipynb file itself.'
        ) from None
    notebook = _mapping(notebook)
    cells = notebook.get('cells')
    if not isinstance(cells, list):  # nbformat 3
        sheets = notebook.get('worksheets')
        cells = [
            cell
            for sheet in (sheets if isinstance(sheets, list) else ())
            for cell in (_mapping(sheet).get('cells') if isinstance(_mapping(sheet).get('cells'), list) else ())
        ]
    if not cells:
        raise CourseError('It has no cells.', 'Hand in the notebook of the lab.')
    found = []
    for cell in map(_mapping, cells):
        name = cell.get('id') or _mapping(_mapping(cell.get('metadata')).get('nbgrader')).get('grade_id')
        found.append(
            dict(
                id=name if isinstance(name, str) else '',
                kind=str(cell.get('cell_type')),
                source=_text(cell.get('source', cell.get('input'))),
            )
        )
        grade = _mapping(_mapping(cell.get('metadata')).get('nbgrader')).get('grade_id')
        found[-1]['grade_id'] = grade if isinstance(grade, str) else ''
    lab = _mapping(_mapping(notebook.get('metadata')).get('course')).get('lab')
    return found, lab if isinstance(lab, str) else ''


def take(content: bytes, key: Key) -> Answers:
    """The student's exercise cells.

    Raises:
        CourseError: it is no notebook.
    """
    cells, lab = read_cells(content)
    answers = Answers(lab=lab)
    by_name = {name: [cell for cell in cells if cell['id'] == name] for name in key.exercises}
    taken = {id(cell) for found in by_name.values() for cell in found}
    for name, exercise in key.exercises.items():
        found = by_name[name]
        if not found:
            left = [cell for cell in cells if id(cell) not in taken and len(cell['source']) <= MOST_TEXT]
            found, how = _without_id(left, exercise)
            if found:
                answers.note(
                    f'{name}: the cell has lost its id; taken by {how["en"]}.',
                    f'{name}：单元丢失了 id，按{how["zh"]}认出。',
                )
        if found:
            text = _choose(name, found, exercise, answers)
            answers.cells[name] = (
                text
                if len(text) <= MOST_TEXT
                else f"raise ValueError('a cell of over {MOST_TEXT} characters is not run')"
            )
        else:
            answers.note(f'{name}: there is no cell with this id.', f'{name}：找不到这个单元。')
    _compare_others(cells, key, answers)
    return answers


def _without_id(cells: list[dict], exercise: Exercise) -> tuple[list[dict], dict[str, str]]:
    """The cells that are this exercise's although their id does not say so, and what does."""
    named = [cell for cell in cells if cell['grade_id'] == exercise.name]
    if named:
        return named, dict(en="nbgrader's name", zh=' nbgrader 的名称')
    marked = [cell for cell in cells if exercise.name in MARKER.findall(cell['source'])]
    if marked:
        return marked, dict(en='its marker comment', zh='标记注释')
    same = [
        cell
        for cell in cells
        if cell['kind'] == 'code' and exercise.functions and set(exercise.functions) <= set(defined(cell['source']))
    ]
    return same, dict(
        en=f'the function that it defines, {", ".join(exercise.functions)}',
        zh=f'它定义的函数 {"、".join(exercise.functions)} ',
    )


def _choose(name: str, found: list[dict], exercise: Exercise, answers: Answers) -> str:
    """One text of several cells: the last that is not the stub."""
    written = [cell['source'] for cell in found if cell['source'].strip() not in ('', exercise.stub.strip())]
    if len(found) > 1:
        answers.note(
            f'{name}: {len(found)} cells have this id; the last with an answer counts.',
            f'{name}：有 {len(found)} 个单元用同一 id，以最后一个有作答的为准。',
        )
    if any(cell['kind'] != 'code' for cell in found):
        answers.note(
            f'{name}: the cell is no longer a code cell; its text was run as code.',
            f'{name}：单元类型被改，仍按代码运行。',
        )
    return written[-1] if written else exercise.stub


def _compare_others(cells: list[dict], key: Key, answers: Answers) -> None:
    """Notes what was changed outside the exercises; the instructor's own text is what runs."""
    there: dict[str, list[str]] = {}
    for cell in cells:
        there.setdefault(cell['id'], []).append(cell['source'])
    exercises = {exercise.check: name for name, exercise in key.exercises.items()}
    checks = {f'check-{name}': source for source, name in exercises.items()}
    if not any(name in there for name in (*key.others, *checks)):
        return  # no ids at all
    for name, source in {**key.others, **checks}.items():
        if name not in there:
            answers.note(f'{name}: the cell is missing; the original was used.', f'{name}：单元缺失，以原版为准。')
        elif there[name] != [source]:
            answers.note(f'{name}: the cell was changed; the original was used.', f'{name}：单元被改动，以原版为准。')


def digest(source: str) -> str:
    """Sixteen digits that stand for a cell's text."""
    return hashlib.sha256(source.encode('utf-8', 'surrogatepass')).hexdigest()[:16]


def names(source: str) -> set[str]:
    """Every name that a cell reads."""
    try:
        return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(re.findall(r'[^\W\d]\w*', source))


def rebuilt(key: Key, exercise: Exercise, source: str, seed: str, kernel: str, before: Iterable[str] = ()) -> dict:
    """The notebook that is run: set-up, the imports of other cells that the answer uses, the answer, the check.

    Args:
        seed: of this exercise; it stands in the check cell alone.
        kernel: name of the kernel that runs it.
        before: answers to other exercises, to run first.
    """
    used = names(source)
    needed = [line for name, line in key.imports.items() if name in used]
    check = f'__import__("os").environ[{SEED!r}] = {seed!r}\n{exercise.check}'
    parts = [
        *((f'setup-{i}', text) for i, text in enumerate(key.setup)),
        ('imports', '\n'.join(needed)),
        *((f'before-{i}', text) for i, text in enumerate(before)),
        ('answer', source),
        ('check', check),
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
