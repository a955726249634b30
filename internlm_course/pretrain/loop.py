"""The pre-training loop: one phase of next-token prediction on packed rows, in plain PyTorch, resumable to the bit,
alone or under torchrun.

Every batch is a function of the seed and the step, so a run killed at any moment goes on from its last checkpoint
exactly as if nothing had happened.
"""
import contextlib
import itertools
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from internlm_course.errors import CourseError
from internlm_course.machine import can_compile, deterministic, has_fast_bf16, kept_memory, trim_memory
from internlm_course.model import InternLM2ForCausalLM, load_model, load_tokenizer, save_checkpoint
from internlm_course.pretrain.batches import EMPTY, steps_of
from internlm_course.pretrain.config import Optimizer, Phase, PretrainConfig
from internlm_course.pretrain.induction import look_back
from internlm_course.pretrain.parallel import World

LOG_EVERY = 20  # steps
TRIM_EVERY = 100  # steps; the memory is then fetched anew, which at every LOG_EVERY steps cost too much


def learning_rate(step: int, phase: Phase) -> float:
    """Linear warm-up, then cosine from the peak to `floor` of it at the last step."""
    if step < phase.warmup:
        return phase.learning_rate * (step + 1) / phase.warmup
    progress = (step - phase.warmup) / max(1, phase.steps - phase.warmup)
    return phase.learning_rate * (phase.floor + (1 - phase.floor) * 0.5 * (1 + math.cos(math.pi * progress)))


def optimizer_of(model: torch.nn.Module, settings: Optimizer) -> torch.optim.AdamW:
    """AdamW; matrices decay, norms do not."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [dict(params=matrices, weight_decay=settings.weight_decay), dict(params=vectors, weight_decay=0.0)]
    return torch.optim.AdamW(groups, lr=0.0, betas=settings.betas, eps=settings.eps, fused=True)


def multiplies_bf16(device: torch.device) -> bool:
    return device.type == 'cuda' or has_fast_bf16()


def autocast(device: torch.device):
    """bf16 where the hardware has it; fp32 elsewhere, because on a CPU without bf16 instructions it would be many times
    slower."""
    if multiplies_bf16(device):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def positions_in_documents(rows: torch.Tensor, first: int) -> torch.Tensor:
    """Each token's position within its document, int64 like `rows` [batch, length]; a document begins with the token
    `first` (`<s>`).

    Given such positions, the model lets no document see the one before it in the row. Without that, copying hardly
    forms: the secret of a page was seldom found, and with it nearly always. Nothing else that was tried did as much.
    """
    index = torch.arange(rows.shape[1], device=rows.device)
    return index - torch.where(rows == first, index, 0).cummax(1).values


def loss_of(model: InternLM2ForCausalLM, rows: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats over the real tokens of `rows`, int64 [batch, length + 1]; the documents of a row do
    not see each other."""
    inputs = rows[:, :-1].clamp(min=0)
    logits = model(input_ids=inputs, position_ids=positions_in_documents(inputs, model.config.bos_token_id),
                   use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), rows[:, 1:].flatten(), ignore_index=EMPTY)


def gradients(model: InternLM2ForCausalLM, rows: torch.Tensor, micro_batch: int, world: World) -> torch.Tensor:
    """Adds one step's gradients up over the micro-batches of this rank; returns this rank's part of the loss times the
    number of ranks.

    A part weighs as much as it has real tokens: the step's loss is the mean over all tokens of `rows`, int32 [rows,
    length + 1], however many processes and micro-batches divide them.
    """
    def real(part: torch.Tensor) -> int:
        return int((part[:, 1:] != EMPTY).sum())
    total, loss = real(rows) / world.size, 0.0
    for micro in world.share(rows).split(micro_batch):
        with autocast(world.device):
            part = loss_of(model, micro.long().to(world.device)) * (real(micro) / total)
        part.backward()
        loss += part.detach()
    return loss


def bits_per_byte(model: InternLM2ForCausalLM, documents: list[np.ndarray], n_bytes: list[int], length: int) -> float:
    """Validation loss that no tokenizer can flatter: total bits of the documents over their bytes as text.

    Documents longer than `length` tokens are read in windows of that length, each from a fresh start.
    """
    device, nats = next(model.parameters()).device, 0.0
    windows = sorted((d[i:i + length + 1] for d in documents for i in range(0, len(d) - 1, length)), key=len)
    model.eval()
    # Each new shape would be compiled
    with torch.no_grad(), autocast(device), torch.compiler.set_stance('force_eager'):
        for start in range(0, len(windows), 16):
            batch = windows[start:start + 16]
            rows = np.full((len(batch), max(map(len, batch))), EMPTY, np.int64)
            for row, window in zip(rows, batch):
                row[:len(window)] = window
            rows = torch.from_numpy(rows).to(device)
            nats += loss_of(model, rows).item() * (rows[:, 1:] != EMPTY).sum().item()
    model.train()
    return nats / math.log(2) / max(1, sum(n_bytes))


def initial_model(config: PretrainConfig, phase: Phase, tokenizer, start: Path | None,
                  world: World) -> InternLM2ForCausalLM:
    """The model at the first step, spread over the world: random from the seed but for its induction heads, or `start`
    with this phase's context and RoPE base.

    Rank 0 alone holds it whole, the others its shape.
    """
    shape = config.shape(phase, len(tokenizer))
    if start is not None and world.rank == 0:
        model = load_model(start, dtype=torch.float32, attn=config.model.get('attn_implementation'),
                           rope_theta=shape.rope_theta, max_position_embeddings=shape.max_position_embeddings)
    else:
        torch.manual_seed(config.seed)
        with torch.device('cpu' if world.rank == 0 else 'meta'):
            model = InternLM2ForCausalLM(shape)
        if config.induction and world.rank == 0:
            look_back(model, config.induction)
    model = world.shard(model)
    if phase.activation_checkpointing:
        model.gradient_checkpointing_enable(dict(use_reentrant=False))
    if phase.compile and multiplies_bf16(world.device) and can_compile(world.device.type):
        for layer in model.model.layers:  # one compiled for all
            layer.compile(dynamic=False)
    return model.train()


