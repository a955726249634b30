"""The fast path of online RLHF (report 4.2.2): a hack that has been seen becomes pairs for the next reward model."""
from collections.abc import Callable, Sequence
from itertools import islice


def fast_path(cases: Sequence[dict], early: Sequence[str], late: Sequence[str], verify: Callable[[dict, str], bool],
              domain: str, most: int = 100) -> list[dict]:
    """Of the replies to each case before and after a round of training, the early one is preferred where it is right
    and the late one is not. In the report people find the pattern; here a program verifies each reply.

    Args:
        cases: {'question', …} each; `verify`: whether a case has this reply.
        most: pairs, of the first cases; the report says 20 to 100.

    Returns: preference pairs, {domain, question, chosen, rejected, conflict (False)}.
    """
    pairs = (dict(domain=domain, question=case['question'], chosen=was, rejected=now, conflict=False)
             for case, was, now in zip(cases, early, late, strict=True) if verify(case, was) and not verify(case, now))
    return list(islice(pairs, most))
