"""What a notebook says of its release: a digest of each cell's text, which tells what was changed since."""
import hashlib
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.grading.compare import output_text


def record(notebook):
    """The notebook with its cells' digests in its metadata."""
    notebook.metadata.course.release = {cell_name(cell): _digest(cell) for cell in notebook.cells}
    return notebook


def cell_name(cell) -> str:
    """A cell's id; nbgrader's metadata keeps it where a tool dropped the ids."""
    return cell.get('id') or cell.metadata.get('nbgrader', {}).get('grade_id', '')


def _digest(cell) -> str:
    return hashlib.sha256(cell.source.encode('utf-8', 'surrogatepass')).hexdigest()[:12]


def edited(notebook) -> dict:
    """The cells of a notebook that are not as they were released, by name; None stands for one that was deleted."""
    released, cells = recorded(notebook), {cell_name(cell): cell for cell in notebook.cells}
    return {name: cells.get(name) for name in {**released, **cells}
            if name not in cells or _digest(cells[name]) != released.get(name)}


def recorded(notebook) -> dict[str, str]:
    """The release that a notebook came from: a digest by each cell's name; empty where none was recorded."""
    return (notebook.metadata.get('course') or {}).get('release', {})


def load(path: Path):
    """A notebook that somebody may have worked in.

    Raises:
        CourseError: it is none, or a broken one.
    """
    import nbformat
    try:
        notebook = nbformat.reads(path.read_text('utf-8'), as_version=4)
        edited(notebook)
        [output_text(cell) for cell in notebook.cells]
    except Exception as error:  # whatever stands in the file
        raise CourseError(f'{path} is no notebook that can be read ({type(error).__name__}).',
                          'Mend it, or move it away and call again.') from error
    return notebook


def write_copy(notebook, path: Path) -> None:
    """Writes a notebook to be opened here, with what JupyterLab would add, so that it is not unsaved at once."""
    import nbformat
    from ipykernel.ipkernel import IPythonKernel
    notebook.metadata.language_info = nbformat.from_dict(IPythonKernel.language_info)
    path.write_text(nbformat.writes(notebook) + '\n', 'utf-8')


def in_use(path: Path, runs: bool) -> bool:
    """Whether a notebook holds somebody's work: a changed cell, or a file that cannot be read.

    With `runs`, an output counts too.
    """
    if not path.exists():
        return False
    try:
        notebook = load(path)
    except CourseError:
        return True
    return bool(edited(notebook)) or runs and any(cell.get('outputs') for cell in notebook.cells)
