"""The store: an artifact is whole or absent, is built once, and survives kills, full disks and two runs at once."""
import errno
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from internlm_course import store as stores
from internlm_course.course import Course
from internlm_course.errors import CourseError
from internlm_course.scale import SCALES
from internlm_course.store import PACKAGE, Store, code_version


def _make(folder: Path) -> dict:
    (folder / 'weights').write_text('42')
    return dict(loss=1.5)


def test_built_once_then_fetched(tmp_path):
    store = Store(tmp_path)
    first = store.build('base', dict(seed=0), _make)
    second = store.build('base', dict(seed=0), lambda folder: pytest.fail('built twice'))
    assert (first.cached, second.cached) == (False, True)
    assert second.metrics == dict(loss=1.5) and second.path == first.path
    assert (second.path / 'weights').read_text() == '42'
    assert json.loads((second.path / 'stage.json').read_text())['settings'] == dict(seed=0, code=code_version())


def test_key_follows_settings_and_code(tmp_path):
    store = Store(tmp_path)
    keys = {store.build(stage, dict(seed=seed), _make, code).key
            for stage in ('base', 'long') for seed in (0, 1) for code in ((), ('pretrain',), ('data',))}
    assert len(keys) == 12


def test_failed_build_leaves_nothing_readable_and_can_be_repeated(tmp_path):
    store = Store(tmp_path)

    def fail(folder):
        (folder / 'weights').write_text('half')
        raise RuntimeError('power cut')

    with pytest.raises(RuntimeError):
        store.build('base', {}, fail)
    seen = []
    store.build('base', {}, lambda folder: seen.append(list(folder.iterdir())) or {})
    assert seen == [[]], 'a build that cannot resume starts in an empty folder'


def test_resumable_build_finds_what_was_left(tmp_path):
    store = Store(tmp_path)

    def fail(folder):
        (folder / 'state').write_text('step 5')
        raise RuntimeError('power cut')

    with pytest.raises(RuntimeError):
        store.build('base', {}, fail, resumable=True)
    again = store.build('base', {}, lambda folder: dict(state=(folder / 'state').read_text()), resumable=True)
    assert again.metrics == dict(state='step 5')


def _slow(root: str, log: str) -> None:
    def make(folder):
        with open(log, 'a') as stream:
            stream.write('built\n')
        time.sleep(0.5)
        return {}
    Store(Path(root)).build('base', {}, make)


