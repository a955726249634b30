"""Three hundred mutated rows, pages, conversations and notebooks, the same every time, each beside good neighbours:
nothing ends in somebody else's traceback, and no good neighbour is lost.

The kinds that are known have tests of their own; these look for what nobody has thought of.
"""
import json
import random
import subprocess
import sys
from collections import Counter

import nbformat
import pytest
from test_sources import page, record

from internlm_course.data import filters
from internlm_course.data.pipeline import build_corpus, documents
from internlm_course.data.sources import read_source
from internlm_course.errors import CourseError
from internlm_course.finetune.messages import to_conversation
from internlm_course.finetune.train import read_conversations
from internlm_course.grading.compare import same
from internlm_course.world import web

ROWS, PAGES, CONVERSATIONS, NOTEBOOKS = 120, 90, 60, 30
ODD = [None, True, -1, 10**400, 1e300, float('nan'), '', ' \n', '\ud83d', 'a\x00b\u2028c\u0085d', '\ufffe', [], [None],
       {}, {'a': {'b': [1, '\udc00']}}, '//', 'http://[::1', '2023', 'x' * 5000, '{answer}', ['user'], {'role': 'user'}]
BYTES = [b'', b'\xff', b'\x00', b'\\ud83d', b'"', b'}', b'\n', b'\xef\xbb\xbf', b'[' * 2000, b'<div>' * 300,
         b'&#xD800;', b'\xed\xa0\xbd']


def mutated(rng: random.Random, value):
    """The value with one of its parts odd, gone, or under another name."""
    if isinstance(value, (dict, list)) and value and rng.random() < 0.8:
        copy = value.copy()
        key = rng.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
        part = copy.pop(key)
        if rng.random() < 0.15:
            return copy
        if isinstance(copy, dict):
            name = key if rng.random() < 0.9 else rng.choice(['lang', 'masked', 'metadata', '\ud800'])
            copy[name] = mutated(rng, part)
        else:
            copy.insert(key, mutated(rng, part))
        return copy
    return rng.choice(ODD)


def bitten(rng: random.Random, content: bytes) -> bytes:
    """The bytes with some of them gone, and others in their place."""
    at = rng.randrange(len(content))
    return content[:at] + rng.choice(BYTES) + content[at + rng.choice([0, 1, 1, 2, 20]):]


def texts(count: int, seed: str) -> list[str]:
    """Texts that the rules keep and that are near duplicates of no other."""
    found = ('\n'.join(each.lines) for each in web.pages(40 * count, seed) if each.kind == 'story')
    return list(dict.fromkeys(found))[:count]


def test_rows_through_the_whole_pipeline(tmp_path):
    rng, prose = random.Random(1), texts(ROWS + 40, 'any/rows')
    good = [dict(id=f'good-{n}', content=text, date='2024-01-01') for n, text in enumerate(prose[ROWS:])]
    lines = [json.dumps(row).encode() for row in good]
    for n, text in enumerate(prose[:ROWS]):
        row = dict(id=n, content=text, url=f'https://a.example/{n}', date='2024-05-06', extra=dict(tags=['a', 1.5]))
        line = json.dumps(mutated(rng, row) if n % 2 else row, ensure_ascii=rng.random() < 0.5)
        line = line.encode('utf-8', 'surrogatepass')
        lines.insert(rng.randrange(len(lines) + 1), line if n % 2 else bitten(rng, line))
    (tmp_path / 'source').mkdir()
    (tmp_path / 'source' / 'a.jsonl').write_bytes(b'\r\n'.join(lines))
    skipped = Counter()
    read = list(read_source(tmp_path / 'source', skipped=skipped))
    assert {f'good-{n}' for n in range(40)} <= {row['id'] for row in read} and len(read) + sum(skipped.values()) >= ROWS
    build_corpus(tmp_path / 'source', tmp_path / 'out', workers=1)
    places = [tmp_path / 'out' / 'clean', *(tmp_path / 'out' / 'dropped').iterdir()]
    found = Counter(row['id'] for place in places for row in documents(place))
    assert found == Counter(row['id'] for row in read)
    assert sum(row['id'].startswith('good-') for row in documents(places[0])) >= 38  # only the rules may judge


