"""Real sources: files of the real formats, whole and damaged. Nothing raises, every good record comes out, every other
one is counted."""
import gzip
import io
import json
import random
import tracemalloc
import zlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from internlm_course.data import filters
from internlm_course.data.executors import execute
from internlm_course.data.records import LinesWriter
from internlm_course.data.sources import PAGE, read_source, source
from internlm_course.data.warc import decode
from internlm_course.errors import CourseError
from internlm_course.world import crawl

PAGE_HTML = '<html><head>{head}</head><body><p>{text}</p></body></html>'
SIMPLIFIED = ('这是一个介绍各国首都的网页。我们在这里说明人们怎样生活，也说明他们使用什么货币。'
              '每天早上，市场里都有很多人买菜。')
TRADITIONAL = ('這是一個關於臺灣歷史的網頁。我們在這裡介紹各個城市的風景與文化，並且說明人們怎樣生活。'
               '每天早上，市場裡都有很多人買菜。')
FRENCH = ("Le café près de la gare est fermé aujourd'hui. Après le dîner, ils étaient très fatigués, et la fête a été "
          'annulée.')


def record(number: int, payload: bytes, packed: bool = True, content_type: str | None = 'text/html',
           kind: str = 'response', fields=()) -> bytes:
    """One record as warcio writes it; without a content type the server sent none."""
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=packed)
    http = StatusAndHeaders('200 OK', [('Content-Type', content_type)] * bool(content_type) + list(fields),
                            protocol='HTTP/1.1')
    writer.write_record(writer.create_warc_record(
        f'https://site.example/{number}', kind, payload=io.BytesIO(payload), length=len(payload),
        http_headers=http if kind == 'response' else None,
        warc_headers_dict={'WARC-Record-ID': f'<urn:uuid:{number}>', 'WARC-Date': '2024-01-01T00:00:00Z'}))
    return out.getvalue()


def page(text: str, head: str = '') -> bytes:
    return PAGE_HTML.format(head=head, text=text).encode()


def read(path, **options) -> tuple[list[dict], Counter]:
    skipped = Counter()
    return list(read_source(path, skipped=skipped, **options)), skipped


@pytest.mark.parametrize('form', ['members', 'whole', 'plain'])
def test_a_warc_is_read_however_it_is_packed(tmp_path, form):
    """Packed record by record, packed as a whole (against the standard, but done), or not packed; other records and
    types are counted."""
    parts = [record(0, b'software: x\r\n', form == 'members', kind='warcinfo'),
             record(1, page('one'), form == 'members'),
             record(2, b'GET / HTTP/1.1\r\n\r\n', form == 'members', kind='request'),
             record(3, b'\x89PNG', form == 'members', 'image/png'),
             record(4, b' \n', form == 'members'), record(5, page('five'), form == 'members', None),
             record(6, b'{"a": 1}', form == 'members', None)]
    content = b''.join(parts)
    path = tmp_path / ('a.warc' if form == 'plain' else 'a.warc.gz')
    path.write_bytes(gzip.compress(content) if form == 'whole' else content)
    found, skipped = read(path)
    places = {row['id']: row['metadata']['url'] for row in found}
    assert places == {f'<urn:uuid:{n}>': f'https://site.example/{n}' for n in (1, 5)} and len(found) == 2
    assert found[0]['text'] == page('one').decode() and found[0]['metadata']['date'] == '2024-01-01T00:00:00Z'
    assert skipped == Counter(other_record=2, not_html=2, empty=1)


