"""What this computer can do: the number format that its CPU computes fast in."""
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


@cache
def has_fast_bf16() -> bool:
    """Whether the CPU multiplies bf16 matrices in hardware (AMX, AVX512-BF16, AVX2-VNNI-2), and does not merely imitate
    it.

    oneDNN says no on AVX2 alone, where bf16 is far slower than fp32. It says yes on every AVX-512, but without
    AVX512-BF16 it converts there, and is several times slower than fp32 as well.
    """
    import torch
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    return (not torch.cpu._is_avx512_supported() or torch.cpu._is_avx512_bf16_supported()
            or torch.cpu._is_amx_tile_supported())


def cpu_dtype() -> str:
    """'bfloat16' where the CPU has it in hardware, else 'float32': what training, serving and evaluation compute in on
    a CPU."""
    return 'bfloat16' if has_fast_bf16() else 'float32'


def training_dtype() -> str:
    """'bfloat16' on a GPU, and where the CPU has it in hardware; else 'float32'."""
    import torch
    return 'bfloat16' if torch.cuda.is_available() else cpu_dtype()


@contextmanager
def kept_memory() -> Iterator[bool]:
    """While it lasts, the C library keeps the memory that tensors leave; then it gives all back to the system.

    True where it obeys (glibc). A training step frees and asks for the same blocks again. Given back and fetched anew,
    page by page, they cost a good part of the step; its result is the same to the bit. Not given back at the end, they
    would add to the peak of all that follows.
    """
    import ctypes
    libc = ctypes.CDLL(None) if sys.platform == 'linux' else None
    if not hasattr(libc, 'mallopt') or not hasattr(libc, 'malloc_trim'):
        yield False
        return
    libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
    libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
    try:
        yield True
    finally:
        # As far as glibc's own adjustment goes, which the calls above turned off
        libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(M_TRIM_THRESHOLD, 64 << 20)
        trim_memory()


@contextmanager
def deterministic() -> Iterator[None]:
    """While it lasts, a CPU adds up in one order, run after run: a compiled step's threads else add to the embedding's
    gradient as they come.

    Nothing changes where there is a GPU: there the mode refuses kernels, and matrix products too unless an environment
    variable is set. It would also fill every new tensor with NaN, to show reads of memory never written: too dear in
    XTuner's loop.
    """
    import torch
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    if not torch.cuda.is_available():
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.utils.deterministic.fill_uninitialized_memory = before[1]


def trim_memory() -> None:
    """Returns freed memory to the system, where the C library can (glibc)."""
    import ctypes
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def give_back() -> None:
    """Returns what nothing refers to any more to the system, as far as the C library can (`trim_memory`)."""
    import gc
    gc.collect()
    trim_memory()


@cache
def can_compile(device: str = 'cpu') -> bool:
    """Whether torch.compile works here: on a CPU it needs a C++ compiler, on a GPU Triton. Tried on one addition, some
    seconds."""
    import logging

    import torch
    from torch._inductor import config
    logging.getLogger('torch.utils.cpp_extension').setLevel(logging.ERROR)  # it warns of a CUDA compiler without a GPU
    config.compile_threads = 1  # the compiler's pool of processes would take more memory than the training
    try:
        return bool(torch.compile(lambda x: x + 1)(torch.zeros(8, device=device)).eq(1).all())
    except Exception:  # whatever is missing, the step runs uncompiled
        return False
