"""How well training uses the machine: MFU, the share of the peak arithmetic rate that goes into the model's own matrix
products.

    MFU = floating-point operations of the model per token * tokens per second / peak operations per second
"""
import statistics
import time

import torch

from internlm_course.model.checkpoint import matmul_parameters

# Dense bf16 with fp32 sums, per second, from NVIDIA's data sheets (A100 80GB; H100 and H200 SXM, half of the figure
# "with sparsity").
GPUS = {'A100': 312e12, 'H100 80GB HBM3': 989e12, 'H200': 989e12}


def flops_per_token(config, length: int, causal: bool = True) -> float:
    """Operations of one token's forward and backward pass in rows of `length` tokens; a multiplication and an addition
    are two.

        6 N + 12 L h s      N: matmul_parameters, L: layers, h: hidden_size, s: length

    6 N: forward 2 N; backward twice that, for the inputs' gradients and the weights'. 12 L h s: a token's queries times
    s keys, and its weights times s values, are 2 h s each in a layer, three times for both passes. `causal` halves this
    term, as a token sees (s + 1) / 2 on average: what must be done rather than what a dense kernel does. Norms,
    softmax, RoPE, the loss and recomputation (activation checkpointing) are not counted.
    Source: PaLM (arXiv 2204.02311, appendix B), which does not halve.
    """
    return (6 * matmul_parameters(config)
            + 12 * config.num_hidden_layers * config.hidden_size * length * (0.5 if causal else 1))


def gemm_flops(device: str = 'cpu', dtype: str = 'bfloat16', size: int = 2048, seconds: float = 1.0) -> float:
    """Operations per second of a square matrix product [size, size]: the median over `seconds`, at least five products
    after two to warm up."""
    a, b = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
    times, end = [], time.perf_counter() + seconds
    while len(times) < 7 or time.perf_counter() < end:
        began = time.perf_counter()
        a @ b
        if device != 'cpu':
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return 2 * size**3 / statistics.median(times[2:])


def peak_flops(device: str = 'cpu', dtype: str = 'bfloat16') -> float:
    """The peak in operations per second: of a GPU in `GPUS` its data sheet's, of a CPU or another GPU what a large
    matrix product reaches."""
    if device != 'cpu' and dtype == 'bfloat16':
        name = torch.cuda.get_device_name()
        known = next((peak for part, peak in GPUS.items() if part in name), None)
        if known:
            return known
    return gemm_flops(device, dtype, 2048 if device == 'cpu' else 8192)


def mfu(config, length: int, tokens_per_second: float, peak: float, causal: bool = True) -> float:
    """Model FLOPs utilisation, 0 to 1; `peak` of all devices together, as `tokens_per_second`."""
    return flops_per_token(config, length, causal) * tokens_per_second / peak
