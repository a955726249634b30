"""Real sources as datatrove's first step: Common Crawl (WARC, WET), WanJuan and other jsonl, parquet, folders of plain text, data sets of the hub.

Nothing in a source stops the run: what cannot be read is skipped and counted by its reason, and no record is held that is larger than `PAGE`.
"""
import contextlib
import io
import json
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from datatrove.data import DocumentsPipeline
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.utils.logging import logger

from internlm_course.errors import CourseError

PAGE = 8 << 20  # bytes; Common Crawl itself cuts a page at 5 MiB
CHUNK = 1 << 14  # bytes read at once; a member of a crawl has some 5 KB
# Kind -> what its files' names end in, the longest first.
ENDINGS = dict(wet=('.warc.wet.gz', '.wet.gz', '.wet'), warc=('.warc.gz', '.warc'),
               jsonl=('.jsonl', '.jsonl.gz', '.jsonl.zst', '.jsonl.bz2', '.jsonl.xz', '.ndjson', '.json.gz'), parquet=('.parquet',), text=('.txt', '.md'))
TEXT_FIELDS, ID_FIELDS = ('text', 'content', 'raw_content'), ('id', 'docid', 'doc_id')  # WanJuan writes id and content


class SourceReader(BaseDiskReader):
    """Reads the files of a source, a task reading every `world_size`-th; each document has id, text, and url and date in its metadata.

    `files`: their names; their number is the largest number of tasks. `html`: whether the text is HTML still, for `filters.Extract`. What is
    skipped is counted in the step's statistics as `skipped_<reason>`,
    and in `skipped`.
    """
    name = '📚 Source'

    def __init__(self, folder: str, files: list[str], kind: str, limit: int = PAGE):
        super().__init__(folder, adapter=adapt, add_file_path=False)
        self.files, self.kind, self.largest, self.html, self.skipped = files, kind, limit, kind == 'warc', Counter()

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> DocumentsPipeline:
        for document in self.read_files_shard(self.files[rank::world_size]):
            self.update_doc_stats(document)
            yield document

    def read_file(self, filepath: str) -> DocumentsPipeline:
        records = self.records(filepath)
        for number in range(1 << 62):
            with self.track_time():
                record = next(records, None)
            if record is None:
                return
            if isinstance(record, dict):
                yield self.get_document_from_dict(record, filepath, number)
            else:
                self.skipped[record] += 1
                self.stat_update(f'skipped_{record}')
                logger.warning(f'{filepath}: record {number} skipped: {record}')

    def records(self, filepath: str) -> Iterator[dict | str]:
        """The records of a file as dicts with a text, or the reason why one is skipped."""
        compression = None if self.kind in ('warc', 'wet') else 'infer'
        try:
            with self.data_folder.open(filepath, 'rb', compression=compression) as stream:
                yield from READERS[self.kind](stream, self.largest)
        except EOFError:  # from gzip
            yield 'cut_short'
        except (OSError, zlib.error, lzma.LZMAError) as error:
            logger.warning(f'{filepath}: {error!r}')
            yield 'damaged'


def adapt(reader: SourceReader, data: dict, path: str, number: int | str) -> dict:
    """A record as datatrove's document. Without a URL its file's place stands for it, without a date '', so that later steps work unchanged."""
    metadata = data.pop('metadata', None)
    text = next((data.pop(field) for field in TEXT_FIELDS if isinstance(data.get(field), str)), '')
    identity = next((data.pop(field) for field in ID_FIELDS if data.get(field) is not None), f'{path}/{number}')
    metadata = dict(url=f'file:///{path}', date='') | (metadata if isinstance(metadata, dict) else {}) | data
    return dict(text=text, id=str(identity), metadata=metadata)


