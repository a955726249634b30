"""Reading and writing documents for datatrove's executors with the standard library and warcio.

datatrove's own WarcReader needs libmagic on the machine and stops at the first damaged record; its jsonl steps need orjson.
"""
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from datatrove.data import DocumentsPipeline
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.pipeline.writers.disk_base import DiskWriter
from datatrove.utils.logging import logger


class CrawlReader(BaseDiskReader):
    """Reads the HTML responses of WARC files; a damaged record costs itself only, because reading resumes at the next gzip member."""
    name = '🕷 Crawl'

    def read_file(self, filepath: str) -> DocumentsPipeline:
        from warcio.archiveiterator import ArchiveIterator
        with self.data_folder.open(filepath, 'rb') as stream:
            for number, member in enumerate(members(stream)):
                found = []
                with self.track_time():
                    try:
                        found = [html_response(record) for record in ArchiveIterator(io.BytesIO(member))]
                    except Exception as error:  # warcio raises many kinds at a malformed record
                        logger.warning(f'{filepath}: member {number} is no WARC record: {error!r}')
                        self.stat_update('damaged')
                for document in filter(None, found):
                    yield self.get_document_from_dict(document, filepath, number)


def members(stream: IO) -> Iterator[bytes]:
    """The gzip members of a WARC file, inflated; damaged ones are skipped.

    Not left to warcio: at a damaged member it may end the file without a word.
    """
    start = 0
    while start >= 0:
        stream.seek(start)
        inflate, parts, size = zlib.decompressobj(31), [], 0
        try:
            while not inflate.eof and (chunk := stream.read(1 << 14)):
                size += len(chunk)
                parts.append(inflate.decompress(chunk))
        except zlib.error as error:
            logger.warning(f'damaged member at byte {start}: {error}')
        if not size:
            return
        if inflate.eof:
            yield b''.join(parts)
            start += size - len(inflate.unused_data)
        else:
            start = next_member(stream, start + 1)


def html_response(record) -> dict | None:
    """The fields of a document from a WARC record, or None where it holds no readable HTML."""
    content = record.content_stream().read()
    if record.rec_type != 'response' or 'html' not in (record.http_headers.get_header('Content-Type') or '') or not content.strip():
        return None
    try:
        text = content.decode('utf-8')
    except UnicodeDecodeError:
        return None
    headers = record.rec_headers
    return dict(text=text, id=headers.get_header('WARC-Record-ID'),
                url=headers.get_header('WARC-Target-URI'), date=headers.get_header('WARC-Date'))


def next_member(stream, start: int) -> int:
    """The offset of the next gzip header (deflate, no flags) at or after `start`, or -1."""
    stream.seek(start)
    found = stream.read().find(b'\x1f\x8b\x08\x00')
    return found if found < 0 else start + found


class LinesReader(BaseDiskReader):
    """Reads the jsonl files of a folder, one a task."""
    name = '📄 Lines'

    def __init__(self, folder: Path):
        super().__init__(str(folder), glob_pattern='*.jsonl', add_file_path=False)

    def read_file(self, filepath: str) -> DocumentsPipeline:
        with self.data_folder.open(filepath, 'rb') as lines:
            for number, line in enumerate(lines):
                yield self.get_document_from_dict(json.loads(line), filepath, number)


class LinesWriter(DiskWriter):
    """Writes one jsonl file a task."""
    name = '📄 Lines'

    def __init__(self, folder: Path):
        super().__init__(str(folder), '${rank}.jsonl', compression=None, mode='wb')

    def _write(self, document: dict, file_handler: IO, filename: str) -> None:
        file_handler.write(json.dumps(document, ensure_ascii=False).encode() + b'\n')
