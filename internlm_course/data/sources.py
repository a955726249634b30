"""Real sources as datatrove's first step: Common Crawl (WARC, WET), WanJuan and other jsonl, parquet, folders of plain
text, data sets of the hub.

Nothing in a source stops the run: what cannot be read is skipped and counted by its reason, and no record is held that
is larger than `PAGE`.
"""
import contextlib
import io
import json
import lzma
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from datatrove.data import DocumentsPipeline
from datatrove.pipeline.readers.base import BaseDiskReader
from datatrove.utils.logging import logger

from internlm_course.data.warc import decode, read_warc
from internlm_course.errors import CourseError
from internlm_course.jsonl import parse, whole

PAGE = 8 << 20  # bytes; Common Crawl itself cuts a page at 5 MiB
# Kind -> what its files' names end in, the longest first.
ENDINGS = dict(wet=('.warc.wet.gz', '.wet.gz', '.wet'), warc=('.warc.gz', '.warc'),
               jsonl=('.jsonl', '.jsonl.gz', '.jsonl.zst', '.jsonl.bz2', '.jsonl.xz', '.ndjson', '.json.gz'),
               parquet=('.parquet',), text=('.txt', '.md'))
TALKING = ('datatrove', 'internlm_course.data')
URL, DATE = re.compile(r'[a-z][a-z0-9+.-]*://[^/\s]', re.I), re.compile(r'[12]\d{3}(?:\d{4})?(?!\d)', re.A)
OURS = ('lang', 'domain', 'scores', 'masked')  # what the pipeline's steps write into metadata, and read there
TEXT_FIELDS, ID_FIELDS = ('text', 'content', 'raw_content'), ('id', 'docid', 'doc_id')  # WanJuan writes id and content


