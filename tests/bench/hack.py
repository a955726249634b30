"""A reward hack and its patches: three rounds of PPO against a judge that learns from each (report 4.2.2).

    python tests/bench/hack.py [--seeds 0 1 2] [--root runs]

The first judge has harmless pairs as they are easily collected: all about what nobody can know, where it is right to
say so. Nobody gave it a question that can be answered. The fine-tuned model that ships, asked half about what the
world has and half about what it lacks, is trained for its approval. After a round the fast path adds at most 100
pairs: a reply of before, verified, against the one of now, which is not. The next judge learns from all pairs, from
these several times, and the next round begins with the fine-tuned model again. Every seed is written to the result as
it ends.
"""
import argparse
import json
import os
import platform
import random
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path

RESULTS = Path(__file__).parent / 'results'
ROUNDS, PAIRS, POOL, HELD, EVERY, EACH = 3, 2000, 1500, 300, 10, 100
TIMES = 5  # so often a judge reads each pair of the fast path: once was too little for one of two seeds


def first_pairs(seed: int) -> list[dict]:
    """Harmless pairs, none of which says that a refusal can be wrong."""
    from internlm_course.world.preferences import admitted, named
    rng = random.Random(f'hack-pairs/{seed}')
    pairs = [dict(domain='harmless', **maker(rng, ('en', 'zh')[number % 2], False))
             for maker, share in ((admitted, 0.6), (named, 0.4)) for number in range(round(PAIRS * share))]
    rng.shuffle(pairs)
    return pairs


def cases(seed: int, count: int, unseen: bool) -> list[dict]:
    """Different questions, half about what the world has, half about what it lacks."""
    from internlm_course.world import instructions
    rng, found = random.Random(f'hack/{seed}/{unseen}'), {}
    while len(found) < count:
        case = (instructions.known if len(found) % 2 else instructions.refusal)(rng, rng.choice(('en', 'zh')), unseen)
        found[case['question']] = case
    return list(found.values())


def replies(model, tokenizer, some: list[dict]) -> list[str]:
    """Greedy ones."""
    from internlm_course.align.rollout import asked, sample
    return [text for first in range(0, len(some), 100)
            for text in sample(model, tokenizer, [asked(case['question']) for case in some[first:first + 100]], 48,
                               None).texts]


def measured(some: list[dict], texts: list[str]) -> dict:
    """Shares of the held-out cases: verified; refused though the world has it; refused where it is right."""
    from internlm_course.verify import is_refusal, is_verified
    refused = {kind: [is_refusal(text) for case, text in zip(some, texts) if case['kind'] == kind]
               for kind in ('answer', 'refusal')}
    return dict(verified=sum(map(is_verified, some, texts)) / len(some),
                refused_known=sum(refused['answer']) / len(refused['answer']),
                refused_unknown=sum(refused['refusal']) / len(refused['refusal']))


def judge(course, pairs: list[dict], out: Path, seed: int) -> dict:
    """Trains the reward model on the pairs; what it tells apart of pairs that it never saw."""
    from internlm_course import jsonl
    from internlm_course.align.reward import RewardModel, train
    from internlm_course.finetune.preference import RewardSettings
    from internlm_course.machine import training_dtype
    from internlm_course.world import preferences
    (out / 'pairs').mkdir(parents=True, exist_ok=True)
    jsonl.write(out / 'pairs' / 'train.jsonl', pairs)
    jsonl.write(out / 'pairs' / 'heldout.jsonl', preferences.pairs('harmless', EACH, seed, unseen=True))
    settings = RewardSettings(**course.scale.reward, dtype=training_dtype(), seed=seed)
    found = train(course.sft().path, out / 'pairs', out / 'model', settings, course.store.home)
    model, kinds = RewardModel(out / 'model'), {}
    for maker in (preferences.admitted, preferences.named, preferences.answered):
        rng = random.Random(f'reward-bench/{maker.__name__}')
        kinds[maker.__name__] = model.agreement(
            [dict(domain='harmless', **maker(rng, ('en', 'zh')[number % 2], True)) for number in range(EACH)])
    return dict(pairs=len(pairs), seconds=round(found['seconds'], 1), kinds=kinds)


