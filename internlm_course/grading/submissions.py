"""Submissions as Moodle, Canvas and JupyterHub export them: folders and zips, by student.

Nothing is unpacked to disk and no link is followed: a file is read into memory, up to a limit, whatever it says its
size is.
"""

import csv
import io
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from internlm_course.errors import CourseError

MOST_BYTES = 64 << 20  # of a notebook
MOST_MEMBERS, MOST_UNPACKED = 20_000, 256 << 20  # of one zip; of one student's zip in a zip
MOODLE = re.compile(r'(?P<name>.+?)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)_?')
CANVAS = re.compile(r'(?P<student>[^_/]+)(?:_LATE)?_(?P<id>\d+)_\d+_.+')
WRAPPERS = ('submitted', 'submissions', '__MACOSX', 'autograded')
ROSTER = dict(
    student=('sis login id', 'login', 'login_id', 'username', 'student id', '学号', '用户名'),
    name=('name', 'full name', 'student name', '姓名', '全名'),
    id=('id', 'canvas id', 'identifier', 'user id', '编号'),
    sis=('sis user id', 'sis_user_id'),
    email=('email', 'email address', '邮箱', '电子邮箱'),
    section=('section', '班级'),
)


class Refused(Exception):
    """A file that is not read; the message says why."""


@dataclass(frozen=True)
class File:
    """A file of a submission: its path, and the members of zips on the way to it."""

    path: Path
    members: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.members[-1]).name if self.members else self.path.name

    def read(self, most: int = MOST_BYTES) -> bytes:
        """Its content.

        Raises:
            Refused: it is larger than `most` bytes, no regular file, or its zip is broken.
        """
        try:
            if not self.members:
                handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                with open(handle, 'rb') as stream:
                    if not stat.S_ISREG(os.fstat(handle).st_mode):
                        raise Refused('no regular file')
                    return _limited(stream, most)
            container = (
                self.path
                if len(self.members) == 1
                else io.BytesIO(File(self.path, self.members[:-1]).read(MOST_UNPACKED))
            )
            with zipfile.ZipFile(container) as archive, archive.open(self.members[-1]) as stream:
                return _limited(stream, most)
        except Refused:
            raise
        except Exception as error:  # zipfile raises many kinds at broken, encrypted and unknown members
            raise Refused(f'not readable ({type(error).__name__})') from None


def _limited(stream, most: int) -> bytes:
    content = stream.read(most + 1)
    if len(content) > most:
        raise Refused(f'larger than {most >> 20} MB')
    return content


@dataclass
class Submission:
    """What one student handed in.

    Attributes:
        student: the key of the row; name: for people; number: of the platform that exported it.
        files: notebooks; faults: what was refused, and why.
    """

    student: str
    name: str = ''
    number: str = ''
    files: list[File] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def _walk(folder: Path) -> Iterator[tuple[str, File | None, str]]:
    """(path relative to the folder, file or None, why it was refused), for folders without a file, too."""
    for where, folders, names in os.walk(folder):
        folders.sort()
        base = Path(where)
        links = [name for name in folders if (base / name).is_symlink()]
        folders[:] = [name for name in folders if name not in links and not name.startswith('.')]
        for name in sorted([*names, *links]):
            path, relative = base / name, (base / name).relative_to(folder).as_posix()
            if path.is_symlink():
                yield relative, None, 'a symbolic link'
            elif not path.is_file():
                yield relative, None, 'no regular file'
            elif name.lower().endswith('.zip'):
                yield from ((f'{relative}/{inner}', file, why) for inner, file, why in _members(File(path)))
            else:
                yield relative, File(path), ''
        if not names and not folders and not links and base != folder:
            yield f'{base.relative_to(folder).as_posix()}/', None, ''


def _members(file: File, depth: int = 0) -> Iterator[tuple[str, File | None, str]]:
    """The same of a zip's members; zips in it are looked into once."""
    try:
        container = io.BytesIO(file.read(MOST_UNPACKED)) if file.members else file.path
        with zipfile.ZipFile(container) as archive:
            infos = archive.infolist()
            if len(infos) > MOST_MEMBERS:
                raise Refused(f'a zip of more than {MOST_MEMBERS} files')
    except Refused as error:
        yield '', None, str(error)
        return
    except Exception as error:
        yield '', None, f'a broken zip ({type(error).__name__})'
        return
    for info in sorted(infos, key=lambda info: info.filename):
        name = info.filename.replace('\\', '/')
        parts = PurePosixPath(name).parts
        if name.startswith('/') or '..' in parts or re.match(r'[A-Za-z]:', name):
            yield _inside(name), None, 'a path that leads out of its zip'
        elif stat.S_ISLNK(info.external_attr >> 16):
            yield name, None, 'a symbolic link in a zip'
        elif info.is_dir():
            yield name, None, ''
        elif name.lower().endswith('.zip') and depth == 0:
            inner = File(file.path, (*file.members, info.filename))
            yield from ((f'{name}/{path}', found, why) for path, found, why in _members(inner, 1))
        else:
            yield name, File(file.path, (*file.members, info.filename)), ''


