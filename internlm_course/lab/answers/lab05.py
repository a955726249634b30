"""Lab 5's own answers: preferences, PPO and GRPO in float64, small enough to read.

Log probabilities and advantages are arrays with a number for each token; rewards of GRPO have one for each reply."""
import math
import re
from collections.abc import Sequence

import numpy as np

MARGIN = 1e-3
"""How near to its bound a score counts at most, as in XTuner's reward model: at the bound the penalty is infinite."""
SMALL = 1e-6
"""Beside a deviation, so that a group of equal rewards has advantages of 0."""


def ranking_loss(better: float, worse: float, gamma: float) -> float:
    """Focal ranking loss of a pair's two scores, in nats (InternLM2 report, 4.2.1)."""
    p = 1 / (1 + math.exp(worse - better))
    return -((1 - 2 * max(0.0, p - 0.5)) ** gamma) * math.log(p)


def penalty(score: float, bound: float) -> float:
    """Log barrier that keeps a score between -bound and bound (InternLM2 report, 4.2.1)."""
    inside = min(max(score, MARGIN - bound), bound - MARGIN)
    return -math.log(bound + inside) - math.log(bound - inside)


def gae(rewards: Sequence[float], values: Sequence[float], gamma: float, lam: float) -> list[float]:
    """The advantage of each token of a reply (arXiv 1506.02438); behind the last token there is no reward to come."""
    advantages, advantage, ahead = [], 0.0, 0.0
    for reward, value in zip(reversed(rewards), reversed(values)):
        surprise = reward + gamma * ahead - value
        advantage = surprise + gamma * lam * advantage
        advantages.append(advantage)
        ahead = value
    return advantages[::-1]


def clipped_objective(new: np.ndarray, old: np.ndarray, advantages: np.ndarray, epsilon: float) -> float:
    """What PPO makes larger (arXiv 1707.06347), as a mean over tokens; `new`, `old`: their log probabilities."""
    ratio = np.exp(new - old)
    clipped = np.clip(ratio, 1 - epsilon, 1 + epsilon)
    return np.minimum(ratio * advantages, clipped * advantages).mean()


def kl_estimators(policy: np.ndarray, reference: np.ndarray) -> tuple[float, float, float]:
    """Schulman's k1, k2 and k3, means over tokens that the policy drew (joschu.net/blog/kl-approx.html)."""
    log_ratio = reference - policy
    return -log_ratio.mean(), (log_ratio**2).mean() / 2, (np.exp(log_ratio) - 1 - log_ratio).mean()


def group_advantages(rewards: Sequence[float], size: int, normalise: bool) -> np.ndarray:
    """GRPO's advantages (arXiv 2402.03300); each `size` neighbouring rewards are of one question's replies."""
    groups = np.array(rewards, float).reshape(-1, size)
    advantages = groups - groups.mean(axis=1, keepdims=True)
    if normalise:
        advantages = advantages / (groups.std(axis=1, keepdims=True) + SMALL)
    return advantages.reshape(-1)


def verified(reply: str, answer: int) -> bool:
    """Whether a reply to a sum deserves its reward: one line, at most one '=', and behind it one number, the answer."""
    text = reply.strip()
    numbers = [int(number) for number in re.findall(r'-?[0-9]+', text.rpartition('=')[2])]
    return '\n' not in text and text.count('=') <= 1 and numbers == [answer]


def diagnose(reward: Sequence[float], score: Sequence[float], margin: float) -> tuple[str, int]:
    """What a run's curves tell, by the means of their first and last quarters, and the step whose checkpoint to keep.

    Args:
        reward: of the reward model; score: verified, on held-out questions; one number a step each.
        margin: what a mean must change by to count.
    """
    quarter = max(len(reward) // 4, 1)
    rise, gain = (sum(curve[-quarter:]) / quarter - sum(curve[:quarter]) / quarter for curve in (reward, score))
    kind = ('learning' if gain > margin else 'hack' if rise > margin else 'collapse' if gain < -margin
            else 'standstill')
    return kind, list(score).index(max(score))
