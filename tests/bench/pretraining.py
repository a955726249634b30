"""The pre-training loop beside transformers' Trainer and nanoGPT's: tokens a second, share of the GEMM peak, bits per
byte after equal minutes.

    python tests/bench/pretraining.py [--root runs] [--nanogpt CLONE] [--rounds 3] [--seconds 30] [--minutes 1 3 5]

Token files and tokenizer are those of the chain in `--root`, made if need be. Every contestant trains the tiny size on
the same token files in a process of its own, one after the other, round by round, so that a noisy machine disturbs all
alike. A peer runs in its best setting here: bf16 autocast where the CPU multiplies bf16 (fp32 elsewhere, where bf16 is
several times slower), torch.compile, fused AdamW, explicit attention products where it has them (on a CPU faster than
sdpa), our learning rate; its cosine follows the clock, so that it uses its minutes to the last second. Ours is
`pretrain`, as the chain runs it where bf16 is multiplied, its layers compiled (`ours`), and not compiled
(`ours-eager`); a round of speed stops it by the clock, and for equal minutes it gets as many steps as its own rounds
say will fit. Compile time counts in the minutes and not in the
tokens a second. Of a peer's batch sizes the faster one is compared in speed, and the one with fewer bits after the
fewest minutes in quality. Bits per byte: the same held-out documents, the same function. nanoGPT (MIT) is not a
dependency: give a clone; without one it is left out.
"""
import argparse
import contextlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

RESULTS = Path(__file__).parent / 'results'
LENGTH, WARMUP = 256, 2.0  # tokens in a row; seconds of a peer's warm-up
PEERS = {'trainer-8': 8, 'trainer-16': 16, 'nanogpt-8': 8, 'nanogpt-16': 16}  # rows of a batch


def tiny():
    """The config and its first phase."""
    from internlm_course.pretrain.config import CONFIGS, read_config
    config = read_config(CONFIGS / 'tiny.toml')
    return config, config.phase('short')


def corpus(tokens: Path):
    """The training documents of each domain, and the held-out ones of the phase's domains with their bytes."""
    from internlm_course.tokenfiles import read_corpus
    training, validation = read_corpus(tokens)
    held = [held for name, held in validation.items() if tiny()[1].mixture.get(name)]
    return training, [d for documents, _ in held for d in documents], [n for _, sizes in held for n in sizes]


def stream(training):
    """The phase's documents one after the other, int64 [tokens]: what a loader without packing is fed."""
    import numpy as np

    from internlm_course.pretrain.batches import draw
    _, phase = tiny()
    return np.concatenate(list(draw(training, phase.mixture, phase.tokens, seed=0))).astype(np.int64)


def clock_rate(elapsed: float, seconds: float) -> float:
    """The phase's schedule with the clock in place of the step."""
    _, phase = tiny()
    if elapsed < WARMUP:
        return phase.learning_rate * (elapsed + 0.05) / (WARMUP + 0.05)
    progress = min(1.0, (elapsed - WARMUP) / max(seconds - WARMUP, 1.0))
    return phase.learning_rate * (phase.floor + (1 - phase.floor) * 0.5 * (1 + math.cos(math.pi * progress)))


def summary(ends: list[tuple[float, int]], began: float, bits: float | None) -> dict:
    """From (moment, tokens so far) of a run: tokens a second over its second half, when the compiler has long
    finished."""
    if len(ends) < 4:
        raise SystemExit(f'Only {len(ends)} steps fitted into the time. Give more --seconds or --minutes.')
    half = next(i for i, (moment, _) in enumerate(ends) if moment - began > (ends[-1][0] - began) / 2)
    rate = (ends[-1][1] - ends[half][1]) / (ends[-1][0] - ends[half][0])
    return dict(tokens=ends[-1][1], seconds=round(ends[-1][0] - began, 1), tokens_per_second=round(rate),
                bits_per_byte=bits)


def ours(tokens: Path, tokenizer: Path, score: bool, compiled: bool, seconds: float = math.inf,
         steps: int | None = None) -> dict:
    """`pretrain` itself: for so many seconds of the whole phase, or with so many steps to its end."""
    from internlm_course.model import load_model
    from internlm_course.pretrain.loop import bits_per_byte, pretrain
    config, phase = tiny()
    training, held, sizes = corpus(tokens)
    ends: list[tuple[float, int]] = []

    def on_step(record: dict) -> None:
        ends.append((time.perf_counter(), record['tokens']))
        if ends[-1][0] - began > seconds:
            raise StopIteration  # a round of speed is over

    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        with contextlib.suppress(StopIteration):
            pretrain(config, replace(phase, steps=steps or phase.steps, compile=compiled), training, {}, tokenizer,
                     Path(out), on_step=on_step)
        return summary(ends, began, round(bits_per_byte(load_model(out), held, sizes, LENGTH), 4) if score else None)


