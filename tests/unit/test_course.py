"""The composition of the chain, over a store that makes nothing: what a seed changes, and what a report card
compares."""
import json

import pytest

from internlm_course import course as composed
from internlm_course.course import Course
from internlm_course.errors import CourseError
from internlm_course.finetune import SFTSettings
from internlm_course.names import MODELS
from internlm_course.pretrain.config import CONFIGS, read_config
from internlm_course.report import card
from internlm_course.scale import SCALES
from internlm_course.store import Artifact

DATA = ('crawl', 'corpus', 'tokenizer', 'tokens', 'conversations')
TRAINED = ('base', 'long', 'enhanced', 'sft')


class Plan:
    """A store that keeps what it is asked to build; an artifact's key is its settings."""
    home = None

    def __init__(self):
        self.settings, self.makers = {}, {}

    def build(self, stage, settings, make, code, resumable):
        self.settings[stage], self.makers[stage] = settings, make
        return Artifact(stage, json.dumps(settings, sort_keys=True, default=str), composed.STAFF, 0.0, 0, {}, True)


def planned(seed):
    course = Course(SCALES['tiny'], Plan(), seed=seed)
    course.sft(mine=True), course.conversations()
    return course


def test_a_seed_is_another_training_on_the_same_data():
    first, second = (planned(seed).store.settings for seed in (0, 1))
    assert set(first) == {*DATA, *TRAINED}
    assert {stage for stage in first if first[stage] != second[stage]} == set(TRAINED)
    assert [settings['sft']['seed'] for settings in (first, second)] == [0, 1]


def test_the_seed_reaches_every_phase_and_xtuner(monkeypatch, tmp_path):
    given = {}
    monkeypatch.setattr('internlm_course.tokenfiles.read_corpus', lambda path: ({}, {}))
    for place in ('loop.pretrain', 'predict.pretrain_as_predicted'):
        monkeypatch.setattr(f'internlm_course.pretrain.{place}',
                            lambda config, phase, *_, **__: given.update({phase.name: config.seed}) or {})
    monkeypatch.setattr('internlm_course.finetune.sft',
                        lambda start, conversations, out, settings, home, on_step: given.update(sft=settings) or {})
    course = planned(7)
    for stage in TRAINED:
        course.store.makers[stage](tmp_path)
    settings = given.pop('sft')
    assert isinstance(settings, SFTSettings) and settings.seed == 7
    assert given == dict.fromkeys(('short', 'long', 'enhancement'), read_config(CONFIGS / 'tiny.toml').seed + 7)


@pytest.mark.parametrize('seed', [-1, 2**31, 1.0, True, '1', None])
def test_what_is_no_seed_is_refused_before_anything_is_made(tmp_path, seed):
    with pytest.raises(CourseError, match='The seed cannot be .* whole number from 0'):
        Course.open('smoke', tmp_path / 'runs', seed=seed)
    assert not (tmp_path / 'runs').exists()


@pytest.mark.parametrize(('scale', 'mine', 'ranges', 'judged'), [
    ('tiny', True, {'base': {}}, True), ('tiny', False, {'base': {}}, False), ('smoke', True, {'base': {}}, False),
    ('tiny', True, {}, False)])
def test_only_a_tiny_run_of_ones_own_is_compared_with_the_range(monkeypatch, scale, mine, ranges, judged):
    metrics = dict(funnel=[], multiplication=dict(with_tools=dict(n=1), without_tools={}),
                   suites=dict.fromkeys(MODELS, {}), decode_tokens_per_second={})
    fake = Artifact('any', 'key', composed.STAFF, 1.0, 1, metrics, False)
    course = Course(SCALES[scale], Plan(), seed=2)
    course.made['any'] = fake
    for stage in ('scores', 'agent', *MODELS):
        monkeypatch.setattr(course, stage, lambda mine: fake)
    for stage in ('crawl', 'corpus'):
        monkeypatch.setattr(course, stage, lambda: fake)
    monkeypatch.setattr(card, 'samples_of', lambda items, predictions: [])
    monkeypatch.setattr(composed, 'read_ranges', lambda: ranges)
    found = course.card(mine)
    assert ('range' in found) is judged and found['seed'] == 2 and list(found['models']) == list(MODELS)
