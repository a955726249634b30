"""What a teacher hands out: students' copies of labs, one zip of them, and a link that puts them into a JupyterHub.

Without answers it is the whole folder of the course as a student needs it, with neither the labs' answers nor their
references: `--without-answers` leaves out the bodies of the functions that checks compare with, and keeps of a
reference what its checks printed. The same call writes the same bytes.
"""
import ast
import json
import shutil
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlencode

from internlm_course.authoring import build
from internlm_course.errors import CourseError
from internlm_course.grading.absence import called, own_answers
from internlm_course.grading.compare import OWN, output_text, printed
from internlm_course.grading.notebook import in_use, load, record

WORK = 'work'  # where `make lab` looks for a student's copies
COURSE = ('.ci', '.gitattributes', 'LICENSE', 'Makefile', 'README.md', 'README.zh.md', 'environment.yml', 'guides',
          'images', 'internlm_course', 'lectures', 'postBuild', 'pyproject.toml', 'requirements.lock')
# Known-wrong answers, named as their lab, hold what is right, too
LEFT_OUT = shutil.ignore_patterns('__pycache__', '*.pyc', 'src', '.ipynb_checkpoints', '[0-9][0-9]_*.py')
GONE = f"""    raise type({OWN!r}, (Exception,), {{}})(
        'this copy of the course has no answers: solve the exercise first, then go on · '
        '这一份课程不含答案：请先完成练习，再往下运行')"""


@dataclass(frozen=True)
class Released:
    """The notebooks written, the zip, and the link; '' where no repository was given."""

    notebooks: list[Path]
    archive: Path
    link: str


def release(labs: Path, out: Path, names: tuple[str, ...] = (), course: str = '', due: str = '', answers: bool = True,
            repository: str = '', branch: str = 'main', hub: str = 'https://HUB') -> Released:
    """Writes students' copies of labs to OUT/work and all of OUT to OUT.zip.

    Args:
        names: of the labs; all if there is none.
        course, due: go into the notebooks' metadata; `due` is a date or a time in ISO's form.
        answers: False makes OUT a whole course without answers.
        repository, branch: where OUT will lie, for the link; hub: address of the JupyterHub that opens it.

    Raises:
        CourseError: no such lab, a lab that differs from its source, no date, or somebody's work in the place of a
            copy.
    """
    chosen = [build.paths(source)[1] for source in build.sources(labs, names)]
    if faults := build.outdated(labs, names):
        raise CourseError(faults[0], 'Build the labs first: internlm-course notebooks.')
    about = {key: value for key, value in dict(course=course, due=_date(due)).items() if value}
    if worked := [path for path in (out / WORK / lab.name for lab in chosen) if in_use(path, runs=True)]:
        raise CourseError(f"{worked[0]} holds somebody's work.", 'Give another folder with --out.')
    (out / WORK).mkdir(parents=True, exist_ok=True)
    for lab in chosen:
        notebook = load(lab)
        notebook.metadata.course.update(about)
        _write(notebook, out / WORK / lab.name)
    files = [out / WORK / lab.name for lab in chosen]
    if not answers:
        files += _course(labs, out, chosen)
    archive = out.with_name(f'{out.name}.zip')
    pack(archive, out, files)
    return Released(files[:len(chosen)], archive, repository and link(hub, repository, branch, chosen))


def _date(text: str) -> str:
    """The text, if it is a date or a time.

    Raises:
        CourseError: it is neither.
    """
    try:
        return text and datetime.fromisoformat(text) and text
    except ValueError:
        raise CourseError(f'"{text}" is no date.', 'Write it like 2027-03-31 or 2027-03-31T23:59.') from None


def _write(notebook, path: Path) -> None:
    import nbformat
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(notebook) + '\n', 'utf-8')


