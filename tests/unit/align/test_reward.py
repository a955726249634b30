"""The conditional reward model's reading: what it is shown, padding, agreement."""
import json

import pytest
import torch
from aligned_models import SFT, write_reward

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
    for name, rows in dict(first=PAIRS, mixed=[], practice=[], heldout=PAIRS).items():
        write(tmp_path / f'{name}.jsonl', rows)
    settings, out = RewardSettings(shuffle=False), tmp_path / 'out'
    found = reward.train(SFT, tmp_path, out, settings, tmp_path / 'home')
    assert given == dict(pairs=training_pairs(PAIRS), settings=settings)
    assert found['agreement'].keys() == {'math', 'code'} and found['steps'] == 1
    assert found['conflicts'] == sum(found['agreement'].values()) / 2
    assert found['scores'][0] < found['scores'][1]
    assert json.loads((out / 'metrics.json').read_text('utf-8')) == found


def test_pairs_of_its_own_replies_come_among_the_mixed_and_are_drawn_once(monkeypatch, tmp_path):
    own = dict(domain='helpful', question='What is 12+30?', chosen='42', rejected='41', conflict=False, own=True)
    drawn = []
    monkeypatch.setattr(reward, 'own_pairs', lambda model, tokenizer, cases, *rest: drawn.append(cases) or [own])
    monkeypatch.setattr(reward, 'reward', lambda checkpoint, pairs, out, *rest: write_reward(out) and {})
    for name, rows in dict(first=PAIRS, mixed=PAIRS[:1], practice=[own], heldout=PAIRS).items():
        write(tmp_path / f'{name}.jsonl', rows)
    for _ in range(2):
        reward.train(SFT, tmp_path, tmp_path / 'out', RewardSettings(), tmp_path / 'home')
    shown = [json.loads(line) for line in (tmp_path / 'out' / 'pairs.jsonl').read_text('utf-8').splitlines()]
    assert drawn == [[own]] and shown[:2] == training_pairs(PAIRS) and len(shown) == 4
    assert training_pairs([own])[0] in shown[2:]
