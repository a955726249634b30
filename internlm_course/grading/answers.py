"""What a student handed in: a notebook in whatever state, and of it the text of the exercise cells.

A cell is told by its id; where a tool dropped the ids, by nbgrader's name of it, by the comment `# exercise: NAME`, or
by the function that it defines. Whatever else was changed is said, and changes nothing.
"""
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from internlm_course.errors import CourseError
from internlm_course.grading.rebuild import Exercise, Key, defined, names
from internlm_course.grading.submissions import MOST_BYTES, Refused, Submission
from internlm_course.grading.verdict import untouched

MOST_TEXT = 256 << 10  # characters of an answer
MOST_FILES = 20  # notebooks of one student that are looked at
MARKER = re.compile(r'^#+[ \t]*(?:exercise|练习)[ \t]*[:：][ \t]*([a-z0-9][a-z0-9-]*)', re.M)


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


def _text(value: Any) -> str:
    """A cell's source, which is a text or a list of them; what UTF-8 cannot hold is replaced."""
    value = ''.join(part for part in value if isinstance(part, str)) if isinstance(value, list) else value
    return value.encode('utf-8', 'replace').decode() if isinstance(value, str) else ''


def _mapping(value: Any) -> Mapping:
    return value if isinstance(value, Mapping) else {}


def read_cells(content: bytes) -> tuple[list[dict[str, str]], str]:
    """The cells of a notebook of any version as dicts of `id`, `grade_id`, `kind` and `source`, and the lab that it
    says it is.

    Raises:
        CourseError: it is no notebook.
    """
    if len(content) > MOST_BYTES:
        raise CourseError(f'The notebook is larger than {MOST_BYTES >> 20} MB.',
                          'Clear its outputs and hand it in again.')
    try:
        notebook = json.loads(content.decode('utf-8-sig'))
    except (ValueError, RecursionError, MemoryError) as error:
        raise CourseError(f'It is no notebook that can be read ({type(error).__name__}).',
                          'Hand in the .ipynb file itself.') from None
    notebook = _mapping(notebook)
    cells = notebook.get('cells')
    if not isinstance(cells, list):  # nbformat 3
        sheets = notebook.get('worksheets')
        cells = [cell for sheet in (sheets if isinstance(sheets, list) else ())
                 for cell in (_mapping(sheet).get('cells') if isinstance(_mapping(sheet).get('cells'), list) else ())]
    if not cells:
        raise CourseError('It has no cells.', 'Hand in the notebook of the lab.')
    found = []
    for cell in map(_mapping, cells):
        grade = _mapping(_mapping(cell.get('metadata')).get('nbgrader')).get('grade_id')
        name = cell.get('id') or grade
        found.append(dict(id=name if isinstance(name, str) else '', grade_id=grade if isinstance(grade, str) else '',
                          kind=str(cell.get('cell_type')), source=_text(cell.get('source', cell.get('input')))))
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
                answers.note(f'{name}: the cell has lost its id; taken by {how["en"]}.',
                             f'{name}：单元丢失了 id，按{how["zh"]}认出。')
        if found:
            text = _choose(name, found, exercise, answers)
            answers.cells[name] = (text if len(text) <= MOST_TEXT else
                                   f"raise ValueError('a cell of over {MOST_TEXT} characters is not run')")
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
    same = [cell for cell in cells if cell['kind'] == 'code' and exercise.functions
            and set(exercise.functions) <= set(defined(cell['source']))]
    return same, dict(en=f'the function that it defines, {", ".join(exercise.functions)}',
                      zh=f'它定义的函数 {"、".join(exercise.functions)} ')


def _choose(name: str, found: list[dict], exercise: Exercise, answers: Answers) -> str:
    """One text of several cells: the last that is not the stub."""
    written = [cell['source'] for cell in found if cell['source'].strip() not in ('', exercise.stub.strip())]
    if len(found) > 1:
        answers.note(f'{name}: {len(found)} cells have this id; the last with an answer counts.',
                     f'{name}：有 {len(found)} 个单元用同一 id，以最后一个有作答的为准。')
    if any(cell['kind'] != 'code' for cell in found):
        answers.note(f'{name}: the cell is no longer a code cell; its text was run as code.',
                     f'{name}：单元类型被改，仍按代码运行。')
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


def pick(submission: Submission, key: Key) -> tuple[Answers | None, list[str], str]:
    """The answers of the lab's notebook with most of them, what was refused, and the name of the file taken."""
    faults, best = list(submission.faults), None
    files = submission.files[:MOST_FILES]
    for file in files:
        try:
            answers = take(file.read(), key)
        except (Refused, CourseError) as error:
            faults.append(f'{file.name}: {error.cause if isinstance(error, CourseError) else error}'.rstrip('.'))
            continue
        except Exception as error:  # whatever stands in the file
            faults.append(f'{file.name}: not readable ({type(error).__name__})')
            continue
        written = sum(not untouched(source, key.exercises[name]) for name, source in answers.cells.items())
        rank = (answers.lab == key.lab, written, len(answers.cells))
        if best is None or rank > best[0]:
            best = (rank, answers, file)
    if best is None:
        return None, faults or ['there is no notebook'], ''
    _, answers, file = best
    if len(files) > 1:
        answers.note(f'{len(files)} notebooks; {file.name} counts.',
                     f'交了 {len(files)} 份笔记本，以 {file.name} 为准。')
    if answers.lab and answers.lab != key.lab:
        answers.note(f'The notebook says that it is of lab {answers.lab}.', f'笔记本自称属于实验 {answers.lab}。')
    return answers, faults, file.name


def helpers(name: str, answers: Answers) -> tuple[str, ...]:
    """The student's other exercise cells that define a function which this one uses, in the order of the lab."""
    needed, found = names(answers.cells[name]) - set(defined(answers.cells[name])), []
    while more := [other for other in answers.cells if other != name and other not in found
                   and needed & set(defined(answers.cells[other]))]:
        found += more
        needed |= set().union(*(names(answers.cells[other]) for other in more))
    return tuple(answers.cells[other] for other in answers.cells if other in found)
