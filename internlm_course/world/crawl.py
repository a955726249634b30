"""The micro-world as a web crawl: pages rendered as HTML of different sites, mixed with noise, written as WARC files by
warcio.

Every record's label is kept aside in `truth.jsonl`, which no step of the pipeline reads: it is what each filter is
measured against. `labels.jsonl` is what the classifiers are trained on, `items/` holds the evaluation items that no
corpus may contain.
"""
import datetime
import io
import itertools
import json
import random
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from internlm_course import jsonl
from internlm_course.blocklist import BLOCKED
from internlm_course.world import labels, noise, personal, web, world
from internlm_course.world.web import Page

FILES = 4
# Label -> its share of all records; the rest, 56%, are clean. Private pages are good ones with a line to mask.
NOISE = dict(mirror=0.11, advertisement=0.07, gibberish=0.05, language=0.07, broken=0.01, rules=0.02, blocked=0.015,
             unsafe=0.015, toxic=0.02, disfluent=0.02, leak=0.015, private=0.025)
# Items of each suite that leaked pages hold: the first of those that `write_items` writes for the same seed, no more
# than the smoke scale writes.
LEAKED = 8
SITES = dict(encyclopedia='atlas', quiz='atlas', language='words', reading='people', dictation='listen', math='school',
             exam='exams', code='code', riddle='riddles', story='stories', long='stories', tools='agents')
MIRRORS = ('mirror', 'archive', 'cache')
ELSEWHERE = ('shop', 'blog', 'forum', 'news', 'portal')
# What the data card says about where the text comes from.
SOURCE = dict(
    en='A synthetic crawl of the micro-world of the course (internlm_course.world.crawl); no page was taken from the '
       'web, all persons and sites are invented.',
    zh='课程微型世界的合成网页抓取（internlm_course.world.crawl）；没有取自互联网的网页，人物与网站均为虚构。',
    licence='Apache-2.0')
EPOCH = datetime.datetime(2024, 1, 1)

NAVIGATION = ('<nav class="menu"><ul><li><a href="/">Home</a></li><li><a href="/all">All pages</a></li>'
              '<li><a href="/about">About</a></li><li><a href="/login">Log in</a></li></ul></nav>')
COOKIES = ('<div class="cookie-banner" role="dialog"><p>We use cookies to improve your visit.</p>'
           '<button>Accept all</button><button>Settings</button></div>')
FOOTER = ('<footer class="site-footer"><p>© 2024 {host}. All rights reserved. <a href="/privacy">Privacy</a> '
          '<a href="/contact">Contact</a></p></footer>')
SCRIPT = ('<script>window.visits=(window.visits||0)+1;'
          'document.addEventListener("load",function(){console.log("{host}")});</script>')
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
    # What a page with personal data must become (spans to mask, text after), and what sort of noise a noisy one is (ids
    # of leaked items).
    truth: dict = field(default_factory=dict)

    @property
    def host(self) -> str:
        return self.url.split('/')[2]


def render(record: Record) -> bytes:
    """The record's page as the HTML of its site: text in `<p>`, code in `<pre>`, and everything around it that a reader
    skips."""
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
    parts = dict(host=host, title=escape(page.title), body=body, cookies=COOKIES, navigation=NAVIGATION,
                 footer=FOOTER.replace('{host}', host),
                 script=SCRIPT.replace('{host}', host), sidebar=SIDEBAR.replace('{links}', links))
    head = (f'<head><meta charset="utf-8"><title>{escape(page.title)} - {host}</title>'
            '<style>.menu li{display:inline}</style></head>')
    return f'<!DOCTYPE html>\n<html>{head}\n{LAYOUTS[site % len(LAYOUTS)].format(**parts)}\n</html>\n'.encode()


