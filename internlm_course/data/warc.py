"""WARC files as they are found: packed record by record, as a whole or not at all, damaged, cut short, with pages of
any size in any encoding.

A record is bytes or the reason why it is skipped; no more than one page is held at a time.
"""
import contextlib
import io
import re
import zlib
from collections.abc import Iterator
from functools import cache
from typing import IO

from datatrove.utils.logging import logger

CHUNK = 1 << 14  # bytes read at once; a member of a crawl has some 5 KB


class Member(io.RawIOBase):
    """One gzip member of a file, inflated as it is read; `used` counts the bytes of the file that it takes."""

    def __init__(self, stream: IO):
        self.stream, self.inflate, self.pending, self.used, self.inflated = stream, zlib.decompressobj(31), b'', 0, 0

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
                self.inflated += len(out)
                return len(out)
            if not data and not self.inflate.eof:
                raise EOFError
        return 0


def read_warc(stream: IO, limit: int) -> Iterator[dict | str]:
    """The HTML responses of a WARC file, packed member by member, packed as a whole, or not packed."""
    for record in raw_records(stream, limit):
        yield record if isinstance(record, str) else parse_record(record, limit)


def raw_records(stream: IO, limit: int) -> Iterator[bytes | str]:
    """The records of a WARC file as bytes. Reading goes on behind a damaged one: at the next gzip member, or the next
    line `WARC/`.

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
        # Bytes that look like a member's head also occur inside one: only what stands where a member should, or
        # inflates well, was a record.
        if expected or member.inflated > 64:
            yield broken
        start, expected = next_member(stream, start + 1), False


def next_member(stream: IO, start: int) -> int:
    """The offset of the next gzip header at or after `start`, or -1; read in pieces, because a crawl file has a
    gigabyte."""
    stream.seek(start)
    window = b''
    while chunk := stream.read(1 << 20):
        window += chunk
        if match := re.search(rb'\x1f\x8b\x08[\x00-\x1f]', window):
            return start + match.start()
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


HTML = re.compile(rb'<(?:!doctype\s+html|html|head|body)\b', re.I)


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
        if 'html' not in kind.lower() and (kind or not HTML.search(page[:2048])):
            return 'not_html'
        declared = charset_in(kind.encode()) or charset_in(page[:2048])
    text = decode(page, declared)
    if text is None:
        return 'encoding'
    headers = record.rec_headers
    fields = dict(text=text, id=headers.get_header('WARC-Record-ID'), url=headers.get_header('WARC-Target-URI'),
                  date=headers.get_header('WARC-Date'))
    return {name: value for name, value in fields.items() if value is not None}


# --- encodings --------------------------------------------------------------------------------------------------------
CHARSET = re.compile(rb'charset\s*=\s*["\']?\s*([\w.:-]+)', re.I)
# What pages mean by these names, as browsers read them (WHATWG Encoding Standard).
MEANT = dict(gb2312='gb18030', gbk='gb18030', big5='big5hkscs', latin1='cp1252') | {
    'x-gbk': 'gb18030', 'big5-hkscs': 'big5hkscs', 'x-x-big5': 'big5hkscs', 'iso-8859-1': 'cp1252', 'latin-1': 'cp1252',
    'us-ascii': 'cp1252', 'shift_jis': 'cp932', 'euc-kr': 'cp949'}
MARKS = ((b'\xef\xbb\xbf', 'utf-8'), (b'\xff\xfe', 'utf-16-le'), (b'\xfe\xff', 'utf-16-be'))
# First bytes of the characters that everybody uses, in encodings of two bytes a character; of gb18030 the signs and the
# first level of hanzi.
LEADS = dict(gb18030=(0xa1, 0xa3, *range(0xb0, 0xd8)), big5hkscs=(0xa1, *range(0xa4, 0xc7)),
             cp932=(0x81, 0x82, 0x83, *range(0x88, 0x98)), cp949=(0xa1, *range(0xb0, 0xc9)))
PART = 2000  # bytes between two signs of HTML, at most, in which a fault is looked for
# Text in these is ASCII to the eye of UTF-8, so that their word is taken first.
SHIFTING = ('iso-2022', 'hz', 'utf-7', 'utf-16')
CONTROL = re.compile('[\x00-\x08\x0b\x0e-\x1f\ufffd]')
FAULTS = 0.02  # of the characters of a page that has damaged bytes: one in fifty


def charset_in(content: bytes) -> str | None:
    """The character set that a Content-Type or the head of a page declares."""
    match = CHARSET.search(content)
    return match[1].decode('ascii', 'replace').lower() if match else None


def decode(content: bytes, declared: str | None = None) -> str | None:
    """Bytes as text by their mark, as UTF-8, as they declare, or as looks best; None where none of these gives text.

    UTF-8 goes before the declaration, because other text is hardly ever valid UTF-8 by chance, and servers declare what
    they like. What is UTF-8 and says so is taken at its word, however odd its characters: they are for the rules to
    judge. A few damaged bytes become U+FFFD.
    """
    if declared in ('utf-8', 'utf8'):
        with contextlib.suppress(UnicodeDecodeError):
            return content.decode('utf-8-sig')
    for mark, name in MARKS:
        if content.startswith(mark):
            return attempt(content[len(mark):], name) or mended(content[len(mark):], name)
    meant = MEANT.get(declared, declared)
    shifting = meant if meant and meant.startswith(SHIFTING) else None
    return (attempt(content, shifting) or attempt(content, 'utf-8') or damaged_utf8(content) or attempt(content, meant)
            or mended(content, meant) or detect(content))


def damaged_utf8(content: bytes) -> str | None:
    """The text of bytes that are UTF-8 but for a few: ten characters beyond ASCII a fault, as no other gives."""
    text = content.decode('utf-8', 'replace')
    faults = text.count('\ufffd')
    beyond = len(text) - faults - len(text.encode('ascii', 'ignore'))
    return text if beyond >= 10 * faults and few(text) else None


def mended(content: bytes, name: str | None) -> str | None:
    """The text of damaged bytes in that encoding.

    Where characters take two bytes, all that follows a lost byte up to the next sign of HTML is read in wrong pairs: of
    the places where a byte or two can be left out, the one that leaves the most everyday characters.
    """
    common = everyday(name) if name in LEADS else None
    parts = re.split(rb'([<>\n])', content) if common else [content]  # signs that are no character's second byte

    def mend(part: bytes) -> str:
        with contextlib.suppress(ValueError):
            return part.decode(name)
        if len(part) > PART:
            return part.decode(name, 'replace')
        ways = [(part[:at], part[at + left_out:]) for at in range(len(part)) for left_out in (1, 2)]
        texts = ['\ufffd'.join(piece.decode(name, 'replace') for piece in way) for way in ways]
        return max(texts, key=lambda text: len(common.findall(text)) - 2 * text.count('\ufffd'))

    with contextlib.suppress(LookupError, ValueError):
        text = ''.join(map(mend, parts)) if common else content.decode(name, 'replace') if name else ''
        return text if text and few(text) else None
    return None


@cache
def everyday(name: str) -> re.Pattern:
    """The characters of an encoding's first level: those whose first byte is in `LEADS`."""
    pairs = (bytes((lead, second)).decode(name, 'ignore') for lead in LEADS[name] for second in range(0x40, 0xff))
    return re.compile(f'[{"".join(char for char in pairs if len(char) == 1 and not char.isascii())}]')


