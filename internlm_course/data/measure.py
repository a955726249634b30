"""What the pipeline's run amounts to: the funnel, and each filter's precision and recall against the crawl's truth."""
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from internlm_course.data.privacy import PLACEHOLDERS
from internlm_course.data.safety import host
from internlm_course.jsonl import rows

# Step -> (labels that it is for, labels that it may rightly drop). Gibberish is in no language. Masking drops nothing and is measured in spans.
TARGETS = dict(extraction=({'broken'}, {'broken'}), language=({'language'}, {'language', 'gibberish'}),
               rules=({'gibberish', 'rules'}, {'gibberish', 'rules'}), duplicates=({'mirror'}, {'mirror'}), domains=({'blocked'}, {'blocked'}),
               words=({'unsafe'}, {'unsafe'}), toxicity=({'toxic'}, {'toxic'}), masking=(set(), set()),
               advertisement=({'advertisement'}, {'advertisement'}), fluency=({'disfluent'}, {'disfluent', 'gibberish'}),
               contamination=({'leak'}, {'leak'}))
STEPS = list(TARGETS)[1:]


def documents(folder: Path) -> Iterator[dict]:
    """The documents of a folder of jsonl files, packed or not, in order."""
    for path in sorted([*folder.glob('*.jsonl'), *folder.glob('*.jsonl.gz')]):
        yield from rows(path)


def size(document: dict) -> tuple[int, int]:
    """Bytes of the document's text as it is, and as it was before masking (what is masked is ASCII)."""
    now = len(document['text'].encode())
    return now, now + sum(end - start - len(PLACEHOLDERS[kind]) for kind, start, end in document['metadata'].get('masked', []))


def measure(crawl: Path, out: Path, steps: list[str]) -> dict:
    """Reads what is kept and dropped once, then the truth once; see `build_corpus` for what it returns.

    For each record only the step that dropped it and a checksum are held in memory.
    """
    order = ['extraction', *steps]
    end = len(order)
    # id -> its text's CRC-32 and, in the lowest byte, the number of the step where it left the pipeline (`end`: never).
    outcome: dict[str, int] = {}
    masked: dict[str, list] = {}
    left, tallies = [Counter() for _ in range(end + 1)], dict(hosts=Counter(), languages=Counter(), domains=Counter())
    for place, name in enumerate([*order, None]):
        for document in documents(out / 'dropped' / name if name else out / 'clean'):
            now, before = size(document)
            left[place].update(documents=1, now=now, before=before)
            outcome[document['id']] = zlib.crc32(document['text'].encode()) << 8 | place
            metadata = document['metadata']
            if 'masked' in metadata:
                masked[document['id']] = metadata['masked']
            if name is None:
                tallies['hosts'][host(metadata['url'])] += 1
                tallies['languages'][metadata['lang']] += 1
                tallies['domains'][metadata['domain']] += 1
    funnel = []
    for place, name in enumerate(order):
        after = sum(left[place + 1:], Counter())
        clear = 'masking' in order and place < order.index('masking')
        funnel.append(dict(step=name, documents=after['documents'], bytes=after['before' if clear else 'now'], precision=None, recall=None))
    found = {name: dict(tally.most_common()) for name, tally in tallies.items()}
    if not (crawl / 'truth.jsonl').exists():
        return dict(funnel=funnel, **found)
    rates, total = judge(crawl / 'truth.jsonl', order, outcome, masked)
    for row in funnel:
        row['precision'], row['recall'] = rates['steps'][row['step']]
    funnel.insert(0, dict(step='crawl', **total, precision=None, recall=None))
    return dict(funnel=funnel, exact=rates['exact'], recalls=rates['recalls'], **found)


def truths(path: Path) -> Iterator[dict]:
    """The lines of `truth.jsonl`."""
    return rows(path)


def judge(path: Path, order: list[str], outcome: dict[str, int], masked: dict[str, list]) -> tuple[dict, dict]:
    """Rates of every step (precision: share of what it dropped that deserved it; recall: share of its target that came to it and that it dropped), recall
    by kind of noise, share of exact texts; and the crawl's documents and bytes."""
    gone, right, reached, hit, spans = Counter(), Counter(), Counter(), Counter(), Counter()
    copied = {row['mirror_of'] for row in truths(path)} - {None}
    families, losses, clean, total = Counter(), Counter(), Counter(), Counter(documents=0, bytes=0)
    copies, masking = order.index('duplicates'), order.index('masking')
    for row in truths(path):
        identity, label = row['id'], row['label']
        total.update(documents=1, bytes=row['bytes'])
        place = outcome.get(identity, 0) & 255
        for name in order[:place + 1]:
            if label in TARGETS[name][0]:
                reached[name, label] += 1
        if place < len(order):
            name = order[place]
            gone[name] += 1
            right[name] += label in TARGETS[name][1]
            hit[name, label] += label in TARGETS[name][0]
        elif label == 'clean':
            clean.update(kept=1, exact=outcome[identity] >> 8 == row['text'])
        family = row['mirror_of'] or identity
        if family in copied and place >= copies:
            families[family] += 1
            losses[family] += place == copies
        if place > masking and label in ('clean', 'mirror', 'private'):
            true, seen = set(map(tuple, row['spans'])), set(map(tuple, masked.get(identity, [])))
            spans.update(true=len(true), seen=len(seen), both=len(true & seen))

    def rate(part: int, whole: int) -> float | None:
        return round(part / whole, 4) if whole else None
    steps = {name: (rate(right[name], gone[name]), rate(sum(n for (step, _), n in hit.items() if step == name),
                                                        sum(n for (step, _), n in reached.items() if step == name))) for name in order}
    # Of a page and its mirrors one should stay, whichever it is.
    deserved = sum(min(count, families[family] - 1) for family, count in losses.items())
    steps['duplicates'] = rate(deserved, gone['duplicates']), rate(deserved, sum(count - 1 for count in families.values()))
    steps['masking'] = rate(spans['both'], spans['seen']), rate(spans['both'], spans['true'])
    recalls = {label: rate(hit[name, label], count) for (name, label), count in sorted(reached.items()) if name != 'duplicates'}
    return dict(steps=steps, exact=rate(clean['exact'], clean['kept']), recalls=recalls), dict(total)
