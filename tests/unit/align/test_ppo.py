"""PPO's loop over real models, a few iterations of a few prompts: what it changes, and that a kill changes nothing."""
import dataclasses
import math

import pytest
import torch
from aligned_models import SFT, actor, write_reward

from internlm_course.align.ppo import PPO, PPOSettings, bounded, last_column, ppo, unsure
from internlm_course.align.reward import RewardModel
from internlm_course.align.rollout import asked
from internlm_course.model import load_model, load_tokenizer

SETTINGS = PPOSettings(iterations=4, warmup=1, queries=4, longest=8, batches=2, save_every=2, actor_rate=1e-4)
PROMPTS = [dict(talk=asked(text), domain=domain, start=0.5) for text, domain in (
    ('What is 12+30?', 'math'), ('What is the capital of France?', 'helpful'),
    ('Name the money of Zamoria.', 'harmless'),
    ('20+31等于多少？', 'math'), ('日本的首都是哪里？', 'helpful'), ('Who are you?', 'helpful'))]
PAGES = torch.randint(3, 200, (8, 17), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope='module')
def reward(tmp_path_factory):
    return write_reward(tmp_path_factory.mktemp('reward'))


def loop(reward, settings: PPOSettings = SETTINGS) -> PPO:
    return PPO(actor(), actor(), RewardModel(reward), load_model(reward, dtype=torch.float32, reward=True),
               load_tokenizer(SFT), settings)


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_to_the_same_bits(reward, tmp_path):
    whole, killed = loop(reward), tmp_path / 'killed'
    killed.mkdir()
    curve = ppo(whole, PROMPTS, PAGES, tmp_path)

    def kill(record: dict) -> None:
        if record['iteration'] == 4:
            raise Killed
    with pytest.raises(Killed):
        ppo(loop(reward), PROMPTS, PAGES, killed, kill)
    again = loop(reward)
    assert ppo(again, PROMPTS, PAGES, killed) == curve
    for one, other in ((whole.actor, again.actor), (whole.critic, again.critic)):
        assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values()))


def test_the_critic_learns_alone_at_first(reward, tmp_path):
    warm = loop(reward, dataclasses.replace(SETTINGS, iterations=2, warmup=2))
    before = [parameter.clone() for parameter in warm.critic.parameters()]
    ppo(warm, PROMPTS, PAGES, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(warm.actor.parameters(), actor().parameters()))
    assert any(not torch.equal(a, b) for a, b in zip(before, warm.critic.parameters()))


def test_only_the_reward_model_is_told_the_domain(reward, monkeypatch, tmp_path):
    """What the actor reads has no system message; what the reward model reads has the domain's."""
    from internlm_course.align import ppo as module
    read, judged = [], []
    sample = module.sample
    monkeypatch.setattr(module, 'sample', lambda model, tokenizer, talks, *rest: read.extend(talks) or sample(
        model, tokenizer, talks, *rest))
    told = loop(reward)
    judge = told.reward
    told.reward = lambda talks, replies, domains: judged.extend(domains) or judge(talks, replies, domains)
    told.iterate(0, PROMPTS[:4], PAGES[:2])
    assert {message['role'] for talk in read for message in talk} == {'user'}
    assert judged == [prompt['domain'] for prompt in PROMPTS[:4]]


def test_the_last_column_of_each_reply():
    said = torch.tensor([[0, 1, 1, 0], [0, 1, 0, 0], [0, 1, 1, 1]]).bool()
    assert last_column(said).tolist() == [2, 1, 3]


def test_only_what_the_actor_is_unsure_of_is_kept_with_the_score_of_its_own_reply(reward):
    from internlm_course.align.rollout import sample
    told = loop(reward)
    with torch.no_grad():
        told.actor.output.weight.mul_(0.1)  # so that it is unsure of everything
    kept = unsure(told, PROMPTS)
    assert [prompt['talk'] for prompt in kept] == [prompt['talk'] for prompt in PROMPTS]
    replies = sample(told.actor, told.tokenizer, [prompt['talk'] for prompt in kept], SETTINGS.longest, None).texts
    scores = told.judged([prompt['talk'] for prompt in kept], replies, kept)
    assert torch.allclose(scores, torch.tensor([prompt['start'] for prompt in kept]), atol=0.05)  # bf16
    with torch.no_grad():
        told.actor.output.weight.mul_(1000)  # and now of nothing
    assert unsure(told, PROMPTS) == []


def test_gains_are_bounded_and_small_ones_kept_in_proportion():
    """sigmoid(ln 3) = 3/4: half of the bound; near 0 half of the gain times the bound."""
    gains = torch.tensor([-30.0, 0.0, math.log(3), 0.01, 30.0])
    assert torch.allclose(bounded(gains, 2.0), torch.tensor([-2.0, 0.0, 1.0, 0.01, 2.0]), atol=1e-4)
    assert bounded(gains, 0.0) is gains
