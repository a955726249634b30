"""The data pipeline from end to end, on a crawl of 3,000 records: what it keeps, drops, repeats, and survives."""
import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import pytest

from internlm_course.data import contamination, privacy
from internlm_course.data.measure import STEPS
from internlm_course.data.pipeline import build_corpus, documents, texts
from internlm_course.jsonl import rows
from internlm_course.process import tool_environment
from internlm_course.world import crawl

PAGES = 1680


def files(out: Path) -> dict[str, bytes]:
    """What a run leaves for later links; its logs and seconds are its own."""
    return {str(path.relative_to(out)): path.read_bytes()
            for path in sorted([*out.rglob('*.jsonl.gz'), *out.glob('card.*'), *out.glob('*.npy')])}


@pytest.fixture(scope='module')
def web(tmp_path_factory):
    folder = tmp_path_factory.mktemp('crawl')
    crawl.write_crawl(folder, PAGES, seed=2)
    return folder


@pytest.fixture(scope='module')
def built(web, tmp_path_factory):
    out = tmp_path_factory.mktemp('corpus')
    return out, build_corpus(web, out, workers=2)


def test_every_filter_is_precise_and_thorough(built):
    funnel = {row['step']: row for row in built[1]['funnel']}
    assert list(funnel) == ['crawl', 'extraction', *STEPS]
    counts = [row['documents'] for row in funnel.values()]
    assert counts == sorted(counts, reverse=True) and counts[0] == 3000
    for step in ('extraction', *STEPS):
        # A masked riddle that asks twice in the same words has lost a line before: it is not the text that it should
        # be.
        assert funnel[step]['precision'] >= (0.90 if step == 'masking' else 0.95), step
        assert funnel[step]['recall'] >= 0.90, step
    assert set(built[1]['recalls']) == set(crawl.NOISE) - {'mirror', 'private'}
    assert min(built[1]['recalls'].values()) >= 0.85


def test_clean_pages_come_through_unchanged(built, web):
    out, metrics = built
    assert metrics['exact'] >= 0.97  # extraction drops a line that repeats the one before, as some riddles do
    truth = {row['id']: row for row in map(json.loads, (web / 'truth.jsonl').read_text('utf-8').splitlines())}
    kept = {truth[document['id']]['mirror_of'] or document['id'] for document in documents(out / 'clean')}
    clean = {identity for identity, row in truth.items() if row['label'] == 'clean'}
    assert len(kept & clean) >= 0.99 * len(clean)  # itself or a newer copy


def test_personal_data_is_masked_and_nothing_else(built, web):
    truth = {row['id']: row for row in rows(web / 'truth.jsonl')}
    kept = {row['id']: row for row in documents(built[0] / 'clean')}
    private = [row for row in truth.values() if row['label'] == 'private' and row['id'] in kept]
    assert len(private) >= 0.9 * sum(row['label'] == 'private' for row in truth.values())
    assert sum(zlib.crc32(kept[row['id']]['text'].encode()) == row['text'] for row in private) >= 0.90 * len(private)
    assert not any(privacy.mask(row['text'])[1] for row in kept.values())
    assert not any('masked' in row['metadata'] for row in kept.values() if truth[row['id']]['label'] == 'clean')


def test_no_held_out_item_is_left(built, web):
    index = contamination.build_index(contamination.read_items(web / 'items'))
    assert not any(contamination.contaminated(text, index) for text in texts(built[0]))
    leaks = [row for row in rows(web / 'truth.jsonl') if row['label'] == 'leak']
    assert len(leaks) == 45 and not {row['id'] for row in leaks} & {row['id'] for row in documents(built[0] / 'clean')}


