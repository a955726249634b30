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
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path

RESULTS = Path(__file__).parent / 'results'
HELD, POOL, EVERY = 300, 3000, 10


def cases(seed: int, count: int, unseen: bool) -> list[dict]:
    """Different cases of the task."""
    from internlm_course.world.bootcamp import ABROAD, Instructions
    task, found = Instructions(seed, unseen, ABROAD), {}
    while len(found) < count:
        case = task.case_generator()
        found[case['question']] = case
    return list(found.values())


def verified(model, tokenizer, held: list[dict]) -> list[bool]:
    """Of each case, whether the greedy reply is right."""
    from internlm_course.align.rollout import asked, sample
    from internlm_course.verify import is_verified
    texts = [text for first in range(0, len(held), 100)
             for text in sample(model, tokenizer, [asked(case['question']) for case in held[first:first + 100]], 48,
                                None).texts]
    return list(map(is_verified, held, texts))


def run(course, settings, judge: Path, held: list[dict], items: dict) -> dict:
    """One training; what it gave."""
    import torch

    from internlm_course.align.chat import gain
    from internlm_course.align.ppo import PPO, ppo, unsure
    from internlm_course.align.reward import RewardModel
    from internlm_course.align.rollout import asked
    from internlm_course.model import load_model, load_tokenizer, save_checkpoint
    from internlm_course.staff.seeds import score
    checkpoint = course.sft().path
    actor, reference = (load_model(checkpoint, dtype=torch.float32, attn='eager') for _ in range(2))
    critic = load_model(judge, dtype=torch.float32, attn='eager', reward=True)
    loop = PPO(actor, reference, RewardModel(judge), critic, load_tokenizer(checkpoint), settings)
    began, before = time.perf_counter(), verified(actor, loop.tokenizer, held)
    points = [dict(iteration=0, verified=sum(before) / len(held))]
    prompts = unsure(loop, [dict(talk=asked(case['question']), domain='helpful')
                            for case in cases(settings.seed, POOL, unseen=False)])

    def told(record: dict) -> None:
        if record['iteration'] % EVERY == 0:
            right = verified(actor, loop.tokenizer, held)
            points.append(dict(iteration=record['iteration'], verified=sum(right) / len(held)))
            print(f'  {record["iteration"]}: gain {record["gain"]:.2f}, kl {record["kl"]:.2f}, '
                  f'verified {points[-1]["verified"]:.1%}', flush=True)
    with tempfile.TemporaryDirectory() as folder:
        curve = ppo(loop, prompts, torch.zeros(settings.page_rows, 2, dtype=torch.long), Path(folder), told)
        save_checkpoint(actor, loop.tokenizer, Path(folder) / 'chat')
        suites = score(Path(folder) / 'chat', items, chat=True)
    verdict = gain(before, verified(actor, loop.tokenizer, held))
    return dict(settings=asdict(settings), seconds=round(time.perf_counter() - began, 1), prompts=len(prompts),
                held_out=points, verified=verdict, suites=suites, mean=sum(suites.values()) / len(suites),
                curve=[{name: round(value, 4) for name, value in row.items()} for row in curve])


def main(options) -> None:
    import torch

    from internlm_course.align.ppo import PPOSettings
    from internlm_course.course import Course
    from internlm_course.evaluate.suites import read_items
    from internlm_course.machine import cpu_dtype
    from internlm_course.staff.seeds import commit, kind, processor, score
    torch.set_num_threads(options.threads)
    course = Course.open('tiny', options.root)
    items, held = read_items(course.crawl().path / 'items', limit=40), cases(1, HELD, unseen=True)
    path = RESULTS / f'ppo-{date.today()}-{kind()}.json'
    result = json.loads(path.read_text('utf-8')) if path.exists() else dict(
        date=str(date.today()), command='python tests/bench/ppo.py',
        host=dict(system=platform.platform(), cores=os.cpu_count(), kind=kind(), precision=cpu_dtype(),
                  processor=processor()), commit=commit(), held_out=HELD, before=score(course.sft().path, items, True),
        runs={})
    for seed in options.seeds:
        if str(seed) in result['runs']:
            continue
        settings = PPOSettings(pages=0.0, seed=seed)
        judge = course.store.root / 'reward-bench' / f'conditional-{seed}' / 'model'
        result['runs'][str(seed)] = found = run(course, settings, judge, held, items)
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
