"""RMSNorm with the rounding of transformers' InternLM2: the normalised state is rounded to bf16 before the weight
multiplies it.

LMDeploy's default multiplies in float32 and rounds once, which now and then moves a greedy token.
"""
import torch
from lmdeploy.pytorch.backends.norm import RMSNormBuilder, RMSNormImpl


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x: (..., hidden) in bf16 or fp16 -> the same shape and format."""
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return weight * wide.to(x.dtype)


class CpuRMSNorm(RMSNormImpl):
    def __init__(self, eps: float):
        self.eps = eps

    def forward(self, x, weight, residual=None):
        if residual is None:
            return rms_norm(x, weight, self.eps)
        residual = x + residual
        return rms_norm(residual, weight, self.eps), residual


class CpuRMSNormBuilder(RMSNormBuilder):
    @staticmethod
    def build(hidden_size, eps=1e-6):
        return CpuRMSNorm(eps)
