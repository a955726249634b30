"""Labs from their one source: labs/src/<lab>.py (jupytext percent) -> labs/solutions/<lab>.ipynb, executed, and
labs/<lab>.ipynb, the student's.

jupytext reads, nbgrader's preprocessors cut the solutions out and lock the checks, nbclient executes. A cell's header
gives its name, which is its id, and its part: `exercise=true`; `check="<exercise>" points=2` or `check=""` for a value
of the tour; `setup=true`, what exercises need; `expected=true`, values that a later run plots itself against.
"""
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from internlm_course.authoring import launch
from internlm_course.errors import CourseError
from internlm_course.grading.compare import output_text, printed, same
from internlm_course.grading.notebook import in_use, load, record
from internlm_course.lab.check import EXPECTED

MARK = '# NBVAL_CHECK_OUTPUT'
STUB = '# your code here, then delete the line below · 在此作答，写好后删去下面一行\nraise NotImplementedError'
CHECK = '# Check: run it, nothing to edit here · 核对：运行即可，不用改动'
NAME = re.compile(r'[a-z0-9][a-z0-9-]{0,63}')
KERNEL = dict(kernelspec=dict(display_name='Python 3 (ipykernel)', language='python', name='python3'),
              language_info=dict(name='python'))


def sources(labs: Path, names: tuple[str, ...] = ()) -> list[Path]:
    """The source scripts of all labs, or of those named.

    Raises:
        CourseError: there is none, or no lab of that name.
    """
    found = {path.stem: path for path in sorted((labs / 'src').glob('*.py'))}
    missing = [name for name in names if name not in found]
    if missing or not found:
        raise CourseError(f'There is no lab "{missing[0]}" in {labs / "src"}.' if missing
                          else f'There are no labs in {labs / "src"}.',
                          f'Labs there: {", ".join(found) or "none"}; --folder names another folder of labs.')
    return [found[name] for name in names or found]


def read(source: Path):
    """The whole notebook of a source script, with solutions and without outputs; ids and nbgrader's metadata from the
    cells' headers.

    Raises:
        CourseError: a cell without a name, a name twice, or a part that contradicts its text.
    """
    import jupytext
    notebook = jupytext.reads(source.read_text('utf-8'), fmt='py:percent')
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = _node(dict(KERNEL, course=dict(lab=source.stem)))
    seen: set[str] = set()
    for cell in notebook.cells:
        header = dict(cell.metadata)
        name = str(header.pop('name', ''))
        if not NAME.fullmatch(name) or name in seen:
            fault = (f'is named "{name}" like one before' if name in seen
                     else f'has no name of small letters, digits and dashes, but "{name}"')
            raise CourseError(f'A cell of {source} {fault}: {cell.source[:60]!r}.', 'Write # %% name="its-own-name".')
        seen.add(name)
        cell.id, cell.metadata = name, _node(_metadata(source, cell, name, header))
        if header.get('exercise'):  # tells the cell where a tool drops its id
            cell.source = f'# exercise: {name} · 请保留这一行 · keep this line\n{cell.source}'
        if 'check' in header:
            cell.source = f'{CHECK}\n{cell.source}'  # not folded: of a folded cell one cannot see whether it runs
    return notebook


def _metadata(source: Path, cell, name: str, header: dict) -> dict:
    """nbgrader's and the course's metadata of one cell."""
    if cell.cell_type != 'code':
        return {}
    nbgrader = dict(schema_version=3, grade_id=name, solution=False, grade=False, locked=True, task=False)
    has_solution, marked = 'BEGIN SOLUTION' in cell.source, MARK in cell.source.splitlines()
    if bool(header.get('exercise')) != has_solution or ('check' in header) != marked:
        raise CourseError(f'Cell "{name}" of {source} contradicts its header.',
                          f'An exercise=true has a ### BEGIN SOLUTION, a check="…" has a line {MARK}, and no other '
                          'cell has them.')
    if has_solution:
        return dict(nbgrader=dict(nbgrader, solution=True, locked=False), tags=['nbval-ignore-output'])
    if marked:
        course = {key: header[key] for key in ('check', 'tolerance', 'expected') if header.get(key)}
        points = dict(grade=True, points=header['points']) if header.get('points') else {}
        return dict(nbgrader=dict(nbgrader, **points), course=course)
    return dict(tags=['nbval-ignore-output'], **(dict(course=dict(setup=True)) if header.get('setup') else {}))


def _node(value: dict):
    from nbformat import from_dict
    return from_dict(value)


def reference(source: Path):
    """The instructor's notebook, not yet executed; it lies one folder deeper, so its relative links climb once more."""
    notebook = read(source)
    for cell in notebook.cells:
        if cell.cell_type == 'markdown':
            cell.source = re.sub(r'(\]\(|src=")\.\./', r'\1../../', cell.source)
    return record(notebook)


def student(source: Path):
    """The student's notebook: nbgrader's ClearSolutions puts stubs in, LockCells locks the checks; where the course has
    a public address, its first cell of code brings the course to Colab."""
    from nbgrader.preprocessors import ClearOutput, ClearSolutions, LockCells
    from traitlets.config import Config
    config = Config()
    config.ClearSolutions.code_stub = dict(python=STUB)
    notebook, resources = read(source), {}
    if address := launch.address(source.parent.parent.parent):
        notebook.cells.insert([cell.cell_type for cell in notebook.cells].index('code'), launch.cell(address))
    for step in (ClearSolutions, LockCells, ClearOutput):
        notebook, resources = step(config=config).preprocess(notebook, resources)
    return record(notebook)


