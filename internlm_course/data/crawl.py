"""The micro-world as a web crawl: pages rendered as HTML of different sites, mixed with noise, written as WARC files by warcio.

Every record's label is kept aside in `truth.jsonl`, which no step of the pipeline reads: it is what each filter is measured against. `labels.jsonl`
is what the classifiers are trained on, `items/` holds the evaluation items that no corpus may contain.
"""
import datetime
import io
import itertools
import json
import random
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from internlm_course.data import labels, noise, safety, web, world
from internlm_course.data.web import Page

FILES = 4
# Label -> its share of all records; the rest, 56%, are clean. Private pages are good ones with a line to mask.
NOISE = dict(mirror=0.11, advertisement=0.07, gibberish=0.05, language=0.07, broken=0.01, rules=0.02, blocked=0.015, unsafe=0.015, toxic=0.02,
             disfluent=0.02, leak=0.015, private=0.025)
# Items of each suite that leaked pages hold: the first of those that `write_items` writes for the same seed, no more than the smoke scale writes.
LEAKED = 8
SITES = dict(encyclopedia='atlas', quiz='atlas', language='words', reading='people', dictation='listen', math='school', exam='exams', code='code', riddle='riddles',
             story='stories', long='stories', tools='agents')
MIRRORS = ('mirror', 'archive', 'cache')
ELSEWHERE = ('shop', 'blog', 'forum', 'news', 'portal')
# What the data card says about where the text comes from.
SOURCE = dict(
    en='A synthetic crawl of the micro-world of the course (internlm_course.data.crawl); no page was taken from the web, all persons and sites are invented.',
    zh='课程微型世界的合成网页抓取（internlm_course.data.crawl）；没有取自互联网的网页，人物与网站均为虚构。', licence='Apache-2.0')
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
    # What a page with personal data must become (spans to mask, text after), and what sort of noise a noisy one is (ids of leaked items).
    truth: dict = field(default_factory=dict)

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
    rng, clean = random.Random(f'crawl/{seed}'), list(web.pages(pages, seed))
    total = pages / (1 - sum(NOISE.values()))
    # What noise is made of where it must not resemble a clean page of this crawl.
    fresh = (page for page in web.pages(1 << 40, f'noise/{seed}') if page.kind not in ('dictation', 'math', 'code', 'tools', 'long'))
    items = [item for suite in world.SUITES for item in world.items(suite, LEAKED, seed)]
    forms = itertools.cycle(noise.RULES)

    def record(label: str, site: str, page: Page, minutes: int, mirror_of: str | None = None, truth: dict | None = None) -> Record:
        name = f'<urn:uuid:{uuid.UUID(int=rng.getrandbits(128), version=4)}>'
        date = (EPOCH + datetime.timedelta(minutes=minutes)).strftime('%Y-%m-%dT%H:%M:%SZ')
        return Record(name, f'https://{site}.example/{page.kind}/{rng.getrandbits(40):010x}.html', date, label, page, mirror_of, truth or {})

    found = [record('clean', SITES[page.kind], page, rng.randrange(300_000)) for page in clean]
    # A page of a few words has no near-duplicates, only equals: mirrors are made of the others.
    prose = [page for page in clean if page.kind not in ('dictation', 'math', 'code')]  # A shuffled sum is still a sum.
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
            page, truth = rng.choice(clean), {}
            if label == 'advertisement':
                page = noise.advertisement(rng)
            elif label == 'language':
                page = noise.foreign(rng)
            elif label == 'gibberish':
                page = noise.gibberish(rng, rng.choice(prose))
            elif label != 'broken':
                page = next(fresh)
                site = site if label == 'toxic' else SITES[page.kind]
            if label == 'rules':
                truth = dict(detail=next(forms))
                page = noise.broken_rules(rng, page, truth['detail'])
            elif label == 'blocked':
                site = rng.choice(['', 'm.', 'www.']) + rng.choice(sorted(safety.DOMAINS)).removesuffix('.example')
            elif label == 'unsafe':
                page = noise.unsafe(rng, page)
            elif label == 'toxic':
                page = noise.toxic(rng, page)
            elif label == 'disfluent':
                page = noise.disfluent(rng, page)
            elif label == 'leak':
                page, leaked = noise.leak(rng, page, items)
                truth = dict(detail=leaked)
            elif label == 'private':
                page, spans, masked = noise.private(rng, page)
                truth = dict(spans=spans, masked=masked)
            found.append(record(label, site, page, rng.randrange(300_000), truth=truth))
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
    """Writes `pages` clean pages and their share of noise as `FILES` WARC files into `out`, with `truth.jsonl`, `labels.jsonl` and those `items` that
    the leaked pages hold; the same bytes for the same seed.

    Returns:
        records and bytes of HTML, and the number of records of each label.
    """
    out.mkdir(parents=True, exist_ok=True)
    found, rng = records(pages, seed), random.Random(f'break/{seed}')
    (out / 'source.json').write_text(json.dumps(SOURCE | dict(pages=pages, seed=seed), ensure_ascii=False, indent=1) + '\n', 'utf-8')
    write_items(out, LEAKED, seed)
    labels.write_labels(out / 'labels.jsonl', seed)
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
    """A line of `truth.jsonl`; `text` is the CRC-32 of the text that a perfect pipeline would give."""
    text = record.truth.get('masked', '\n'.join(record.page.lines))
    return dict(id=record.id, url=record.url, label=record.label, kind=record.page.kind, lang=record.page.lang, mirror_of=record.mirror_of, bytes=size,
                text=zlib.crc32(text.encode('utf-8', 'surrogatepass')), spans=record.truth.get('spans', []), detail=record.truth.get('detail'))


def write_items(out: Path, count: int, seed: int) -> dict:
    """Writes `count` held-out items of each suite as `out/items/<suite>.jsonl`; returns their numbers. The items of a smaller count are the first of a
    larger one, so `LEAKED` and more hold all that the crawl of the seed leaks."""
    (out / 'items').mkdir(parents=True, exist_ok=True)
    written = {}
    for suite in world.SUITES:
        lines = [json.dumps(item, ensure_ascii=False) + '\n' for item in world.items(suite, count, seed)]
        (out / 'items' / f'{suite}.jsonl').write_text(''.join(lines), 'utf-8', newline='\n')
        written[suite] = len(lines)
    return written


def write_problems(path: Path, count: int, seed: int) -> None:
    """Writes `count` held-out multiplications for the agent as jsonl {question, answer}, half in each language."""
    rng, found = random.Random(f'problems/{seed}'), {}
    while len(found) < count:
        asked = world.ask(world.multiplication, rng, ('en', 'zh')[len(found) % 2], held_out=True)
        found.setdefault(asked.key, dict(question=asked.question, answer=asked.answer))
    path.write_text(''.join(json.dumps(problem, ensure_ascii=False) + '\n' for problem in found.values()), 'utf-8')


def clean_texts(pages: int, seed: int) -> Iterator[str]:
    """The texts that a perfect pipeline would find in the crawl of the same numbers: for proofs and quick experiments."""
    return ('\n'.join(page.lines) for page in web.pages(pages, seed))