def train(model: InternLM2ForCausalLM, optimizer: torch.optim.Optimizer, batches: Iterable[np.ndarray], first: int,
          config: PretrainConfig, phase: Phase, world: World) -> Iterator[tuple[int, float]]:
    """Takes the steps of a phase from step `first` on, one for each of the batches (see `steps_of`).

    Yields the steps taken so far and their mean loss since the last time, at every `LOG_EVERY`-th and at the last step.

    Raises:
        CourseError: the loss is not a number any more.
    """
    losses = []
    for step, rows in enumerate(batches, first):
        for group in optimizer.param_groups:
            group['lr'] = learning_rate(step, phase)
        losses.append(gradients(model, torch.from_numpy(rows), phase.micro_batch, world))
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % TRIM_EVERY == 0:
            trim_memory()  # holes between the kept blocks add up
        if (step + 1) % LOG_EVERY == 0 or step + 1 == phase.steps:
            mean, losses = world.mean(torch.stack(losses).mean()), []
            if not math.isfinite(mean):
                raise CourseError(f'The loss of phase "{phase.name}" is {mean} at step {step + 1}.',
                                  'Lower its learning_rate or lengthen its warmup.')
            yield step + 1, mean


def train_on(model: InternLM2ForCausalLM, documents: dict[str, list[np.ndarray]], config: PretrainConfig, phase: Phase,
             world: World, out: Path, on_step: Callable[[dict], None]) -> tuple[list[list[float]], float]:
    """Takes the steps that the state in `out` has not taken yet, and leaves states there on the way.

    Returns: the curve [[tokens, loss], …] and the seconds, of the whole phase.
    """
    optimizer = optimizer_of(model, config.optimizer)
    saved = world.load(out, model, optimizer) or dict(step=0, curve=[], seconds=0.0)
    first, curve, seconds, per_step = saved['step'], saved['curve'], saved['seconds'], phase.tokens // phase.steps
    batches = steps_of(documents, phase, config.seed, first)
    batches = itertools.chain([next(batches)], batches)  # the first block is packed before the clock starts
    began = saved_at = time.monotonic()
    try:
        for step, loss in train(model, optimizer, batches, first, config, phase, world):
            curve.append([step * per_step, round(loss, 4)])
            if world.rank == 0:
                on_step(dict(step=step, steps=phase.steps, tokens=step * per_step, loss=loss,
                             learning_rate=learning_rate(step - 1, phase),
                             tokens_per_second=(step - first) * per_step / (time.monotonic() - began)))
            # Checkpoints stand only at logged steps: the mean of an interval is never cut in two by a kill.
            if world.mean(time.monotonic() - saved_at) > config.checkpoint_seconds and step < phase.steps:
                saved_at = time.monotonic()
                world.save(out, step, model, optimizer,
                           dict(step=step, curve=curve, seconds=seconds + saved_at - began))
    finally:
        world.wait()
    return curve, seconds + time.monotonic() - began


@kept_memory()
@deterministic()
def pretrain(config: PretrainConfig, phase: Phase, documents: dict[str, list[np.ndarray]],
             validation: dict[str, tuple[list, list]],
             tokenizer: Path, out: Path, start: Path | None = None, device: str | None = None,
             on_step: Callable[[dict], None] = lambda record: None) -> dict:
    """Trains one phase and writes the checkpoint into `out`; resumes from the state in `out` that an earlier run, of
    any world, left there.

    Under torchrun every process calls it alike: they divide each step's rows, and the first writes and reports.

    Args:
        documents: token arrays of each domain; validation: for each domain the token arrays and their bytes as text.
        start: the checkpoint of the phase before, or None for random weights.
        on_step: called with {step, steps, tokens, loss, learning_rate, tokens_per_second} every `LOG_EVERY` steps.

    Returns:
        metrics: `curve` [[tokens, loss], …], `bits_per_byte` of each domain, tokens, seconds, tokens_per_second.

    Raises:
        CourseError: the loss is not a number any more, or the processes cannot divide a step's rows.
    """
    world = World.open(device)
    if (rows := phase.micro_batch * phase.accumulation) % world.size:
        raise CourseError(f'{world.size} processes cannot divide the {rows} rows of a step of phase "{phase.name}".',
                          'Start a number of processes that divides micro_batch * accumulation.')
    tokens = load_tokenizer(tokenizer)
    model = initial_model(config, phase, tokens, start, world)
    curve, seconds = train_on(model, documents, config, phase, world, out, on_step)
    scores = {name: round(bits_per_byte(model, *held, phase.sequence_length), 4) for name, held in validation.items()}
    metrics = dict(phase=phase.name, tokens=phase.tokens, steps=phase.steps, seconds=round(seconds, 1),
                   tokens_per_second=round(phase.tokens / seconds),
                   parameters=sum(p.numel() for p in model.parameters()), processes=world.size,
                   precision='bfloat16' if multiplies_bf16(world.device) else 'float32', bits_per_byte=scores,
                   curve=curve)
    whole = world.gather(model)
    if world.rank == 0:
        save_checkpoint(whole, tokens, out)
        (out / 'metrics.json').write_text(json.dumps(metrics, indent=1) + '\n', 'utf-8')
    world.clear(out)
    return metrics