def _inside(name: str) -> str:
    """A path without what leads out."""
    return (
        '/'.join(part for part in PurePosixPath(name).parts if part not in ('..', '/') and ':' not in part) or 'unnamed'
    )


def find(source: Path) -> dict[str, Submission]:
    """The submissions in a folder or zip, by student, in alphabetical order.

    Raises:
        CourseError: there is no such folder or zip, or it is empty.
    """
    if source.is_dir():
        entries = _walk(source)
    elif source.is_file():
        entries = (
            _members(File(source)) if source.suffix.lower() != '.ipynb' else iter([(source.name, File(source), '')])
        )
    else:
        raise CourseError(f'There is no folder or zip {source}.', 'Give what Moodle, Canvas or JupyterHub exported.')
    found: dict[str, Submission] = {}
    entries = list(entries)
    if entries and not entries[0][0]:
        raise CourseError(f'{source} cannot be read: {entries[0][2]}.', 'Export the submissions again.')
    for relative, file, why in _unwrapped(entries):
        student, name, number = identify(relative)
        if not student:
            continue
        submission = found.setdefault(student, Submission(student, name, number))
        if file is not None and file.name.lower().endswith('.ipynb') and not file.name.startswith('.'):
            submission.files.append(file)
        elif why:
            submission.faults.append(f'{PurePosixPath(relative).name or relative}: {why}')
    if not found:
        raise CourseError(
            f'There are no submissions in {source}.', 'Each student is a folder, a zip or a notebook there.'
        )
    return dict(sorted(found.items()))


def _unwrapped(entries: list[tuple]) -> list[tuple]:
    """The same without a folder around all students."""
    paths = [PurePosixPath(relative).parts for relative, *_ in entries]
    around = {parts[0] for parts in paths if parts}
    if (
        len(around) == 1
        and len({parts[1] for parts in paths if len(parts) > 2}) > 1
        and not identify(paths[0][0] + '/')[2]
    ):
        return [(relative.partition('/')[2], *rest) for relative, *rest in entries if relative.partition('/')[2]]
    return entries


def identify(relative: str) -> tuple[str, str, str]:
    """(key, name, number) of the student whose file lies at this path; a key of '' where it is nobody's."""
    parts = [part for part in PurePosixPath(relative).parts if part not in WRAPPERS]
    if not parts or any(part.startswith('.') for part in parts) or '__MACOSX' in PurePosixPath(relative).parts:
        return '', '', ''
    if moodle := MOODLE.match(parts[0]):
        return f'{moodle["name"]}_{moodle["id"]}', moodle['name'], moodle['id']
    stem = re.sub(r'\.(ipynb|zip)$', '', parts[0], flags=re.I)
    if canvas := CANVAS.fullmatch(stem):
        return f'{canvas["student"]}_{canvas["id"]}', canvas['student'], canvas['id']
    directory = len(parts) > 1 or relative.endswith('/') or stem != parts[0]
    return (stem, stem, '') if directory else ('', '', '')


@dataclass(frozen=True)
class Student:
    """A line of the roster."""

    student: str
    name: str = ''
    id: str = ''
    sis: str = ''
    email: str = ''
    section: str = ''


def read_roster(path: Path) -> list[Student]:
    """The students of a course in their order, from a CSV file with a head line; Canvas' and Moodle's exports serve.

    Raises:
        CourseError: it cannot be read, or has no column for students.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text('utf-8-sig'))))
    except (OSError, ValueError, csv.Error) as error:
        raise CourseError(f'The roster {path} cannot be read: {error}.', 'Give a CSV file in UTF-8.') from error
    students: dict[str, Student] = {}
    for row in rows:
        cells = {
            (head or '').strip().lower(): (value or '').strip()
            for head, value in row.items()
            if isinstance(value, str | None)
        }
        said = {name: next((cells[head] for head in heads if cells.get(head)), '') for name, heads in ROSTER.items()}
        if cells.get('student'):  # Canvas means the name
            said['name' if said['student'] and not said['name'] else 'student'] = cells['student']
        key = said['student'] or said['sis'] or said['id'] or said['email'] or said['name']
        if key and key not in students and key.lower() != 'points possible':
            students[key] = Student(**{**said, 'student': key})
    if not students:
        raise CourseError(
            f'The roster {path} names no student.', 'It needs a head line with "student", "name", "id" or "email".'
        )
    return list(students.values())


def align(found: dict[str, Submission], roster: list[Student]) -> list[tuple[Student, Submission | None]]:
    """The roster in its order, each with the submission that bears one of the student's names; then all others."""

    def normal(text: str) -> str:
        return re.sub(r'[\s,.\-]+', '', text).casefold()

    left, rows = dict(found), []
    for student in roster:
        names = {
            normal(text)
            for text in (
                student.student,
                student.name,
                student.id,
                student.sis,
                student.email,
                student.email.partition('@')[0],
                ''.join(reversed(student.name.split(', '))),
            )
            if text
        }
        key = next(
            (
                key
                for key, submission in left.items()
                if {normal(key), normal(submission.name), normal(submission.number)} & names - {''}
            ),
            None,
        )
        rows.append((student, left.pop(key) if key else None))
    return rows + [
        (Student(submission.student, submission.name, submission.number), submission) for submission in left.values()
    ]
