"""The band of the loss curve over several seeds, which lab 3 draws behind the student's own; by hand:

    python -m internlm_course.staff.expected_curve --pages 20000 --tokenizer STORE/tokenizer-… --out FILE.json

The run reads pages straight from the world, as lab 3 does; with --tokens STORE/tokens-… instead of --pages, a corpus.
Seeds that the file already holds for the same phase are not run again.
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
from internlm_course.tokenfiles import read_corpus
from internlm_course.world import web


def band(curves: list[list[list[float]]]) -> list[list[float]]:
    """[[tokens, lowest, mean, highest], …] over curves [[tokens, loss], …] that were logged at the same tokens."""
    return [[points[0][0], min(losses), round(sum(losses) / len(losses), 4), max(losses)]
            for points in zip(*curves, strict=True) for losses in [[loss for _, loss in points]]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = options.add_mutually_exclusive_group(required=True)
    source.add_argument('--tokens', type=Path)
    source.add_argument('--pages', type=int, help='so many pages of the world, seed 0')
    options.add_argument('--tokenizer', type=Path, required=True)
    options.add_argument('--out', type=Path, required=True)
    options.add_argument('--config', default='lab')
    options.add_argument('--phase', default='short')
    options.add_argument('--steps', type=int, help="the schedule ends with them; the config's own without")
    options.add_argument('--seeds', type=int, default=5)
    chosen = options.parse_args()
    config = read_config(CONFIGS / f'{chosen.config}.toml')
    phase = config.phase(chosen.phase)
    if chosen.steps:
        phase = dataclasses.replace(phase, steps=chosen.steps)
    described = json.loads(json.dumps(dict(model=config.model, phase=dataclasses.asdict(phase), precision=cpu_dtype())))
    old = json.loads(chosen.out.read_text('utf-8')) if chosen.out.exists() else {}
    runs = old['runs'] if old.get('run_of') == described else []
    documents, _ = (read_corpus(chosen.tokens) if chosen.tokens
                    else tokenize_pages(web.pages(chosen.pages, 0), chosen.tokenizer))
    for seed in range(len(runs), chosen.seeds):
        with tempfile.TemporaryDirectory() as out:
            made = pretrain(dataclasses.replace(config, seed=seed, checkpoint_seconds=1e9), phase, documents, {},
                            chosen.tokenizer, Path(out), device='cpu')
        runs.append(dict(seed=seed, seconds=made['seconds'], curve=made['curve']))
        print(f'seed {seed}: {made["seconds"]} s, loss {made["curve"][-1][1]}', flush=True)
        read = f'--pages {chosen.pages}' if chosen.pages else '--tokens STORE/tokens-…'
        document = dict(command=f'python -m internlm_course.staff.expected_curve --config {chosen.config} --phase '
                                f'{chosen.phase} --steps {phase.steps} '
                                f'--seeds {chosen.seeds} {read} --tokenizer STORE/tokenizer-… --out {chosen.out.name}',
                        run_of=described, band=band([run['curve'] for run in runs]), runs=runs)
        chosen.out.write_text(json.dumps(document, ensure_ascii=False) + '\n', 'utf-8')


if __name__ == '__main__':
    sys.exit(main())
