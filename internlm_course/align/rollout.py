"""Rollouts: many prompts answered together by sampling, and how probable a model finds each token of the answers."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from internlm_course.model.chat import STOP, render


@dataclass(frozen=True)
class Rollout:
    """Prompts with their replies, a row each. Prompts are padded on the left, so that all replies begin in one column,
    and replies on the right."""
    tokens: torch.Tensor
    """int64 [rows, length]."""
    real: torch.Tensor
    """bool [rows, length]: what is no padding."""
    said: torch.Tensor
    """bool [rows, length - 1]: whether `tokens[:, 1:]` there was the model's choice, the end mark included."""
    texts: list[str]
    """The replies, without the end mark."""

    def rows(self, which: torch.Tensor) -> 'Rollout':
        """Some of the rows."""
        return Rollout(self.tokens[which], self.real[which], self.said[which],
                       [self.texts[index] for index in which.tolist()])


@torch.no_grad()
def sample(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, talks: Sequence[Sequence[Mapping]],
           longest: int, seed: int | None, top_p: float = 1.0) -> Rollout:
    """Answers each talk, with transformers' generate and its KV cache.

    Args:
        talks: messages each, the user's last; `longest`: tokens of a reply at most.
        seed: of the drawing, at temperature 1; None answers greedily.
        top_p: nucleus sampling: only the likeliest tokens that together have this probability are drawn from.
    """
    prompts = [tokenizer(render(talk, add_generation_prompt=True)).input_ids for talk in talks]
    width = max(map(len, prompts))
    tokens = torch.tensor([[tokenizer.pad_token_id] * (width - len(ids)) + ids for ids in prompts])
    real = torch.tensor([[False] * (width - len(ids)) + [True] * len(ids) for ids in prompts])
    ends = [tokenizer.convert_tokens_to_ids(name) for name in STOP]
    options = dict(do_sample=False) if seed is None else dict(do_sample=True, top_p=top_p, top_k=0, temperature=1.0)
    training = model.training
    model.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        tokens = model.generate(input_ids=tokens, attention_mask=real, max_new_tokens=longest, use_cache=True,
                                pad_token_id=tokenizer.pad_token_id, eos_token_id=ends, **options)
    model.train(training)
    replies = tokens[:, width:]
    ended = torch.isin(replies, torch.tensor(ends)).cumsum(1)
    said = (ended == 0) | (ended == 1) & torch.isin(replies, torch.tensor(ends))  # up to the end mark, it included
    texts = [tokenizer.decode(row[keep & ~torch.isin(row, torch.tensor(ends))]) for row, keep in zip(replies, said)]
    real = torch.cat([real, said], 1)
    chosen = torch.cat([torch.zeros(len(prompts), width - 1, dtype=torch.bool), said], 1)
    return Rollout(tokens, real, chosen, texts)


def asked(question: str) -> list[dict[str, str]]:
    """A talk that begins with this question."""
    return [dict(role='user', content=question)]


def positions(real: torch.Tensor) -> torch.Tensor:
    """Each token's place in its own row, int64 [rows, length], whatever padding stands before it."""
    return (real.long().cumsum(1) - 1).clamp(min=0)


def log_probabilities(model: PreTrainedModel, rollout: Rollout) -> torch.Tensor:
    """The model's log-probability of each token given those before it, float32 [rows, length - 1]; of the padding it
    means nothing.

    Only columns of replies are computed: everything before them is 0.
    """
    first = int(rollout.said.any(0).int().argmax())
    logits = model(input_ids=rollout.tokens, attention_mask=rollout.real, position_ids=positions(rollout.real),
                   use_cache=False, logits_to_keep=rollout.tokens.shape[1] - first).logits[:, :-1].float()
    wanted = rollout.tokens[:, first + 1:, None]
    found = logits.gather(2, wanted)[..., 0] - logits.logsumexp(-1)
    return F.pad(found, (first, 0))


def mean_over(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean of `values` where `mask` is true."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