def source(where: str | Path, kind: str | None = None, limit: int = PAGE) -> SourceReader:
    """The reader of a source, for the head of a list of datatrove's steps.

    Args:
        where: a file, a folder, any address that fsspec knows, or `hub:owner/name` for a data set of the hub, which is read over the network
            and only when it is asked for by that name.
        kind: 'warc', 'wet', 'jsonl', 'parquet' or 'text'; by default what the files' names say.
        limit: bytes of the largest page, line or file that is read.

    Raises:
        CourseError: nothing there, no file of a known kind or of more than one, an unknown kind, or the hub cannot be reached.
    """
    from datatrove.io import get_datafolder
    if kind is not None and kind not in ENDINGS:
        raise CourseError(f'There is no kind of source {kind!r}.', f'Choose one of {", ".join(ENDINGS)}, or leave it out.')
    where = str(where)
    hub = where.startswith('hub:')
    place = f'hf://datasets/{where.removeprefix("hub:")}' if hub else where
    single = None
    if not hub and '://' not in place:
        path = Path(place).expanduser()
        if not path.exists():
            raise CourseError(f'There is no {path}.', 'Give a file, a folder, or hub:owner/name for a data set of the hub.')
        if path.is_file():
            path, single = path.parent, path.name
        place = str(path.resolve())
    try:
        names = [single] if single else get_datafolder(place).list_files(recursive=True)
    except Exception as error:  # each file system and the hub's client raise their own
        # Their messages run over paragraphs; the first line says it.
        cause = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise CourseError(f'{where} cannot be read: {cause}', 'Connect to the network and unset HF_HUB_OFFLINE, or download the data and give its folder.'
                          if hub else 'Check the address.') from error
    kinds = Counter(found for name in names if (found := kind_of(name)))
    if kind is None:
        if len(kinds) != 1:
            told = f'holds {", ".join(sorted(kinds))} files' if kinds else f'has no file that ends in {", ".join(e for ends in ENDINGS.values() for e in ends)}'
            raise CourseError(f'{where} {told}.', f'Say which to read: kind is one of {", ".join(ENDINGS)}.')
        kind = next(iter(kinds))
    elif not kinds[kind] and not single:
        raise CourseError(f'{where} holds no {kind} file.', f'Its files end in {", ".join(ENDINGS[kind])}.')
    return SourceReader(place, [single] if single else [name for name in names if kind_of(name) == kind], kind, limit)


def kind_of(name: str) -> str | None:
    return next((kind for kind, endings in ENDINGS.items() if name.lower().endswith(endings)), None)


def read_source(where: str | Path, kind: str | None = None, limit: int = PAGE, skipped: Counter | None = None) -> Iterator[dict]:
    """The documents of a source, {id, text, metadata}, one after the other in this process; reasons of what is left out go to `skipped`."""
    reader = source(where, kind, limit)
    reader.skipped = Counter() if skipped is None else skipped
    for document in reader.run():
        yield dict(id=document.id, text=document.text, metadata=document.metadata)


# --- WARC ----------------------------------------------------------------------------------------------------------------------------
class Member(io.RawIOBase):
    """One gzip member of a file, inflated as it is read; `used` counts the bytes of the file that it takes."""

    def __init__(self, stream: IO):
        self.stream, self.inflate, self.pending, self.used, self.given = stream, zlib.decompressobj(31), b'', 0, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self.inflate.eof:
            data = self.pending or self.stream.read(CHUNK)
            out = self.inflate.decompress(data, len(buffer))
            # At its end zlib may name the rest of the input twice, as unconsumed and as unused.
            self.pending = b'' if self.inflate.eof else self.inflate.unconsumed_tail
            self.used += len(data) - len(self.pending) - len(self.inflate.unused_data)
            if out:
                buffer[:len(out)] = out
                self.given += len(out)
                return len(out)
            if not data and not self.inflate.eof:
                raise EOFError
        return 0


def read_warc(stream: IO, limit: int) -> Iterator[dict | str]:
    """The HTML responses of a WARC file, packed member by member, packed as a whole, or not packed."""
    for record in raw_records(stream, limit):
        yield record if isinstance(record, str) else parse_record(record, limit)


def raw_records(stream: IO, limit: int) -> Iterator[bytes | str]:
    """The records of a WARC file as bytes. Reading goes on behind a damaged one: at the next gzip member, or the next line `WARC/`.

    Not left to warcio or gzip: both end the file there, and hold a record whole however large it is.
    """
    if stream.read(2) != b'\x1f\x8b':
        stream.seek(0)
        yield from records_in(io.BufferedReader(stream, CHUNK), limit)
        return
    start, expected = 0, True
    while start >= 0:
        stream.seek(start)
        if not stream.read(1):
            return
        stream.seek(start)
        member, held, broken = Member(stream), None, None
        try:
            for record in records_in(io.BufferedReader(member, CHUNK), limit):
                if held is not None:
                    yield held
                held = record
        except zlib.error:
            broken = 'damaged'
        except EOFError:
            broken = 'cut_short'
        if broken is None:
            # The last record waits until here, where the member's checksum has been right.
            if held is not None:
                yield held
            start, expected = start + member.used, True
            continue
        # Bytes that look like a member's head also occur inside one: only what stands where a member should, or inflates well, was a record.
        if expected or member.given > 64:
            yield broken
        start, expected = next_member(stream, start + 1), False


