"""Pairs from what a model itself writes, as in online RLHF (report 4.2.2): the slow path betters a judge wherever its
model errs, the fast path mends a hack that has been seen. In the report people compare the replies; here a program
verifies each."""
from collections.abc import Callable, Sequence
from itertools import islice

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from internlm_course.align.rollout import asked, sample
from internlm_course.machine import deterministic
from internlm_course.verify import is_verified

ROWS = 256  # replies drawn together


@deterministic()
def slow_path(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, items: Sequence[dict], domain: str, seed: int,
              longest: int = 48, rounds: int = 1) -> list[dict]:
    """The model answers each item `rounds` times, by drawing; the right reply is preferred to each wrong one, once.

    Args:
        items: of `internlm_course.verify`, with the right `reply`.
        seed: of the drawing; `longest`: tokens of a reply at most.

    Returns: preference pairs, {domain, question, chosen, rejected, conflict (False)}.
    """
    items, pairs = [*items] * rounds, []
    talks = [asked(item['question']) for item in items]
    for first in range(0, len(items), ROWS):
        replies = sample(model, tokenizer, talks[first:first + ROWS], longest, seed * 32_452_843 + first, top_p=0.9)
        pairs += [_pair(domain, item['question'], item['reply'], reply)
                  for item, reply in zip(items[first:], replies.texts) if not is_verified(item, reply)]
    return list({(pair['question'], pair['rejected']): pair for pair in pairs}.values())


def fast_path(cases: Sequence[dict], early: Sequence[str], late: Sequence[str], verify: Callable[[dict, str], bool],
              domain: str, most: int = 100) -> list[dict]:
    """Of the replies to each case before and after a round of training, the early one is preferred where it is right
    and the late one is not.

    Args:
        cases: {'question', …} each; `verify`: whether a case has this reply.
        most: pairs, of the first cases; the report says 20 to 100.

    Returns: preference pairs, {domain, question, chosen, rejected, conflict (False)}.
    """
    pairs = (_pair(domain, case['question'], was, now)
             for case, was, now in zip(cases, early, late, strict=True) if verify(case, was) and not verify(case, now))
    return list(islice(pairs, most))


def _pair(domain: str, question: str, chosen: str, rejected: str) -> dict:
    return dict(domain=domain, question=question, chosen=chosen, rejected=rejected, conflict=False)
