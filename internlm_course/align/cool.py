"""COOL RLHF's training (InternLM2 report, 4.2.3): a fine-tuned model practises by PPO for a reward model's approval;
a program that knows the answers says what came of it."""
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from internlm_course import jsonl
from internlm_course.align.chat import gain, replied
from internlm_course.align.ppo import PPO, STATE, PPOSettings, ppo, unsure
from internlm_course.align.reward import RewardModel
from internlm_course.align.rollout import asked
from internlm_course.errors import CourseError
from internlm_course.model import load_model, load_tokenizer, save_checkpoint
from internlm_course.verify import is_verified

EVERY = 10  # iterations between two measurements


def verified(model, tokenizer, held: Sequence[dict], longest: int) -> list[bool]:
    """Of each case, whether the greedy reply is right."""
    return list(map(is_verified, held, replied(model, tokenizer, held, longest)))


def train(checkpoint: Path, judge: Path, questions: Path, out: Path, settings: PPOSettings,
          on_step: Callable[[dict], None] = lambda record: None) -> dict:
    """Trains a checkpoint that chats against a reward model, and writes the result to `out`; what a killed call left
    there is gone on from. No pages of pre-training are mixed in, whatever `settings.pages` says.

    Args:
        judge: folder of the reward model (`reward.train`), made from the same checkpoint.
        questions: folder of train.jsonl and heldout.jsonl, items of `internlm_course.verify`; practised are those whose
            reply the model is not sure of.
        on_step: gets `ppo`'s record of each iteration, and step, steps.

    Returns:
        verified {before, after, gain [lowest, highest], n}: held-out questions answered right, the gain with its 95 %
        interval; curve: `ppo`'s records, every `EVERY`-th and the last with verified (share); prompts (practised),
        settings, seconds (of this call).

    Raises:
        CourseError: the model is sure of so many replies that too few are left to practise.
    """
    began, tokenizer, out = time.perf_counter(), load_tokenizer(checkpoint), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    settings = replace(settings, pages=0.0)
    actor, reference = (load_model(checkpoint, dtype=torch.float32, attn='eager') for _ in range(2))
    critic = load_model(judge, dtype=torch.float32, attn='eager', reward=True)
    loop = PPO(actor, reference, RewardModel(judge), critic, tokenizer, settings)
    practised, held = (list(jsonl.rows(Path(questions) / f'{name}.jsonl')) for name in ('train', 'heldout'))
    before = verified(actor, tokenizer, held, settings.longest)
    prompts = unsure(loop, [dict(talk=asked(item['question']), domain='helpful') for item in practised])
    if len(prompts) < settings.queries:
        raise CourseError(f'The model is sure of its reply to all but {len(prompts)} of {len(practised)} questions; an '
                          f'iteration takes {settings.queries}.',
                          'Give fewer queries (scale.py), or more questions (world/preferences.py).')

    def told(record: dict) -> None:
        if record['iteration'] % EVERY == 0 and record['iteration'] < settings.iterations:
            right = verified(actor, tokenizer, held, settings.longest)
            record['verified'] = sum(right) / len(held)
        on_step(record | dict(step=record['iteration'], steps=settings.iterations))
    curve = ppo(loop, prompts, torch.zeros(settings.page_rows, 2, dtype=torch.long), out, told)
    after = verified(actor, tokenizer, held, settings.longest)
    curve[-1]['verified'] = sum(after) / len(held)
    save_checkpoint(actor, tokenizer, out)
    metrics = dict(verified=gain(before, after), curve=curve, prompts=len(prompts), settings=asdict(settings),
                   seconds=time.perf_counter() - began)
    (out / 'metrics.json').write_text(json.dumps(metrics, indent=2), 'utf-8')
    (out / STATE).unlink()
    return metrics