def test_the_card_says_what_is_in_the_corpus(built):
    card, text = json.loads((built[0] / 'card.json').read_text('utf-8')), (built[0] / 'card.md').read_text('utf-8')
    rows = list(documents(built[0] / 'clean'))
    assert card['documents'] == len(rows) and card['bytes'] == sum(len(row['text'].encode()) for row in rows)
    assert card['domains'] == dict(Counter(row['metadata']['domain'] for row in rows).most_common())
    assert sum(card['languages'].values()) == len(rows)
    for word in ('Licence · 许可', 'Apache-2.0', card['sha256'], *STEPS, 'datatrove'):
        assert word in text


def test_a_crawl_without_truth_labels_and_items_is_cleaned_as_far_as_it_goes(web, tmp_path):
    (tmp_path / 'crawl').mkdir()
    os.link(web / 'crawl-00000.warc.gz', tmp_path / 'crawl' / 'a.warc.gz')
    metrics = build_corpus(tmp_path / 'crawl', tmp_path / 'out')
    assert [row['step'] for row in metrics['funnel']] == ['extraction', 'language', 'rules', 'duplicates', 'domains',
                                                          'words', 'masking']
    assert all(row['precision'] is None for row in metrics['funnel'])
    assert 'Not stated' in (tmp_path / 'out' / 'card.md').read_text('utf-8')


def test_wanjuan_s_lines_go_through_the_same_steps(built, tmp_path):
    """The texts of clean pages as WanJuan writes them, one of them twice, a last line cut short: the pages stay, the
    copy goes."""
    pages = list(documents(built[0] / 'clean'))[:300]
    rows = ([dict(id=page['id'], content=page['text']) for page in pages]
            + [dict(id='again', content=max((p['text'] for p in pages), key=len))])
    (tmp_path / 'source').mkdir()
    (tmp_path / 'source'
     / 'part-000001.jsonl').write_text(''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows)
                                       + '{"id": "brok', 'utf-8')
    measured = build_corpus(tmp_path / 'source', tmp_path / 'out')
    assert sum(1 for _ in documents(tmp_path / 'out' / 'clean')) >= 295
    assert {row['step']: row for row in measured['funnel']}['duplicates']['documents'] < len(rows)


def test_documents_know_their_domain_and_source(built):
    rows = list(documents(built[0] / 'clean'))
    assert {row['metadata']['domain'] for row in rows} >= {'knowledge', 'language', 'math', 'code', 'story', 'long',
                                                           'tools'}
    assert all(row['metadata']['url'].startswith('https://') and row['metadata']['date'] and row['metadata']['lang']
               for row in rows)
    assert [row['text'] for row in rows] == list(texts(built[0]))
    code = [row for row in rows if row['metadata']['domain'] == 'code']
    assert all('\n    return ' in row['text'] for row in code)


def test_one_worker_writes_the_same_bytes_as_two(built, web, tmp_path):
    build_corpus(web, tmp_path, workers=1)
    assert files(tmp_path) == files(built[0])


@pytest.mark.skipif(sys.platform != 'linux', reason='the kernel ends orphans on Linux only')
@pytest.mark.parametrize('moment', ['logs/filter/completions/*', 'logs/cluster/completions/*', 'clean/*.gz'])
def test_a_killed_run_leaves_no_orphan_and_resumes(built, web, tmp_path, moment):
    program = ('import sys; from pathlib import Path; from internlm_course.data.pipeline import build_corpus; '
               'build_corpus(Path(sys.argv[1]), Path(sys.argv[2]))')
    running = subprocess.Popen([sys.executable, '-c', program, str(web), str(tmp_path)],
                               env=tool_environment(tmp_path / 'home'))
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(moment)):
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()

    def left() -> list[str]:
        return [path.parent.name for path in Path('/proc').glob('[0-9]*/cmdline')
                if str(tmp_path).encode() in reading(path)]

    deadline = time.monotonic() + 5
    while left() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left()
    first = {path: path.stat().st_mtime_ns for path in tmp_path.glob('logs/*/completions/*')}
    build_corpus(web, tmp_path, workers=2)
    assert files(tmp_path) == files(built[0])
    assert {path: path.stat().st_mtime_ns for path in first} == first  # what was complete was not done again


def reading(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process is gone
        return b''
