"""What the pipeline's run amounts to: the funnel, and each filter's precision and recall against the crawl's truth."""
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from internlm_course.data.privacy import PLACEHOLDERS
from internlm_course.data.safety import host
from internlm_course.jsonl import rows


class Target(NamedTuple):
    """The labels that a step is for, and those that it may drop rightly besides."""
    labels: tuple[str, ...] = ()
    besides: tuple[str, ...] = ()


# Gibberish is in no language. Masking drops nothing and is measured in spans.
TARGETS = dict(
    extraction=Target(('broken',)),
    language=Target(('language',), ('gibberish',)),
    rules=Target(('gibberish', 'rules')),
    duplicates=Target(('mirror',)),
    domains=Target(('blocked',)),
    words=Target(('unsafe',)),
    toxicity=Target(('toxic',)),
    masking=Target(),
    advertisement=Target(('advertisement',)),
    fluency=Target(('disfluent',), ('gibberish',)),
    contamination=Target(('leak',)))
STEPS = list(TARGETS)[1:]


class Exit(NamedTuple):
    """Where a document left the pipeline."""
    place: int  # number of the step that dropped it, or one more than the last step's: it was kept
    checksum: int  # CRC-32 of its text
    masked: list  # spans


LOST = Exit(0, 0, [])  # nothing came out of a broken record: extraction, the first step, dropped it


@dataclass(frozen=True, slots=True)
class Outcome:
    """The truth about a record of the crawl, and what became of it."""
    label: str
    family: str  # id of the page that it mirrors, or its own
    size: int  # bytes of HTML
    exact: bool  # whether its text came out as it should
    true_spans: set
    masked: set
    place: int


def documents(folder: Path) -> Iterator[dict]:
    """The documents of a folder of jsonl files, packed or not, in order."""
    for path in sorted([*folder.glob('*.jsonl'), *folder.glob('*.jsonl.gz')]):
        yield from rows(path)


def size(document: dict) -> tuple[int, int]:
    """Bytes of the document's text as it is, and as it was before masking (what is masked is ASCII)."""
    now = len(document['text'].encode())
    masked = document['metadata'].get('masked', [])
    return now, now + sum(end - start - len(PLACEHOLDERS[kind]) for kind, start, end in masked)


def measure(crawl: Path, out: Path, steps: list[str]) -> dict:
    """Reads what is kept and dropped once, then the truth once; see `build_corpus` for what it returns.

    Of each record only its `Exit` and its `Outcome` are held in memory.
    """
    order = ['extraction', *steps]
    exits: dict[str, Exit] = {}
    left = [Counter() for _ in range(len(order) + 1)]
    tallies = dict(hosts=Counter(), languages=Counter(), domains=Counter())
    for place, name in enumerate([*order, None]):
        for document in documents(out / 'dropped' / name if name else out / 'clean'):
            now, before = size(document)
            left[place].update(documents=1, now=now, before=before)
            metadata = document['metadata']
            exits[document['id']] = Exit(place, zlib.crc32(document['text'].encode()), metadata.get('masked', []))
            if name is None:
                tallies['hosts'][host(metadata['url'])] += 1
                tallies['languages'][metadata['lang']] += 1
                tallies['domains'][metadata['domain']] += 1
    funnel = []
    for place, name in enumerate(order):
        after = sum(left[place + 1:], Counter())
        clear = 'masking' in order and place < order.index('masking')
        funnel.append(dict(step=name, documents=after['documents'], bytes=after['before' if clear else 'now'],
                           precision=None, recall=None))
    contents = {name: dict(tally.most_common()) for name, tally in tallies.items()}
    if not (crawl / 'truth.jsonl').exists():
        return dict(funnel=funnel, **contents)
    outcomes = [outcome(truth, exits.pop(truth['id'], LOST)) for truth in rows(crawl / 'truth.jsonl')]
    for row in funnel:
        row['precision'], row['recall'] = judge(row['step'], order, outcomes)
    whole = dict(step='crawl', documents=len(outcomes), bytes=sum(each.size for each in outcomes))
    return dict(funnel=[whole | dict(precision=None, recall=None), *funnel], exact=exactness(outcomes, len(order)),
                recalls=recalls(outcomes, order), **contents)


def outcome(truth: dict, end: Exit) -> Outcome:
    """A line of the truth together with where its document left."""
    return Outcome(truth['label'], truth['mirror_of'] or truth['id'], truth['bytes'], end.checksum == truth['text'],
                   set(map(tuple, truth['spans'])), set(map(tuple, end.masked)), end.place)


# --- rates: shares of one, or None where there is nothing to count ---
def rate(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def judge(step: str, order: list[str], outcomes: list[Outcome]) -> tuple[float | None, float | None]:
    """Precision and recall of a step: two steps have another way to count."""
    place = order.index(step)
    if step == 'duplicates':
        return deduplication(outcomes, place)
    if step == 'masking':
        return masking(outcomes, place)
    return precision(outcomes, place, TARGETS[step]), recall(outcomes, place, TARGETS[step].labels)


def precision(outcomes: list[Outcome], place: int, target: Target) -> float | None:
    """Share of what the step dropped that deserved it."""
    dropped = [each.label for each in outcomes if each.place == place]
    return rate(sum(label in target.labels + target.besides for label in dropped), len(dropped))


def recall(outcomes: list[Outcome], place: int, labels: tuple[str, ...]) -> float | None:
    """Share of the records with these labels that came to the step and that it dropped."""
    places = [each.place for each in outcomes if each.label in labels and each.place >= place]
    return rate(places.count(place), len(places))


def recalls(outcomes: list[Outcome], order: list[str]) -> dict[str, float]:
    """Recall of each kind of noise, by the step that is for it; a mirror is no worse than its original."""
    rates = {label: recall(outcomes, order.index(step), (label,))
             for step in sorted(order) if step != 'duplicates' for label in TARGETS[step].labels}
    return {label: share for label, share in rates.items() if share is not None}


def deduplication(outcomes: list[Outcome], place: int) -> tuple[float | None, float | None]:
    """Precision and recall of dropping copies: of a page and its mirrors one should stay, whichever it is."""
    families = Counter(each.family for each in outcomes if each.place >= place)
    losses = Counter(each.family for each in outcomes if each.place == place)
    deserved = sum(min(count, families[family] - 1) for family, count in losses.items())
    return rate(deserved, losses.total()), rate(deserved, families.total() - len(families))


def masking(outcomes: list[Outcome], place: int) -> tuple[float | None, float | None]:
    """Precision and recall of masking, in spans, on the good pages that came so far."""
    good = [each for each in outcomes if each.place > place and each.label in ('clean', 'mirror', 'private')]
    both = sum(len(each.true_spans & each.masked) for each in good)
    return rate(both, sum(len(each.masked) for each in good)), rate(both, sum(len(each.true_spans) for each in good))


def exactness(outcomes: list[Outcome], kept: int) -> float | None:
    """Share of the clean pages that were kept whose text is the original's."""
    exact = [each.exact for each in outcomes if each.label == 'clean' and each.place == kept]
    return rate(sum(exact), len(exact))
