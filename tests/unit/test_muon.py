"""Muon: its iteration against the SVD, its step against the SVD and against torch's own Muon."""
import math

import pytest
import torch

from internlm_course.pretrain.muon import RMS, Muon, orthogonalize

LOW, HIGH = 0.68, 1.21  # where singular values end that begin above 1/600 of the matrix's norm
SHAPES = [(24, 24), (16, 48), (48, 16), (1, 9), (9, 1)]


def _parts(rows: int, columns: int, least: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """U [rows, k], S [k] in even ratios from 1 down to `least`, V' [k, columns], in fp64; k is the smaller side."""
    rng, k = torch.Generator().manual_seed(seed), min(rows, columns)
    left, right = (torch.linalg.qr(torch.randn(side, k, generator=rng).double()).Q for side in (rows, columns))
    return left, torch.logspace(0, math.log10(least), k, dtype=torch.float64), right.mT


def _ends(found: torch.Tensor, left: torch.Tensor, right: torch.Tensor, tolerance: float) -> torch.Tensor:
    """The diagonal of U' found V, once `found` is nothing else: the same singular vectors, up to `tolerance`."""
    inside = left.mT @ found.to(left.dtype) @ right.mT
    ends = inside.diagonal()
    assert (found - (left * ends) @ right).abs().max() <= tolerance
    return ends


def _near_one(ends: torch.Tensor) -> bool:
    return bool(ends.min() >= LOW and ends.max() <= HIGH)


@pytest.mark.parametrize('rows, columns', [(2, 3), (24, 24), (16, 48), (32, 512)])
def test_orthogonalize_sets_every_singular_value_near_one(rows, columns):
    """Twenty random matrices in fp32, whose smallest singular value is a hundredth of the first; 1e-5 is rounding.

    Stacked with sizes from 1e-3 to 1e3: normed all together instead of each alone, the small ones would stay small.
    """
    parts = [_parts(rows, columns, 1e-2, seed) for seed in range(20)]
    sizes = torch.logspace(-3, 3, len(parts), dtype=torch.float64)
    matrices = [size * (left * values) @ right for size, (left, values, right) in zip(sizes, parts)]
    for found, (left, values, right) in zip(orthogonalize(torch.stack(matrices).float()), parts):
        assert values.min() > values.norm() / 600
        assert _near_one(_ends(found, left, right, 1e-5))


def test_orthogonalize_of_an_ill_conditioned_matrix():
    """Singular values down to 1e-8 of the first, in fp64: those above 1/600 of the norm end near 1.

    Those below are lifted 400 to 485 times, the slope of the iteration at 0: not one is lost, none overshoots.
    """
    left, values, right = _parts(40, 64, 1e-8)
    ends, shares = _ends(orthogonalize(((left * values) @ right)[None])[0], left, right, 1e-9), values / values.norm()
    near = shares > 1 / 600
    assert 10 < near.sum() < 30 and _near_one(ends[near])
    lifted = ends[~near] / shares[~near]
    assert lifted.min() >= 400 and lifted.max() <= 485


def test_orthogonalize_of_nothing():
    """A gradient of zeros (a head that no token reached) moves nothing, rather than to NaN."""
    assert torch.equal(orthogonalize(torch.zeros(2, 3, 5)), torch.zeros(2, 3, 5))


@pytest.mark.parametrize('rows, columns', SHAPES)
def test_a_first_step_turns_wide_and_high_matrices_alike(rows, columns):
    """It is -lr * RMS * sqrt(larger side) * U V' of the gradient, whichever side that is: its RMS is about lr * RMS."""
    left, values, right = _parts(rows, columns, 1 / 50)
    begun = torch.randn(rows, columns, generator=torch.Generator().manual_seed(1))
    parameter = torch.nn.Parameter(begun.clone())
    parameter.grad = ((left * values) @ right).float()
    Muon([parameter], lr=0.1).step()
    step = (parameter.detach() - begun) / -(0.1 * RMS * max(rows, columns)**0.5)
    assert _near_one(_ends(step, left, right, 1e-5))
    assert LOW <= (parameter.detach() - begun).square().mean().sqrt() / (0.1 * RMS) <= HIGH


@pytest.mark.skipif(not hasattr(torch.optim, 'Muon'), reason='torch.optim.Muon came with torch 2.9')
def test_steps_are_those_of_torch(monkeypatch):
    """Five steps, with momentum, decay, a rate that changes, and a matrix without a gradient.

    torch's iteration computes in bf16, half a percent of a step away; kept in fp32, it is rounding away, 1e-5 at most.
    """
    monkeypatch.setattr(torch.Tensor, 'bfloat16', torch.Tensor.clone)
    rng = torch.Generator().manual_seed(0)
    begun = [torch.randn(shape, generator=rng) for shape in (*SHAPES, *SHAPES, (5, 5))]
    ours, theirs = ([torch.nn.Parameter(matrix.clone()) for matrix in begun] for _ in range(2))
    settings = dict(momentum=0.9, weight_decay=0.3)
    optimizers = Muon(ours, **settings), torch.optim.Muon(theirs, adjust_lr_fn='match_rms_adamw', **settings)
    for rate in (0.3, 0.2, 0.1, 0.1, 0.05):
        for a, b in zip(ours[:-1], theirs):
            a.grad = torch.randn(a.shape, generator=rng)
            b.grad = a.grad.clone()
        for optimizer in optimizers:
            optimizer.param_groups[0]['lr'] = rate
            optimizer.step()
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    assert torch.equal(ours[-1], begun[-1])
    assert all((a - matrix).abs().max() > 0.1 for a, matrix in zip(ours[:-1], begun))
