"""What PPO and GRPO compute, against definitions and numbers worked by hand."""
import math

import pytest
import torch

from internlm_course.align.losses import clipped_objective, generalised_advantages, group_advantages, kl_estimates


def test_advantages_by_hand():
    """Two tokens, reward 1 at the end, the critic expects 0.5 at both."""
    rewards, values = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.5]])
    said = torch.ones(1, 2, dtype=torch.bool)
    found = generalised_advantages(rewards, values, said, decay=0.99)
    assert found.tolist() == [pytest.approx([0.0 + 0.99 * 0.5, 0.5])]


@pytest.mark.parametrize('decay', [0.0, 0.5, 1.0])
def test_advantages_are_the_sum_of_what_surprised(decay: float):
    generator = torch.Generator().manual_seed(0)
    rewards, values = (torch.randn(3, 6, generator=generator) for _ in range(2))
    said = torch.tensor([[0, 1, 1, 1, 1, 1], [0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0]]).bool()
    found = generalised_advantages(rewards, values, said, decay=decay)
    for row in range(3):
        columns = said[row].nonzero()[:, 0].tolist()
        deltas = [rewards[row, t] + (values[row, t + 1] if t + 1 in columns else 0) - values[row, t] for t in columns]
        for index, column in enumerate(columns):
            expected = sum(decay ** k * delta for k, delta in enumerate(deltas[index:]))
            assert found[row, column].item() == pytest.approx(expected.item(), abs=1e-5)
        assert not found[row, ~said[row]].any()


def test_with_decay_1_they_are_the_return_less_the_value():
    rewards, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.3, -0.4, 9.0]])
    found = generalised_advantages(rewards, values, torch.ones(1, 3).bool(), decay=1.0)
    assert found.tolist() == [pytest.approx([6 - 0.3, 5 + 0.4, 3 - 9.0])]


def test_the_objective_stops_at_the_clip():
    old = torch.zeros(4)
    new = torch.tensor([1.5, 1.5, 0.5, 0.5]).log().requires_grad_()
    losses = clipped_objective(new, old, torch.tensor([1.0, -1.0, 1.0, -1.0]))
    assert losses.tolist() == pytest.approx([-1.2, 1.5, -0.5, 0.8])
    losses.sum().backward()
    # No further push where the ratio has gone far enough the right way; full where it has gone the wrong way.
    assert new.grad.tolist() == pytest.approx([0.0, 1.5, -0.5, 0.0])


def test_estimates_of_the_distance():
    """Averaged over what the new distribution draws, k1 and k3 give the KL exactly; k3 is never negative."""
    new, reference = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    exact = (new * (new / reference).log()).sum().item()
    found = kl_estimates(new.log(), reference.log())
    assert (new * found['k1']).sum().item() == pytest.approx(exact)
    assert (new * found['k3']).sum().item() == pytest.approx(exact)
    assert (found['k3'] >= 0).all() and (found['k1'] < 0).any()
    assert found['k2'].tolist() == pytest.approx([math.log(2.5) ** 2 / 2, math.log(1.5) ** 2 / 2, math.log(3) ** 2 / 2])


def test_group_advantages():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    assert group_advantages(rewards).tolist() == [[0.75, -0.25, -0.25, -0.25], [0.0] * 4]
    divided = group_advantages(rewards, divide=True)
    assert divided[0, 0].item() == pytest.approx(0.75 / 0.5, rel=1e-3)
    assert not divided[1].any()
