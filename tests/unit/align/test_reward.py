"""The conditional reward model's reading: what it is shown, padding, agreement."""
import json

import pytest
import torch
from aligned_models import write_reward

from internlm_course.align import reward
from internlm_course.align.reward import CONDITIONS, RewardModel, condition, training_pairs
from internlm_course.align.rollout import asked
from internlm_course.finetune.preference import RewardSettings
from internlm_course.jsonl import write

PAIRS = [dict(domain='math', question='What is 12+30?', chosen='12+30=42', rejected='42', conflict=True),
         dict(domain='code', question='What is 12+30?', chosen='42', rejected='12+30=42', conflict=True)]


@pytest.fixture(scope='module')
def judge(tmp_path_factory):
    return RewardModel(write_reward(tmp_path_factory.mktemp('reward')))


def test_scores_do_not_depend_on_neighbours(judge):
    talks, replies = [asked('Hi'), asked('What is the capital of France?')], ['Hello!', ' Paris']
    together = judge(talks, replies, ['helpful', None])
    alone = torch.cat([judge([talk], [reply], [domain])
                       for talk, reply, domain in zip(talks, replies, ['helpful', None])])
    assert torch.allclose(together, alone, atol=1e-4)


def test_the_domain_changes_the_score(judge):
    scores = [judge([asked('Hi')], ['Hello!'], [domain]).item() for domain in (None, *CONDITIONS)]
    assert len({round(score, 5) for score in scores}) == len(scores)


def test_unconditional_agreement_on_a_conflict_is_a_half(judge):
    """The same two replies with the places changed: without the domain one of the two must be wrong."""
    assert judge.agreement(PAIRS, conditional=False) == 0.5


def test_training_pairs_are_told_the_domain_as_the_judge_is():
    told, plain = training_pairs(PAIRS[:1]), training_pairs(PAIRS[:1], conditional=False)
    assert told[0]['prompt'] == condition('math', asked('What is 12+30?'))
    assert [message['role'] for message in told[0]['prompt']] == ['system', 'user']
    assert [message['role'] for message in plain[0]['prompt']] == ['user']
    assert told[0]['chosen'] == [dict(role='assistant', content='12+30=42')]


def test_training_measures_by_domain_and_on_conflicts(monkeypatch, tmp_path):
    """XTuner's part is left out (tests/chain/test_preference_runs.py): what is given to it, and what is measured."""
    given = {}

    def trained(checkpoint, pairs, out, settings, home, on_step):
        given.update(pairs=[json.loads(line) for line in pairs.read_text('utf-8').splitlines()], settings=settings)
        write_reward(out)
        return dict(steps=1)
    monkeypatch.setattr(reward, 'reward', trained)
    for name in ('train', 'heldout'):
        write(tmp_path / f'{name}.jsonl', PAIRS)
    settings = RewardSettings(shuffle=False)
    found = reward.train('sft', tmp_path, tmp_path / 'out', settings, tmp_path / 'home')
    assert given == dict(pairs=training_pairs(PAIRS), settings=settings)
    assert found['agreement'].keys() == {'math', 'code'} and found['steps'] == 1
    assert found['conflicts'] == sum(found['agreement'].values()) / 2
    assert found['scores'][0] < found['scores'][1]
    assert json.loads((tmp_path / 'out' / 'metrics.json').read_text('utf-8')) == found
