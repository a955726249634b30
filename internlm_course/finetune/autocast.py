"""bf16 autocast for XTuner on a CPU: mmengine's AmpOptimWrapper takes GPUs only."""
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper


class CPUAutocastOptimWrapper(OptimWrapper):
    """The forward pass runs in bf16 autocast; weights, gradients and AdamW's states stay float32, and nothing needs a
    loss scale."""

    @contextmanager
    def optim_context(self, model: torch.nn.Module):
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield
