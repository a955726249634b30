"""PPO as the InternLM2 report does it (section 4.3): four models of one size, of which two learn.

    actor       begins as the fine-tuned model, and answers
    reference   stays the fine-tuned model: the actor is kept near it
    critic      begins as the reward model with a new head, and foresees the reward at each token
    reward      judges whole replies, told the domain; nobody else is told

Switched off as in the report: value clipping, normalised advantages. Read it from `ppo` downwards.
"""
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from internlm_course.align.losses import clipped_objective, generalised_advantages
from internlm_course.align.reward import RewardModel
from internlm_course.align.rollout import Rollout, log_probabilities, mean_over, positions, sample
from internlm_course.machine import deterministic
from internlm_course.pretrain.loop import autocast, loss_of

STATE = 'ppo.pt'  # what a killed run goes on from


@dataclass(frozen=True)
class PPOSettings:
    """What a student turns; the report's own values are given where they differ."""
    iterations: int = 60
    """The report: 400."""
    warmup: int = 4
    """Iterations at the beginning in which the critic alone learns (50)."""
    queries: int = 128
    """Questions of an iteration (some 500)."""
    longest: int = 48
    """Tokens of a reply at most."""
    actor_rate: float = 1e-4
    """Learning rate (1e-6)."""
    critic_rate: float = 3e-4
    """(5e-6)"""
    kl: float = 0.1
    """Taken from each token's reward, times how much likelier the actor finds it than the reference (0.01). At 0.02 the
    suites may lose three points, at 0.05 two (labs/LOG.md)."""
    bound: float = 1.0
    """What a reply's reward comes near at most, either way: bound * tanh((score - start) / 2), a sigmoid with its
    middle at 0 (arXiv:2502.18770). 0: score - start as it is."""
    clip: float = 0.2
    decay: float = 0.99
    """GAE's lambda."""
    top_p: float = 0.9
    pages: float = 0.5
    """Weight of the loss on pre-training pages: what was learned there is kept."""
    page_rows: int = 8
    """Rows of pages beside an iteration's replies."""
    batches: int = 2
    """Optimiser steps for each iteration's replies, each on its part of them."""
    save_every: int = 10
    """Iterations after which a killed run goes on."""
    seed: int = 0


class PPO:
    """The four models with their optimisers; `state` is what a killed run needs to go on to the same bits."""

    def __init__(self, actor: PreTrainedModel, reference: PreTrainedModel, reward: RewardModel,
                 critic: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: PPOSettings):
        self.actor, self.reference, self.reward, self.critic = actor.train(), reference.eval(), reward, critic.train()
        self.tokenizer, self.settings, self.curve = tokenizer, settings, []
        torch.nn.init.zeros_(critic.v_head.weight)  # the reward model without its head
        rates = (actor, settings.actor_rate), (critic, settings.critic_rate)
        self.actor_steps, self.critic_steps = (
            torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
            for model, rate in rates)

    def iterate(self, number: int, prompts: Sequence[dict], pages: torch.Tensor) -> dict:
        """One iteration: answer, judge, compare with what the critic expected, learn.

        Args:
            prompts: {'talk' (messages), 'domain', 'start' (`unsure`)}, one row of the rollout each.
            pages: int64 [rows, length + 1] of pre-training tokens.
        """
        settings, talks = self.settings, [prompt['talk'] for prompt in prompts]
        replies = sample(self.actor, self.tokenizer, talks, settings.longest, settings.seed * 1_000_003 + number,
                         settings.top_p)
        scores, start = self.judged(talks, replies.texts, prompts), torch.tensor([row['start'] for row in prompts])
        with torch.no_grad(), self.cast():
            old, reference = log_probabilities(self.actor, replies), log_probabilities(self.reference, replies)
            values = values_of(self.critic, replies)
        distance = (old - reference) * replies.said
        rewards = -settings.kl * distance  # and at the reply's end:
        rewards[torch.arange(len(prompts)), last_column(replies.said)] += bounded(scores - start, settings.bound)
        advantages = generalised_advantages(rewards, values, replies.said, decay=settings.decay)
        returns = advantages + values
        order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(settings.seed * 7919 + number))
        for rows, page in zip(*(rows.tensor_split(settings.batches) for rows in (order, pages))):
            part = replies.rows(rows)
            with self.cast():
                error = mean_over((values_of(self.critic, part) - returns[rows]).square() / 2, part.said)
            step(self.critic, self.critic_steps, error)
            if number >= settings.warmup:
                with self.cast():
                    new = log_probabilities(self.actor, part)
                    loss = mean_over(clipped_objective(new, old[rows], advantages[rows], settings.clip), part.said)
                    loss = loss + settings.pages * loss_of(self.actor, page) if settings.pages else loss
                step(self.actor, self.actor_steps, loss)
        return dict(iteration=number + 1, reward=scores.mean().item(), gain=(scores - start).mean().item(),
                    kl=distance.sum().item() / len(prompts), value_error=error.item(),
                    length=replies.said.sum().item() / len(prompts), texts=replies.texts)

    def cast(self):
        """bf16 where the cores multiply it. A context for each forward pass: it keeps the weights that it has cast."""
        return autocast(self.actor.device)

    def judged(self, talks: Sequence[list], texts: Sequence[str], prompts: Sequence[dict]) -> torch.Tensor:
        """The reward model's score of each reply, in its prompt's domain."""
        with self.cast():
            return self.reward(talks, texts, [prompt['domain'] for prompt in prompts])

    def state(self) -> dict:
        """Everything that the next iteration depends on, but for its number: all drawing is seeded by that."""
        return dict(actor=self.actor.state_dict(), critic=self.critic.state_dict(), curve=self.curve,
                    actor_steps=self.actor_steps.state_dict(), critic_steps=self.critic_steps.state_dict())

    def restore(self, state: dict) -> None:
        """Takes over what `state` gave."""
        for name in ('actor', 'critic', 'actor_steps', 'critic_steps'):
            getattr(self, name).load_state_dict(state[name])
        self.curve = state['curve']


