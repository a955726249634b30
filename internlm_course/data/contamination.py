"""Decontamination: a page that holds a held-out evaluation item, question and answer, is dropped.

Texts are compared as lists of units after NFKC and case folding, so white space, case and full-width forms do not hide
an item. As in GPT-3 (arXiv:2005.14165, appendix C) overlap means a run of 13 units; an item of fewer counts whole. Of a
longer item at least 80 % of the 13-grams must be there (PaLM, arXiv:2204.02311, asks 70 % of 8-grams), its last one,
which holds the answer, among them: the same question about another country, or the same text with another question, is
no leak.
"""
from collections.abc import Iterable
from pathlib import Path

from internlm_course.data.rules import UNIT
from internlm_course.data.safety import normal
from internlm_course.jsonl import numbered

N, COVERAGE = 13, 0.8
# An item is looked up by its last five units, as many as '47+38=85' has. A shorter one is too common to be told from
# chance and is not looked for.
ANCHOR = 5
Index = dict[tuple[str, ...], list[tuple[str, list[tuple[str, ...]]]]]


def normal_units(text: str) -> list[str]:
    """The text's units without white space, case and width."""
    return UNIT.findall(normal(text))


def grams(units: list[str], n: int) -> list[tuple[str, ...]]:
    """All runs of `n` units, in order."""
    return list(zip(*(units[i:] for i in range(n))))


def read_items(folder: Path) -> list[dict]:
    """The items of every suite in a folder of jsonl files; one without an id is called by its place.

    Raises:
        CourseError: a row that is no item, with question and answer as text.
    """
    return [dict(row, id=str(row.get('id') or f'{path.name}:{number}')) for path in sorted(folder.glob('*.jsonl'))
            for number, row in numbered(path, 'An item is {"id", "prompt", "answer"}.', ('prompt', 'answer'))]


def build_index(items: Iterable[dict]) -> Index:
    """Last units of an item -> its id and its n-grams, the last one first; items are dicts with `id`, `prompt` and
    `answer`."""
    index: Index = {}
    for item in items:
        units = normal_units(f'{item["prompt"]} {item["answer"]}')
        if len(units) >= ANCHOR:
            index.setdefault(tuple(units[-ANCHOR:]), []).append((item['id'], grams(units, min(N, len(units)))[::-1]))
    return index


def contaminated(text: str, index: Index) -> str | None:
    """The id of a held-out item that the text holds (the first in alphabetical order), or None."""
    units = normal_units(text)
    leaked: list[str] = []
    page: dict[int, set] = {}
    for anchor in index.keys() & set(grams(units, ANCHOR)):
        for identity, wanted in index[anchor]:
            n = len(wanted[0])
            if n not in page:
                page[n] = set(grams(units, n))
            if wanted[0] in page[n] and covered(wanted, page[n]):
                leaked.append(identity)
    return min(leaked, default=None)


def covered(wanted: list, page: set) -> bool:
    """Whether `COVERAGE` of the wanted n-grams are on the page."""
    misses = (1 - COVERAGE) * len(wanted) + 1e-9
    for gram in wanted:
        if gram not in page:
            misses -= 1
            if misses < 0:
                return False
    return True
