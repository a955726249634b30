"""Suites of held-out items, their chance line, and the six dimensions that the report card shows (InternLM2 report,
section 4)."""
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.jsonl import numbered
from internlm_course.marking import STOP, mark, trim
from internlm_course.names import DIMENSIONS, in_order

FIELDS = ('dimension', 'suite', 'prompt', 'question', 'answer')


def read_items(folder: Path, suites: Sequence[str] | None = None, limit: int | None = None) -> dict[str, list[dict]]:
    """The items of each suite: {suite: [{id, dimension, suite, lang, prompt, question, answer, reply, choices?}]}.

    `reply` is what a chat model should say, a sentence with the answer in it; where a line has none it is the answer.

    Args:
        folder: holds one <suite>.jsonl per suite.
        suites: which to read; None reads all.
        limit: at most so many items of each.

    Raises:
        CourseError: no such folder or suite, an empty suite, a line that is no item, an answer of more than one line.
    """
    paths = {path.stem: path for path in sorted(Path(folder).glob('*.jsonl'))}
    wanted = list(paths) if suites is None else list(suites)
    missing = [suite for suite in wanted if suite not in paths]
    if missing or not wanted:
        wrong = f"suite '{missing[0]}'" if missing else 'suite'
        raise CourseError(f'There is no {wrong} in {folder}.', f'Suites there: {", ".join(paths) or "none"}.')
    items = {}
    for suite in wanted:
        found = numbered(paths[suite], 'Correct the row, or build the corpus again.', FIELDS)
        items[suite] = [dict(row, id=str(row.get('id', f'{suite}-{number}'))) for number, row in found][:limit]
        if not items[suite]:
            raise CourseError(f'{paths[suite]} has no items.', 'Build the corpus again.')
        for item in items[suite]:
            reply, choices = item.setdefault('reply', item['answer']), item.get('choices') or []
            if not isinstance(reply, str) or not isinstance(choices, list):
                fault = 'a reply that is no text, or choices that are no list'
                raise CourseError(f"{paths[suite]}: item '{item['id']}' has {fault}.", 'Correct the row.')
            if long := [field for field in ('answer', 'reply') if STOP.search(item[field].strip())]:
                raise CourseError(f"{paths[suite]}: the {long[0]} of item '{item['id']}' goes on after its first line, "
                                  "and only that is marked.",
                                  'Ask for what fits one line.')
    return items


def chance(items: Sequence[Mapping]) -> float:
    """What no ability would score: the best constant answer or, where items offer choices, a guess; the higher of the
    two."""
    constant = Counter(trim(item['answer']) for item in items).most_common(1)[0][1] / len(items)
    guess = sum(1 / len(item['choices']) for item in items if item.get('choices')) / len(items)
    return max(constant, guess)


def dimensions(scores: Mapping[str, Mapping]) -> dict[str, dict[str, float]]:
    """One score per dimension: the mean over the pooled items of its suites, with its own interval.

    Args:
        scores: {suite: {score, n, chance, dimension, …}} of one model.
    """
    pooled: dict[str, list[Mapping]] = {}
    for row in scores.values():
        pooled.setdefault(row['dimension'], []).append(row)
    result = {}
    for dimension, suites in pooled.items():
        n = sum(row['n'] for row in suites)
        correct = sum(round(row['score'] * row['n']) for row in suites)
        result[dimension] = dict(mark(correct, n), chance=sum(row['chance'] * row['n'] for row in suites) / n)
    return {dimension: result[dimension] for dimension in in_order(result, DIMENSIONS)}
