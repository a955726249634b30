"""Rollouts: many prompts answered together by sampling, and how probable a model finds each token of the answers."""
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from internlm_course.errors import CourseError
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
           longest: int, seed: int | None, top_p: float = 1.0, temperature: float = 1.0) -> Rollout:
    """Answers each talk, with a KV cache. A row whose reply has ended leaves the batch: most replies are short, and
    transformers' generate would go on with all rows until the longest ends.

    Args:
        talks: messages each, the user's last; `longest`: tokens of a reply at most.
        seed: of the drawing; None answers greedily.
        top_p: nucleus sampling: only the likeliest tokens that together have this probability are drawn from.
        temperature: logits are divided by it: above 1, unlikely replies are drawn more often.

    Raises:
        CourseError: a temperature that is not above 0.
    """
    if not temperature > 0:
        raise CourseError(f'Nothing can be drawn at a temperature of {temperature}.',
                          'Give one above 0; a seed of None takes the likeliest tokens.')
    prompts = [tokenizer(render(talk, add_generation_prompt=True)).input_ids for talk in talks]
    width = max(map(len, prompts))
    tokens = torch.tensor([[tokenizer.pad_token_id] * (width - len(ids)) + ids for ids in prompts])
    real = torch.tensor([[False] * (width - len(ids)) + [True] * len(ids) for ids in prompts])
    ends = torch.tensor([tokenizer.convert_tokens_to_ids(name) for name in STOP])
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    replies = torch.full((len(prompts), longest), tokenizer.pad_token_id)
    said = torch.zeros(len(prompts), longest, dtype=torch.bool)
    training, cache, speaking = model.training, DynamicCache(), torch.arange(len(prompts))
    model.eval()
    inputs, seen, places = tokens, real, positions(real)  # of the rows that still speak
    for column in range(longest):
        # transformers is slow to build the mask of a single token; one in the form that is added to the scores it takes
        added = torch.zeros_like(seen, dtype=model.dtype).masked_fill(~seen, -math.inf)[:, None, None]
        logits = model(input_ids=inputs, attention_mask=added if column else seen, position_ids=places,
                       past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1].float()
        chosen = logits.argmax(-1) if generator is None else draw(logits / temperature, top_p, generator)
        replies[speaking, column], said[speaking, column] = chosen, True
        going = (~torch.isin(chosen, ends)).nonzero()[:, 0]
        if not len(going):
            break
        if len(going) < len(chosen):
            cache.batch_select_indices(going)
        speaking, inputs, places = speaking[going], chosen[going, None], places[going, -1:] + 1
        seen = F.pad(seen[going], (0, 1), value=True)
    model.train(training)
    replies, said = (part[:, :int(said.sum(1).max())] for part in (replies, said))
    texts = [tokenizer.decode(row[keep & ~torch.isin(row, ends)]) for row, keep in zip(replies, said)]
    chosen = torch.cat([torch.zeros(len(prompts), width - 1, dtype=torch.bool), said], 1)
    return Rollout(torch.cat([tokens, replies], 1), torch.cat([real, said], 1), chosen, texts)


def draw(logits: torch.Tensor, top_p: float, generator: torch.Generator) -> torch.Tensor:
    """A token of each row of logits [rows, vocabulary], int64 [rows], from the nucleus (`sample`)."""
    shares, order = logits.softmax(-1).sort(-1, descending=True)
    upto, last = shares.cumsum(-1), logits.shape[1] - 1
    mass = upto.gather(1, (upto < top_p).sum(-1, keepdim=True).clamp(max=last))  # of the nucleus
    place = torch.searchsorted(upto, mass * torch.rand(mass.shape, generator=generator), right=True)
    return order.gather(1, place.clamp(max=last))[:, 0]


def asked(question: str) -> list[dict[str, str]]:
    """A talk that begins with this question."""
    return [dict(role='user', content=question)]


def positions(real: torch.Tensor) -> torch.Tensor:
    """Each token's place in its own row, int64 [rows, length], whatever padding stands before it."""
    return (real.long().cumsum(1) - 1).clamp(min=0)


def log_probabilities(model: PreTrainedModel, rollout: Rollout, temperature: float = 1.0) -> torch.Tensor:
    """The model's log-probability, at a temperature, of each token given those before it, float32 [rows, length - 1];
    of the padding it means nothing.

    Only columns of replies are computed: everything before and behind them is 0.
    """
    said = rollout.said.any(0).nonzero()[:, 0]
    first, end = int(said[0]), int(said[-1]) + 2
    tokens, real = rollout.tokens[:, :end], rollout.real[:, :end]
    logits = model(input_ids=tokens, attention_mask=real, position_ids=positions(real), use_cache=False,
                   logits_to_keep=end - first).logits[:, :-1].float() / temperature
    found = logits.gather(2, tokens[:, first + 1:, None])[..., 0] - logits.logsumexp(-1)
    return F.pad(found, (first, rollout.tokens.shape[1] - end))


def mean_over(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean of `values` where `mask` is true."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