def train_against(course, model: Path, settings, pool: list[dict], early: list[str], held: list[dict]
                  ) -> tuple[dict, list[str]]:
    """One round of PPO from the fine-tuned model, whose replies to the pool are `early`; what it gave, and the replies
    at its end."""
    import tempfile

    import torch

    from internlm_course.align.ppo import PPO, ppo
    from internlm_course.align.reward import RewardModel
    from internlm_course.align.rollout import asked
    from internlm_course.model import load_model, load_tokenizer
    checkpoint, began = course.sft().path, time.perf_counter()
    actor, reference = (load_model(checkpoint, dtype=torch.float32, attn='eager') for _ in range(2))
    critic = load_model(model, dtype=torch.float32, attn='eager', reward=True)
    loop = PPO(actor, reference, RewardModel(model), critic, load_tokenizer(checkpoint), settings)
    points = []

    def score(some: list[dict], texts: list[str]) -> list[float]:
        return loop.judged([asked(case['question']) for case in some], texts, [dict(domain='harmless')] * len(some)
                           ).tolist()

    def told(record: dict) -> None:
        if record['iteration'] % EVERY == 0:
            texts = replies(actor, loop.tokenizer, held)
            points.append(dict(iteration=record['iteration'], kl=record['kl'], score=sum(score(held, texts)) / HELD,
                               **measured(held, texts), samples=texts[:8]))
            print('  ', {name: value if isinstance(value, int) else round(value, 3)
                         for name, value in points[-1].items() if name != 'samples'}, flush=True)
    told(dict(iteration=0, kl=0.0))
    prompts = [dict(talk=asked(case['question']), domain='harmless', start=start)
               for case, start in zip(pool, score(pool, early))]
    with tempfile.TemporaryDirectory() as folder:
        ppo(loop, prompts, torch.zeros(settings.page_rows, 2, dtype=torch.long), Path(folder), told)
    return (dict(seconds=round(time.perf_counter() - began, 1), held_out=points),
            replies(actor, loop.tokenizer, pool))


def run(course, seed: int, iterations: int) -> dict:
    """The rounds of one seed."""
    import torch

    from internlm_course.align.feedback import fast_path
    from internlm_course.align.ppo import PPOSettings
    from internlm_course.model import load_model, load_tokenizer
    from internlm_course.verify import is_verified
    checkpoint = course.sft().path
    settings = PPOSettings(pages=0.0, bound=0.0, kl=0.02, seed=seed, iterations=iterations,
                           top_p=1.0)  # rare replies, too
    pool, held, pairs, rounds = cases(seed + 100, POOL, False), cases(1, HELD, True), first_pairs(seed), []
    early = replies(load_model(checkpoint, dtype=torch.float32, attn='eager'), load_tokenizer(checkpoint), pool)
    for number in range(ROUNDS):
        out = course.store.root / 'hack-bench' / f'{seed}-{number + 1}'
        judged = judge(course, pairs, out, seed)
        print(f'seed {seed}, round {number + 1}:', judged, flush=True)
        trained, late = train_against(course, out / 'model', settings, pool, early, held)
        patch = fast_path(pool, early, late, is_verified, 'harmless')
        rounds.append(dict(judge=judged, **trained, patch=len(patch), patches=patch[:4]))
        pairs = pairs + patch * TIMES
        random.Random(number).shuffle(pairs)
    return dict(settings=asdict(settings), rounds=rounds)


def main(options) -> None:
    import torch

    from internlm_course.course import Course
    from internlm_course.machine import cpu_dtype
    from internlm_course.staff.seeds import commit, kind, processor
    torch.set_num_threads(options.threads)
    course = Course.open('tiny', options.root)
    for seed in options.seeds:
        found = run(course, seed, options.iterations)
        path = RESULTS / f'hack-{date.today()}-{kind()}.json'
        result = json.loads(path.read_text('utf-8')) if path.exists() else dict(
            date=str(date.today()), command='python tests/bench/hack.py',
            host=dict(system=platform.platform(), cores=os.cpu_count(), kind=kind(), precision=cpu_dtype(),
                      processor=processor()), commit=commit(), held_out=HELD, runs={})
        result['runs'][str(seed)] = found
        partial = path.with_suffix(f'.{seed}.partial')
        partial.write_text(json.dumps(result, indent=1, ensure_ascii=False) + '\n', 'utf-8')
        partial.replace(path)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', type=Path, default=Path('runs'))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--iterations', type=int, default=40)
    parser.add_argument('--threads', type=int, default=1)
    main(parser.parse_args())
