"""Content-addressed artifacts: a key is a hash of the settings, the inputs' keys and the code that makes it.

An artifact is built in a `.partial` folder under a lock and renamed when it is whole, so nothing half-written is ever
read, two runs at once build each thing once, and a killed run goes on where it was.
"""
import ast
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.machine import give_back
from internlm_course.memory import PeakMemory

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = Path(__file__).resolve().parent
RECORD = 'stage.json'
ELSEWHERE = 'Choose another folder with --root FOLDER.'
DOCUMENTED = 'agents/'  # docstrings are code there: in an action's, Lagent tells the model what it does


@dataclass(frozen=True)
class Artifact:
    """A finished folder and what its making measured."""
    stage: str
    key: str
    path: Path
    seconds: float
    peak_memory_bytes: int
    """Anonymous memory of the whole process tree while it was made."""
    metrics: dict
    cached: bool
    """Fetched from the store instead of made now."""


@cache
def code_version(*links: str) -> str:
    """Hash of what the named parts of the package (folders, modules, files) do: code changes it, a comment does not."""
    digest = hashlib.sha256()
    for link in sorted(links):
        folder = PACKAGE / link
        files = folder.rglob('*') if folder.is_dir() else [folder if folder.suffix else folder.with_suffix('.py')]
        for file in sorted(file for file in files if file.suffix in ('.py', '.toml', '.tsv')):
            name = file.relative_to(PACKAGE).as_posix()
            meaning = _meaning(file.read_text('utf-8'), file.suffix, name.startswith(DOCUMENTED))
            digest.update(f'{name}\0{meaning}'.encode())
    return digest.hexdigest()[:12]


@cache
def _meaning(text: str, suffix: str, docstrings: bool) -> str:
    """A source without comments, layout and (unless they are code) docstrings: its syntax tree, or its values."""
    if suffix == '.toml':
        return json.dumps(tomllib.loads(text), sort_keys=True, default=str)
    if suffix != '.py':
        return text
    tree = ast.parse(text)
    return ast.dump(tree if docstrings else _Undocumented().visit(tree))


class _Undocumented(ast.NodeTransformer):
    def visit_Expr(self, statement: ast.Expr) -> ast.Expr | None:
        """A constant on a line of its own does nothing: it is a docstring, or says what the field above is."""
        return None if isinstance(statement.value, ast.Constant) else statement


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on `path` between processes; the system frees it when the holder dies in any way."""
    with open(path, 'w') as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def clear_disk_errors(folder: Path) -> Iterator[None]:
    """Turns a full disk or a folder that cannot be written into one clear sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = 'Free some space and run again: what is already built is kept.'
            raise CourseError(f'The disk of {folder} is full.', remedy) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise CourseError(f'{folder} cannot be written ({error.strerror}).', ELSEWHERE) from error
        raise


class Store:
    """The artifacts of one folder.

    Raises:
        CourseError: the folder cannot be written.
    """

    def __init__(self, root: Path):
        self.root = Path(root).absolute()
        with clear_disk_errors(self.root):
            try:
                self.root.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise CourseError(f'{self.root} is a file or lies inside one.', ELSEWHERE) from error
            probe = self.root / f'.probe-{os.getpid()}'
            probe.write_text('writable')
            probe.unlink()
            self.locks = self.root / 'locks'
            self.locks.mkdir(exist_ok=True)
        self.home = self.root / 'tools'  # caches of the tools' own processes

    def build(self, stage: str, settings: dict, make: Callable[[Path], dict | None], code: tuple[str, ...] = (),
              resumable: bool = False) -> Artifact:
        """Fetches the artifact, or makes it with `make(folder)`, which fills the folder and returns its metrics.

        Args:
            settings: everything that the result depends on; JSON-like, keys of input artifacts included.
            code: the parts of the package that make it.
            resumable: `make` can go on from what an interrupted call left; otherwise it starts in an empty one.
        """
        settings = dict(settings, code=code_version(*code))
        described = json.dumps(settings, sort_keys=True, default=str, ensure_ascii=False)
        key = hashlib.sha256(f'{stage}\0{described}'.encode()).hexdigest()[:16]
        final = self.root / f'{stage}-{key}'
        with clear_disk_errors(self.root):
            if (final / RECORD).exists():
                return self._fetch(stage, key, final, cached=True)
            with locked(self.locks / f'{stage}-{key}'):
                if (final / RECORD).exists():  # another run made it while this one waited
                    return self._fetch(stage, key, final, cached=True)
                partial = self.root / f'{stage}-{key}.partial'
                if partial.exists() and not resumable:
                    shutil.rmtree(partial)
                partial.mkdir(exist_ok=True)
                give_back()  # what an earlier stage left freed would stand beside all that this one starts
                began = time.monotonic()
                with PeakMemory() as memory:
                    metrics = make(partial) or {}
                record = dict(stage=stage, settings=json.loads(described), seconds=round(time.monotonic() - began, 2),
                              peak_memory_bytes=memory.peak_bytes, metrics=metrics)
                (partial / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + '\n', 'utf-8')
                os.replace(partial, final)
                return self._fetch(stage, key, final, cached=False)

    @staticmethod
    def _fetch(stage: str, key: str, path: Path, cached: bool) -> Artifact:
        record = json.loads((path / RECORD).read_text('utf-8'))
        return Artifact(stage, key, path, record['seconds'], record['peak_memory_bytes'], record['metrics'], cached)
