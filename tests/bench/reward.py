"""The conditional reward model through XTuner, beside one that is not told the domain; over several seeds.

    python tests/bench/reward.py [--seeds 0 1 2] [--unconditional 0] [--root runs]

From the fine-tuned model that ships. Measured on held-out pairs: the share in the preferred order, by domain and by
kind of pair. A seed decides the pairs drawn, their order and the head's first weights. Every run is written to the
result as it ends; what the file has is not run again.
"""
import argparse
import json
import os
import platform
import random
from datetime import date
from pathlib import Path

RESULTS = Path(__file__).parent / 'results'
EACH = 200  # held-out pairs of each kind


def run(course, seed: int, conditional: bool) -> dict:
    """One training; what it gave."""
    from internlm_course.align.reward import RewardModel, train
    from internlm_course.finetune.preference import RewardSettings
    from internlm_course.machine import training_dtype
    from internlm_course.world.preferences import DOMAINS, write_pairs
    out = course.store.root / 'reward-bench' / f'{"conditional" if conditional else "plain"}-{seed}'
    write_pairs(out / 'pairs', seed)
    settings = RewardSettings(**course.scale.reward, dtype=training_dtype(), seed=seed)
    metrics = train(course.sft().path, out / 'pairs', out / 'model', settings, course.store.home,
                    conditional=conditional, questions=course.preferences().path / 'questions' / 'train.jsonl')
    judge, kinds = RewardModel(out / 'model'), {}
    for domain, makers in DOMAINS.items():
        for maker, _ in makers:
            rng = random.Random(f'reward-bench/{maker.__name__}')
            pairs = [dict(domain=domain, **maker(rng, ('en', 'zh')[number % 2], True)) for number in range(EACH)]
            kinds[f'{domain}/{maker.__name__}'] = judge.agreement(pairs, conditional)
    kept = ('pairs', 'steps', 'train_seconds', 'seconds', 'agreement', 'conflicts', 'scores', 'settings')
    return dict({name: metrics[name] for name in kept}, kinds=kinds, accuracy=metrics['accuracy'][::5])


def main(options) -> None:
    import torch

    from internlm_course.course import Course
    from internlm_course.machine import cpu_dtype
    from internlm_course.staff.seeds import commit, kind, processor
    torch.set_num_threads(1)
    course = Course.open('tiny', options.root)
    path = RESULTS / f'reward-{date.today()}-{kind()}.json'
    result = json.loads(path.read_text('utf-8')) if path.exists() else dict(
        date=str(date.today()), command='python tests/bench/reward.py',
        host=dict(system=platform.platform(), cores=os.cpu_count(), kind=kind(), precision=cpu_dtype(),
                  processor=processor()), commit=commit(), held_out_of_a_kind=EACH, runs={})
    wanted = [(seed, True) for seed in options.seeds] + [(seed, False) for seed in options.unconditional]
    for seed, conditional in sorted(wanted, key=lambda pair: pair[0]):
        key = f'{"conditional" if conditional else "plain"}-{seed}'
        if key in result['runs']:
            continue
        result['runs'][key] = found = run(course, seed, conditional)
        partial = path.with_suffix('.partial')
        partial.write_text(json.dumps(result, indent=1) + '\n', 'utf-8')
        partial.replace(path)
        shares = ', '.join(f'{domain} {share:.1%}' for domain, share in found['agreement'].items())
        print(f'{key}: {shares}, conflicts {found["conflicts"]:.1%}, {found["seconds"]:.0f} s', flush=True)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', type=Path, default=Path('runs'))
    parser.add_argument('--seeds', type=int, nargs='*', default=[0, 1, 2])
    parser.add_argument('--unconditional', type=int, nargs='*', default=[0])
    main(parser.parse_args())
