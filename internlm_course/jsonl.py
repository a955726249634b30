"""The one reader of jsonl, of sources and of the course's own files: UTF-8 with or without a byte order mark; a line
ends at a line feed and nowhere else. And its one writer.

`str.splitlines` also ends a line at U+2028, U+0085 and six more, which valid JSON may hold inside a text; and half of a
surrogate pair, which JSON can escape, cannot be written as UTF-8 again.
"""
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from internlm_course.errors import CourseError

REMEDY = 'Build it again, or give another file.'


def whole(text: str) -> str:
    """The text with each half of a surrogate pair replaced by U+FFFD, and two halves joined."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode('utf-16-le', 'surrogatepass').decode('utf-16-le', 'replace')


def parse(line: bytes) -> Any:
    """The JSON value of one line, its texts whole.

    Raises:
        ValueError: no UTF-8 (a UnicodeDecodeError), no JSON, or nested too deep to be read.
    """
    text = line.decode('utf-8-sig')
    try:
        value = json.loads(text)
        return json.loads(whole(json.dumps(value, ensure_ascii=False))) if '\\ud' in text or '\\uD' in text else value
    except RecursionError as error:
        raise ValueError('nested too deep') from error


def numbered(path: Path, remedy: str = REMEDY, texts: tuple[str, ...] = ()) -> Iterator[tuple[int, dict]]:
    """The objects of a jsonl file, packed with gzip or not, with their lines' numbers; blank lines are passed over.

    Args:
        remedy: what the user can do about a file or row that cannot be used.
        texts: fields that every row must have as text.

    Raises:
        CourseError: the file cannot be read, or a row cannot be used; it names the row.
    """
    path, number = Path(path), 0
    try:
        with gzip.open(path, 'rb') if path.suffix == '.gz' else open(path, 'rb') as lines:
            for number, line in enumerate(lines, 1):
                if not line.removeprefix(b'\xef\xbb\xbf').strip():
                    continue
                row = parse(line)
                if not isinstance(row, dict):
                    raise ValueError('no JSON object')
                if lacking := [field for field in texts if not isinstance(row.get(field), str)]:
                    raise CourseError(f'Line {number} of {path} is without {lacking[0]} as text.', remedy)
                yield number, row
    except ValueError as error:
        raise CourseError(f'Line {number} of {path} is not a jsonl row: {error}.', remedy) from error
    except (OSError, EOFError, zlib.error) as error:
        raise CourseError(f'{path} cannot be read: {error}.', remedy) from error


def rows(path: Path, remedy: str = REMEDY, texts: tuple[str, ...] = ()) -> Iterator[dict]:
    """The objects of a jsonl file; see `numbered`."""
    return (row for _, row in numbered(path, remedy, texts))


def line_of(row: Any) -> str:
    """A row as a line of a jsonl file."""
    return json.dumps(row, ensure_ascii=False) + '\n'


def write(path: Path, objects: Iterable[Any]) -> None:
    """Writes rows as a jsonl file, the same bytes on every system."""
    with open(path, 'w', encoding='utf-8', newline='\n') as lines:
        lines.writelines(map(line_of, objects))
