"""From token files to the rows of a phase: documents drawn by domain and packed whole into rows, the same for a seed on
every machine."""
import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np

from internlm_course.errors import CourseError

OPEN_ROWS = 64  # rows kept open for packing: hardly a position stays empty; more rows mix no better and pack no tighter
BLOCK = 1 << 26  # tokens of a phase that are packed at a time: 256 MiB
EMPTY = -1  # a position of a row that holds no token


def draw(documents: Mapping[str, list[np.ndarray]], mixture: Mapping[str, float], tokens: int, seed: int):
    """Yields documents until `tokens` are drawn; each domain is shuffled, and shuffled again when it is used up.

    Of two domains with equal shares the same number of *tokens* is drawn: the next document comes from the domain
    furthest behind.
    """
    rng = np.random.default_rng(seed)
    shares = {name: share for name, share in mixture.items() if share > 0 and documents.get(name)}
    total = sum(shares.values())
    drawn = dict.fromkeys(shares, 0)
    orders: dict[str, list[int]] = {name: [] for name in shares}
    while (so_far := sum(drawn.values())) < tokens:
        # A little randomness in the choice keeps the domains from following each other in a fixed rotation.
        behind = [shares[name] / total * (so_far + 2048) - drawn[name] for name in shares]
        weights = np.clip(behind, 1e-9, None)
        name = list(shares)[rng.choice(len(shares), p=weights / weights.sum())]
        if not orders[name]:
            orders[name] = rng.permutation(len(documents[name])).tolist()
        document = documents[name][orders[name].pop()]
        drawn[name] += len(document)
        yield document


def pack(documents, count: int, length: int) -> np.ndarray:
    """Packs documents into `count` rows of `length` + 1 tokens (inputs and, shifted by one, labels).

    A document is placed whole in the fullest open row that still has room (best fit); one longer than a row is cut.
    Returns: int32 [count, length + 1], EMPTY where a row is not full.
    """
    rows, open_rows, width = [], [], length + 1
    for document in documents:
        for start in range(0, len(document), width):
            piece = document[start:start + width]
            fitting = [row for row in open_rows if row[1] + len(piece) <= width]
            if fitting:
                row = max(fitting, key=lambda row: row[1])
            else:
                if len(open_rows) == OPEN_ROWS:
                    fullest = max(range(OPEN_ROWS), key=lambda i: open_rows[i][1])
                    rows.append(open_rows.pop(fullest)[0])
                row = [[], 0]
                open_rows.append(row)
            row[0].append(piece)
            row[1] += len(piece)
        if len(rows) >= count:
            break
    rows += [row[0] for row in sorted(open_rows, key=lambda row: -row[1])]
    out = np.full((count, width), EMPTY, np.int32)
    for target, pieces in zip(out, rows):
        flat = np.concatenate(pieces)
        target[:len(flat)] = flat
    return out


def rows_of(documents: Mapping[str, list[np.ndarray]], phase, seed: int) -> np.ndarray:
    """All rows of a phase in training order, int32 [steps * accumulation * micro_batch, sequence_length + 1]; those of
    its opening come first.

    Raises:
        CourseError: there are no documents of any domain of the mixture.
    """
    per_step, opening, rows = phase.accumulation * phase.micro_batch, min(phase.opening, phase.steps), []
    for mixture, steps in ((phase.opening_mixture, opening), (phase.mixture, phase.steps - opening)):
        count = steps * per_step
        if not count:
            continue
        if not any(share > 0 and documents.get(name) for name, share in mixture.items()):
            raise CourseError(f'There are no documents of {", ".join(mixture)}, which phase "{phase.name}" mixes.',
                              'Name domains of the token files in its mixture: '
                              f'{", ".join(sorted(documents)) or "there are none"}.')
        wanted = int(count * phase.sequence_length * 1.05) + OPEN_ROWS * phase.sequence_length
        packed = pack(draw(documents, mixture, wanted, seed), count, phase.sequence_length)
        rows.append(packed[np.random.default_rng(seed + 1).permutation(count)])
    return np.concatenate(rows)


def slice_of(documents: list[np.ndarray], first: float, last: float) -> list[np.ndarray]:
    """The documents from `first` to `last`, in units of the whole list, in an order that strides through it and begins
    again at its end."""
    count = len(documents)
    stride = next(step for step in range(int(count * 0.618) or 1, 2 * count + 2) if math.gcd(step, count) == 1)
    return [documents[i * stride % count]
            for i in range(int(first * count), max(int(last * count), int(first * count) + 1))]


def steps_of(documents: Mapping[str, list[np.ndarray]], phase, seed: int, first: int = 0) -> Iterator[np.ndarray]:
    """Yields the rows of each step of a phase from step `first` on, int32 [accumulation * micro_batch, sequence_length
    + 1].

    A phase longer than BLOCK tokens is made block by block, each from its own stretch of every domain, so that memory
    does not grow with the phase, any step can be the first, and a domain larger than its share is seen without
    repetition but for its last few documents in a block.
    """
    per_block = max(1, BLOCK * phase.steps // max(1, phase.tokens))
    shares = {name: share for name, share in phase.mixture.items() if share > 0 and documents.get(name)}
    epochs = {name: phase.tokens * share / sum(shares.values()) / sum(map(len, documents[name]))
              for name, share in shares.items()}
    for begin in range(first // per_block * per_block, phase.steps, per_block):
        end, ours = min(begin + per_block, phase.steps), documents
        if per_block < phase.steps:
            ours = {**documents,
                    **{name: slice_of(documents[name], *(times * step / phase.steps for step in (begin, end)))
                       for name, times in epochs.items()}}
        block = dataclasses.replace(phase, steps=end - begin, opening=max(0, phase.opening - begin))
        rows = rows_of(ours, block, seed + 2 * (begin // per_block))
        yield from rows.reshape(end - begin, -1, phase.sequence_length + 1)[max(0, first - begin):]
