"""The micro-world as a web crawl: pages rendered as HTML of different sites, mixed with noise, written as WARC files by warcio.

Every record's label is kept aside in `truth.jsonl`, which the pipeline never reads: it is what each filter is measured against.
"""
import datetime
import io
import json
import random
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from internlm_course.data import noise, world
from internlm_course.data.world import Page

FILES = 4
# Label -> its share of all records; the rest, 65%, are clean.
NOISE = dict(mirror=0.12, advertisement=0.08, gibberish=0.06, language=0.08, broken=0.01)
SITES = dict(encyclopedia='atlas', quiz='atlas', language='words', reading='people', math='school', exam='exams', code='code', riddle='riddles',
             story='stories', long='stories', tools='agents')
MIRRORS = ('mirror', 'archive', 'cache')
ELSEWHERE = ('shop', 'blog', 'forum', 'news', 'portal')
EPOCH = datetime.datetime(2024, 1, 1)

NAVIGATION = ('<nav class="menu"><ul><li><a href="/">Home</a></li><li><a href="/all">All pages</a></li><li><a href="/about">About</a></li>'
              '<li><a href="/login">Log in</a></li></ul></nav>')
COOKIES = ('<div class="cookie-banner" role="dialog"><p>We use cookies to improve your visit.</p><button>Accept all</button>'
           '<button>Settings</button></div>')
FOOTER = ('<footer class="site-footer"><p>© 2024 {host}. All rights reserved. <a href="/privacy">Privacy</a> '
          '<a href="/contact">Contact</a></p></footer>')
SCRIPT = '<script>window.visits=(window.visits||0)+1;document.addEventListener("load",function(){console.log("{host}")});</script>'
SIDEBAR = '<aside class="sidebar"><h3>Related</h3><ul>{links}</ul></aside>'
# Three ways to build a site; a host always uses the same one.
LAYOUTS = (
    '<body>{cookies}<header class="site-header"><a href="/">{host}</a>{navigation}</header><main><article>'
    '<h1>{title}</h1>\n{body}\n</article></main>{sidebar}{footer}{script}</body>',
    '<body><div id="wrapper"><div id="header"><h1>{title}</h1>{navigation}</div>'
    '<div id="content" class="content post-content">\n{body}\n</div>{sidebar}</div>{footer}{cookies}{script}</body>',
    '<body>{script}{navigation}<div class="layout">{sidebar}<main id="main"><h1>{title}</h1>'
    '<section class="entry-content">\n{body}\n</section></main></div>{cookies}{footer}</body>')


@dataclass(frozen=True)
class Record:
    """One record of the crawl and the truth about it."""
    id: str
    url: str
    date: str
    label: str
    page: Page
    mirror_of: str | None = None

    @property
    def host(self) -> str:
        return self.url.split('/')[2]


def render(record: Record) -> bytes:
    """The record's page as the HTML of its site: text in `<p>`, code in `<pre>`, and everything around it that a reader skips."""
    page, host = record.page, record.host
    site = zlib.crc32(host.encode())
    if page.kind == 'code':
        listing = [line for line in page.lines if '\n' in line]
        other = [line for line in page.lines if '\n' not in line]
        body = f'<pre><code>{escape(chr(10).join(listing), False)}</code></pre>'
        body += ''.join(f'<p>{escape(line, False)}</p>' for line in other)
    else:
        body = '\n'.join(f'<p>{escape(line, False)}</p>' for line in page.lines)
    links = ''.join(f'<li><a href="/page/{n}">Page {n}</a></li>' for n in range(site % 5 + 2))
    parts = dict(host=host, title=escape(page.title), body=body, cookies=COOKIES, navigation=NAVIGATION, footer=FOOTER.replace('{host}',
                                                                                                                               host),
                 script=SCRIPT.replace('{host}', host), sidebar=SIDEBAR.replace('{links}', links))
    head = f'<head><meta charset="utf-8"><title>{escape(page.title)} - {host}</title><style>.menu li{{display:inline}}</style></head>'
    return f'<!DOCTYPE html>\n<html>{head}\n{LAYOUTS[site % len(LAYOUTS)].format(**parts)}\n</html>\n'.encode()


