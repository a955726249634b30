"""Muon (Keller Jordan, 2024): momentum whose update is made orthogonal, for matrices; torch's own works in bf16, which a CPU without
bf16 instructions multiplies many times slower than fp32, hence this one."""
import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic whose iteration drives all singular values towards 1 (Jordan's post)


def orthogonalize(matrix: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """The nearest matrix with singular values close to 1, [rows, columns], by Newton-Schulz iteration in the matrix's own number format."""
    a, b, c = COEFFICIENTS
    x = matrix / (matrix.norm() + 1e-7)
    x = x.T if matrix.shape[0] > matrix.shape[1] else x
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, b * gram + c * gram @ gram, x, beta=a)
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalized, scaled by 0.2 sqrt(longer side) so that a step is as long as AdamW's (Moonlight, arXiv 2502.16982).

    Args:
        params: matrices only.
    """

    def __init__(self, params, lr: float = 0.0, momentum: float = 0.95, weight_decay: float = 0.1):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self) -> None:
        """One update of every matrix from its gradient."""
        for group in self.param_groups:
            for parameter in group['params']:
                state = self.state[parameter]
                average = state.setdefault('momentum', torch.zeros_like(parameter))
                average.lerp_(parameter.grad, 1 - group['momentum'])
                update = orthogonalize(parameter.grad.lerp(average, group['momentum']))
                parameter.mul_(1 - group['lr'] * group['weight_decay'])
                parameter.add_(update, alpha=-group['lr'] * 0.2 * max(update.shape) ** 0.5)
