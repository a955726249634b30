"""What this computer can do: the number format that its CPU computes fast in."""
import sys
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


@cache
def has_fast_bf16() -> bool:
    """Whether the CPU multiplies bf16 matrices in hardware; on AVX2 alone oneDNN declines.

    Measured there: 5 times slower than fp32 as a linear layer, 160 times as a plain product.
    """
    import torch
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def cpu_dtype() -> str:
    """'bfloat16' where the CPU has it in hardware, else 'float32': what training, serving and evaluation compute in on a CPU."""
    return 'bfloat16' if has_fast_bf16() else 'float32'


def training_dtype() -> str:
    """'bfloat16' on a GPU, and where the CPU has it in hardware; else 'float32'."""
    import torch
    return 'bfloat16' if torch.cuda.is_available() else cpu_dtype()


@cache
def keep_memory() -> bool:
    """Tells the C library to keep the memory that tensors leave instead of giving it back to the system; True where it obeys (glibc).

    A training step frees and asks for the same blocks again. Given back and fetched anew, page by page, they cost a seventh of the step: 24.4k
    tokens a second at the tiny size, 28.6k with this, the same to the bit. Memory's peak does not change, only its fall after it.
    """
    import ctypes
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    return bool(mallopt and mallopt(M_MMAP_THRESHOLD, 1 << 30) and mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1))