class SourceReader(BaseDiskReader):
    """Reads the files of a source, a task reading every `world_size`-th; each document has id, text, and url and date
    in its metadata.

    `files`: their names; their number is the largest number of tasks. `html`: whether the text is HTML still, for
    `filters.Extract`. What is skipped is counted in the step's statistics as `skipped_<reason>`, and in `skipped`.
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
    """A record as datatrove's document, with metadata that JSON can hold.

    Where there is no URL with a host its file's place stands for it, and '' where there is no date that begins with a
    year, so that later steps work unchanged.
    """
    nested = data.pop('metadata', None)
    text = next((data.pop(field) for field in TEXT_FIELDS if isinstance(data.get(field), str)), '')
    identity = next((data.pop(field) for field in ID_FIELDS if data.get(field) not in (None, '')), f'{path}/{number}')
    fields = (nested if isinstance(nested, dict) else {}) | data
    kept = {name: value for name, value in fields.items() if value is not None and name not in OURS}
    metadata = {plain(str(name)): plain(value) for name, value in kept.items()}
    if not URL.match(str(metadata.get('url'))):
        metadata['url'] = f'file:///{whole(path)}'
    if not DATE.match(date := str(metadata.get('date'))):
        date = ''
    return dict(text=whole(text), id=whole(str(identity)), metadata=metadata | dict(date=date))


def plain(value: Any) -> str | int | float:
    """A value of any type as what JSON has for it: a truth value, a number, or else a text."""
    if isinstance(value, bool | int) or isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, dict | list):
        with contextlib.suppress(RecursionError, ValueError):
            value = json.dumps(value, ensure_ascii=False, default=plain)
    if isinstance(value, bytes):
        value = value.decode('utf-8', 'replace')
    return whole(value.isoformat() if hasattr(value, 'isoformat') else str(value))


def source(where: str | Path, kind: str | None = None, limit: int = PAGE) -> SourceReader:
    """The reader of a source, for the head of a list of datatrove's steps.

    Args:
        where: a file, a folder, any address that fsspec knows, or `hub:owner/name` for a data set of the hub, which is
            read over the network and only when it is asked for by that name.
        kind: 'warc', 'wet', 'jsonl', 'parquet' or 'text'; by default what the files' names say.
        limit: bytes of the largest page, line or file that is read.

    Raises:
        CourseError: nothing there, no file of a known kind or of more than one, an unknown kind, or the hub cannot be
            reached.
    """
    from datatrove.io import get_datafolder
    if kind is not None and kind not in ENDINGS:
        raise CourseError(f'There is no kind of source {kind!r}.',
                          f'Choose one of {", ".join(ENDINGS)}, or leave it out.')
    where = str(where)
    hub = where.startswith('hub:')
    place = f'hf://datasets/{where.removeprefix("hub:")}' if hub else where
    single = None
    if not hub and '://' not in place:
        path = Path(place).expanduser()
        if not path.exists():
            raise CourseError(f'There is no {path}.',
                              'Give a file, a folder, or hub:owner/name for a data set of the hub.')
        if path.is_file():
            path, single = path.parent, path.name
        place = str(path.resolve())
    try:
        names = [single] if single else get_datafolder(place).list_files(recursive=True)
    except Exception as error:  # each file system and the hub's client raise their own
        # Their messages run over paragraphs; the first line says it.
        cause = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise CourseError(f'{where} cannot be read: {cause}',
                          'Connect to the network and unset HF_HUB_OFFLINE, or download the data and give its folder.'
                          if hub else 'Check the address.') from error
    kinds = Counter(filter(None, map(kind_of, names)))
    if kind is None:
        if len(kinds) != 1:
            known = ', '.join(ending for endings in ENDINGS.values() for ending in endings)
            cause = f'holds {", ".join(sorted(kinds))} files' if kinds else f'has no file that ends in {known}'
            raise CourseError(f'{where} {cause}.', f'Say which to read: kind is one of {", ".join(ENDINGS)}.')
        kind = next(iter(kinds))
    elif not kinds[kind] and not single:
        raise CourseError(f'{where} holds no {kind} file.', f'Its files end in {", ".join(ENDINGS[kind])}.')
    return SourceReader(place, [single] if single else [name for name in names if kind_of(name) == kind], kind, limit)


def kind_of(name: str) -> str | None:
    return next((kind for kind, endings in ENDINGS.items() if name.lower().endswith(endings)), None)


def read_source(where: str | Path, kind: str | None = None, limit: int = PAGE,
                skipped: Counter | None = None) -> Iterator[dict]:
    """The documents of a source, {id, text, metadata}, one after the other in this process; reasons of what is left out
    go to `skipped`."""
    reader = source(where, kind, limit)
    reader.skipped = Counter() if skipped is None else skipped
    for module in TALKING:  # a log for those who run a pipeline
        logger.disable(module)
    try:
        for document in reader.run():
            yield dict(id=document.id, text=document.text, metadata=document.metadata)
    finally:
        for module in TALKING:
            logger.enable(module)


# --- lines, tables, files ---------------------------------------------------------------------------------------------
def read_lines(stream: IO, limit: int) -> Iterator[dict | str]:
    """One JSON object a line; a line over `limit` is passed over in pieces."""
    stream = io.BufferedReader(stream)
    while line := stream.readline(limit + 1):
        if len(line) > limit and not line.endswith(b'\n'):
            while (rest := stream.readline(limit)) and not rest.endswith(b'\n'):
                pass
            yield 'too_large'
        elif line.removeprefix(b'\xef\xbb\xbf').strip():
            yield parse_line(line)


def parse_line(line: bytes) -> dict | str:
    try:
        data = parse(line)
    except UnicodeDecodeError:
        return 'encoding'
    except ValueError:
        return 'bad_json'
    return checked(data) if isinstance(data, dict) else 'bad_json'


def checked(data: dict) -> dict | str:
    text = next((data[field] for field in TEXT_FIELDS if isinstance(data.get(field), str)), None)
    return 'no_text' if text is None else data if text.strip() else 'empty'


def read_parquet(stream: IO, limit: int) -> Iterator[dict | str]:
    """The rows of a parquet file, in batches of its row groups; behind a damaged batch nothing can be found any more.

    A text may be bytes, as Spark writes it.
    """
    from pyarrow import ArrowException, parquet
    try:
        with parquet.ParquetFile(stream) as table:
            for batch in table.iter_batches(batch_size=100):
                for values in zip(*map(column, batch.columns)):
                    row = dict(zip(batch.schema.names, values))
                    for field in TEXT_FIELDS:
                        if isinstance(row.get(field), bytes):
                            row[field] = row[field].decode('utf-8', 'replace')
                    yield 'too_large' if any(isinstance(row.get(field), str) and len(row[field]) > limit
                                             for field in TEXT_FIELDS) else checked(row)
    except (ArrowException, NotImplementedError) as error:
        logger.warning(f'no parquet: {error}')
        yield 'damaged'


def column(cells) -> list:
    """The values of an Arrow column; what Python has none for becomes bytes (a text that is no UTF-8), text, or
    None."""
    with contextlib.suppress(Exception):  # each type raises its own
        return cells.to_pylist()
    values = []
    for cell in cells:
        values.append(None)
        for kind in (cell.type, 'binary', 'string'):
            with contextlib.suppress(Exception):
                values[-1] = cell.cast(kind).as_py()
                break
    return values


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
