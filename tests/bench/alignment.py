"""GRPO beside its known collapses: which setting does what, over several seeds.

    python tests/bench/alignment.py [--checkpoint FOLDER] [--seeds 0 1 2 3 4] [--collapse-seeds 0 1 2] [--steps 80]

The fine-tuned model practises to answer in the other language (`world.bootcamp`), rewarded by the program that checks
it. Measured before and after: held-out cases of the same task, answered greedily, and the suites of the report card.
Every run is written to the result as it ends; what the file has is not run again.
"""
import argparse
import json
import os
import platform
import time
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

RESULTS = Path(__file__).parent / 'results'
HELD = 300  # held-out cases
# What is changed against the settings that ship.
SETTINGS = dict(ships={}, no_kl=dict(kl=0.0), divided=dict(divide=True), fast=dict(learning_rate=1e-3),
                all_three=dict(kl=0.0, divide=True, learning_rate=1e-3))


def run(checkpoint: Path, settings, items: dict[str, list[dict]], before: dict) -> dict:
    """One training; what it gave."""
    import tempfile

    import torch

    from internlm_course.align.grpo import grpo
    from internlm_course.model import load_model, load_tokenizer, save_checkpoint
    from internlm_course.world.bootcamp import ABROAD, Instructions
    tokenizer = load_tokenizer(checkpoint)
    actor, reference = (load_model(checkpoint, dtype=torch.float32, attn='eager') for _ in range(2))
    began = time.perf_counter()
    curve = grpo(actor, reference, tokenizer, Instructions(settings.seed, names=ABROAD), settings)
    seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(actor, tokenizer, Path(folder))
        after = measure(Path(folder), items)
    return dict(settings=asdict(settings), seconds=round(seconds, 1), before=before, after=after,
                curve=[{name: round(value, 4) for name, value in row.items()} for row in curve])


def measure(checkpoint: Path, items: dict[str, list[dict]]) -> dict:
    """{task, suites: {suite: share}, mean of the suites} of a checkpoint."""
    from internlm_course.model.chat import render
    from internlm_course.staff.seeds import Answerer, score
    from internlm_course.world.bootcamp import ABROAD, Instructions
    task = Instructions(seed=1, unseen=True, names=ABROAD)
    cases = [task.case_generator() for _ in range(HELD)]
    texts = Answerer(checkpoint)([render([dict(role='user', content=task.prompt_func(case))],
                                         add_generation_prompt=True) for case in cases], 48, whole=True)
    suites = score(checkpoint, items, chat=True)
    return dict(task=sum(map(task.verify_score, texts, cases)) / HELD, suites=suites,
                mean=sum(suites.values()) / len(suites))


def main(options) -> None:
    import torch

    from internlm_course.align.grpo import GRPOSettings
    from internlm_course.course import Course
    from internlm_course.evaluate.suites import read_items
    from internlm_course.machine import cpu_dtype
    from internlm_course.staff.seeds import commit, kind, processor
    torch.set_num_threads(options.threads)
    course = Course.open('tiny', options.root)
    items = read_items(course.crawl().path / 'items', limit=options.items)
    checkpoint = options.checkpoint or course.sft().path
    path = RESULTS / f'alignment-{date.today()}-{kind()}.json'
    result = json.loads(path.read_text('utf-8')) if path.exists() else dict(
        date=str(date.today()), command='python tests/bench/alignment.py',
        host=dict(system=platform.platform(), cores=os.cpu_count(), kind=kind(), precision=cpu_dtype(),
                  processor=processor()), commit=commit(), held_out=HELD, runs={})
    before = result.setdefault('before', None) or measure(checkpoint, items)
    result['before'] = before
    for seed in options.seeds:
        for name, changed in SETTINGS.items():
            key = f'{name}-{seed}'
            if key in result['runs'] or name != 'ships' and seed not in options.collapse_seeds:
                continue
            settings = replace(GRPOSettings(seed=seed, steps=options.steps), **changed)
            result['runs'][key] = found = run(checkpoint, settings, items, before)
            partial = path.with_suffix('.partial')
            partial.write_text(json.dumps(result, indent=1) + '\n', 'utf-8')
            partial.replace(path)
            print(key, f'{before["task"]:.1%} -> {found["after"]["task"]:.1%}, suites {before["mean"]:.1%} -> '
                  f'{found["after"]["mean"]:.1%}, {found["seconds"]} s', flush=True)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', type=Path, default=Path('runs'))
    parser.add_argument('--checkpoint', type=Path, help='instead of the sft that ships')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4])
    parser.add_argument('--collapse-seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--steps', type=int, default=80)
    parser.add_argument('--items', type=int, default=60, help='of each suite')
    parser.add_argument('--threads', type=int, default=2)
    main(parser.parse_args())
