"""What lab 2 asks for, as the course does it where the student has not yet: a filter's rates, a rule, a threshold,
MinHash and its bands, the reading order of a repository, the perplexity test of long texts, and the overlap with a test
item."""
import heapq
import math
import re
import unicodedata
import zlib
from collections.abc import Sequence

UNIT = re.compile(r'[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+|[^\w\s]')  # a Chinese character, a word or number, a sign
PRIME = (1 << 61) - 1


def rates(before: set, dropped: set, bad: set) -> tuple[float | None, float | None]:
    """Precision and recall of a step that got the pages `before` and dropped some; None where there is nothing to
    divide by."""
    right, targets = len(dropped & bad), len(before & bad)
    return right / len(dropped) if dropped else None, right / targets if targets else None


def decorated(text: str) -> bool:
    """Whether over a fifth of the lines that are not blank are separators: three characters or more, none of them a
    letter, a hanzi or a digit."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    separators = sum(len(line) >= 3 and not any(map(str.isalnum, line)) for line in lines)
    return separators > 0.2 * len(lines)


def lowest_threshold(scores: Sequence[float], bad: Sequence[bool], wanted: float) -> float | None:
    """The lowest of the scores such that of the pages that score it or more at least the share `wanted` is bad; None
    where none is."""
    for threshold in sorted(set(scores)):
        gone = [is_bad for score, is_bad in zip(scores, bad) if score >= threshold]
        if sum(gone) >= wanted * len(gone):
            return threshold
    return None


def pieces(text: str, n: int = 5) -> set[int]:
    """The text's n-grams of units, each as a number of 32 bits; a shorter text is one piece."""
    units = UNIT.findall(text.lower())
    return {zlib.crc32('\0'.join(units[i:i + n]).encode()) for i in range(max(len(units) - n + 1, 1))}


def jaccard(one: set, other: set) -> float:
    """Intersection over union."""
    return len(one & other) / len(one | other)


def hash_functions(rng, count: int = 128) -> list[tuple[int, int]]:
    """`count` pairs (a, b), each standing for the hash x -> (a x + b) mod PRIME."""
    return [(rng.randrange(1, PRIME), rng.randrange(PRIME)) for _ in range(count)]


def signature(numbers: set[int], hashes: Sequence[tuple[int, int]]) -> list[int]:
    """MinHash: for each hash function its smallest value over the set."""
    return [min((a * x + b) % PRIME for x in numbers) for a, b in hashes]


def resemblance(one: Sequence[int], other: Sequence[int]) -> float:
    """Estimate of the Jaccard similarity: the share of places where two signatures agree."""
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def found(similarity: float, bands: int, rows: int) -> float:
    """Chance that a pair agrees in at least one whole band."""
    return 1 - (1 - similarity**rows) ** bands


def cut(hashes: int, similarity: float, wanted: float) -> tuple[int, int] | None:
    """(bands, rows) with bands * rows = hashes: the longest bands that still find a pair of this similarity with the
    chance `wanted`, or None."""
    for rows in range(hashes, 0, -1):
        if hashes % rows == 0 and found(similarity, hashes // rows, rows) >= wanted:
            return hashes // rows, rows
    return None


def reading_order(imports: dict[str, list[str]]) -> list[str]:
    """The files, each after all of the repository's files that it imports; of those that are ready always the
    alphabetically first. What never gets ready, a circle and whatever waits for it, comes last in alphabetical
    order."""
    waits = {file: {name for name in names if name in imports and name != file} for file, names in imports.items()}
    ready, placed = [file for file, names in waits.items() if not names], []
    heapq.heapify(ready)
    while ready:
        done = heapq.heappop(ready)
        placed.append(done)
        for file, names in waits.items():
            if done in names:
                names.remove(done)
                if not names:
                    heapq.heappush(ready, file)
    return placed + sorted(set(imports) - set(placed))


def earns_its_length(whole: Sequence[float], alone: Sequence[float], split: int) -> dict:
    """The perplexity test on losses in nats a token.

    Args:
        whole: of every token of S1 and S2, read in one pass; the first `split` are S1's.
        alone: of S2's tokens, read without S1.

    Returns:
        given: PPL(S2 | S1); alone: PPL(S2); keep: whether the first is smaller.
    """
    given, own = (math.exp(sum(losses) / len(losses)) for losses in (whole[split:], alone))
    return dict(given=given, alone=own, keep=given < own)


def overlap(item: str, page: str, n: int) -> float:
    """The share of the item's different n-grams of characters that the page has too, after NFKC, case folding and
    without white space; a shorter item counts as one piece."""
    def normal(text: str) -> str:
        return re.sub(r'\s', '', unicodedata.normalize('NFKC', text).casefold())

    item, page = normal(item), normal(page)
    n = min(n, len(item))
    grams = {item[i:i + n] for i in range(len(item) - n + 1)}
    return sum(gram in page for gram in grams) / len(grams)