def test_two_runs_at_once_build_once(tmp_path):
    context = multiprocessing.get_context('spawn')
    runs = [context.Process(target=_slow, args=(str(tmp_path / 'store'), str(tmp_path / 'log'))) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert (tmp_path / 'log').read_text() == 'built\n'


def test_kill_frees_the_lock(tmp_path):
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from internlm_course.store import Store
        Store(Path(sys.argv[1])).build('base', {}, lambda folder: (print('in', flush=True), time.sleep(60)))
    """)
    run = subprocess.Popen([sys.executable, '-c', script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == 'in\n'
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    began = time.monotonic()
    assert not Store(tmp_path).build('base', {}, _make).cached
    assert time.monotonic() - began < 30


@pytest.mark.parametrize('code, words', [
    (errno.ENOSPC, 'is full'), (errno.EROFS, 'cannot be written'), (errno.EACCES, 'cannot be written')])
def test_disk_errors_are_one_sentence(tmp_path, code, words):
    def fail(folder):
        raise OSError(code, os.strerror(code))
    with pytest.raises(CourseError, match=words) as caught:
        Store(tmp_path).build('base', {}, fail)
    assert caught.value.remedy


def test_root_that_is_a_file(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(CourseError, match='--root'):
        Store(tmp_path / 'file' / 'store')


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's sources, whose code the keys are made of."""
    copy = tmp_path / 'internlm_course'
    for suffix in ('py', 'toml', 'tsv'):
        for file in PACKAGE.rglob(f'*.{suffix}'):
            (copy / file.relative_to(PACKAGE)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy / file.relative_to(PACKAGE))
    monkeypatch.setattr(stores, 'PACKAGE', copy)
    yield copy
    code_version.cache_clear()


def version(*links: str) -> str:
    """Read anew, though a process reads the code once."""
    code_version.cache_clear()
    return code_version(*links)


FOLDERS = sorted({path.parent.name for path in PACKAGE.glob('*/*.py')})


@pytest.mark.parametrize('folder', FOLDERS)
def test_a_comment_changes_no_code_and_a_number_does(package, folder):
    file = max((package / folder).rglob('*.py'), key=lambda path: path.stat().st_size)
    source, before = file.read_text('utf-8'), version(folder)
    file.write_text(f'# A new comment.\n{source}\n# And another.\n', 'utf-8')
    assert version(folder) == before
    file.write_text(f'{source}\nNUMBER = 1\n', 'utf-8')
    one = version(folder)
    file.write_text(f'{source}\nNUMBER = 2\n', 'utf-8')
    assert len({before, one, version(folder)}) == 3


@pytest.mark.parametrize('folder', FOLDERS)
def test_a_docstring_is_code_only_where_lagent_reads_it(package, folder):
    """Of a module, of a function or class, and the string below a field: each is changed wherever the folder has it."""
    before = version(folder)
    for file in (package / folder).rglob('*.py'):
        source = file.read_text('utf-8')
        file.write_text(re.sub(r'^( *)"""(?=[A-Z])', r'\1"""Otherwise: ', source, flags=re.MULTILINE), 'utf-8')
    assert (version(folder) == before) is (folder != 'agents')


def test_the_words_of_an_agents_action_are_code(package):
    file, before = package / 'agents' / 'calculator.py', version('agents')
    source = file.read_text('utf-8')
    assert source.count('whole numbers, + - * / and brackets\n') == 1
    file.write_text(source.replace('whole numbers, + - * / and brackets\n', 'a sum\n'), 'utf-8')
    assert version('agents') != before


def test_a_toml_file_counts_by_its_values_and_a_table_by_its_bytes(package):
    config, table = package / 'pretrain' / 'configs' / 'tiny.toml', package / 'world' / 'facts.tsv'
    source, before = config.read_text('utf-8'), version('pretrain')
    config.write_text('# A comment.\n' + source, 'utf-8')
    assert version('pretrain') == before
    config.write_text('further = 1\n' + source, 'utf-8')
    assert version('pretrain') != before
    for named in ('world', 'world/facts.tsv'):
        before = version(named)
        table.write_text(table.read_text('utf-8') + '\n', 'utf-8')
        assert version(named) != before


class Links(Store):
    """A store whose links make nothing: its keys are those of the real ones."""

    def build(self, stage, settings, make, code=(), resumable=False):
        return super().build(stage, settings, lambda folder: {}, code)


TUNED = {'sft', 'chat', 'int4', 'scores', 'agent'}
TRAINED = TUNED | {'base', 'long', 'enhanced'}
ASKED = {'conversations', 'preferences'}
CHAIN = TRAINED | ASKED | {'crawl', 'corpus', 'tokenizer', 'tokens'}
REMADE = {
    'agents': {'agent'},
    'authoring': set(),
    'blocklist.py': CHAIN - ASKED,
    'data': CHAIN - ASKED - {'crawl'},
    'deploy': {'int4', 'scores', 'agent'},
    'align': {'chat', 'scores'},
    'evaluate': {'scores'},
    'finetune': TUNED,
    'grading': set(),
    'lab': set(),
    'marking.py': {'preferences', 'chat', 'scores', 'agent'},
    'model': TRAINED | {'tokenizer', 'tokens'},
    'model/chat.py': CHAIN,
    'pretrain': TRAINED,
    'report': set(),
    'staff': set(),
    'tokenfiles.py': TRAINED,
    'world/conversations.py': TUNED | {'conversations'},
    'verify.py': {'preferences', 'chat', 'scores'},
    'world/facts.tsv': CHAIN,
    'world/instructions.py': TUNED | ASKED,
    'world/noise.py': CHAIN - ASKED,
    'world/world.py': CHAIN,
}


def test_the_table_names_every_folder():
    assert set(FOLDERS) == {part.split('/')[0] for part in REMADE if '.' not in part or '/' in part}


@pytest.mark.parametrize('part', REMADE)
def test_what_a_change_of_a_part_makes_anew(package, tmp_path, part):
    """In a folder's __init__ or in a file that a stage names by itself; what is made from an artifact follows it."""
    def keys() -> dict[str, str]:
        code_version.cache_clear()
        course = Course(SCALES['tiny'], Links(tmp_path / 'runs'))
        course.scores(mine=True), course.agent(mine=True)
        return {stage: artifact.key for stage, artifact in course.made.items()}

    before = keys()
    file = package / part if '.' in part else package / part / '__init__.py'
    file.write_text((file.read_text('utf-8') if file.exists() else '') + '\nNUMBER = 1\n', 'utf-8')
    after = keys()
    assert set(before) == CHAIN
    assert {stage for stage in before if before[stage] != after[stage]} == REMADE[part]