def test_damaged_records_cost_themselves_only(tmp_path):
    rng = random.Random(5)
    good = [record(n, page(f'page {n} ' + rng.randbytes(2000).hex())) for n in range(30)]
    hurt = {3: good[3][:len(good[3]) // 2], 12: b'\x00' + good[12][1:], 9: b'not a record at all',
            15: gzip.compress(b'no WARC header here\r\n'),
            16: good[16][:300] + bytes(40) + good[16][340:],
            20: good[20][:-8] + bytes(4) + good[20][-4:], 21: gzip.compress(b'WARC/1.0\r\nContent-Length: x\r\n\r\n')}
    (tmp_path / 'a.warc.gz').write_bytes(b''.join(hurt.get(n, part) for n, part in enumerate(good)))
    found, skipped = read(tmp_path)
    assert {row['id'] for row in found} == {f'<urn:uuid:{n}>' for n in range(30) if n not in hurt}
    assert skipped == Counter(damaged=len(hurt))


def test_a_plain_warc_goes_on_behind_a_damaged_record(tmp_path):
    parts = [record(n, page(f'page {n}'), packed=False) for n in range(6)]
    parts[2] = b'rubbish ' * 50 + b'\r\n\r\n'
    parts[4] = parts[4].replace(b'Content-Length', b'Content-Longth', 1)
    (tmp_path / 'a.warc').write_bytes(b''.join(parts) + parts[0][:-40])
    found, skipped = read(tmp_path)
    assert [row['id'] for row in found] == [f'<urn:uuid:{n}>' for n in (0, 1, 3, 5)]
    assert skipped['damaged'] >= 2 and skipped['cut_short'] == 1


@pytest.mark.parametrize('cut', [1, 9, 200])
def test_a_file_cut_short_gives_what_is_whole(tmp_path, cut):
    warc = b''.join(record(n, page(f'page {n}')) for n in range(4))
    (tmp_path / 'w').mkdir()
    (tmp_path / 'w' / 'a.warc.gz').write_bytes(warc[:-cut])
    found, skipped = read(tmp_path / 'w')
    assert len(found) == 3 and skipped == Counter(cut_short=1)
    lines = b''.join(json.dumps(dict(id=n, content=random.Random(n).randbytes(900).hex())).encode() + b'\n'
                     for n in range(40))
    (tmp_path / 'a.jsonl.gz').write_bytes(gzip.compress(lines)[:-cut])
    found, skipped = read(tmp_path / 'a.jsonl.gz')
    assert 30 <= len(found) <= 40 and [row['id'] for row in found] == [str(n) for n in range(len(found))]
    assert skipped['cut_short'] == 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_bytes_make_a_reader_raise(tmp_path_factory, data):
    """Any bytes, or a good file with some bytes changed, in any format."""
    folder = tmp_path_factory.mktemp('any')
    names = ['a.warc.gz', 'a.warc', 'a.warc.wet.gz', 'a.jsonl', 'a.jsonl.gz', 'a.parquet', 'a.txt']
    name = data.draw(st.sampled_from(names))
    if data.draw(st.booleans()):
        content = data.draw(st.binary(max_size=400))
    else:
        content = bytearray(b''.join(record(n, page(f'page {n}'), name.endswith('gz')) for n in range(3)))
        for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
            content[at] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(content)
    found, _ = read(folder / name)
    assert all(row['text'].strip() for row in found)


@pytest.mark.parametrize('form', ['member', 'plain', 'inner'])
def test_a_page_of_100_megabytes_is_passed_over_in_little_memory(tmp_path, form):
    """As one record, unpacked in the file, and small in the record but inflated by its own Content-Encoding."""
    size = 100 << 20
    if form == 'inner':
        packed = zlib.compressobj(9, wbits=31)
        body = packed.compress(bytes(size)) + packed.flush()
        large = record(1, body, fields=[('Content-Encoding', 'gzip')])
    head = record(1, page('x'), packed=False).split(b'\r\n\r\n')[0].split(b'\r\n')
    head = [line for line in head if not line.startswith(b'Content-Length')] + [b'Content-Length: %d\r\n\r\n' % size]
    head = b'\r\n'.join(head)
    if form == 'member':
        packed = zlib.compressobj(9, wbits=31)
        parts = (head, *[bytes(1 << 20)] * 100, b'\r\n\r\n')
        large = b''.join(map(packed.compress, parts)) + packed.flush()
    path = tmp_path / ('a.warc' if form == 'plain' else 'a.warc.gz')
    with open(path, 'wb') as stream:
        stream.write(record(0, page('before'), form != 'plain'))
        if form == 'plain':
            stream.write(head)
            stream.seek(size, io.SEEK_CUR)  # a hole: no disk is used
            stream.write(b'\r\n\r\n')
        else:
            stream.write(large)
        stream.write(record(2, page('after'), form != 'plain'))
    read(path)  # imports what is imported late
    tracemalloc.start()
    found, skipped = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row['id'] for row in found] == ['<urn:uuid:0>', '<urn:uuid:2>'] and skipped == Counter(too_large=1)
    assert peak < 8 * PAGE  # the page, its copies, and the 16 MB that one read of warcio may inflate to