def next_member(stream: IO, start: int) -> int:
    """The offset of the next gzip header at or after `start`, or -1; read in pieces, because a crawl file has a gigabyte."""
    stream.seek(start)
    window = b''
    while chunk := stream.read(1 << 20):
        window += chunk
        if found := re.search(rb'\x1f\x8b\x08[\x00-\x1f]', window):
            return start + found.start()
        start += len(window) - 3
        window = window[-3:]
    return -1


def records_in(stream: IO, limit: int) -> Iterator[bytes | str]:
    """The records of an inflated stream; one of more than `limit` bytes is passed over without being held."""
    line = stream.readline(limit)
    while line:
        if not line.strip():
            line = stream.readline(limit)
            continue
        if not line.startswith(b'WARC/'):
            yield 'damaged'
            while line and not line.startswith(b'WARC/'):
                line = stream.readline(limit)
            continue
        head = [line]
        while (line := stream.readline(CHUNK)) and line.strip() and len(head) < 100:
            head.append(line)
        length = next((int(value) for name, _, value in (part.partition(b':') for part in head)
                       if name.strip().lower() == b'content-length' and value.strip().isdigit()), None)
        if length is None:
            yield 'damaged'
        elif length > limit:
            left = length
            while left and (chunk := stream.read(min(left, 1 << 20))):
                left -= len(chunk)
            yield 'too_large'
        else:
            body = stream.read(length)
            if len(body) < length:
                yield 'cut_short'
                return
            yield b''.join(head) + b'\r\n' + body + b'\r\n\r\n'
        line = stream.readline(limit)


def parse_record(content: bytes, limit: int) -> dict | str:
    """The page of one WARC record, or the reason why it holds none."""
    from warcio.archiveiterator import ArchiveIterator
    try:
        record = next(iter(ArchiveIterator(io.BytesIO(content))), None)
        if record is None or record.rec_type not in ('response', 'conversion'):
            return 'other_record'
        page = b''
        body = record.content_stream()
        while len(page) <= limit and (chunk := body.read(1 << 20)):
            page += chunk
    except Exception as error:  # warcio raises many kinds at a malformed record
        logger.warning(f'no WARC record: {error!r}')
        return 'damaged'
    if len(page) > limit:  # a small record may inflate to a large page
        return 'too_large'
    if not page.strip():
        return 'empty'
    declared = None
    if record.rec_type == 'response':
        kind = (record.http_headers and record.http_headers.get_header('Content-Type')) or ''
        if 'html' not in kind.lower() and (kind or not re.search(rb'<(?:!doctype\s+html|html|head|body)\b', page[:2048], re.I)):
            return 'not_html'
        declared = charset_in(kind.encode()) or charset_in(page[:2048])
    text = decode(page, declared)
    if text is None:
        return 'encoding'
    headers = record.rec_headers
    found = dict(text=text, id=headers.get_header('WARC-Record-ID'), url=headers.get_header('WARC-Target-URI'), date=headers.get_header('WARC-Date'))
    return {name: value for name, value in found.items() if value is not None}


# --- encodings -----------------------------------------------------------------------------------------------------------------------
CHARSET = re.compile(rb'charset\s*=\s*["\']?\s*([\w.:-]+)', re.I)
# What pages mean by these names, as browsers read them (WHATWG Encoding Standard).
MEANT = dict(gb2312='gb18030', gbk='gb18030', big5='big5hkscs', latin1='cp1252') | {
    'x-gbk': 'gb18030', 'big5-hkscs': 'big5hkscs', 'x-x-big5': 'big5hkscs', 'iso-8859-1': 'cp1252', 'latin-1': 'cp1252', 'us-ascii': 'cp1252',
    'shift_jis': 'cp932', 'euc-kr': 'cp949'}
