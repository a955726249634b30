"""One small pre-training run for test_parallel, in the test's own process and, as a script under torchrun, in two;
always fp32 on the CPU."""
import contextlib
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

from internlm_course.pretrain import __main__, loop
from internlm_course.pretrain.config import Phase, PretrainConfig

STOP = 25  # step before which a cut run dies
EVERY = 10  # steps between its checkpoints: the last is of step 20
PHASE = Phase('short', steps=50, sequence_length=32, micro_batch=4, accumulation=2, learning_rate=1e-2, rope_theta=1e4,
              warmup=5, mixture=dict(a=0.5, b=0.5))
SHAPE = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
             attn_implementation='eager')
CONFIG = PretrainConfig(model=SHAPE, phases=(PHASE,), checkpoint_seconds=0.0)
UNSAVED = dataclasses.replace(CONFIG, checkpoint_seconds=1e9)


class Cut(Exception):
    """The end of a cut run."""


def documents() -> dict[str, list[np.ndarray]]:
    """Counting up from a random token, so that there is something to learn; lengths that leave rows unevenly full."""
    rng = np.random.default_rng(0)
    return {name: [np.concatenate([[1], np.arange(n) + rng.integers(3, 200), [2]]).astype(np.uint16)
                   for n in rng.integers(5, 30, 100)] for name in 'ab'}


def train(folder: Path, name: str, cut: bool = False, every: int = 1, config: PretrainConfig = CONFIG) -> dict:
    """Runs `folder/name` to its end or, cut, to STOP; adds [step, loss] of `every` steps to `folder/name.json`."""
    out, log = folder / name, folder / f'{name}.json'
    out.mkdir(exist_ok=True)
    losses = json.loads(log.read_text()) if log.exists() else []
    schedule = loop.learning_rate
    loop.LOG_EVERY, loop.has_fast_bf16 = every, lambda: False

    def rate(step: int, phase: Phase) -> float:
        if cut and step == STOP:
            raise Cut
        return schedule(step, phase)

    def on_step(record: dict) -> None:
        losses.append([record['step'], record['loss']])
        log.write_text(json.dumps(losses))
    loop.learning_rate = rate
    try:
        return loop.pretrain(config, config.phases[0], documents(), {'a': (documents()['a'][:5], [100] * 5)},
                             folder / 'tokenizer', out, device='cpu', on_step=on_step)
    finally:
        loop.learning_rate = schedule


def main(folder: Path) -> None:
    """What two processes do: a whole run, one that is cut, the rest of one that a single process began, and the command
    line."""
    train(folder, 'two', config=UNSAVED)
    with contextlib.suppress(Cut):
        train(folder, 'two_then_one', cut=True, every=EVERY)
    train(folder, 'one_then_two', every=EVERY)
    loop.LOG_EVERY = 1
    options = ['--tokens', folder / 'tokens', '--tokenizer', folder / 'tokenizer', '--out', folder / 'command',
               '--device', 'cpu']
    assert __main__.main([str(option) for option in (folder / 'config.toml', *options)]) == 0


if __name__ == '__main__':
    main(Path(sys.argv[1]))
