"""Muon: gradient descent for matrices, whose every step turns all directions of a matrix by the same amount.

AdamW scales each number of a gradient alone; Muon takes the averaged gradient as a matrix U S V' and steps along U V'.
What a gradient says faintly then counts as much as what it says loudly. For the tiny model that is what makes attention
learn to copy (labs/LOG.md). torch.optim.Muon computes in bf16, which a CPU without bf16 instructions only imitates, and
takes matrices one by one; this one computes in their own format, those of a shape together.

Source: Keller Jordan, Muon: An optimizer for hidden layers in neural networks (2024); scale of the step:
arXiv 2502.16982, section 2.2.
"""
from collections import defaultdict
from collections.abc import Iterable

import torch

# Coefficients of the iteration (Keller Jordan): they lift small singular values fastest, rather than take all to 1.
QUINTIC = 3.4445, -4.7750, 2.0315
ITERATIONS = 5
RMS = 0.2  # of a step at learning rate 1, which is about AdamW's: so the two can share one schedule


def orthogonalize(matrices: torch.Tensor) -> torch.Tensor:
    """U V' of each matrix U S V', roughly, by Newton and Schulz's iteration; [n, rows, columns], rows <= columns.

    Singular values above 1/600 of a matrix's norm end between 0.68 and 1.21; smaller shares grow 400- to 485-fold.
    """
    a, b, c = QUINTIC
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


class Muon(torch.optim.Optimizer):
    """Steps of lr * RMS * sqrt(larger side) * U V' of the averaged gradient, after weight decay; Nesterov's momentum.

    Args:
        params: matrices [rows, columns], or groups of them; under FSDP2 each rank gathers a gradient whole.
        momentum: weight of the gradients before in the average.
    """

    def __init__(self, params: Iterable, lr: float = 0.0, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            alike = defaultdict(list)  # matrices of one shape, wider than high, are multiplied together
            for parameter in group['params']:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state['momentum_buffer'] = torch.zeros_like(parameter)
                state['momentum_buffer'].lerp_(parameter.grad, 1 - group['momentum'])
                update = _whole(parameter.grad.lerp(state['momentum_buffer'], group['momentum']))
                high = update.shape[0] > update.shape[1]
                alike[(update.mT if high else update).shape].append((parameter, update.mT if high else update, high))
            for (_, columns), members in alike.items():
                directions = orthogonalize(torch.stack([update for _, update, _ in members]))
                for (parameter, _, high), direction in zip(members, directions):
                    parameter.mul_(1 - group['lr'] * group['weight_decay'])
                    step = _like(direction.mT if high else direction, parameter)
                    parameter.add_(step, alpha=-group['lr'] * RMS * columns**0.5)


def _whole(matrix: torch.Tensor) -> torch.Tensor:
    """A matrix that ranks hold in parts, gathered; any other as it is."""
    return matrix.full_tensor() if hasattr(matrix, 'full_tensor') else matrix


def _like(matrix: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """The matrix divided among the ranks as the parameter is."""
    if not hasattr(parameter, 'full_tensor'):
        return matrix
    from torch.distributed.tensor import distribute_tensor
    return distribute_tensor(matrix.contiguous(), parameter.device_mesh, parameter.placements)
