"""The whole chain with every real tool at scale smoke: it ends in a report card, and kill -9 changes not one bit of
it."""
import dataclasses
import json
import shutil
import subprocess

import pytest
from kills import run_killed, weights

from internlm_course import cli
from internlm_course.align.reward import CONDITIONS
from internlm_course.course import Course
from internlm_course.marking import is_correct
from internlm_course.model import load_model
from internlm_course.names import CHECKS, MODELS

pytestmark = pytest.mark.chain
STAGES = ['crawl', 'corpus', 'tokenizer', 'tokens', 'base', 'long', 'enhanced', 'conversations', 'sft', 'preferences',
          'chat', 'int4', 'scores', 'agent']


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp('undisturbed')
    run_killed('smoke', root, kills=0, span=0)
    return root


def test_report_card(undisturbed):
    card = json.loads((undisturbed / 'smoke' / 'report.json').read_text('utf-8'))
    assert sorted(stage['name'] for stage in card['stages']) == sorted(STAGES)
    assert not any(stage['cached'] for stage in card['stages'])
    assert card['seed'] == 0 and 'range' not in card, 'the range is of scale tiny'
    for name in MODELS:
        scores = card['models'][name]['scores']
        assert list(scores) == ['knowledge', 'language', 'reasoning', 'code', 'long', 'tools']
        for score in scores.values():
            assert 0 <= score['low'] <= score['score'] <= score['high'] <= 1 and score['n'] >= 8
        suites = card['models'][name]['suites']
        assert suites['reading']['n'] == suites['translation']['n'] == 8 and suites['reading']['chance'] >= 0.25
    for sample in card['samples']:
        assert sample['answer'] and sample['correct']['base'] == is_correct(sample['base'], sample['answer'])
    [quantized] = [stage['metrics'] for stage in card['stages'] if stage['name'] == 'int4']
    assert quantized['linear_bytes_after'] <= 0.30 * quantized['linear_bytes_before']
    [aligned] = [stage['metrics'] for stage in card['stages'] if stage['name'] == 'chat']
    assert set(aligned['checks']) == set(CHECKS) and len(aligned['steps']) == 2
    assert 0 < card['peak_memory_bytes'] < 4 * 2**30
    html = (undisturbed / 'smoke' / 'report.html').read_text('utf-8')
    assert '<svg' in html and 'http://' not in html.replace('http://www.w3.org', '') and '<script src' not in html


def test_again_fetches_everything(undisturbed):
    course = Course.open('smoke', undisturbed)
    card = course.card()
    assert all(stage['cached'] for stage in card['stages'])


def test_other_conversations_leave_pretraining_as_it_is(undisturbed):
    course = Course.open('smoke', undisturbed)
    course.scale = dataclasses.replace(course.scale, conversations=201)
    assert not course.conversations().cached and course.enhanced(mine=True).cached


def test_another_seed_shares_the_data(undisturbed):
    course = Course.open('smoke', undisturbed, seed=1)
    assert course.tokens().cached and course.conversations().cached
    base = course.base(mine=True)
    assert not base.cached
    shutil.rmtree(base.path)  # the test below compares the weights of every stage in this store


def test_cool_rlhf_beside_the_chain(undisturbed, capsys):
    """The reward model and PPO, which a run leaves out."""
    assert cli.main(['rlhf', '--scale', 'smoke', '--mine', '--root', str(undisturbed)]) == 0
    assert 'of 300 held-out questions' in capsys.readouterr().out
    course = Course.open('smoke', undisturbed)
    model, judge = course.rlhf(mine=True), course.reward(mine=True)
    assert model.cached and judge.cached
    assert model.metrics['verified']['n'] == 300 and len(model.metrics['curve']) == 2
    assert set(judge.metrics['agreement']) == set(CONDITIONS)
    load_model(model.path, 'float32'), load_model(judge.path, 'float32', reward=True)
    shutil.rmtree(model.path), shutil.rmtree(judge.path)  # as above


def test_killed_run_ends_bit_identical(undisturbed, tmp_path):
    """Three kills at random moments: the same weights to the bit."""
    lived = run_killed('smoke', tmp_path / 'killed', kills=3, span=45, weights_only=True)
    assert len(lived) == 3
    assert weights(tmp_path / 'killed') == weights(undisturbed)
    shutil.rmtree(tmp_path / 'killed')


def test_no_process_is_left(undisturbed):
    """After the runs above, whose tools were killed with their parents, none is still alive."""
    listed = subprocess.run(['ps', '-eo', 'args'], capture_output=True, text=True, check=True).stdout
    assert str(undisturbed) not in listed
