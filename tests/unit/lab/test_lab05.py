"""Lab 5's own answers against XTuner's losses, the course's alignment and what the formulas say: what a student is
compared with is what the tools compute."""
import math

import numpy as np
import pytest
import torch

from internlm_course.align import losses
from internlm_course.lab.answers import lab05 as own

RNG = np.random.default_rng(0)


@pytest.mark.slow
def test_ranking_loss_and_penalty_are_xtuners():
    """Slow, since XTuner's imports take seconds."""
    from xtuner.model.reward import RewardModel
    better, worse = torch.tensor([3.0, -0.5, 1.0, 0.2]), torch.tensor([0.5, 1.5, 1.0, 0.1])
    theirs = RewardModel.focal_loss(None, better, worse, avg_factor=1)
    mine = sum(own.ranking_loss(*pair, 2) for pair in zip(better.tolist(), worse.tolist()))
    assert mine == pytest.approx(theirs.item(), rel=1e-5)
    scores = torch.tensor([0.0, 4.9, -4.9, 6.0, -6.0])
    theirs = RewardModel.log_barrier_penalty(None, scores, lower_bound=-5, upper_bound=5)
    assert sum(own.penalty(score, 5) for score in scores.tolist()) == pytest.approx(theirs.item(), rel=1e-4)


def test_the_barrier_is_even_and_lowest_in_the_middle():
    values = [own.penalty(score, 5.0) for score in np.linspace(-5, 5, 101)]
    assert np.allclose(values, values[::-1]) and min(values) == values[50] == pytest.approx(-2 * math.log(5))


def test_gae_between_its_ends():
    """With lam 0 the surprise of one step; with lam 1 all that still comes, less the value."""
    rewards, values = RNG.normal(size=6).tolist(), RNG.normal(size=6).tolist()
    come = [sum(0.9 ** (later - t) * rewards[later] for later in range(t, 6)) - values[t] for t in range(6)]
    assert own.gae(rewards, values, 0.9, 1.0) == pytest.approx(come)
    one = [reward + 0.9 * ahead - value for reward, value, ahead in zip(rewards, values, [*values[1:], 0])]
    assert own.gae(rewards, values, 0.9, 0.0) == pytest.approx(one)


def test_ppo_and_grpo_compute_the_same():
    rewards, values, old, new = (torch.tensor(RNG.normal(size=(1, 5))) for _ in range(4))
    said = torch.ones(1, 5, dtype=torch.bool)
    theirs = losses.generalised_advantages(rewards.float(), values.float(), said, discount=0.9, decay=0.8)
    assert own.gae(rewards[0].tolist(), values[0].tolist(), 0.9, 0.8) == pytest.approx(theirs[0].tolist(), rel=1e-5)
    loss = losses.clipped_objective(new, old, values, 0.2).mean().item()
    assert own.clipped_objective(new[0].numpy(), old[0].numpy(), values[0].numpy(), 0.2) == pytest.approx(-loss)
    theirs = losses.kl_estimates(new, old)
    mine = own.kl_estimators(new[0].numpy(), old[0].numpy())
    assert mine == pytest.approx([theirs[name].mean().item() for name in ('k1', 'k2', 'k3')])
    rewards = RNG.integers(0, 2, size=24).astype(float)
    theirs = losses.group_advantages(torch.tensor(rewards).view(3, 8))
    assert np.allclose(own.group_advantages(rewards.tolist(), 8, False), theirs.flatten())


def test_the_clipped_objective_has_no_slope_where_it_is_clipped():
    """By torch's own derivative of the same formula: none where a good token is likely enough, some where a bad one
    is."""
    old, advantages = RNG.normal(size=4), np.array([1.0, 1.0, -1.0, -1.0])
    new = torch.tensor(old + [0.5, -0.5, 0.5, -0.5], requires_grad=True)
    ratio = (new - torch.tensor(old)).exp()
    gains = torch.tensor(advantages)
    objective = torch.minimum(ratio * gains, ratio.clamp(0.8, 1.2) * gains).mean()
    objective.backward()
    assert own.clipped_objective(new.detach().numpy(), old, advantages, 0.2) == pytest.approx(objective.item())
    assert [slope != 0 for slope in new.grad.tolist()] == [False, True, True, False]


def test_k1_and_k3_are_right_on_average_and_k2_is_near():
    policy, reference = (torch.tensor(RNG.normal(size=5)).log_softmax(0) for _ in range(2))
    exact = torch.nn.functional.kl_div(reference, policy, log_target=True, reduction='sum').item()
    each = np.array([own.kl_estimators(np.array([p]), np.array([q])) for p, q in zip(policy, reference)])
    k1, k2, k3 = policy.exp().numpy() @ each
    assert k1 == pytest.approx(exact) and k3 == pytest.approx(exact) and 0 < k2 != pytest.approx(exact)
    assert (each[:, 1:] >= 0).all() and (each[:, 0] < 0).any()


def test_advantages_add_up_to_nothing_in_each_group():
    rewards = RNG.integers(0, 2, size=40).astype(float).tolist()
    for normalise in (False, True):
        groups = own.group_advantages(rewards, 8, normalise).reshape(5, 8)
        assert np.allclose(groups.sum(axis=1), 0)
    spread = np.array(rewards).reshape(5, 8).std(axis=1)
    assert np.allclose(groups.std(axis=1), spread / (spread + own.SMALL))
    assert not own.group_advantages([1.0] * 4, 4, True).any()


@pytest.mark.parametrize('reply, right', [
    ('85', True), ('37+48=85.', True), ('答案是85。', True), ('85\n', True), ('084 = 85', True), ('185', False),
    ('-85', False), ('84 85', False), ('84=85=85', False), ('37+48=85\nor 86', False), ('', False), ('8５', False)])
def test_what_the_verifier_lets_pass(reply: str, right: bool):
    assert own.verified(reply, 85) is right


def test_diagnoses():
    up, down, flat = [0.0, 0.1, 0.8, 0.9], [0.9, 0.8, 0.1, 0.0], [0.5, 0.4, 0.6, 0.5]
    assert [own.diagnose(reward, score, 0.2)[0] for reward, score in
            ((up, up), (down, up), (up, down), (up, flat), (down, down), (flat, flat))] == [
        'learning', 'learning', 'hack', 'hack', 'collapse', 'standstill']
    assert own.diagnose(up, [0.2, 0.9, 0.9, 0.1], 0.2)[1] == 1 and own.diagnose([1.0], [1.0], 0.1) == ('standstill', 0)