def paths(source: Path) -> tuple[Path, Path]:
    """Where the reference and the student's notebook of a source lie."""
    labs = source.parent.parent
    return labs / 'solutions' / f'{source.stem}.ipynb', labs / f'{source.stem}.ipynb'


def skeleton(notebook) -> list:
    """What a notebook is but for its outputs."""
    return [notebook.nbformat, notebook.nbformat_minor, notebook.metadata,
            [(c.id, c.cell_type, c.source, c.metadata) for c in notebook.cells]]


def outdated(labs: Path, names: tuple[str, ...] = ()) -> list[str]:
    """What in the generated notebooks differs from their sources, one sentence each; outputs are nbval's business."""
    faults, made = [], set()
    for source in sources(labs, names):
        for path, wanted in zip(paths(source), (reference(source), student(source))):
            made.add(path)
            if not path.exists():
                faults.append(f'{path} is missing.')
                continue
            try:
                found = load(path)
            except CourseError as error:
                faults.append(error.cause)
                continue
            if skeleton(found) != skeleton(wanted):
                there, should = ({c.id: c for c in notebook.cells} for notebook in (found, wanted))
                cells = [name for name in {**should, **there} if there.get(name) is None or should.get(name) is None
                         or (there[name].source, there[name].metadata) != (should[name].source, should[name].metadata)]
                faults.append(f'{path} differs from {source} in '
                              f'{", ".join(cells) or "the order of cells or the metadata of the notebook"}.')
    strays = set() if names else {*labs.glob('*.ipynb'), *(labs / 'solutions').glob('*.ipynb')} - made
    return faults + [f'{path} has no source.' for path in sorted(strays)]


@contextmanager
def _runs(folder: str) -> Iterator[None]:
    before = os.environ.get('INTERNLM_COURSE_RUNS')
    os.environ['INTERNLM_COURSE_RUNS'] = folder
    try:
        yield
    finally:
        os.environ.pop('INTERNLM_COURSE_RUNS')
        if before is not None:
            os.environ['INTERNLM_COURSE_RUNS'] = before


def execute(notebook, folder: Path, timeout: int = 900):
    """Runs a notebook in `folder` from an empty store, so that what it measures is a student's first time.

    Raises:
        CourseError: a cell failed; the sentence names it.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    with tempfile.TemporaryDirectory(prefix='lab-') as runs, _runs(runs):
        try:
            NotebookClient(notebook, timeout=timeout, kernel_name='python3',
                           resources=dict(metadata=dict(path=str(folder))), record_timing=False,
                           store_widget_state=False, coalesce_streams=True).execute()
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            failed = [(c.id, o) for c in notebook.cells for o in c.get('outputs', ()) if o['output_type'] == 'error']
            where, what = ((failed[0][0], f'{failed[0][1].ename}: {failed[0][1].evalue}') if failed
                           else ('none', f'{type(error).__name__}: {error}'))
            raise CourseError(f'The lab stopped in cell {where}: {what}.',
                              'Run the source cell by cell in JupyterLab.') from error
    notebook.metadata.language_info = _node(KERNEL['language_info'])
    return notebook


def keep_expected(source: Path, notebook) -> bool:
    """Stores what cells marked expected=true printed, for later runs to plot themselves against; True if it is new,
    beyond the cells' tolerances."""
    path = EXPECTED / f'{source.stem}.json'
    stored = json.loads(path.read_text('utf-8')) if path.exists() else {}
    values, agree = {}, True
    for cell in notebook.cells:
        course = cell.metadata.get('course', {})
        if course.get('expected'):
            found = printed(output_text(cell))
            agree = agree and all(name in stored and same(value, stored[name], **course.get('tolerance', {}))
                                  for name, value in found.items())
            values |= found
    if agree and values.keys() == stored.keys():
        return False
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(values) + '\n', 'utf-8')
    return True


def build(source: Path, force: bool = False) -> str:
    """Writes both notebooks of a source, the reference executed; returns the line in which the lab tells its seconds
    and memory.

    Raises:
        CourseError: one of them holds somebody's work, and was left as it is; `force` writes over it.
    """
    import nbformat
    solved, blank = paths(source)
    kept = [] if force else [path for path in (solved, blank) if in_use(path, runs=path == blank)]
    solved.parent.mkdir(exist_ok=True)
    if blank not in kept:
        nbformat.write(student(source), blank)
    if solved not in kept:
        notebook = execute(reference(source), solved.parent)
        if keep_expected(source, notebook):  # the plots shall show the curve that was just measured
            notebook = execute(reference(source), solved.parent)
        nbformat.write(notebook, solved)
    if kept:
        raise CourseError(f'{" and ".join(map(str, kept))}: changed by hand, and left as it is. · '
                          '有人改动过，保持原样。',
                          'Move it into work/, or write over it with --force. · 请移入 work/，或用 --force 覆盖。')
    return next((line for c in reversed(notebook.cells)
                 for line in output_text(c).splitlines() if line.startswith('Measured')), '')
