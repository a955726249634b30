"""The alignment that the chain runs: GRPO on prompts whose replies a program checks, measured on prompts held out."""
import json
import math
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from internlm_course import jsonl
from internlm_course.align.grpo import STATE, GRPOSettings, grpo
from internlm_course.align.rollout import asked, sample
from internlm_course.model import load_model, load_tokenizer, save_checkpoint
from internlm_course.verify import is_exact, is_verified, refused

ROWS = 128  # replies drawn together
# What a refusal earns that names something else. With nothing, some seeds gave up refusing; with one half, they went on
# so. `BEGUN` is added in proportion to how much of the right name it begins with: where all wrong names earned the
# same, a seed that did not come upon a right refusal by chance learned nothing (labs/LOG.md).
MISNAMED, BEGUN = 0.2, 0.6
# Check -> the file of held-out items, and what a reply must be.
CHECKED = dict({check: (check, is_verified) for check in ('constraints', 'identity', 'refusal', 'known')},
               named=('refusal', is_exact))


class Prompts:
    """A task over items of `internlm_course.verify`, in InternBootcamp's interface (`grpo.Bootcamp`)."""

    def __init__(self, items: Sequence[dict], seed: int):
        self.items, self.rng = items, random.Random(f'chat/{seed}')

    def case_generator(self) -> dict:
        """An item."""
        return self.rng.choice(self.items)

    @staticmethod
    def prompt_func(question_case: dict) -> str:
        """What the user says."""
        return question_case['question']

    @staticmethod
    def verify_score(model_output: str, identity: dict) -> float:
        """1 where the reply is right as a whole, 0 where it is wrong; for a refusal that names something else
        `MISNAMED`, and of `BEGUN` the share of the right name that it begins with."""
        if is_exact(identity, model_output) or not is_verified(identity, model_output):
            return float(is_verified(identity, model_output))
        name = refused(identity['reply']) or ''
        return MISNAMED + BEGUN * len(os.path.commonprefix([name, refused(model_output)])) / max(1, len(name))


def align(checkpoint: Path, prompts: Path, out: Path, settings: GRPOSettings,
          on_step: Callable[[dict], None] = lambda record: None) -> dict:
    """Aligns a checkpoint that chats by GRPO, and writes the result to `out`; what a killed call left there is gone on
    from.

    Args:
        prompts: folder of train.jsonl and heldout/<check>.jsonl, items of `internlm_course.verify`.
        on_step: gets `grpo`'s record of each step, and steps, how many there will be.

    Returns:
        checks {check: {before, after, n}}: the share of held-out prompts answered right, greedily; verified {before,
            after, gain [lowest, highest], n}: all of them together and exactly, the gain with its 95 % interval; steps
            [[step, reward, KL in nats a token], …], settings, seconds.
    """
    began, tokenizer, out = time.perf_counter(), load_tokenizer(checkpoint), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    actor, reference = (load_model(checkpoint, dtype=torch.float32, attn='eager') for _ in range(2))
    held = {path.stem: list(jsonl.rows(path)) for path in sorted((Path(prompts) / 'heldout').glob('*.jsonl'))}
    task = Prompts(list(jsonl.rows(Path(prompts) / 'train.jsonl')), settings.seed)
    curve = grpo(actor, reference, tokenizer, task, settings,
                 lambda record: on_step(record | dict(steps=settings.steps)), out)
    before, after = ({check: replied(model, tokenizer, items) for check, items in held.items()}
                     for model in (reference, actor))
    save_checkpoint(actor, tokenizer, out)
    metrics = dict(
        checks={check: dict(before=share(before[name], held[name], rule), after=share(after[name], held[name], rule),
                            n=len(held[name])) for check, (name, rule) in CHECKED.items()},
        verified=gain(*([is_exact(item, text) for name, items in held.items() for item, text in zip(items, texts[name])]
                        for texts in (before, after))),
        steps=[[row['step'], round(row['reward'], 4), round(row['kl'], 4)] for row in curve],
        settings=vars(settings), seconds=time.perf_counter() - began)
    (out / 'metrics.json').write_text(json.dumps(metrics, indent=2), 'utf-8')
    (out / STATE).unlink()
    return metrics


def replied(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, items: Sequence[Mapping],
            longest: int = 48) -> list[str]:
    """The model's greedy reply to each item."""
    return [text for first in range(0, len(items), ROWS)
            for text in sample(model, tokenizer, [asked(item['question']) for item in items[first:first + ROWS]],
                               longest, None).texts]


def share(texts: Sequence[str], items: Sequence[Mapping], rule: Callable[[Mapping, str], bool]) -> float:
    """The share of the replies that keep a rule."""
    return sum(map(rule, items, texts)) / len(items)


def gain(before: Sequence[bool], after: Sequence[bool]) -> dict:
    """{before, after (shares), gain [lowest, highest], n} of the same items: the ends of the difference's 95 %
    interval, of which those that changed decide (as in McNemar's test)."""
    n, won = len(before), sum(now and not was for was, now in zip(before, after, strict=True))
    lost = sum(was and not now for was, now in zip(before, after))
    margin = 1.96 * math.sqrt(max(0, won + lost - (won - lost) ** 2 / n)) / n
    return dict(before=sum(before) / n, after=sum(after) / n, n=n,
                gain=[(won - lost) / n - margin, (won - lost) / n + margin])