def test_pages(tmp_path):
    rng, prose = random.Random(2), texts(PAGES + 30, 'any/pages')
    parts = [record(f'good-{n}', page(text)) for n, text in enumerate(prose[PAGES:])]
    for n, text in enumerate(prose[:PAGES]):
        charsets = [f'text/html; charset={name}' for name in ('utf-8', 'gbk', 'hex', 'utf-7')]
        kind = rng.choice(['', 'text/plain', *charsets])
        packed = record(n, bitten(rng, page(text)), content_type=kind)
        parts.insert(rng.randrange(len(parts) + 1), bitten(rng, packed) if n % 3 == 0 else packed)
    (tmp_path / 'a.warc.gz').write_bytes(b''.join(parts))
    read = list(read_source(tmp_path))
    assert {f'<urn:uuid:good-{n}>' for n in range(30)} <= {row['id'] for row in read}
    extract = filters.Extract()
    for row in read:
        assert json.dumps(row, ensure_ascii=False).encode()
        document = filters.Document(id=row['id'], text=row['text'])
        assert extract.filter(document) is True or 'good' not in row['id']


def test_conversations(tmp_path):
    rng, told = random.Random(3), 0
    call = dict(function=dict(name='calculator', arguments=dict(expression='1+1')))
    messages = [dict(role='system', content='Be short.'), dict(role='user', content='1+1?'),
                dict(role='assistant', content='', tool_calls=[call]),
                dict(role='environment', content='2', name='<|plugin|>'), dict(role='assistant', content='2')]
    good = json.dumps(dict(messages=messages)).encode()
    for n in range(CONVERSATIONS):
        bad = json.dumps(dict(messages=mutated(rng, messages)), ensure_ascii=rng.random() < 0.5)
        bad = bad.encode('utf-8', 'surrogatepass') if n % 2 else bitten(rng, good)
        (tmp_path / 'a.jsonl').write_bytes(good + b'\n' + bad + b'\n' + good)
        try:
            read = read_conversations(tmp_path / 'a.jsonl')
        except CourseError as error:
            told += 'ine 2 of' in str(error) or 'ine 3 of' in str(error)
            continue
        told += 1
        assert read[0] == read[-1] == dict(messages=messages)
        assert json.dumps(list(map(to_conversation, read)), ensure_ascii=False).encode()
    assert told == CONVERSATIONS


def test_notebooks(tmp_path):
    """Collected by nbval with the course's plugin, all in one process: each gives its cells or one sentence."""
    rng = random.Random(4)
    output = nbformat.v4.new_output('stream', name='stdout', text='{"check": "a", "values": 1.5}\n')
    stated = dict(course=dict(tolerance=dict(relative=0.1)))
    cells = [nbformat.v4.new_code_cell('# NBVAL_CHECK_OUTPUT\nprint(1)', outputs=[output], metadata=stated),
             nbformat.v4.new_markdown_cell('text')]
    good = json.loads(json.dumps(nbformat.v4.new_notebook(cells=cells)))
    for n in range(NOTEBOOKS):
        bad = mutated(rng, dict(good, cells=[mutated(rng, good['cells'][0]), good['cells'][1]]))
        content = json.dumps(bad).encode() if n % 2 else bitten(rng, json.dumps(good).encode())
        (tmp_path / f'bad_{n}.ipynb').write_bytes(content)
    (tmp_path / 'good.ipynb').write_text(json.dumps(good), 'utf-8')
    line = [sys.executable, '-m', 'pytest', '-q', '--collect-only', '--continue-on-collection-errors',
            '-p', 'no:cacheprovider', '-p', 'internlm_course.grading.tolerant', '-c', '/dev/null',
            '--rootdir', str(tmp_path), '--noconftest', '--nbval-lax', str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert 'good.ipynb::Cell 0' in said and 'Traceback' not in said and 'INTERNALERROR' not in said
    assert said.count('is no notebook that can be run') == said.count('_ ERROR collecting ') > 3


@pytest.mark.parametrize('seed', range(3))
def test_values_of_any_kind_are_compared(seed):
    rng = random.Random(seed)
    value = dict(a=[1.5, 2, 'x'], b=dict(c=True, d=None))
    for _ in range(100):
        same(mutated(rng, value), value), same(value, mutated(rng, value))
    assert same(value, value) and not same(10**400, 1.5)