def test_limits_hold_for_lines_rows_and_files(tmp_path):
    import pyarrow
    from pyarrow import parquet
    long = 'x' * 5000
    (tmp_path / 'a.jsonl').write_text('\n'.join(json.dumps(dict(text=text)) for text in (long, 'ok', long)), 'utf-8')
    (tmp_path / 'a.txt').write_text(long, 'utf-8')
    parquet.write_table(pyarrow.table(dict(text=[long, 'ok', None, ' '])), tmp_path / 'a.parquet')
    for name, texts, reasons in (('a.jsonl', ['ok'], dict(too_large=2)), ('a.txt', [], dict(too_large=1)),
                                 ('a.parquet', ['ok'], dict(too_large=1, no_text=1, empty=1))):
        found, skipped = read(tmp_path / name, limit=4000)
        assert [row['text'] for row in found] == texts and skipped == Counter(reasons)


@pytest.mark.parametrize('text, encoding, names', [
    (SIMPLIFIED, 'gbk', ['gbk', 'gb2312', 'GB18030']), (TRADITIONAL, 'big5', ['big5', 'Big5-HKSCS']),
    (FRENCH, 'cp1252', ['iso-8859-1', 'windows-1252', 'latin1']),
    (SIMPLIFIED, 'utf-8', ['utf-8', 'gbk', 'iso-8859-1']), (TRADITIONAL, 'utf-16', ['utf-8', 'utf-16']),
    (SIMPLIFIED, 'hz', ['hz-gb-2312'])])
def test_every_encoding_is_read_with_and_without_its_name(tmp_path, text, encoding, names):
    """Declared by the server, declared in the page, declared as something unknown, and not at all; a wrong name does
    not spoil UTF-8."""
    content = [(name, '') for name in names] + [('', f'<meta charset="{name}">') for name in names]
    content += [] if encoding == 'hz' else [('', ''), ('no-such-charset', '')]
    (tmp_path / 'a.warc.gz').write_bytes(b''.join(
        record(n, PAGE_HTML.format(head=meta, text=text).encode(encoding),
               content_type=f'text/html; charset={name}' if name else 'text/html')
        for n, (name, meta) in enumerate(content)))
    found, skipped = read(tmp_path)
    assert not skipped
    assert [row['text'] for row in found] == [PAGE_HTML.format(head=meta, text=text) for _, meta in content]


def test_bytes_in_no_encoding_are_no_text():
    rng = random.Random(2)
    assert [decode(rng.randbytes(3000)) for _ in range(20)] == [None] * 20
    assert decode(bytes(range(256)) * 4, 'iso-8859-1') is None


def test_wanjuan_lines(tmp_path):
    """WanJuan's fields; broken lines, lines without text and lines in another encoding cost themselves."""
    rows = [dict(id='BkiUa', content='第一篇。'), dict(id='BkiUb', content='Second.', title='T')]
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    (tmp_path / 'part-000.jsonl').write_bytes(b'\n'.join([
        lines[0], lines[1][:20], b'[1, 2]', b'', json.dumps(dict(id='c')).encode(),
        json.dumps(dict(id='d', content='  ')).encode(),
        '{"id": "e", "content": "中文"}'.encode('gbk'), b'[' * 100_000, lines[1]]))
    found, skipped = read(tmp_path)
    assert [(row['id'], row['text']) for row in found] == [('BkiUa', '第一篇。'), ('BkiUb', 'Second.')]
    assert found[1]['metadata'] == dict(url='file:///part-000.jsonl', date='', title='T')
    assert skipped == Counter(bad_json=3, no_text=1, empty=1, encoding=1)


def test_parquet_and_a_file_that_is_none(tmp_path):
    import pyarrow
    from pyarrow import parquet
    parquet.write_table(pyarrow.table(dict(id=list(range(250)), text=[f'text {n}' for n in range(250)],
                                           score=[0.5] * 250)), tmp_path / 'a.parquet')
    (tmp_path / 'b.parquet').write_bytes((tmp_path / 'a.parquet').read_bytes()[:-100])
    found, skipped = read(tmp_path)
    assert [row['text'] for row in found] == [f'text {n}' for n in range(250)] and found[7]['metadata']['score'] == 0.5
    assert skipped == Counter(damaged=1)


