"""Content-addressed artifacts: the key of an artifact is a hash of its settings, its inputs' keys and the code that makes it.

An artifact is built in a `.partial` folder under a lock and renamed when it is whole, so nothing half-written is ever read, two runs at once
build each thing once, and a killed run goes on where it was.
"""
import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.memory import PeakMemory

PACKAGE = Path(__file__).resolve().parent
RECORD = 'stage.json'


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
    """Hash of the sources of the named parts of the package (folders or modules), so that changed code makes new artifacts."""
    digest = hashlib.sha256()
    for link in sorted(links):
        folder = PACKAGE / link
        files = sorted(p for p in folder.rglob('*') if p.suffix in ('.py', '.toml', '.tsv')) if folder.is_dir() else [folder.with_suffix('.py')]
        for file in files:
            digest.update(file.relative_to(PACKAGE).as_posix().encode() + b'\0' + file.read_bytes())
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on `path` between processes; the system frees it when the holder dies, however it dies."""
    with open(path, 'w') as stream:
        if os.name == 'nt':
            import msvcrt
            msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def clear_disk_errors(folder: Path) -> Iterator[None]:
    """Turns a full disk or a folder that cannot be written into one clear sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CourseError(f'The disk of {folder} is full.', 'Free some space and run again: what is already built is kept.') from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise CourseError(f'{folder} cannot be written ({error.strerror}).', 'Choose another folder with --root FOLDER.') from error
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
                raise CourseError(f'{self.root} is a file or lies inside one.', 'Choose another folder with --root FOLDER.') from error
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
            resumable: `make` can go on from what an interrupted call left in the folder; otherwise it starts in an empty one.
        """
        described = json.dumps(dict(settings, code=code_version(*code)), sort_keys=True, default=str, ensure_ascii=False)
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
