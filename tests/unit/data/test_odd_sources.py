"""What real files bring: metadata of any type, odd addresses, damaged bytes, pages nested too deep."""
import json
import random
from collections import Counter

import pytest
from datatrove.data import Document
from test_sources import FRENCH, PAGE_HTML, SIMPLIFIED, TRADITIONAL, page, read, record

from internlm_course.data import filters, safety
from internlm_course.data.pipeline import build_corpus, documents
from internlm_course.data.warc import decode


def test_metadata_of_any_type_is_what_json_can_hold(tmp_path):
    """Columns as data sets of the hub have them; texts of bytes, as Spark writes, or no UTF-8; far times."""
    import datetime
    import decimal

    import pyarrow
    from pyarrow import parquet
    damaged = pyarrow.array([b'good', b'b\xffd', b'good']).view(pyarrow.string())
    far = pyarrow.array([0, 1 << 62, 0], pyarrow.int64()).view(pyarrow.timestamp('us'))
    columns = dict(
        text=[b'one', b'two', b'thr\xffe'], when=[datetime.datetime(2024, 5, 6, 7)] * 3, raw=[b'\xff\x00'] * 3,
        n=[3] * 3, price=[decimal.Decimal('1.50')] * 3, tags=[[datetime.date(2024, 1, 2)], [], None],
        odd=[float('nan')] * 3,
        more=[dict(n=1, deep=dict(d=decimal.Decimal(2)))] * 3, date=[datetime.date(2023, 4, 5)] * 3, url=[7] * 3,
        yes=[True] * 3, masked=['x'] * 3)
    parquet.write_table(pyarrow.table(columns | dict(damaged=damaged, far=far)), tmp_path / 'a.parquet')
    found, skipped = read(tmp_path)
    assert not skipped and [row['text'] for row in found] == ['one', 'two', 'thr\ufffde']
    first, second = (row['metadata'] for row in found[:2])
    assert first == dict(
        url='file:///a.parquet', date='2023-04-05', when='2024-05-06T07:00:00', price='1.50', tags='["2024-01-02"]',
        raw='\ufffd\x00', n=3, yes=True, odd='nan', damaged='good', far='1970-01-01T00:00:00',
        more='{"n": 1, "deep": {"d": "2"}}')
    assert second['damaged'] == 'b\ufffdd' and isinstance(second.get('far', ''), str)
    assert json.dumps(second, ensure_ascii=False).encode()


@pytest.mark.parametrize('fields, url, date', [
    ({}, None, ''), (dict(url=None, date=None), None, ''), (dict(url='', date=''), None, ''),
    (dict(metadata='none'), None, ''), (dict(url='www.site.example/a', date='yesterday'), None, ''),
    (dict(url='//site.example', date=1682899200), None, ''),
    (dict(url=['https://a.example'], date=[2023]), None, ''), (dict(url='http://', date='01/02/2023'), None, ''),
    (dict(url='https://b.example', date=2023), 'https://b.example', '2023'),
    (dict(url='ftp://b.example/x', date='20230501'), 'ftp://b.example/x', '20230501'),
    (dict(metadata=dict(url='https://b.example/y', date='2023-05-01')), 'https://b.example/y', '2023-05-01')])
def test_an_odd_url_or_date_is_taken_as_missing(tmp_path, fields, url, date):
    (tmp_path / 'a.jsonl').write_text(json.dumps(dict(content='text', **fields)), 'utf-8')
    [row] = read(tmp_path)[0]
    assert row['metadata']['url'] == (url or 'file:///a.jsonl') and row['metadata']['date'] == date
    assert safety.blocked_host(row['metadata']['url']) is None


@pytest.mark.parametrize('text, encoding', [
    (SIMPLIFIED, 'utf-8'), (SIMPLIFIED, 'gbk'), (TRADITIONAL, 'big5'), (FRENCH, 'utf-8')])
