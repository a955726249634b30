"""Reading and writing documents for datatrove's executors with the standard library and warcio.

datatrove's own WarcReader needs libmagic on the machine and stops at the first damaged record; its jsonl steps need orjson.
"""
import json
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
            start = 0
            while start >= 0:
                stream.seek(start)
                iterator = ArchiveIterator(stream)
                try:
                    for number, record in enumerate(iterator):
                        with self.track_time():
                            found = html_response(record)
                            document = found and self.get_document_from_dict(found, filepath, number)
                        if document:
                            yield document
                    return
                except Exception as error:  # warcio and zlib raise many kinds at a damaged member
                    logger.warning(f'{filepath}: damaged record after byte {iterator.offset}: {error!r}')
                    self.stat_update('damaged')
                    start = next_member(stream, max(start, iterator.offset) + 1)


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
    return dict(text=text, id=headers.get_header('WARC-Record-ID'), url=headers.get_header('WARC-Target-URI'), date=headers.get_header('WARC-Date'))


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