@deterministic()
def unsure(loop: PPO, prompts: Sequence[dict]) -> list[dict]:
    """The prompts that the actor sometimes answers otherwise than greedily, each with `start`, the score of the greedy
    reply.

    Where all replies are alike there is nothing to learn, and a critic's error there is noise. Counted from `start`, a
    reply's score says how much better it is than the fine-tuned model's own, whatever the prompt's usual score.
    """
    kept, rows = [], 2 * loop.settings.queries
    for first in range(0, len(prompts), rows):
        part = prompts[first:first + rows]
        talks = [prompt['talk'] for prompt in part]
        sure, drawn = (sample(loop.actor, loop.tokenizer, talks, loop.settings.longest, seed, loop.settings.top_p).texts
                       for seed in (None, loop.settings.seed * 15_485_863 + first))
        unlike = [(prompt, one) for prompt, one, other in zip(part, sure, drawn) if one != other]
        starts = loop.judged([prompt['talk'] for prompt, _ in unlike], [one for _, one in unlike],
                             [prompt for prompt, _ in unlike])
        kept += [dict(prompt, start=start) for (prompt, _), start in zip(unlike, starts.tolist())]
    return kept


@deterministic()
def ppo(loop: PPO, prompts: Sequence[dict], pages: torch.Tensor, out: Path,
        on_step: Callable[[dict], None] = lambda record: None) -> list[dict]:
    """All iterations, from the last state in `out` on; the actor is trained in place. The state after the last one
    stays there (`STATE`), for whoever has not yet made use of it.

    Args:
        prompts: {'talk' (messages), 'domain', 'start' (`unsure`)}; each iteration draws its own.
        pages: int64 [rows, length + 1]; each iteration reads the next ones.
        on_step: called with each record and its texts, the replies, which are dropped afterwards; what it adds to the
            record is kept.

    Returns:
        A record for each iteration: {iteration, reward (mean score), gain (of it over `start`), kl (nats a reply),
        value_error, length (tokens)}.
    """
    settings, saved = loop.settings, Path(out) / STATE
    if saved.exists():
        loop.restore(torch.load(saved, weights_only=True))
    for number in range(len(loop.curve), settings.iterations):
        drawn = random.Random(settings.seed * 104_729 + number).sample(list(prompts), settings.queries)
        places = torch.arange(number * settings.page_rows, (number + 1) * settings.page_rows) % len(pages)
        record = loop.iterate(number, drawn, pages[places])
        on_step(record)
        loop.curve.append({name: value for name, value in record.items() if name != 'texts'})
        if (number + 1) % settings.save_every == 0 or number + 1 == settings.iterations:
            torch.save(loop.state(), partial := saved.with_suffix('.partial'))
            os.replace(partial, saved)
    return loop.curve


def bounded(gains: torch.Tensor, bound: float) -> torch.Tensor:
    """Gains squeezed to (-bound, bound), a small one in proportion: `PPOSettings.bound`."""
    return bound * (gains / 2).tanh() if bound else gains


def values_of(critic: PreTrainedModel, replies: Rollout) -> torch.Tensor:
    """What the critic expects when each token of `tokens[:, 1:]` is about to be chosen, float32 [rows, length - 1]."""
    states = critic.model(input_ids=replies.tokens, attention_mask=replies.real,
                          position_ids=positions(replies.real), use_cache=False).last_hidden_state
    return critic.v_head(states)[:, :-1, 0].float()


def last_column(said: torch.Tensor) -> torch.Tensor:
    """The column of each row's last True, int64 [rows]."""
    return said.shape[1] - 1 - said.flip(1).int().argmax(1)


def step(model: PreTrainedModel, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One step of gradient descent, its norm clipped at 1."""
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
