"""Grades what arrives in a folder, until it is told to stop."""
import select
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.grading.grade import Settings, grade

EVERY = 2  # seconds between two looks


def seen(folder: Path, but: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file in the folder, or of the one file that it is; of none in the folder `but`.
    """
    found = {}
    for path in sorted(folder.rglob('*')) if folder.is_dir() else [folder]:
        with suppress(OSError):  # it has just gone
            if path.is_file() and but not in path.parents:
                state = path.lstat()
                found[str(path)] = (state.st_size, state.st_mtime_ns)
    return found


def ended(seconds: float) -> bool:
    """Waits; True as soon as Ctrl-D is typed in a terminal."""
    if not sys.stdin or sys.stdin.closed or not sys.stdin.isatty():
        time.sleep(seconds)
        return False
    return bool(select.select([sys.stdin], [], [], seconds)[0]) and not sys.stdin.readline()


def watch(submissions: Path, out: Path, settings: Settings, say: Callable[[str], None] = print,
          every: float = EVERY) -> None:
    """Grades the folder whenever it has changed and then stands still between two looks; says nothing meanwhile.

    Ends with Ctrl-D in a terminal, or with Ctrl-C.

    Raises:
        CourseError: the first grading fails; one that fails later is said once, and the next change tries again.
    """
    before, graded, first = None, {}, True
    try:
        while True:
            now = seen(submissions, out)
            if now and now == before and now != graded:
                try:
                    grade(submissions, out, settings, say)
                    first = False
                except CourseError as error:
                    if first:
                        raise
                    say(f'internlm-course: {error}')
                graded = now
            before = now
            if ended(every):
                return
    except KeyboardInterrupt:
        return
