"""How answers are marked, for every link that marks: exact match after trimming, and Wilson's interval around a share
of right answers."""
import math
import re

STOP = re.compile(r'\n|</s>|<\|im_end\|>')


def trim(text: str) -> str:
    """A generated text up to its first newline or stop token, without surrounding blanks and final full stops."""
    return STOP.split(text, maxsplit=1)[0].strip().rstrip('.。 ')


def is_correct(prediction: str, answer: str) -> bool:
    """Exact match after trimming; an empty prediction is wrong."""
    return bool(trim(prediction)) and trim(prediction) == trim(answer)


def wilson(correct: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95% score interval of a share (Wilson 1927): unlike p +- z*s it stays in [0, 1] and has a width at 0 and 1.

    Args:
        correct: right answers, 0 to n.
        n: all answers, at least 1.
    """
    share, spread = correct / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    margin = z * math.sqrt(share * (1 - share) / n + spread / n / 4) / (1 + spread)
    return min(share, max(0.0, centre - margin)), max(share, min(1.0, centre + margin))


def mark(correct: int, n: int) -> dict[str, float]:
    """A score with its sample size and 95% interval, as the report card stores it."""
    low, high = wilson(correct, n)
    return dict(score=correct / n, n=n, low=low, high=high)
