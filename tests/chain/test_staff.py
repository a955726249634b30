"""The checkpoints that ship: scored by OpenCompass, served by LMDeploy, used by Lagent, they hold the figures that the course promises."""
import json

import pytest

from internlm_course.course import STAFF, Course

pytestmark = pytest.mark.chain


@pytest.fixture(scope='module')
def course(tmp_path_factory):
    return Course.open('tiny', tmp_path_factory.mktemp('staff'))


@pytest.fixture(scope='module')
def suites(course):
    return course.scores().metrics['suites']


@pytest.mark.parametrize('model', ['base', 'long'])
@pytest.mark.parametrize('suite, least', [('knowledge', 0.90), ('addition', 0.65), ('code', 0.85), ('needle_short', 0.90)])
def test_pretrained(suites, model, suite, least):
    measured = suites[model][suite]
    assert measured['n'] >= 100
    assert measured['score'] >= least, measured
    assert measured['score'] > measured['chance'] + 0.3


def test_long_phase_finds_the_needle_beyond_the_first_context(suites):
    assert suites['base']['needle_long']['score'] <= 0.60
    assert suites['long']['needle_long']['score'] >= 0.85


def test_chat_loses_nothing(course):
    models = course.card(mine=False)['models']
    for dimension, base in models['base']['scores'].items():
        assert models['sft']['scores'][dimension]['score'] >= base['score'] - 0.05, dimension


def test_int4(course):
    models = course.card(mine=False)['models']
    mean = {name: sum(s['score'] for s in models[name]['scores'].values()) / 6 for name in ('sft', 'int4')}
    assert mean['int4'] >= mean['sft'] - 0.03
    metrics = course.int4().metrics
    assert metrics['linear_bytes_after'] <= 0.30 * metrics['linear_bytes_before']


def test_agent(course):
    results = course.agent().metrics['multiplication']
    assert results['with_tools']['n'] >= 100
    assert results['with_tools']['score'] >= 0.80 and results['without_tools']['score'] <= 0.20


def test_items_are_held_out_of_what_staff_saw(course):
    """The conversations that staff were tuned on ask no evaluation item."""
    crawl = course.crawl().path
    asked = {json.loads(line)['messages'][0]['content'] for line in (crawl / 'sft.jsonl').read_text('utf-8').splitlines()}
    items = [json.loads(line) for file in (crawl / 'items').glob('*.jsonl') for line in file.read_text('utf-8').splitlines()]
    assert len(items) >= 8 * 100 and not asked & {item['question'] for item in items}


@pytest.mark.parametrize('name', ['base', 'long', 'sft'])
def test_small_and_documented(name):
    folder = STAFF / 'tiny' / name
    assert (folder / 'model.safetensors').stat().st_size < 10e6
    assert 'make run' in (STAFF / 'README.md').read_text('utf-8')
    assert json.loads((folder / 'metrics.json').read_text('utf-8'))