def link(hub: str, repository: str, branch: str, labs: Iterable[Path]) -> str:
    """nbgitpuller's link: it pulls the branch into a student's JupyterHub, keeps what she changed, and opens the lab,
    or the folder of several."""
    names = [lab.name for lab in labs]
    folder = repository.rstrip('/').rpartition('/')[2].removesuffix('.git')
    opens = f'lab/tree/{folder}/{WORK}' + (f'/{names[0]}' if len(names) == 1 else '')
    query = urlencode(dict(repo=repository, branch=branch, urlpath=opens))
    return f'{hub.rstrip("/")}/hub/user-redirect/git-pull?{query}'


def pack(archive: Path, top: Path, files: Iterable[Path]) -> None:
    """Zips files in the order of their names, with a fixed time, and not compressed: zlib's versions differ."""
    with zipfile.ZipFile(archive, 'w', zipfile.ZIP_STORED) as packed:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path.relative_to(top).as_posix())
            entry.create_system = 3
            entry.external_attr = (0o100755 if path.stat().st_mode & 0o100 else 0o100644) << 16
            packed.writestr(entry, path.read_bytes())


def _course(labs: Path, out: Path, chosen: list[Path]) -> list[Path]:
    """Copies the course that `labs` lies in into `out`, without answers; the files written."""
    home = labs.resolve().parent
    for name in COURSE:
        if (home / name).is_dir():
            shutil.rmtree(out / name, ignore_errors=True)
            shutil.copytree(home / name, out / name, ignore=LEFT_OUT)
        elif (home / name).exists():
            shutil.copy(home / name, out / name)
    package, own = out / 'internlm_course', set()
    for lab in sorted(labs.glob('*.ipynb')):
        solved = load(labs / 'solutions' / lab.name)
        own |= set().union(*(own_answers(cell.source) for cell in solved.cells if _checks(cell)))
        if lab in chosen:
            shutil.copy(lab, _made(out / 'labs' / lab.name))
            _write(published(solved, load(lab), _functions(package)), out / 'labs' / 'solutions' / lab.name)
            _expect(solved, package / 'lab' / 'expected' / f'{lab.stem}.json')
    for module in sorted((package / 'lab' / 'answers').glob('*.py')):
        module.write_text(without(module.read_text('utf-8'), own), 'utf-8')
    return [path for top in (*COURSE, 'labs') for path in ([out / top] if (out / top).is_file() else
                                                          sorted((out / top).rglob('*'))) if path.is_file()]


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _checks(cell) -> bool:
    return bool(cell.metadata.get('course', {}).get('check'))


def _functions(package: Path) -> set[str]:
    """The names of all functions in the package."""
    return {node.name for path in package.rglob('*.py') for node in ast.parse(path.read_text('utf-8')).body
            if isinstance(node, ast.FunctionDef)}


def published(solved, blank, functions: set[str]):
    """A reference of which only what its checks printed is left: the student's cells, with the checks' outputs.

    Which of the package's functions an answer called stays in the metadata: a graded kernel must have them.
    """
    texts = {cell.id: cell.source for cell in blank.cells}
    for cell in solved.cells:
        if cell.cell_type == 'code' and not _checks(cell):
            if uses := sorted(called(ast.parse(cell.source)) & functions if cell.source != texts[cell.id] else ()):
                cell.metadata.course = dict(uses=uses)
            cell.source, cell.outputs, cell.execution_count = texts[cell.id], [], None
    return record(solved)


def _expect(solved, path: Path) -> None:
    """Adds the values that the reference's checks printed to what the package expects of a lab."""
    values = json.loads(path.read_text('utf-8')) if path.exists() else {}
    for cell in solved.cells:
        if _checks(cell):
            values |= printed(output_text(cell))
    _made(path).write_text(json.dumps(values, sort_keys=True) + '\n', 'utf-8')


def without(source: str, functions: Iterable[str]) -> str:
    """A module's text with an error in place of the bodies of these functions; heads and docstrings stay."""
    lines = source.splitlines()
    for node in reversed(ast.parse(source).body):
        if isinstance(node, ast.FunctionDef) and node.name in functions:
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines[body[0].lineno - 1:body[-1].end_lineno] = GONE.split('\n')
    return '\n'.join(lines) + '\n'