def trainer(tokens: Path, tokenizer: Path, rows: int, seconds: float, score: bool) -> dict:
    """transformers' Trainer on its own LLaMA of the same shape, over blocks of the stream."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    from internlm_course.machine import has_fast_bf16
    from internlm_course.model import load_tokenizer
    from internlm_course.pretrain.loop import bits_per_byte
    config, phase = tiny()
    training, held, sizes = corpus(tokens)
    flat = stream(training)
    blocks = [dict(input_ids=block, labels=block)
              for block in torch.from_numpy(flat[:len(flat) // LENGTH * LENGTH]).view(-1, LENGTH)]
    torch.manual_seed(config.seed)
    model = LlamaForCausalLM(LlamaConfig(**{**config.model, 'attn_implementation': 'eager'},
                                         vocab_size=len(load_tokenizer(tokenizer)),
                                         rope_theta=phase.rope_theta, max_position_embeddings=LENGTH, use_cache=False))
    ends: list[tuple[float, int]] = []

    class StopByClock(TrainerCallback):
        def on_step_end(self, arguments, state, control, **kwargs):
            ends.append((time.perf_counter(), state.global_step * rows * LENGTH))
            control.should_training_stop = ends[-1][0] - began > seconds

    optimizer = torch.optim.AdamW(model.parameters(), lr=phase.learning_rate, betas=config.optimizer.betas,
                                  weight_decay=config.optimizer.weight_decay, fused=True)
    began = time.perf_counter()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer,
                                                 lambda _: clock_rate(time.perf_counter() - began, seconds)
                                                 / phase.learning_rate)
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(out, per_device_train_batch_size=rows, max_steps=10**6, bf16=has_fast_bf16(),
                                      use_cpu=True, torch_compile=True,
                                      max_grad_norm=config.optimizer.clip, report_to=[], logging_strategy='no',
                                      save_strategy='no', disable_tqdm=True)
        Trainer(model, arguments, train_dataset=blocks, optimizers=(optimizer, schedule),
                callbacks=[StopByClock()]).train()
    return summary(ends, began, round(bits_per_byte(model, held, sizes, LENGTH), 4) if score else None)


def nanogpt(tokens: Path, tokenizer: Path, rows: int, seconds: float, score: bool, clone: Path) -> dict:
    """nanoGPT's model, optimiser, batches and step (model.py and the loop of train.py), with bf16 and compile, which it
    leaves off on a CPU."""
    sys.path.insert(0, str(clone))
    import torch
    from model import GPT, CausalSelfAttention, GPTConfig

    from internlm_course.model import load_tokenizer
    from internlm_course.pretrain.loop import autocast, bits_per_byte
    config, phase = tiny()
    training, held, sizes = corpus(tokens)
    data = torch.from_numpy(stream(training))
    torch.manual_seed(config.seed)
    shape = GPTConfig(block_size=LENGTH, vocab_size=len(load_tokenizer(tokenizer)),
                      n_layer=config.model['num_hidden_layers'],
                      n_head=config.model['num_attention_heads'], n_embd=config.model['hidden_size'], dropout=0.0,
                      bias=False)
    model = GPT(shape)
    for attention in model.modules():
        if isinstance(attention, CausalSelfAttention):  # its own other branch: explicit products
            attention.flash = False
            attention.register_buffer('bias', torch.tril(torch.ones(LENGTH, LENGTH)).view(1, 1, LENGTH, LENGTH),
                                      persistent=False)
    optimizer = model.configure_optimizers(config.optimizer.weight_decay, phase.learning_rate, config.optimizer.betas,
                                           'cpu')
    compiled, ends, step = torch.compile(model), [], 0
    began = time.perf_counter()
    while not ends or ends[-1][0] - began < seconds:
        for group in optimizer.param_groups:
            group['lr'] = clock_rate(time.perf_counter() - began, seconds)
        places = torch.randint(len(data) - LENGTH, (rows,))
        x, y = (torch.stack([data[i + shift:i + shift + LENGTH] for i in places]) for shift in (0, 1))
        with autocast(torch.device('cpu')):
            _, loss = compiled(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        ends.append((time.perf_counter(), step * rows * LENGTH))
    return summary(ends, began, round(bits_per_byte(_Logits(model), held, sizes, LENGTH), 4) if score else None)


def _Logits(model):
    """nanoGPT's model behind the interface that `bits_per_byte` calls; positions run on, as in its training."""
    from types import SimpleNamespace

    import torch

    class Logits(torch.nn.Module):
        config = SimpleNamespace(bos_token_id=1, _attn_implementation='none')

        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, input_ids, **kwargs):
            # With targets it returns the logits of every position
            return SimpleNamespace(logits=self.inner(input_ids, input_ids)[0])
    return Logits()


def gemm(seconds: float = 3.0) -> float:
    """Products a second of a 2048 cube in the contestants' number format, FLOP/s."""
    from internlm_course.machine import cpu_dtype
    from internlm_course.pretrain.meter import gemm_flops
    return gemm_flops('cpu', cpu_dtype(), seconds=seconds)