def test_odd_characters_are_left_to_the_rules_where_a_page_says_utf_8():
    odd = 'a\x00\ufffd' * 100
    assert decode(odd.encode(), 'utf-8') == odd and decode(odd.encode()) is None


def test_a_wet_file_is_text_already(tmp_path):
    (tmp_path / 'a.warc.wet.gz').write_bytes(record(1, SIMPLIFIED.encode(), kind='conversion', content_type=None))
    assert not source(tmp_path).html
    assert [row['text'] for row in read(tmp_path)[0]] == [SIMPLIFIED]


def test_a_crawl_s_readable_records_are_all_read(tmp_path):
    """Some 23 broken records of five kinds, in the midst of others: each of them is counted, none other is lost."""
    counts = crawl.write_crawl(tmp_path, 1500, seed=6)
    truth = [json.loads(line) for line in (tmp_path / 'truth.jsonl').read_text('utf-8').splitlines()]
    found, skipped = read(tmp_path, kind='warc')
    assert {row['id'] for row in truth if row['label'] != 'broken'} == {row['id'] for row in found}
    assert sum(skipped.values()) == counts['broken'] == counts['records'] - len(found)


def test_a_source_heads_a_pipeline(tmp_path):
    """As the first step of an executor, in more tasks than one; what is skipped stands in the run's statistics."""
    (tmp_path / 'in').mkdir()
    for n in range(3):
        (tmp_path / 'in' / f'{n}.jsonl').write_text(f'{{"content": "text {n}"}}\nbroken\n', 'utf-8')
    reader = source(tmp_path / 'in')
    execute([reader, LinesWriter(tmp_path / 'out')], len(reader.files), 2, tmp_path / 'logs')
    texts = [json.loads(path.read_text('utf-8'))['text'] for path in sorted((tmp_path / 'out').iterdir())]
    assert texts == ['text 0', 'text 1', 'text 2']
    statistics = json.loads((tmp_path / 'logs' / 'stats.json').read_text('utf-8'))
    assert statistics[0]['stats']['skipped_bad_json'] == 3


def test_html_of_another_encoding_reaches_the_text(tmp_path):
    (tmp_path / 'a.warc.gz').write_bytes(record(1, PAGE_HTML.format(head='', text=SIMPLIFIED).encode('gbk')))
    extract = filters.Extract()
    documents = [document for document in source(tmp_path).run() if extract.filter(document)]
    assert [document.text for document in documents] == [SIMPLIFIED]


@pytest.mark.parametrize('make, kind, told', [
    (lambda folder: folder / 'none', None, 'There is no'), (lambda folder: folder, None, 'no file that ends in'),
    (lambda folder: folder, 'pdf', 'kind of source'), (lambda folder: folder, 'warc', 'holds no warc file')])
def test_what_is_not_there_is_told(tmp_path, make, kind, told):
    (tmp_path / 'a.pdf').touch()
    with pytest.raises(CourseError, match=told):
        source(make(tmp_path), kind)


def test_two_kinds_in_one_folder_need_a_choice(tmp_path):
    (tmp_path / 'a.txt').write_text('text', 'utf-8')
    (tmp_path / 'a.jsonl').write_text('{"text": "line"}', 'utf-8')
    with pytest.raises(CourseError, match='jsonl, text'):
        source(tmp_path)
    assert [row['text'] for row in read(tmp_path, kind='text')[0]] == ['text']


def test_the_hub_without_a_network_is_one_sentence():
    with pytest.raises(CourseError, match='hub:owner/name cannot be read') as error:
        source('hub:owner/name')
    assert '\n' not in str(error.value) and 'HF_HUB_OFFLINE' in error.value.remedy


def test_an_address_of_another_file_system_is_read_alike():
    """fsspec's memory: what a bucket or the hub is to the reader."""
    import fsspec
    fsspec.filesystem('memory').pipe('/course-source/a.jsonl', b'{"text": "far"}\n')
    assert [row['text'] for row in read('memory://course-source')[0]] == ['far']
