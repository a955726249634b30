"""No function is over 60 lines, and no file over 300 whose reason does not stand here."""
import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ('internlm_course', 'images', 'tests', 'labs/src')
FUNCTION, FILE = 60, 300
LONG_FILES = {  # pattern: reason
    'internlm_course/model/modeling_internlm2.py': 'lies beside every checkpoint, and tools load that one file',
    'internlm_course/grading/grade.py': 'a class from its folder to its marks, told in the order in which it happens',
    'internlm_course/grading/mistakes/*.py': 'the known mistakes of a lab, one after the other',
    'internlm_course/grading/sandbox.py': 'is laid into the sandbox as one file, and runs by itself',
    'labs/src/*.py': 'a lab is one text, in two languages',
    'tests/labs/hostile.py': 'a list of submissions',
    'tests/labs/test_grading.py': 'one class, graded once, serves all its tests',
    'tests/labs/test_machinery.py': 'one lab, executed once, serves all its tests',
    'tests/unit/lab/test_check.py': 'one shell and one lab serve all its tests'}


def functions(file: Path) -> Iterator[tuple[str, int]]:
    """The name and the lines of each function of a file, of those inside others too."""
    for node in ast.walk(ast.parse(file.read_text('utf-8'))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.end_lineno - node.lineno + 1


def too_long(root: Path) -> tuple[dict[str, int], dict[str, int]]:
    """{'file function': lines} and {file: lines} of what is over the limit."""
    files = {file.relative_to(root).as_posix(): file for folder in FOLDERS for file in (root / folder).rglob('*.py')}
    parts = {f'{name} {function}': lines for name, file in files.items() for function, lines in functions(file)}
    wholes = {name: len(file.read_text('utf-8').splitlines()) for name, file in files.items()}
    return ({name: lines for name, lines in parts.items() if lines > FUNCTION},
            {name: lines for name, lines in wholes.items() if lines > FILE})


def test_what_is_long_has_its_reason_and_no_reason_is_left_over():
    long_functions, long_files = too_long(ROOT)
    assert long_functions == {}
    reasons = {file: [pattern for pattern in LONG_FILES if fnmatch(file, pattern)] for file in long_files}
    assert [file for file, patterns in reasons.items() if not patterns] == []
    assert {pattern for patterns in reasons.values() for pattern in patterns} == LONG_FILES.keys()


def test_one_line_more_is_noticed(tmp_path):
    file = tmp_path / 'images' / 'src' / 'draw.py'
    file.parent.mkdir(parents=True)
    body = '\n'.join(f'    x = {n}' for n in range(FUNCTION - 1))
    file.write_text(f'def draw():\n{body}\n' + '\n' * (FILE - FUNCTION))
    assert too_long(tmp_path) == ({}, {})
    file.write_text(f'def draw():\n    x = 0\n{body}\n' + '\n' * (FILE - FUNCTION))
    assert too_long(tmp_path) == ({'images/src/draw.py draw': FUNCTION + 1}, {'images/src/draw.py': FILE + 1})