def attempt(content: bytes, name: str | None) -> str | None:
    """The text in that encoding, or None: none named, unknown, invalid, or full of signs that no page is written in."""
    with contextlib.suppress(LookupError, ValueError):
        text = content.decode(name) if name else None
        return text if text and few(text, 0.01) else None
    return None


def few(text: str, share: float = FAULTS) -> bool:
    """Whether characters that no page is written in are at most that share of the text."""
    return len(CONTROL.findall(text)) <= share * len(text)


def detect(content: bytes) -> str | None:
    """The text in the encoding that charset-normalizer finds; where several fit alike, the Western one, which most such
    pages are in."""
    from charset_normalizer import from_bytes
    sample = content if len(content) <= 1 << 16 else content[:1 << 16].rsplit(b'\n', 1)[0]
    tags = sample.split(b'<')
    # Damaged bytes fit no encoding: then what one half of the page looks like.
    halves = (b'<'.join(part) for part in (tags[:len(tags) // 2], tags[len(tags) // 2:]))
    parts = (part for part in (sample, *halves) if not part.isascii())
    if (matches := next(filter(None, map(from_bytes, parts)), None)) is None:
        return None
    best = matches.best()
    alike = {name for match in matches if match.chaos <= best.chaos
             for name in (match.encoding, *match.could_be_from_charset)}
    name = 'cp1252' if 'cp1252' in alike else MEANT.get(best.encoding, best.encoding)
    return attempt(content, name) or mended(content, name)
