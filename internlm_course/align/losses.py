"""What PPO and GRPO compute, each formula a function on tensors [rows, columns], a column for each token."""
import torch


def generalised_advantages(rewards: torch.Tensor, values: torch.Tensor, said: torch.Tensor, discount: float = 1.0,
                           decay: float = 0.99) -> torch.Tensor:
    """GAE (arXiv:1506.02438): how much better each token was than the critic expected, [rows, columns].

    delta_t = r_t + discount * V_(t+1) - V_t, and the advantage is the sum of the deltas from t on, each `decay` *
    discount less than the one before. Behind the last token said the value is 0.

    Args:
        rewards, values: float [rows, columns]; said: bool, True in one run of columns of each row.
        decay: lambda; 0.99 in the InternLM2 report, 4.3.
    """
    advantages, after, value_after = torch.zeros_like(values), torch.zeros(len(values)), torch.zeros(len(values))
    for column in reversed(range(values.shape[1])):
        real = said[:, column]
        delta = rewards[:, column] + discount * value_after - values[:, column]
        after = torch.where(real, delta + discount * decay * after, 0.0)
        value_after = torch.where(real, values[:, column], 0.0)
        advantages[:, column] = after
    return advantages


def clipped_objective(log_new: torch.Tensor, log_old: torch.Tensor, advantages: torch.Tensor,
                      clip: float = 0.2) -> torch.Tensor:
    """PPO's loss of each token (arXiv:1707.06347): -min(ratio * A, clip(ratio, 1 - clip, 1 + clip) * A), where ratio is
    the token's probability now over that when it was drawn."""
    ratio = (log_new - log_old).exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)


def kl_estimates(log_new: torch.Tensor, log_reference: torch.Tensor) -> dict[str, torch.Tensor]:
    """Three estimates of KL(new || reference) from tokens drawn from new: k1 = log ratio, without bias and often
    negative; k2 = half its square; k3 = exp(-k1) - 1 + k1, without bias and never negative (Schulman 2020)."""
    k1 = log_new - log_reference
    return dict(k1=k1, k2=k1.square() / 2, k3=(-k1).exp() - 1 + k1)


def group_advantages(rewards: torch.Tensor, divide: bool = False) -> torch.Tensor:
    """GRPO's advantages: a reply's reward less the mean of its group's, [groups, size] -> the same.

    `divide`: by the group's standard deviation as well, as DeepSeekMath did (arXiv:2402.03300); it makes groups in
    which nearly all replies are right, or wrong, the loudest (Dr. GRPO, arXiv:2503.20783).
    """
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, keepdim=True) + 1e-4) if divide else centred