MARKS = ((b'\xef\xbb\xbf', 'utf-8'), (b'\xff\xfe', 'utf-16-le'), (b'\xfe\xff', 'utf-16-be'))
# Text in these is ASCII to the eye of UTF-8, so that their word is taken first.
SHIFTING = ('iso-2022', 'hz', 'utf-7', 'utf-16')
CONTROL = re.compile('[\x00-\x08\x0b\x0e-\x1f\ufffd]')


def charset_in(content: bytes) -> str | None:
    """The character set that a Content-Type or the head of a page declares."""
    found = CHARSET.search(content)
    return found[1].decode('ascii', 'replace').lower() if found else None


def decode(content: bytes, declared: str | None = None) -> str | None:
    """Bytes as text by their mark, as UTF-8, as they declare, or as looks best; None where none of these gives text.

    UTF-8 goes before the declaration, because other text is hardly ever valid UTF-8 by chance, and servers declare what they like.
    """
    for mark, name in MARKS:
        if content.startswith(mark):
            return attempt(content[len(mark):], name)
    names = ['utf-8'] + ([MEANT.get(declared, declared)] if declared else [])
    if declared and declared.startswith(SHIFTING):
        names.reverse()
    for name in names:
        if (text := attempt(content, name)) is not None:
            return text
    return detect(content)


def attempt(content: bytes, name: str) -> str | None:
    """The text in that encoding, or None: unknown, invalid, or full of characters that no page is written in. A page cut in the middle of its
    last character is still a page."""
    with contextlib.suppress(LookupError, UnicodeDecodeError, ValueError):
        text = content.decode(name)
        return text if len(CONTROL.findall(text)) <= 0.01 * len(text) else None
    return None


def detect(content: bytes) -> str | None:
    """The text in the encoding that charset-normalizer finds; where several fit alike, the Western one, which most such pages are in."""
    from charset_normalizer import from_bytes
    matches = from_bytes(content if len(content) <= 1 << 16 else content[:1 << 16].rsplit(b'\n', 1)[0])
    if (best := matches.best()) is None:
        return None
    alike = {name for match in matches if match.chaos <= best.chaos for name in (match.encoding, *match.could_be_from_charset)}
    return attempt(content, 'cp1252' if 'cp1252' in alike else MEANT.get(best.encoding, best.encoding))


# --- lines, tables, files ------------------------------------------------------------------------------------------------------------
def read_lines(stream: IO, limit: int) -> Iterator[dict | str]:
    """One JSON object a line; a line over `limit` is passed over in pieces."""
    stream = io.BufferedReader(stream)
    while line := stream.readline(limit + 1):
        if len(line) > limit and not line.endswith(b'\n'):
            while (rest := stream.readline(limit)) and not rest.endswith(b'\n'):
                pass
            yield 'too_large'
        elif line.strip():
            yield parse_line(line)


def parse_line(line: bytes) -> dict | str:
    try:
        data = json.loads(line.decode('utf-8-sig'))
    except UnicodeDecodeError:
        return 'encoding'
    except (ValueError, RecursionError):
        return 'bad_json'
    return checked(data) if isinstance(data, dict) else 'bad_json'


def checked(data: dict) -> dict | str:
    text = next((data[field] for field in TEXT_FIELDS if isinstance(data.get(field), str)), None)
    return 'no_text' if text is None else data if text.strip() else 'empty'


def read_parquet(stream: IO, limit: int) -> Iterator[dict | str]:
    """The rows of a parquet file, in batches of its row groups; behind a damaged batch nothing can be found any more."""
    from pyarrow import ArrowException, parquet
    try:
        with parquet.ParquetFile(stream) as table:
            for batch in table.iter_batches(batch_size=100):
                for row in batch.to_pylist():
                    yield 'too_large' if any(isinstance(row.get(field), str) and len(row[field]) > limit for field in TEXT_FIELDS) else checked(row)
    except ArrowException as error:
        logger.warning(f'no parquet: {error}')
        yield 'damaged'


def read_text(stream: IO, limit: int) -> Iterator[dict | str]:
    """A file as one document."""
    content = stream.read(limit + 1)
    if len(content) > limit:
        yield 'too_large'
    elif not content.strip():
        yield 'empty'
    else:
        text = decode(content)
        yield 'encoding' if text is None else dict(text=text)


READERS = dict(warc=read_warc, wet=read_warc, jsonl=read_lines, parquet=read_parquet, text=read_text)