def records(pages: int, seed: int) -> list[Record]:
    """All records of a crawl of `pages` clean pages, in the order in which the crawler met them."""
    rng, clean = random.Random(f'crawl/{seed}'), list(world.pages(pages, seed))
    total = pages / (1 - sum(NOISE.values()))

    def record(label: str, site: str, page: Page, minutes: int, mirror_of: str | None = None) -> Record:
        name = f'<urn:uuid:{uuid.UUID(int=rng.getrandbits(128), version=4)}>'
        date = (EPOCH + datetime.timedelta(minutes=minutes)).strftime('%Y-%m-%dT%H:%M:%SZ')
        return Record(name, f'https://{site}.example/{page.kind}/{rng.getrandbits(40):010x}.html', date, label, page, mirror_of)

    found = [record('clean', SITES[page.kind], page, rng.randrange(300_000)) for page in clean]
    # A page of a few words has no near-duplicates, only equals: mirrors are made of the others.
    prose = [page for page in clean if page.kind not in ('math', 'code')]  # A shuffled sum is still a sum.
    worth = [original for original in found if sum(map(len, original.page.lines)) >= (120 if original.page.lang == 'zh' else 250)]
    for label, share in NOISE.items():
        for _ in range(round(total * share)):
            # One fifth of the noise sits on the good sites, so that a list of hosts is no filter.
            site = rng.choice(ELSEWHERE if rng.random() < 0.8 else sorted(set(SITES.values())))
            if label == 'mirror':
                original = rng.choice(worth)
                # Three copies of four are older than the page that they copy: deduplication keeps the newest.
                minutes = rng.randrange(-300_000, 0) if rng.random() < 0.75 else rng.randrange(300_000, 600_000)
                day = (EPOCH + datetime.timedelta(minutes=minutes)).strftime('%Y-%m-%d')
                page = noise.mirror(rng, original.page, day)
                found.append(record(label, f'{SITES[page.kind]}.{rng.choice(MIRRORS)}', page, minutes, original.id))
                continue
            page = (noise.advertisement(rng) if label == 'advertisement' else noise.foreign(rng) if label == 'language'
                    else noise.gibberish(rng, rng.choice(prose)) if label == 'gibberish' else rng.choice(clean))
            found.append(record(label, site, page, rng.randrange(300_000)))
    rng.shuffle(found)
    return found


def warc_bytes(record: Record, payload: bytes, content_type: str = 'text/html') -> bytes:
    """The record as one gzip member of a WARC file."""
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter
    member = io.BytesIO()
    writer = WARCWriter(member, gzip=True)
    fields = [('Content-Type', f'{content_type}; charset=utf-8'), ('Content-Length', str(len(payload)))]
    headers = StatusAndHeaders('200 OK', fields, protocol='HTTP/1.1')
    writer.write_record(writer.create_warc_record(
        record.url, 'response', payload=io.BytesIO(payload), length=len(payload), http_headers=headers,
        warc_headers_dict={'WARC-Record-ID': record.id, 'WARC-Date': record.date, 'WARC-Identified-Payload-Type': content_type}))
    return member.getvalue()


def break_record(rng: random.Random, record: Record, payload: bytes) -> bytes:
    """The record as bad luck leaves it: an empty page, an image, bytes in no encoding, a cut or damaged member."""
    form = rng.choice(['empty', 'image', 'bytes', 'cut', 'damaged'])
    if form == 'empty':
        return warc_bytes(record, b'')
    if form == 'image':
        return warc_bytes(record, b'\x89PNG\r\n\x1a\n' + rng.randbytes(400), 'image/png')
    if form == 'bytes':
        return warc_bytes(record, rng.randbytes(600))
    member = warc_bytes(record, payload)
    if form == 'cut':
        return member[:len(member) // 2]
    middle = len(member) // 2
    return member[:middle] + bytes(byte ^ 0x5A for byte in member[middle:middle + 40]) + member[middle + 40:]


def write_crawl(out: Path, pages: int, seed: int) -> dict:
    """Writes `pages` clean pages and their share of noise as `FILES` WARC files and `truth.jsonl` into `out`; the same bytes for the same
    seed.

    Returns:
        records and bytes of HTML, and the number of records of each label.
    """
    out.mkdir(parents=True, exist_ok=True)
    found, rng = records(pages, seed), random.Random(f'break/{seed}')
    counts: dict[str, int] = dict(records=len(found), bytes=0)
    with open(out / 'truth.jsonl', 'w', encoding='utf-8', newline='\n') as truth:
        for number in range(FILES):
            with open(out / f'crawl-{number:05d}.warc.gz', 'wb') as stream:
                for record in found[number::FILES]:
                    payload = render(record)
                    stream.write(break_record(rng, record, payload) if record.label == 'broken' else warc_bytes(record, payload))
                    counts['bytes'] += len(payload)
                    counts[record.label] = counts.get(record.label, 0) + 1
                    truth.write(json.dumps(truth_of(record, len(payload)), ensure_ascii=False) + '\n')
    return counts


def truth_of(record: Record, size: int) -> dict:
    """A line of `truth.jsonl`; `text` is the CRC-32 of the text that a perfect extraction would give."""
    return dict(id=record.id, url=record.url, label=record.label, kind=record.page.kind, lang=record.page.lang,
                mirror_of=record.mirror_of, bytes=size,
                text=zlib.crc32('\n'.join(record.page.lines).encode('utf-8', 'surrogatepass')))


def write_items(out: Path, count: int, seed: int) -> dict:
    """Writes `count` held-out items of each suite as `out/items/<suite>.jsonl`; returns their numbers."""
    (out / 'items').mkdir(parents=True, exist_ok=True)
    for suite in world.SUITES:
        lines = [json.dumps(item, ensure_ascii=False) + '\n' for item in world.items(suite, count, seed)]
        (out / 'items' / f'{suite}.jsonl').write_text(''.join(lines), 'utf-8', newline='\n')
    return dict.fromkeys(world.SUITES, count)


def clean_texts(pages: int, seed: int) -> Iterator[str]:
    """The texts that a perfect pipeline would find in the crawl of the same numbers: for proofs and quick experiments."""
    return ('\n'.join(page.lines) for page in world.pages(pages, seed))
