"""Where the two replies of a pair are compared while a reward model learns: behind both, as XTuner does it, or also at
each token from their first difference on.

Behind a reply one number stands for all of it, and which word of it was wrong has to be found out. Compared at the
word itself, a pair says so (labs/LOG.md).
"""
from torch.utils.data import Dataset

CHOSEN, REJECTED = 0, 1  # XTuner's labels of the tokens whose scores it compares; all others have -100


def first_difference(one: list[int], other: list[int]) -> int:
    """The place of the first token that the two do not share."""
    shared = (place for place, (first, second) in enumerate(zip(one, other)) if first != second)
    return next(shared, min(len(one), len(other)))


def compare_tokens(pair: dict[str, list[int]]) -> None:
    """Labels a pair in place: of both replies the tokens from the first difference to the shorter one's last, beside
    their end tokens.

    Args:
        pair: XTuner's {chosen_ids, rejected_ids, chosen_labels, rejected_labels}, whose last ids are the end tokens.
    """
    first = first_difference(pair['chosen_ids'], pair['rejected_ids'])
    last = min(len(pair['chosen_ids']), len(pair['rejected_ids'])) - 1
    for side, label in (('chosen', CHOSEN), ('rejected', REJECTED)):
        pair[f'{side}_labels'][first:last] = [label] * (last - first)


def build_compared_dataset(pairs: dict) -> Dataset:
    """A reward model's packed pairs, compared at their tokens.

    XTuner's loss pairs the tokens labelled 0 with those labelled 1 in their order, so any number of them will do.

    Args:
        pairs: the config of XTuner's `build_preference_dataset`.
    """
    from xtuner.registry import BUILDER
    packed = BUILDER.build(pairs)
    for pair in (pair for pack in packed.data for pair in pack):
        compare_tokens(pair)
    return packed
