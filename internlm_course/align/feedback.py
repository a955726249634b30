"""Preference pairs of a model's own replies. In the report people say which of two is better (4.2.2); here a program
says it, so that a round of feedback takes a minute."""
import random
from collections.abc import Callable, Sequence
from itertools import islice

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from internlm_course.align.rollout import asked, sample
from internlm_course.machine import deterministic

ROWS = 256  # replies drawn together
WRONG = 3  # of a case's at most


@deterministic()
def own_pairs(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, cases: Sequence[dict],
              verify: Callable[[dict, str], bool], domain: str, seed: int, replies: int = 4, longest: int = 48,
              top_p: float = 0.9) -> list[dict]:
    """Draws some replies to each case; each wrong one (of up to three) makes a pair with a right one: the model's own,
    or, where it has none, the case's.

    Args:
        cases: {'question', 'reply' (a right one), …} each; `verify`: whether a case has this reply.
        domain: of all the pairs.
        longest: tokens of a reply at most; `top_p`: see `rollout.sample`.

    Returns:
        {domain, question, chosen, rejected, conflict (False), own (whether both replies are the model's)}.
    """
    rng, pairs, together = random.Random(f'feedback/{seed}'), [], ROWS // replies
    for first in range(0, len(cases), together):
        part = cases[first:first + together]
        talks = [asked(case['question']) for case in part for _ in range(replies)]
        texts = sample(model, tokenizer, talks, longest, seed * 1_000_003 + first, top_p).texts
        for number, case in enumerate(part):
            own = texts[number * replies:(number + 1) * replies]
            right = sorted({text for text in own if verify(case, text)})
            wrong = sorted({text for text in own if text not in right})
            pairs += [dict(domain=domain, question=case['question'], rejected=text, conflict=False, own=bool(right),
                           chosen=rng.choice(right) if right else case['reply'])
                      for text in rng.sample(wrong, min(WRONG, len(wrong)))]
    return pairs


def fast_path(cases: Sequence[dict], early: Sequence[str], late: Sequence[str], verify: Callable[[dict, str], bool],
              domain: str, most: int = 100) -> list[dict]:
    """Pairs that patch a hack (report 4.2.2): of the replies to each case before and after a round of training, the
    early one is preferred where it is right and the late one is not; at most so many, of the first cases."""
    pairs = (dict(domain=domain, question=case['question'], chosen=was, rejected=now, conflict=False)
             for case, was, now in zip(cases, early, late, strict=True) if verify(case, was) and not verify(case, now))
    return list(islice(pairs, most))