@pytest.mark.parametrize('declared', [True, False])
@pytest.mark.parametrize('hurt', ['lost', 'changed', 'added'])
def test_a_damaged_byte_costs_a_sign_or_two(text, encoding, declared, hurt):
    """Behind a byte lost in a two-byte encoding all that follows was read in wrong pairs; by chance a few still fit."""
    html = f'<html><body>{f"<p>{text}</p>" * 3}</body></html>'
    rng = random.Random(3)
    for _ in range(8):
        content = bytearray(html.encode(encoding))
        at = rng.randrange(60, len(content) - 60)
        content[at:at + (hurt != 'added')] = b'' if hurt == 'lost' else b'\xff'
        found = decode(bytes(content), encoding if declared else None)
        assert found is not None and sum((Counter(html) - Counter(found)).values()) <= 8 and len(found) >= len(html) - 2


def test_a_page_cut_or_damaged_is_kept_and_what_is_no_text_is_counted(tmp_path):
    whole = PAGE_HTML.format(head='', text=SIMPLIFIED).encode()
    odd = b'\xff\xfe' + PAGE_HTML.format(head='', text=FRENCH).encode('utf-16-le') + b'<'
    pages = enumerate([whole[:len(whole) // 2], odd, random.Random(2).randbytes(3000)])
    parts = [record(n, each, content_type='text/html; charset=utf-8') for n, each in pages]
    (tmp_path / 'a.warc.gz').write_bytes(b''.join(parts))
    found, skipped = read(tmp_path)
    assert [row['id'] for row in found] == ['<urn:uuid:0>', '<urn:uuid:1>'] and skipped == Counter(encoding=1)
    assert FRENCH in found[1]['text'] and SIMPLIFIED[:20] in found[0]['text']


@pytest.mark.parametrize('tags', [('div',), ('b',), ('ul', 'li'), ('table', 'tr', 'td'), ('font',)])
@pytest.mark.parametrize('depth', [300, 5000])
def test_a_page_however_deep_keeps_its_text(tags, depth):
    """libxml2 stops at 256 elements and leaves out the rest of the page."""
    opened, closed = ''.join(f'<{tag}>' for tag in tags) * depth, ''.join(f'</{tag}>' for tag in tags[::-1]) * depth
    words = ['The ferry leaves the harbour twice a day.', 'It takes an hour to reach the island and costs nine coins.',
             'Nobody may cross the bridge at night.']
    before, inside, after = (f'<p>{text}</p>' for text in words)
    found = filters.extract(f'<html><body>{before}{opened}{inside}{closed}{after}</body></html>')
    assert all(text in found for text in words)


def test_why_a_page_has_no_text_is_counted(monkeypatch):
    texts = ['<html><body></body></html>', 'deep', page(SIMPLIFIED).decode()]
    pages = [Document(text=html, id=str(n)) for n, html in enumerate(texts)]
    real = filters.extract
    monkeypatch.setattr(filters, 'extract', lambda html: {}['x'] if html == 'deep' else real(html))
    extract = filters.Extract()
    assert [document.text for document in extract.run(pages)] == [SIMPLIFIED]
    assert extract.stats['dropped_no_text'].total == extract.stats['dropped_malformed'].total == 1


def test_of_copies_the_newest_stays_and_one_without_a_date_is_the_oldest(tmp_path):
    text = ' '.join(f'The old harbour of town {number} has a long wall, and each of its boats has its own colour.'
                    for number in range(12))
    rows = [dict(id=name, content=text, date=date, url=f'https://{name}.example/')
            for name, date in (('z', None), ('b', '2023-05-01'), ('a', '2024-05-01'))]
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / 'part-000.jsonl').write_text('\n'.join(map(json.dumps, rows)) + '\n', 'utf-8')
    build_corpus(tmp_path / 'in', tmp_path / 'out', workers=1)
    assert [row['id'] for row in documents(tmp_path / 'out' / 'clean')] == ['a']
    assert {row['id'] for row in documents(tmp_path / 'out' / 'dropped' / 'duplicates')} == {'b', 'z'}
