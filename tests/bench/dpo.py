"""The cheap alternatives to PPO on the judge's own helpful pairs: DPO, and fine-tuning on the preferred replies alone.

    python tests/bench/dpo.py [--seeds 0 1 2] [--ways dpo chosen] [--rate 1e-4] [--beta 0.1] [--root runs]

From the fine-tuned model that ships, through XTuner, measured as tests/bench/ppo.py measures PPO: on the same held-out
questions and suites. A seed draws the pairs, as it does for tests/bench/reward.py. Every run is written to the result
as it ends; what the file has is not run again.
"""
import argparse
import json
import os
import platform
from datetime import date
from pathlib import Path

RESULTS = Path(__file__).parent / 'results'
WAYS = ('dpo', 'chosen')


def helpful(course, seed: int) -> list[dict]:
    """The pairs of the domain that PPO is judged in, those of the model's own replies among them, without the
    condition: a policy is told none."""
    from internlm_course import jsonl
    from internlm_course.align.reward import training_pairs, with_own
    from internlm_course.world.preferences import curriculum
    asked = list(jsonl.rows(course.preferences().path / 'questions' / 'train.jsonl'))
    pairs = with_own(curriculum(seed), course.sft().path, asked, seed)
    return training_pairs([pair for pair in pairs if pair['domain'] == 'helpful'], conditional=False)


def tune(course, way: str, pairs: list[dict], out: Path, seed: int, rate: float, beta: float) -> dict:
    """Trains by one way; XTuner's metrics."""
    from internlm_course import jsonl
    from internlm_course.finetune import DPOSettings, SFTSettings, dpo, sft
    from internlm_course.machine import training_dtype
    out.mkdir(parents=True, exist_ok=True)
    common = dict(method='full', learning_rate=rate, epochs=1, dtype=training_dtype(), seed=seed)
    start, home = course.sft().path, course.store.home
    if way == 'chosen':
        rows = [dict(messages=pair['prompt'] + pair['chosen']) for pair in pairs]
        jsonl.write(out / 'rows.jsonl', rows)
        return sft(start, out / 'rows.jsonl', out / 'model',
                   SFTSettings(**common, batch_size=2, max_length=512), home)
    jsonl.write(out / 'rows.jsonl', pairs)
    return dpo(start, out / 'rows.jsonl', out / 'model',
               DPOSettings(**common, batch_size=4, max_length=256, packed_length=1024, beta=beta), home)


def distance(model, reference, tokenizer, items: list[dict]) -> float:
    """How far the model's own replies are from the reference, in nats a reply (KL, by one reply to each item)."""
    import torch

    from internlm_course.align.rollout import asked, log_probabilities, sample
    with torch.no_grad():
        replies = sample(model, tokenizer, [asked(item['question']) for item in items], 48, seed=0)
        apart = (log_probabilities(model, replies) - log_probabilities(reference, replies)) * replies.said
    return apart.sum().item() / len(items)


def run(course, way: str, seed: int, rate: float, beta: float, items: dict) -> dict:
    """One training; what it gave."""
    import torch

    from internlm_course import jsonl
    from internlm_course.align.chat import gain
    from internlm_course.align.cool import verified
    from internlm_course.model import load_model, load_tokenizer
    from internlm_course.staff.seeds import score
    out = course.store.root / 'dpo-bench' / f'{way}-{seed}-{rate:g}-{beta:g}'
    pairs = helpful(course, seed)
    metrics = tune(course, way, pairs, out, seed, rate, beta)
    tokenizer = load_tokenizer(course.sft().path)
    reference, model = (load_model(path, dtype=torch.float32, attn='eager')
                        for path in (course.sft().path, out / 'model'))
    held = list(jsonl.rows(course.preferences().path / 'questions' / 'heldout.jsonl'))
    before, after = (verified(one, tokenizer, held, 48) for one in (reference, model))
    suites = score(out / 'model', items, chat=True)
    curves = {name: [[step, round(value, 4)] for step, value in metrics[name][::5] + metrics[name][-1:]]
              for name in ('loss', 'accuracy', 'chosen', 'rejected') if name in metrics}
    return dict(verified=gain(before, after), kl=round(distance(model, reference, tokenizer, held), 3), suites=suites,
                mean=sum(suites.values()) / len(suites), pairs=len(pairs), steps=metrics['steps'],
                seconds=round(metrics['seconds'], 1), settings=metrics['settings'], curves=curves)


def main(options) -> None:
    import torch

    from internlm_course.course import Course
    from internlm_course.evaluate.suites import read_items
    from internlm_course.machine import cpu_dtype
    from internlm_course.staff.seeds import commit, kind, processor, score
    torch.set_num_threads(options.threads)
    course = Course.open('tiny', options.root)
    items = read_items(course.crawl().path / 'items', limit=40)
    path = RESULTS / f'dpo-{date.today()}-{kind()}.json'
    for seed in options.seeds:
        for way in options.ways:
            result = json.loads(path.read_text('utf-8')) if path.exists() else dict(
                date=str(date.today()), command='python tests/bench/dpo.py',
                host=dict(system=platform.platform(), cores=os.cpu_count(), kind=kind(), precision=cpu_dtype(),
                          processor=processor()),
                commit=commit(), before=score(course.sft().path, items, True), runs={})
            beta = f', beta {options.beta:g}' * (way == 'dpo')
            name = f'{way}, rate {options.rate:g}{beta}, seed {seed}'
            if name in result['runs']:
                continue
            found = run(course, way, seed, options.rate, options.beta, items)
            if path.exists():  # another process may have written since
                result = json.loads(path.read_text('utf-8'))
            result['runs'][name] = found
            partial = path.with_suffix(f'.{os.getpid()}.partial')
            partial.write_text(json.dumps(result, indent=1) + '\n', 'utf-8')
            partial.replace(path)
            print(f'{name}: {found["seconds"]:.0f} s, verified {found["verified"]}, KL {found["kl"]:.2f}, suites '
                  f'{found["mean"]:.1%}', flush=True)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', type=Path, default=Path('runs'))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--ways', nargs='+', choices=WAYS, default=list(WAYS))
    parser.add_argument('--rate', type=float, default=1e-4)
    parser.add_argument('--beta', type=float, default=0.1, help='of DPO')
    parser.add_argument('--threads', type=int, default=1)
    main(parser.parse_args())
