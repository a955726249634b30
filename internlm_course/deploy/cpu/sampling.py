"""Sampling with a seed: LMDeploy's default op draws from torch's global generator and reads neither seed nor position,
as its CUDA kernel does.

A token depends on its own row alone: each candidate draws a number from (the request's seed, its position, its token
id), and the lowest in proportion to its probability wins (the exponential race, or Gumbel-max). So neighbours in the
batch change nothing, but for a logit that a larger product rounds otherwise, and that moves only a token that was about
to win; with one draw into cumulated probabilities it would move most. A row of NaN, at which torch.multinomial raises
for the whole batch, gets some token.
"""
import torch
from lmdeploy.pytorch.backends.multinomial_sampling import MultinomialSamplingBuilder, MultinomialSamplingImpl

# splitmix64's constants as signed integers
GOLDEN, FIRST, SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15


def mix(bits: torch.Tensor) -> torch.Tensor:
    """splitmix64's finaliser: int64 of any shape -> the same shape, every bit depending on every bit."""
    bits = (bits ^ _shift(bits, 30)) * FIRST
    bits = (bits ^ _shift(bits, 27)) * SECOND
    return bits ^ _shift(bits, 31)


def _shift(bits: torch.Tensor, by: int) -> torch.Tensor:
    """To the right, filled with zeros; torch fills with the sign."""
    return (bits >> by) & ((1 << 64 - by) - 1)


def uniform(seeds: torch.Tensor, positions: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """seeds, positions: (batch,) below 2^32, tokens: (batch, kept) -> numbers in (0, 1), (batch, kept) float64."""
    row = mix((seeds.long() << 32 | positions.long()) + GOLDEN)
    return (_shift(mix(row[:, None] + (tokens.long() + 1) * GOLDEN), 12).double() + 0.5) / 2 ** 52


class CpuMultinomialSampling(MultinomialSamplingImpl):
    """probabilities: (batch, kept), seeds and positions: (batch,), indices: (batch, kept) token ids -> (batch,) token
    ids."""

    def forward(self, probabilities, seeds, positions, indices):
        race = probabilities.double() / -uniform(seeds, positions, indices).log()
        return indices.gather(1, race.nan_to_num(0).argmax(1, keepdim=True)).view(-1)


class CpuMultinomialSamplingBuilder(MultinomialSamplingBuilder):
    @staticmethod
    def build():
        return CpuMultinomialSampling()
