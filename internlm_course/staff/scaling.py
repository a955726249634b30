"""The sweep behind pretrain/scaling.json: three small sizes and the tiny size, each for three numbers of steps.

By hand, a run at a time:

    python -m internlm_course.staff.scaling --pages 20000 --tokenizer STORE/tokenizer-… [--runs 2]

The runs are lab 3's (configs/lab.toml) and read pages straight from the world as it does, in the same order at every
size: what the last rows of a schedule happen to hold moves the final loss, and so moves all sizes alike. Runs that the
file already holds are not made again: it can be stopped and started. Then the law is fitted to the small sizes and
asked for the tiny one.
"""
import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path

from internlm_course.data.tokens import tokenize_pages
from internlm_course.machine import cpu_dtype
from internlm_course.pretrain.config import CONFIGS, read_config
from internlm_course.pretrain.loop import pretrain
from internlm_course.pretrain.predict import SCALING, final_loss, fit_scaling
from internlm_course.world import web

# Width, feed-forward width, layers; heads 32 wide over one key head. lab.toml has the tiny shape.
SIZES = {'w64': (64, 176, 2), 'w96': (96, 256, 3), 'w128': (128, 344, 4), 'tiny': None}
STEPS = (300, 600, 1200)
KEPT = 'tiny'  # the law is not fitted to it


def shape_of(size: str, tiny: dict) -> dict:
    """The model fields of a size."""
    if SIZES[size] is None:
        return dict(tiny)
    width, feed, layers = SIZES[size]
    return dict(tiny, hidden_size=width, intermediate_size=feed, num_hidden_layers=layers,
                num_attention_heads=width // 32, num_key_value_heads=1)


def report(points: list[dict]) -> dict:
    """The law of the small sizes, and how far it is off at the kept one."""
    law = fit_scaling([point for point in points if point['fitted']])
    kept = [dict(steps=point['steps'], predicted=round(law(point['parameters'], point['tokens']), 4),
                 measured=point['loss'],
                 error=round(law(point['parameters'], point['tokens']) / point['loss'] - 1, 4))
            for point in points if not point['fitted']]
    return dict(law=dataclasses.asdict(law), kept=kept)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument('--pages', type=int, default=20_000, help='so many pages of the world, seed 0')
    options.add_argument('--tokenizer', type=Path, required=True)
    options.add_argument('--out', type=Path, default=SCALING)
    options.add_argument('--runs', type=int, default=99, help='stop after so many new runs')
    chosen = options.parse_args()
    config = read_config(CONFIGS / 'lab.toml')
    documents, _ = tokenize_pages(web.pages(chosen.pages, 0), chosen.tokenizer)
    found = json.loads(chosen.out.read_text('utf-8'))['points'] if chosen.out.exists() else []
    todo = [(size, steps) for steps in STEPS
            for size in SIZES if not any((p['size'], p['steps']) == (size, steps) for p in found)]
    for size, steps in todo[:chosen.runs]:
        model = shape_of(size, config.model)
        phase = dataclasses.replace(config.phase('short'), steps=steps)
        with tempfile.TemporaryDirectory() as out:
            made = pretrain(dataclasses.replace(config, model=model, checkpoint_seconds=1e9), phase, documents, {},
                            chosen.tokenizer, Path(out), device='cpu')
        found.append(dict(size=size, steps=steps, parameters=made['parameters'], tokens=made['tokens'],
                          loss=round(final_loss(made['curve']), 4), seconds=made['seconds'], fitted=size != KEPT))
        print(found[-1], flush=True)
        phase = dataclasses.asdict(config.phase('short'))
        document = dict(command=f'python -m internlm_course.staff.scaling --pages {chosen.pages} --tokenizer '
                                'STORE/tokenizer-…', precision=cpu_dtype(),
                        recipe={k: phase[k] for k in ('sequence_length', 'micro_batch', 'learning_rate', 'warmup',
                                                      'floor', 'mixture')}, points=found)
        if len({p['parameters'] for p in found if p['fitted']}) == 3:
            document |= report(found)
        chosen.out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + '\n', 'utf-8')
    print(json.dumps(report(found), indent=1))


if __name__ == '__main__':
    sys.exit(main())