def run(name: str, options, **more) -> dict:
    """One contestant in a process of its own."""
    call = dict(tokens=str(options.tokens), tokenizer=str(options.tokenizer), **more)
    code = (f'import sys, json; sys.path.insert(0, {str(Path(__file__).parent)!r}); import pretraining; '
            f'print(json.dumps(pretraining.play({name!r}, {call!r})))')
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f'{name} failed:\n{done.stderr[-2000:]}')
    result = json.loads(done.stdout.splitlines()[-1])
    print(name, more, result, flush=True)
    return result


def play(name: str, call: dict) -> dict:
    """The contestant's process."""
    tokens, tokenizer = Path(call.pop('tokens')), Path(call.pop('tokenizer'))
    if name == 'gemm':
        return dict(flops=gemm())
    if name.startswith('ours'):
        return ours(tokens, tokenizer, compiled=name == 'ours', **call)
    return globals()[name.split('-')[0]](tokens, tokenizer, PEERS[name], **call)


def main(options) -> dict:
    from internlm_course.course import Course
    from internlm_course.machine import cpu_dtype
    from internlm_course.model import load_tokenizer
    from internlm_course.pretrain.config import CONFIGS
    from internlm_course.pretrain.meter import mfu
    from internlm_course.staff.seeds import kind
    course = Course.open('tiny', options.root)
    options.tokens, options.tokenizer = course.tokens().path, course.tokenizer().path
    names = [name for name in PEERS if options.nanogpt or not name.startswith('nanogpt')]
    extra = {name: dict(clone=str(options.nanogpt)) if name.startswith('nanogpt') else {} for name in names}
    rates: dict[str, list[dict]] = {'ours': [], 'ours-eager': [], **{name: [] for name in names}}
    peaks = []
    config, phase = tiny()
    shape = config.shape(phase, len(load_tokenizer(options.tokenizer)))
    for _ in range(options.rounds):
        peaks.append(run('gemm', options)['flops'])
        for name in rates:
            rates[name].append(run(name, options, seconds=options.seconds, score=False, **extra.get(name, {})))
    medians = {name: statistics.median(sample['tokens_per_second'] for sample in found)
               for name, found in rates.items()}
    kinds = list(dict.fromkeys(name.split('-')[0] for name in names))
    fastest = {kind: max((name for name in names if name.startswith(kind)), key=medians.get) for kind in kinds}
    quality = []
    startup = {name: statistics.median(sample['seconds'] - sample['tokens'] / sample['tokens_per_second']
                                       for sample in rates[name])
               for name in ('ours', 'ours-eager')}
    for minutes in options.minutes:
        row = dict(minutes=minutes)
        for name in ('ours', 'ours-eager'):
            fits = int((60 * minutes * 0.97 - startup[name]) * medians[name] / (phase.micro_batch * LENGTH))
            row[name] = run(name, options, steps=fits, score=True)
        playing = names if not quality else [min((name for name in names if name.startswith(kind)),
                                                 key=lambda n: quality[0][n]['bits_per_byte'])
                                             for kind in kinds]
        row |= {name: run(name, options, seconds=60.0 * minutes, score=True, **extra[name]) for name in playing}
        quality.append(row)
    minutes = ' '.join(f'{each:g}' for each in options.minutes)
    command = (f'python tests/bench/pretraining.py --rounds {options.rounds} --seconds {options.seconds:g} --minutes '
               f'{minutes}'
               + ' --nanogpt CLONE' * bool(options.nanogpt))
    return dict(date=str(date.today()), command=command, config=str((CONFIGS / 'tiny.toml').name),
                host=dict(system=platform.platform(), cores=os.cpu_count(), kind=kind(), precision=cpu_dtype()),
                gemm_flops=peaks, tokens_per_second=rates, median=medians,
                ratio={f'{own} to {name}': round(medians[own] / medians[name], 3) for own in ('ours', 'ours-eager')
                       for name in fastest.values()},
                share_of_gemm_peak={own: round(mfu(shape, LENGTH, medians[own], statistics.median(peaks)), 3)
                                    for own in ('ours', 'ours-eager')},
                equal_minutes=quality)


if __name__ == '__main__':
    chosen = argparse.ArgumentParser(description=__doc__)
    chosen.add_argument('--root', type=Path, default=Path('runs'))
    chosen.add_argument('--nanogpt', type=Path)
    chosen.add_argument('--rounds', type=int, default=3)
    chosen.add_argument('--seconds', type=float, default=30.0)
    chosen.add_argument('--minutes', type=float, nargs='*', default=[1, 3, 5])
    result = main(chosen.parse_args())
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f'pretraining-{date.today()}-{result["host"]["kind"]}.json'
    path.write_text(json.dumps(result, indent=1) + '\n', 'utf-8')
    print(path.read_text('utf-8'))
