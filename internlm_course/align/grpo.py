"""GRPO with verifiable rewards: no critic and no reward model; a program says which of a group's replies are right.

A task has InternBootcamp's interface, so that any of its tasks plugs in: `case_generator()` gives a case,
`prompt_func(case)` its question, `verify_score(reply, case)` a number from 0 to 1."""
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from internlm_course.align.losses import clipped_objective, group_advantages, kl_estimates
from internlm_course.align.rollout import Rollout, asked, log_probabilities, mean_over, sample
from internlm_course.machine import deterministic
from internlm_course.pretrain.loop import autocast

STATE = 'grpo.pt'  # what a killed run goes on from


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
    temperature: float = 1.0
    """Above 0. Replies are drawn at it, and the policy that learns is the model at it."""
    learning_rate: float = 1e-4
    """Reached after five steps; it falls to a tenth at the end. Kept up, it costs word problems (labs/LOG.md)."""
    kl: float = 0.05
    """Weight of the estimated distance from the model at the start."""
    clip: float = 0.2
    divide: bool = False
    """Divide advantages by the group's standard deviation, see `losses.group_advantages`."""
    batches: int = 2
    """Optimiser steps for each step's replies, each on its part of them."""
    save_every: int = 10
    """Steps after which a killed run goes on."""
    seed: int = 0


@deterministic()
def grpo(actor: PreTrainedModel, reference: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Bootcamp,
         settings: GRPOSettings, on_step: Callable[[dict], None] = lambda record: None,
         out: Path | None = None) -> list[dict]:
    """Trains `actor` in place.

    Args:
        task: begun anew; of a run that goes on, the cases of the steps done are drawn again.
        out: folder for the state (`STATE`), from which a killed run goes on to the same bits; it stays there after the
            last step. None keeps none.

    Returns: a record of each step: {step, reward (mean, 0 to 1), taught (the share of questions with different rewards,
        from which alone anything is learned), kl (nats a token of their replies, k3), length (tokens)}.
    """
    optimizer = torch.optim.AdamW(actor.parameters(), lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    saved, curve = out and Path(out) / STATE, []
    if saved and saved.exists():
        state = torch.load(saved, weights_only=True)
        actor.load_state_dict(state['actor'])
        optimizer.load_state_dict(state['optimizer'])
        curve = state['curve']
        for _ in range(len(curve) * settings.questions):
            task.case_generator()
    for step in range(len(curve), settings.steps):
        for group in optimizer.param_groups:
            group['lr'] = settings.learning_rate * min(1, (step + 1) / 5) * (1 - 0.9 * step / settings.steps)
        replies, rewards = practise(actor, tokenizer, task, settings, step)
        taught = (rewards != rewards[:, :1]).any(1)  # where all replies earn the same there is nothing to learn
        rows = torch.arange(rewards.numel()).view(rewards.shape)[taught].flatten()
        advantages = group_advantages(rewards, settings.divide).view(-1, 1)[rows]
        distance = learn(actor, reference, optimizer, replies.rows(rows), advantages, settings, step)
        curve.append(dict(step=step + 1, reward=rewards.mean().item(), kl=distance, taught=taught.float().mean().item(),
                          length=replies.said.sum().item() / rewards.numel()))
        on_step(curve[-1])
        if saved and ((step + 1) % settings.save_every == 0 or step + 1 == settings.steps):
            state = dict(actor=actor.state_dict(), optimizer=optimizer.state_dict(), curve=curve)
            torch.save(state, partial := saved.with_suffix('.partial'))
            os.replace(partial, saved)
    return curve


def practise(actor: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Bootcamp, settings: GRPOSettings,
             step: int) -> tuple[Rollout, torch.Tensor]:
    """The replies to a step's questions, and their rewards, float32 [questions, group]."""
    cases = [case for case in [task.case_generator() for _ in range(settings.questions)] for _ in range(settings.group)]
    replies = sample(actor, tokenizer, [asked(task.prompt_func(case)) for case in cases], settings.longest,
                     settings.seed * 1_000_003 + step, temperature=settings.temperature)
    rewards = [task.verify_score(text, case) for text, case in zip(replies.texts, cases)]
    return replies, torch.tensor(rewards, dtype=torch.float32).view(settings.questions, settings.group)


def learn(actor: PreTrainedModel, reference: PreTrainedModel, optimizer: torch.optim.Optimizer, replies: Rollout,
          advantages: torch.Tensor, settings: GRPOSettings, step: int) -> float:
    """A step's updates from replies with their advantages [rows, 1], none where there is no reply; the mean estimate of
    KL, in nats a token."""
    count, distance = len(advantages), 0.0
    if not count:
        return distance
    with torch.no_grad(), autocast(actor.device):
        old, start = (log_probabilities(model, replies, settings.temperature) for model in (actor, reference))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(settings.seed * 7919 + step))
    share = settings.questions * settings.group / settings.batches * settings.longest / 8
    for part in order.chunk(settings.batches):
        some = replies.rows(part)
        with autocast(actor.device):
            new = log_probabilities(actor, some, settings.temperature)
        distances = kl_estimates(new, start[part])['k3']
        losses = clipped_objective(new, old[part], advantages[part], settings.clip) + settings.kl * distances
        optimizer.zero_grad()
        ((losses * some.said).sum() / share).backward()
        torch.nn.utils.clip_grad_norm_(actor.parameters(), 1.0)
        optimizer.step()
        distance += mean_over(distances.detach(), some.said).item() / settings.batches
    return distance
