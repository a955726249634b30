"""GRPO with verifiable rewards: no critic and no reward model; a program says which of a group's replies are right.

A task has InternBootcamp's interface, so that any of its tasks plugs in: `case_generator()` gives a case,
`prompt_func(case)` its question, `verify_score(reply, case)` a number from 0 to 1."""
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from internlm_course.align.losses import clipped_objective, group_advantages, kl_estimates
from internlm_course.align.rollout import asked, log_probabilities, mean_over, sample
from internlm_course.machine import deterministic


class Bootcamp(Protocol):
    """A task, as InternBootcamp writes it."""

    def case_generator(self) -> dict: ...
    def prompt_func(self, question_case: dict) -> str: ...
    def verify_score(self, model_output: str, identity: dict) -> float: ...


@dataclass(frozen=True)
class GRPOSettings:
    """What a student turns; the defaults are the tiny chain's."""
    steps: int = 80
    questions: int = 16
    """Cases of a step."""
    group: int = 8
    """Replies to each."""
    longest: int = 48
    """Tokens of a reply at most."""
    learning_rate: float = 1e-4
    kl: float = 0.02
    """Weight of the estimated distance from the model at the start."""
    clip: float = 0.2
    divide: bool = False
    """Divide advantages by the group's standard deviation, see `losses.group_advantages`."""
    batches: int = 2
    """Optimiser steps for each step's replies, each on its part of them."""
    seed: int = 0


@deterministic()
def grpo(actor: PreTrainedModel, reference: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Bootcamp,
         settings: GRPOSettings, on_step: Callable[[dict], None] = lambda record: None) -> list[dict]:
    """Trains `actor` in place.

    Returns: a record of each step: {step, reward (mean, 0 to 1), kl (nats a token, k3), length (tokens), entropy}.
    """
    optimizer = torch.optim.AdamW(actor.parameters(), lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    curve = []
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group['lr'] = settings.learning_rate * min(1, (step + 1) / 5)
        cases = [task.case_generator() for _ in range(settings.questions)]
        talks = [asked(task.prompt_func(case)) for case in cases for _ in range(settings.group)]
        replies = sample(actor, tokenizer, talks, settings.longest, seed=settings.seed * 1_000_003 + step)
        scores = [task.verify_score(text, case)
                  for text, case in zip(replies.texts, [case for case in cases for _ in range(settings.group)])]
        rewards = torch.tensor(scores, dtype=torch.float32).view(settings.questions, settings.group)
        advantages = group_advantages(rewards, settings.divide).view(-1, 1)
        with torch.no_grad():
            old, start = log_probabilities(actor, replies), log_probabilities(reference, replies)
        order = torch.randperm(len(talks), generator=torch.Generator().manual_seed(settings.seed * 7919 + step))
        distance = 0.0
        for part in order.chunk(settings.batches):
            some = replies.rows(part)
            new = log_probabilities(actor, some)
            distances = kl_estimates(new, start[part])['k3']
            losses = clipped_objective(new, old[part], advantages[part], settings.clip) + settings.kl * distances
            loss = (losses * some.said).sum() / (len(part) * settings.longest) * 8
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(actor.parameters(), 1.0)
            optimizer.step()
            distance += mean_over(distances.detach(), some.said).item() / settings.batches
        curve.append(dict(step=step + 1, reward=rewards.mean().item(), kl=distance,
                          length=replies.said.sum().item() / len(talks)))
        on_step(curve[-1])
    return curve
