"""PPO against a learned reward model: the reward that it is trained for, beside what a program verifies.

    python tests/bench/ppo.py [--seeds 0 1 2] [--root runs]

The fine-tuned model that ships practises to answer in the other language (`world.bootcamp`), judged by the reward
model that tests/bench/reward.py, which runs first, trained with the same seed. Every few iterations held-out cases are
answered greedily and verified; the last iteration counts. Every run is written to the result as it ends; what the file
has is not run again.
"""
import argparse
import json
import os
import platform
import tempfile
from datetime import date
from pathlib import Path

RESULTS = Path(__file__).parent / 'results'


def run(course, settings, judge: Path, items: dict) -> dict:
    """One training; what it gave."""
    from internlm_course.align.cool import train
    from internlm_course.staff.seeds import score

    def told(record: dict) -> None:
        if 'verified' in record:
            print('  {iteration}: gain {gain:.2f}, kl {kl:.2f}, verified {verified:.1%}'.format(**record), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        metrics = train(course.sft().path, judge, course.preferences().path / 'questions', Path(folder), settings,
                        told)
        suites = score(Path(folder), items, chat=True)
    return dict(metrics, suites=suites, mean=sum(suites.values()) / len(suites),
                curve=[{name: round(value, 4) for name, value in row.items()} for row in metrics['curve']])


def main(options) -> None:
    import torch

    from internlm_course.align.ppo import PPOSettings
    from internlm_course.course import Course
    from internlm_course.evaluate.suites import read_items
    from internlm_course.machine import cpu_dtype
    from internlm_course.staff.seeds import commit, kind, processor, score
    torch.set_num_threads(options.threads)
    course = Course.open('tiny', options.root)
    items = read_items(course.crawl().path / 'items', limit=40)
    path = RESULTS / f'ppo-{date.today()}-{kind()}.json'
    result = json.loads(path.read_text('utf-8')) if path.exists() else dict(
        date=str(date.today()), command='python tests/bench/ppo.py',
        host=dict(system=platform.platform(), cores=os.cpu_count(), kind=kind(), precision=cpu_dtype(),
                  processor=processor()), commit=commit(), before=score(course.sft().path, items, True),
        runs={})
    for seed in options.seeds:
        if str(seed) in result['runs']:
            continue
        settings = PPOSettings(**course.scale.ppo, seed=seed)
        judge = course.store.root / 'reward-bench' / f'conditional-{seed}' / 'model'
        result['runs'][str(seed)] = found = run(course, settings, judge, items)
        partial = path.with_suffix('.partial')
        partial.write_text(json.dumps(result, indent=1) + '\n', 'utf-8')
        partial.replace(path)
        print(f'seed {seed}: {found["seconds"]:.0f} s, verified {found["verified"]}, suites {found["mean"]:.1%}',
              flush=True)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', type=Path, default=Path('runs'))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--threads', type=int, default=1)
    main(parser.parse_args())
