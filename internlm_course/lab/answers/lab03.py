"""Lab 3's own answers: the parts of pre-training in numpy and float64, small enough to read; the tests hold them
against the model and the loop.

Arrays: q [heads, length, d]; k, v [kv_heads, length, d]; a row of `x` or a position is a token.
"""
import math
from collections.abc import Collection, Sequence

import numpy as np

STATES = dict(weights=2, gradients=2, states=12)
"""Bytes a parameter in mixed-precision AdamW: 16-bit weights and gradients; fp32 master weights and two moments."""


def rope(x: np.ndarray, theta: float) -> np.ndarray:
    """Turns row m of x [length, d] by m: pair (i, i + d/2) by the angle m * theta^(-2i/d)."""
    length, d = x.shape
    angle = np.arange(length)[:, None] * theta ** (-2 * np.arange(d // 2) / d)
    first, second = x[:, :d // 2], x[:, d // 2:]
    return np.concatenate([first * np.cos(angle) - second * np.sin(angle),
                           second * np.cos(angle) + first * np.sin(angle)], axis=1)


def split_wqkv(wqkv: np.ndarray, heads: int, kv_heads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """wqkv [(heads + 2 * kv_heads) * d, width] -> q [heads * d, width], k and v [kv_heads * d, width]."""
    rows, width = wqkv.shape
    groups = wqkv.reshape(kv_heads, heads // kv_heads + 2, rows // (heads + 2 * kv_heads), width)
    return groups[:, :-2].reshape(-1, width), groups[:, -2].reshape(-1, width), groups[:, -1].reshape(-1, width)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Causal attention of grouped queries; like q [heads, length, d]."""
    groups, length = len(q) // len(k), q.shape[1]
    k, v = np.repeat(k, groups, axis=0), np.repeat(v, groups, axis=0)
    scores = np.where(np.tri(length, dtype=bool), q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1]), -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


def learning_rate(step: int, steps: int, warmup: int, peak: float, floor: float) -> float:
    """Linear warm-up over `warmup` steps, then a cosine from the peak to `floor` of it."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (floor + (1 - floor) * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2)


def bits_per_byte(nats: Sequence[float], text: str) -> float:
    """Bits of all tokens over the text's bytes; `nats`: the loss of each token."""
    return sum(nats) / math.log(2) / len(text.encode())


def slow_pairs(d: int, theta: float, context: int) -> int:
    """Pairs of RoPE in a head of width d that do not complete a turn within `context` tokens."""
    return sum(2 * math.pi * theta ** (2 * i / d) > context for i in range(d // 2))


def mfu(weights: int, layers: int, width: int, length: int, tokens_per_second: float, peak: float) -> float:
    """Model FLOPs utilisation with attention halved for the mask; `weights`: those in matrices."""
    return tokens_per_second * (6 * weights + 6 * layers * width * length) / peak


def card_bytes(parameters: int, cards: int, cut: Collection[str] = ()) -> dict[str, float]:
    """Bytes of weights, gradients and states on each of `cards`, those named in `cut` split over them (ZeRO, arXiv
    1910.02054)."""
    return {name: parameters * each / (cards if name in cut else 1) for name, each in STATES.items()}
