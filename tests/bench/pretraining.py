"""The pre-training loop beside transformers' Trainer and nanoGPT's: tokens a second, share of the GEMM peak, bits per byte after equal minutes.

    python tests/bench/pretraining.py --tokens FOLDER --tokenizer FOLDER [--nanogpt CLONE] [--rounds 3] [--minutes 1 3 5]

Every contestant trains the tiny size on the same token files in a process of its own, one after the other, round by round, so that a noisy machine
disturbs all alike. A peer runs in its best setting here: bf16 autocast, torch.compile, fused AdamW, explicit attention products (faster on a CPU than
sdpa), the course's learning rate; its cosine follows the clock, so that it uses its minutes to the last second. Ours runs `pretrain` as the course
does, with the steps that its own short run says will fit. Compile time counts. Bits per byte: the same held-out documents, the same function.
"""
import argparse
import contextlib
import io
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
LENGTH, WARMUP_SECONDS = 256, 2.0
CONTESTANTS = {'ours': [8], 'trainer': [8, 16], 'nanogpt': [8, 16]}  # rows of a batch that are tried; the fastest is kept


def configuration():
    from internlm_course.pretrain.config import CONFIGS, read_config
    return read_config(CONFIGS / 'tiny.toml')


def clock_rate(elapsed: float, seconds: float, peak: float, floor: float) -> float:
    """The course's schedule with the clock in place of the step: linear warm-up, then cosine to `floor` of the peak."""
    if elapsed < WARMUP_SECONDS:
        return peak * (elapsed + 0.05) / (WARMUP_SECONDS + 0.05)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, (elapsed - WARMUP_SECONDS) / (seconds - WARMUP_SECONDS)))))


def stream(tokens: Path):
    """All training documents but the long ones in one row of tokens, drawn by the phase's mixture, as a peer's own data preparation would lay them."""
    import numpy as np

    from internlm_course.data.tokens import read_corpus
    from internlm_course.pretrain.batches import draw
    training, validation = read_corpus(tokens)
    phase = configuration().phase('short')
    flat = np.concatenate(list(draw(training, phase.mixture, phase.tokens, seed=0)))
    return flat, {name: held for name, held in validation.items() if phase.mixture.get(name)}


class Rate:
    """Tokens a second after the compile: the steps of the last two thirds of the time."""

    def __init__(self, per_step: int):
        self.per_step, self.ends = per_step, [time.perf_counter()]

    def tick(self) -> None:
        self.ends.append(time.perf_counter())

    def result(self) -> dict:
        steps = len(self.ends) - 1
        last = [i for i, end in enumerate(self.ends) if end - self.ends[0] > (self.ends[-1] - self.ends[0]) / 3]
        rate = (steps - last[0]) * self.per_step / (self.ends[-1] - self.ends[last[0]])
        return dict(tokens=steps * self.per_step, seconds=round(self.ends[-1] - self.ends[0], 1), tokens_per_second=round(rate))


def scored(model, validation) -> float:
    """Bits per byte over all domains of the mixture together."""
    from internlm_course.pretrain.loop import bits_per_byte
    documents = [d for held in validation.values() for d in held[0]]
    sizes = [n for held in validation.values() for n in held[1]]
    return round(bits_per_byte(model, documents, sizes, LENGTH), 4)


def ours(seconds: float, rows: int, options) -> dict:
    """`pretrain` itself, as many steps as fit: a probe of one eighth of the time (at most 40 s) tells, and its seconds are not counted."""
    from internlm_course.data.tokens import read_corpus
    from internlm_course.model import load_model
    from internlm_course.pretrain.loop import pretrain
    config = configuration()
    phase, (training, validation) = config.phase('short'), read_corpus(options.tokens)
    kept = {name: held for name, held in validation.items() if phase.mixture.get(name)}

    def run(steps: int, rate: Rate) -> tuple[Path, float]:
        out, at = Path(tempfile.mkdtemp()), [0]

        def on_step(record: dict) -> None:
            for _ in range(record['step'] - at[0]):
                rate.tick()
            at[0] = record['step']
            done.append((record['step'], time.perf_counter()))
        began = time.perf_counter()
        pretrain(config, replace(phase, steps=steps, micro_batch=rows), training, {}, options.tokenizer, out, on_step=on_step)
        return out, time.perf_counter() - began
    done: list = []
    run(options.probe, Rate(1))
    steady = (done[-1][0] - done[1][0]) / (done[-1][1] - done[1][1])  # the first interval holds the compile
    start = done[0][1] - began_of(done, steady)
    done.clear()
    steps = max(20, int((seconds * 0.97 - start) * steady))
    rate = Rate(rows * LENGTH)
    out, wall = run(steps, rate)
    first = done[len(done) // 3]
    return dict(tokens=steps * rows * LENGTH, seconds=round(wall, 1), bits_per_byte=scored(load_model(out), kept), steps=steps,
                tokens_per_second=round((done[-1][0] - first[0]) * rows * LENGTH / (done[-1][1] - first[1])))


def began_of(done: list, steady: float) -> float:
    return done[0][0] / steady
