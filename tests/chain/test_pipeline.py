"""The data pipeline from end to end, on a crawl of 3,000 records: what it keeps, drops, repeats, and survives."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from internlm_course.data import crawl
from internlm_course.data.pipeline import FILTERS, build_corpus, documents, texts
from internlm_course.process import tool_environment

PAGES = 1950


def files(out: Path) -> dict[str, bytes]:
    """What a run leaves for later links; its logs and seconds are its own."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob('*.jsonl.gz'))}


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
    assert list(funnel) == ['crawl', 'extraction', *FILTERS]
    counts = [row['documents'] for row in funnel.values()]
    assert counts == sorted(counts, reverse=True) and counts[0] == 3000
    for step in ('extraction', *FILTERS):
        assert funnel[step]['precision'] >= 0.95, step
        assert funnel[step]['recall'] >= 0.90, step


def test_clean_pages_come_through_unchanged(built, web):
    out, metrics = built
    assert metrics['exact'] >= 0.99
    truth = {row['id']: row for row in map(json.loads, (web / 'truth.jsonl').read_text('utf-8').splitlines())}
    kept = {truth[document['id']]['mirror_of'] or document['id'] for document in documents(out / 'clean')}
    clean = {identity for identity, row in truth.items() if row['label'] == 'clean'}
    assert len(kept & clean) >= 0.99 * len(clean)  # itself or a newer copy


def test_documents_know_their_domain_and_source(built):
    rows = list(documents(built[0] / 'clean'))
    assert {row['metadata']['domain'] for row in rows} >= {'knowledge', 'language', 'math', 'code', 'story', 'long', 'tools'}
    assert all(row['metadata']['url'].startswith('https://') and row['metadata']['date'] and row['metadata']['lang'] for row in rows)
    assert [row['text'] for row in rows] == list(texts(built[0]))
    code = [row for row in rows if row['metadata']['domain'] == 'code']
    assert all('\n    return ' in row['text'] for row in code)


def test_one_worker_writes_the_same_bytes_as_two(built, web, tmp_path):
    build_corpus(web, tmp_path, workers=1)
    assert files(tmp_path) == files(built[0])


@pytest.mark.skipif(sys.platform != 'linux', reason='the kernel ends orphans on Linux only')
def test_a_killed_run_leaves_no_orphan_and_resumes(built, web, tmp_path):
    program = ('import sys; from pathlib import Path; from internlm_course.data.pipeline import build_corpus; '
               'build_corpus(Path(sys.argv[1]), Path(sys.argv[2]))')
    running = subprocess.Popen([sys.executable, '-c', program, str(web), str(tmp_path)], env=tool_environment(tmp_path / 'home'))
    done = tmp_path / 'logs' / 'filter' / 'completions'
    deadline = time.monotonic() + 120
    while not (done.is_dir() and list(done.iterdir())):  # the first task of the first stage is complete
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()

    def left() -> list[str]:
        return [path.parent.name for path in Path('/proc').glob('[0-9]*/cmdline') if str(tmp_path).encode() in reading(path)]

    deadline = time.monotonic() + 5
    while left() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left()
    first = {path.name: path.stat().st_mtime_ns for path in done.iterdir()}
    build_corpus(web, tmp_path, workers=2)
    assert files(tmp_path) == files(built[0])
    assert {name: (done / name).stat().st_mtime_ns for name in first} == first  # what was complete was not done again


def reading(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process is gone
        return b''