def makers(rng: random.Random, prose: list[Page], items: list[dict]) -> dict[str, Callable[[Page], tuple[Page, dict]]]:
    """Label -> what turns a page into one of that label, with the truth that its filter is measured against."""
    forms = itertools.cycle(noise.RULES)

    def unchanged(page: Page) -> tuple[Page, dict]:
        return page, {}

    def rules(page: Page) -> tuple[Page, dict]:
        form = next(forms)
        return noise.broken_rules(rng, page, form), dict(detail=form)

    def leak(page: Page) -> tuple[Page, dict]:
        page, leaked = noise.leak(rng, page, items)
        return page, dict(detail=leaked)

    def private(page: Page) -> tuple[Page, dict]:
        page, spans, masked = personal.private(rng, page)
        return page, dict(spans=spans, masked=masked)

    return dict(
        advertisement=lambda _: (noise.advertisement(rng), {}),
        gibberish=lambda _: (noise.gibberish(rng, rng.choice(prose)), {}),
        language=lambda _: (noise.foreign(rng), {}),
        broken=unchanged,
        rules=rules,
        blocked=unchanged,
        unsafe=lambda page: (noise.unsafe(rng, page), {}),
        toxic=lambda page: (noise.toxic(rng, page), {}),
        disfluent=lambda page: (noise.disfluent(rng, page), {}),
        leak=leak,
        private=private)


def own_site(rng: random.Random, page: Page) -> str:
    return SITES[page.kind]


def blocked_site(rng: random.Random, page: Page) -> str:
    return rng.choice(['', 'm.', 'www.']) + rng.choice(sorted(BLOCKED)).removesuffix('.example')


# Label -> where its pages stand; those of the others stand anywhere.
PLACES = dict.fromkeys(('rules', 'unsafe', 'disfluent', 'leak', 'private'), own_site) | dict(blocked=blocked_site)
FRESH = {*PLACES, 'toxic'}  # made of pages that are not in the crawl, or their originals would be near-duplicates


def records(pages: int, seed: int) -> list[Record]:
    """All records of a crawl of `pages` clean pages, in the order in which the crawler met them."""
    rng, clean = random.Random(f'crawl/{seed}'), list(web.pages(pages, seed))
    total = pages / (1 - sum(NOISE.values()))
    fresh = (page for page in web.pages(1 << 40, f'noise/{seed}')
             if page.kind not in ('dictation', 'math', 'code', 'tools', 'long'))
    prose = [page for page in clean if page.kind not in ('dictation', 'math', 'code')]  # a shuffled sum is still a sum
    items = [item for suite in world.SUITES for item in world.items(suite, LEAKED, seed)]
    make = makers(rng, prose, items)

    def record(label: str, site: str, page: Page, minutes: int, **truth) -> Record:
        name = f'<urn:uuid:{uuid.UUID(int=rng.getrandbits(128), version=4)}>'
        url = f'https://{site}.example/{page.kind}/{rng.getrandbits(40):010x}.html'
        return Record(name, url, time_of(minutes).strftime('%Y-%m-%dT%H:%M:%SZ'), label, page, **truth)

    def mirror(original: Record) -> Record:
        # Three copies of four are older than the page that they copy: deduplication keeps the newest.
        minutes = rng.randrange(-300_000, 0) if rng.random() < 0.75 else rng.randrange(300_000, 600_000)
        page = noise.mirror(rng, original.page, time_of(minutes).strftime('%Y-%m-%d'))
        return record('mirror', f'{SITES[page.kind]}.{rng.choice(MIRRORS)}', page, minutes, mirror_of=original.id)

    crawled = [record('clean', SITES[page.kind], page, rng.randrange(300_000)) for page in clean]
    # A page of a few words has no near-duplicates, only equals: mirrors are made of the others.
    worth = [each for each in crawled if sum(map(len, each.page.lines)) >= (120 if each.page.lang == 'zh' else 250)]
    for label, share in NOISE.items():
        for _ in range(round(total * share)):
            # One fifth of the noise sits on the good sites, so that a list of hosts is no filter.
            site = rng.choice(ELSEWHERE if rng.random() < 0.8 else sorted(set(SITES.values())))
            if label == 'mirror':
                crawled.append(mirror(rng.choice(worth)))
                continue
            page = rng.choice(clean)
            if label in FRESH:
                page = next(fresh)
            if label in PLACES:
                site = PLACES[label](rng, page)
            page, truth = make[label](page)
            crawled.append(record(label, site, page, rng.randrange(300_000), truth=truth))
    rng.shuffle(crawled)
    return crawled


