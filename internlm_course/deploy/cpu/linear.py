"""Linear layers on a CPU: bf16, AWQ INT4 and SmoothQuant INT8 weights, multiplied in the format that this CPU is fast
in.

Without AVX512-BF16 or AMX a bf16 GEMM runs many times slower than fp32 (see machine.py), and an fp16 GEMM nearly
everywhere, so weights are widened to float32 and the product is rounded back to the activation's format, which is what
a bf16 GEMM with its float32 accumulator does. INT4 is dequantised as LMDeploy's own reference does it. Wide copies are
kept while they fit WIDE_BYTES in all; past that each call widens anew.
"""
from collections.abc import Callable

import torch
import torch.nn.functional as F
from lmdeploy.pytorch.backends.awq_modules import LinearW4A16Builder, LinearW4A16Impl
from lmdeploy.pytorch.backends.default.awq_modules import dequantize_gemm
from lmdeploy.pytorch.backends.linear import LinearBuilder, LinearImpl
from lmdeploy.pytorch.backends.qmodules import LinearW8A8Builder, LinearW8A8Impl, RMSNormW8A8Builder, RMSNormW8A8Impl
from lmdeploy.pytorch.models.q_modules import QTensor
from lmdeploy.pytorch.nn.linear.awq import QKVAwqLinear

from internlm_course.deploy.cpu.norm import rms_norm
from internlm_course.machine import has_fast_bf16

WIDE_BYTES = 1 << 30


class WideWeight:
    """A layer's weight in the format it is multiplied in, remembered while all such copies of the process fit
    WIDE_BYTES."""

    held = 0

    def __init__(self):
        self.source, self.wide = None, None

    def get(self, source: torch.Tensor, widen: Callable[[], torch.Tensor]) -> torch.Tensor:
        if self.source is source:
            return self.wide
        wide = widen()
        if WideWeight.held + wide.nbytes <= WIDE_BYTES:
            WideWeight.held += wide.nbytes
            self.source, self.wide = source, wide
        return wide


class CpuLinear(LinearImpl):
    """y = x W^T + b; x: (..., in), W: (out, in)."""

    def __init__(self):
        self.weight = WideWeight()

    def forward(self, x, weight, bias=None, all_reduce=False, group=None, rank=0, scatter_size=None):
        if x.dtype == torch.float32 or x.dtype == torch.bfloat16 and has_fast_bf16():
            return F.linear(x, weight, bias)
        y = F.linear(x.float(), self.weight.get(weight, weight.float))
        if bias is not None:
            y += bias
        return y.to(x.dtype)


class CpuLinearBuilder(LinearBuilder):
    @staticmethod
    def build(in_features, out_features, bias=True, dtype=None):
        return CpuLinear()


class CpuLinearW4A16(LinearW4A16Impl):
    """AWQ: qweight (in, out / 8) int32, scales and zeros per group of `group_size` inputs; dequantised to fp16, then
    multiplied."""

    def __init__(self, w_bit: int, group_size: int):
        self.w_bit, self.group_size, self.weight = w_bit, group_size, WideWeight()

    def forward(self, x, qweight, scales, qzeros, bias=None, all_reduce=False, group=None):
        compute = torch.bfloat16 if has_fast_bf16() else torch.float32
        # Kept transposed, (out, in), for F.linear, whose kernel wants contiguous rows of the output features.
        weight = self.weight.get(
            qweight, lambda: dequantize_gemm(qweight, qzeros, scales, self.w_bit,
                                             self.group_size).t().to(compute).contiguous())
        y = F.linear(x.to(compute), weight)
        if bias is not None:
            y += bias
        return y.to(x.dtype)


class CpuLinearW4A16Builder(LinearW4A16Builder):
    @staticmethod
    def build(in_features, out_features, w_bit, group_size, bias=False, dtype=None):
        return CpuLinearW4A16(w_bit, group_size)


def quantise_rows(x: torch.Tensor) -> QTensor:
    """Each token's row scaled to int8 (SmoothQuant's dynamic per-token quantisation); x: (..., hidden)."""
    wide = x.float()
    scale = wide.abs().amax(-1, keepdim=True).clamp_min(1e-7) / 127
    return QTensor((wide / scale).round().clamp(-127, 127).to(torch.int8), scale)


class CpuLinearW8A8(LinearW8A8Impl):
    """int8 x int8 -> int32, then both scales; weight (out, in) int8, scale (out, 1) float32."""

    def __init__(self, dtype: torch.dtype | None):
        self.dtype = dtype or torch.float16

    def forward(self, x, weight, scale, bias=None, all_reduce=False, group=None):
        if isinstance(x, torch.Tensor):
            x = quantise_rows(x)
        rows = x.tensor.reshape(-1, x.tensor.shape[-1])
        y = torch._int_mm(rows, weight.t()).float().view(*x.tensor.shape[:-1], -1) * x.scale * scale.flatten()
        if bias is not None:
            y += bias
        return y.to(self.dtype)


class CpuLinearW8A8Builder(LinearW8A8Builder):
    @staticmethod
    def build(in_features, out_features, bias=True, dtype=None, quant_dtype=torch.int8):
        return CpuLinearW8A8(dtype)


class CpuRMSNormW8A8(RMSNormW8A8Impl):
    """RMSNorm whose output is already quantised for the linear layer behind it."""

    def __init__(self, eps: float):
        self.eps = eps

    def forward(self, x, weight, residual=None):
        if residual is None:
            return quantise_rows(rms_norm(x, weight, self.eps))
        residual = x + residual
        return quantise_rows(rms_norm(residual, weight, self.eps)), residual


class CpuRMSNormW8A8Builder(RMSNormW8A8Builder):
    @staticmethod
    def build(hidden_size, eps=1e-6, quant_dtype=torch.int8):
        return CpuRMSNormW8A8(eps)


def install() -> None:
    """Lets INT4's loader cut the bias of wqkv as it cuts its scales."""
    cut = QKVAwqLinear.weight_spliter_s

    def cut_rows(self, loaded, layout='default'):
        return cut(self, loaded, layout) if loaded.dim() > 1 else [part[0] for part in cut(self, loaded[None], layout)]

    QKVAwqLinear.weight_spliter_s = cut_rows
