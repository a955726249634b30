"""MFU of a training step of the 1.8B model on one GPU, sequence 4096, bf16: a table of settings as JSON under
tests/bench/results; by hand:

    python tests/bench/gpu_mfu.py

A step is the loop's own (`gradients`, clipping, AdamW) on rows of one document each. A setting that runs out of memory,
or whose attention is not installed, says so in the table.
"""
import itertools
import json
import statistics
import sys
import time
from datetime import date
from pathlib import Path

from internlm_course.errors import CourseError

LENGTH = 4096
ROWS = 16  # in a step, for every setting
ATTENTION = ('sdpa', 'flash_attention_2')
MICRO_BATCH = (1, 2, 4, 8)


def settings() -> list[dict]:
    """Every combination, the plainest first."""
    names = ('compile', 'attention', 'activation_checkpointing', 'micro_batch')
    return [dict(zip(names, values))
            for values in itertools.product((False, True), ATTENTION, (False, True), MICRO_BATCH)]


def gpu() -> str:
    """The GPU's name.

    Raises:
        CourseError: there is none.
    """
    import torch
    if not torch.cuda.is_available():
        raise CourseError('This measurement needs a CUDA GPU, and there is none here.',
                          'Run it on a machine with one A100 or H100 of 80 GB.')
    return torch.cuda.get_device_name()


def measure(compile: bool, attention: str, activation_checkpointing: bool, micro_batch: int, steps: int = 8) -> dict:
    """Every step's seconds, and from their median the tokens per second and MFU (attention halved as causal), with the
    peak of GPU memory."""
    import torch

    from internlm_course.model import CONFIGS, InternLM2Config, InternLM2ForCausalLM
    from internlm_course.model.sizes import VOCABULARY
    from internlm_course.pretrain.config import Optimizer
    from internlm_course.pretrain.loop import gradients, optimizer_of
    from internlm_course.pretrain.meter import mfu, peak_flops
    from internlm_course.pretrain.parallel import World
    torch.cuda.reset_peak_memory_stats()
    world = World(torch.device('cuda'))
    config = InternLM2Config(**CONFIGS['1_8b'], vocab_size=VOCABULARY, max_position_embeddings=LENGTH,
                             attn_implementation=attention)
    with world.device:
        model = InternLM2ForCausalLM(config).train()
    if activation_checkpointing:
        model.gradient_checkpointing_enable(dict(use_reentrant=False))
    if compile:
        for layer in model.model.layers:
            layer.compile()
    optimizer = optimizer_of(model, Optimizer())
    rows = torch.randint(3, VOCABULARY, (ROWS, LENGTH + 1))
    rows[:, 0] = config.bos_token_id
    times = []
    for _ in range(steps + 3):
        torch.cuda.synchronize()
        began = time.perf_counter()
        gradients(model, rows, micro_batch, world)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    rate = ROWS * LENGTH / statistics.median(times[3:])
    return dict(seconds=[round(t, 4) for t in times[3:]], first_step_seconds=round(times[0], 1),
                tokens_per_second=round(rate), mfu=round(mfu(config, LENGTH, rate, peak_flops('cuda')), 4),
                mfu_attention_not_halved=round(mfu(config, LENGTH, rate, peak_flops('cuda'), causal=False), 4),
                gpu_memory_bytes=torch.cuda.max_memory_allocated())


def main() -> int:
    try:
        name = gpu()
    except CourseError as error:
        print(f'gpu_mfu: {error}', file=sys.stderr)
        return 2
    import torch

    from internlm_course.pretrain.meter import peak_flops
    table = []
    for setting in settings():
        try:
            table.append(setting | measure(**setting))
        except (torch.cuda.OutOfMemoryError, ImportError) as error:
            table.append(setting | dict(failed=str(error).splitlines()[0]))
        torch.cuda.empty_cache()
        torch._dynamo.reset()
        print(json.dumps(table[-1]), flush=True)
    best = max((row for row in table if 'mfu' in row), key=lambda row: row['mfu'], default=None)
    document = dict(command='python tests/bench/gpu_mfu.py', date=str(date.today()), gpu=name, torch=torch.__version__,
                    peak_flops=peak_flops('cuda'),
                    model='1_8b', sequence_length=LENGTH, rows_per_step=ROWS, best=best, table=table)
    out = Path(__file__).parent / 'results' / f'gpu_mfu-{date.today()}.json'
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + '\n', 'utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