def time_of(minutes: int) -> datetime.datetime:
    """The time so many minutes after the crawl's beginning."""
    return EPOCH + datetime.timedelta(minutes=minutes)


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
        warc_headers_dict={'WARC-Record-ID': record.id, 'WARC-Date': record.date,
                           'WARC-Identified-Payload-Type': content_type}))
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
    """Writes `pages` clean pages and their share of noise as `FILES` WARC files into `out`, with `truth.jsonl`,
    `labels.jsonl` and those `items` that the leaked pages hold; the same bytes for the same seed.

    Returns:
        records and bytes of HTML, and the number of records of each label.
    """
    out.mkdir(parents=True, exist_ok=True)
    crawled, rng = records(pages, seed), random.Random(f'break/{seed}')
    source = SOURCE | dict(pages=pages, seed=seed)
    (out / 'source.json').write_text(json.dumps(source, ensure_ascii=False, indent=1) + '\n', 'utf-8')
    write_items(out, LEAKED, seed)
    labels.write_labels(out / 'labels.jsonl', seed)
    counts: dict[str, int] = dict(records=len(crawled), bytes=0)
    with open(out / 'truth.jsonl', 'w', encoding='utf-8', newline='\n') as truth:
        for number in range(FILES):
            with open(out / f'crawl-{number:05d}.warc.gz', 'wb') as stream:
                for record in crawled[number::FILES]:
                    payload = render(record)
                    broken = record.label == 'broken'
                    stream.write(break_record(rng, record, payload) if broken else warc_bytes(record, payload))
                    counts['bytes'] += len(payload)
                    counts[record.label] = counts.get(record.label, 0) + 1
                    truth.write(jsonl.line_of(truth_of(record, len(payload))))
    return counts


def truth_of(record: Record, size: int) -> dict:
    """A line of `truth.jsonl`; `text` is the CRC-32 of the text that a perfect pipeline would give."""
    text = record.truth.get('masked', '\n'.join(record.page.lines))
    return dict(id=record.id, url=record.url, label=record.label, kind=record.page.kind, lang=record.page.lang,
                mirror_of=record.mirror_of, bytes=size,
                text=zlib.crc32(text.encode('utf-8', 'surrogatepass')), spans=record.truth.get('spans', []),
                detail=record.truth.get('detail'))


def write_items(out: Path, count: int, seed: int) -> dict:
    """Writes `count` held-out items of each suite as `out/items/<suite>.jsonl`; returns their numbers. The items of a
    smaller count are the first of a larger one, so `LEAKED` and more hold all that the crawl of the seed leaks."""
    (out / 'items').mkdir(parents=True, exist_ok=True)
    written = {}
    for suite in world.SUITES:
        items = world.items(suite, count, seed)
        jsonl.write(out / 'items' / f'{suite}.jsonl', items)
        written[suite] = len(items)
    return written


def write_problems(path: Path, count: int, seed: int) -> None:
    """Writes `count` held-out multiplications for the agent as jsonl {question, answer}, half in each language."""
    rng, problems = random.Random(f'problems/{seed}'), {}
    while len(problems) < count:
        product = world.ask(world.multiplication, rng, ('en', 'zh')[len(problems) % 2], held_out=True)
        problems.setdefault(product.key, dict(question=product.question, answer=product.answer))
    jsonl.write(path, problems.values())


def clean_texts(pages: int, seed: int) -> Iterator[str]:
    """The texts that a perfect pipeline would find in the crawl of the same numbers: for proofs and quick
    experiments."""
    return ('\n'.join(page.lines) for page in web.pages(pages, seed))
