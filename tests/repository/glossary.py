"""The glossary and the lectures: each function returns a list of problems, empty where there is none.

Where a lecture says what a term means, it sets the term ***bold and italic***, once. The glossary has each such term as
an item under its lecture's heading, in order: ***the term***, the same in the other language, a colon, one sentence,
and links to every section of a lecture in which it stands so.
"""
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import twins

TERM = re.compile(r'\*\*\*([^*\n]+?)\*\*\*')
ENTRY = re.compile(r'^- \*\*\*(?P<term>[^*]+)\*\*\* (?P<other>.+?)[:：]\s*(?P<meaning>.+?)\s*'
                   r'(?P<links>(?:\[[^\]]+\]\([^)]+\)[、, ]*)+)[.。]?$')
ADDRESS = re.compile(r'\]\(([^)]+)\)')


@dataclass(frozen=True)
class Entry:
    term: str
    other: str
    """The term in the other language."""
    meaning: str
    links: frozenset[str]
    """file#anchor of every section that teaches it."""


def items(text: str) -> list[str]:
    """The glossary's list items, each on one line."""
    folded = re.sub(r'\n  +(?=\S)', ' ', text)
    return [line for line in folded.splitlines() if line.startswith('- ')]


def entries(text: str) -> list[Entry]:
    found = filter(None, map(ENTRY.match, items(text)))
    return [Entry(match['term'], match['other'], match['meaning'], frozenset(ADDRESS.findall(match['links'])))
            for match in found]


def taught(name: str, text: str) -> dict[str, list[str]]:
    """The terms that a lecture sets in bold italics -> file#anchor of the sections where it does."""
    places: dict[str, list[str]] = {}
    hidden = twins.FENCE.sub('', text)
    bodies = re.split(r'(?m)^#{1,6} .*$', hidden)[1:]
    for anchor, body in zip(twins.anchors(text), bodies, strict=True):
        for term in TERM.findall(re.sub(r'(?<!\n)\n(?!\n)', ' ', body)):
            places.setdefault(term, []).append(f'{name}#{anchor}')
    return places


def problems(glossary: str, lectures: dict[str, str]) -> list[str]:
    """What one language's glossary lacks, or has beyond its lectures (by file name)."""
    listed = entries(glossary)
    found = [f'not an entry: {line}' for line in items(glossary) if not ENTRY.match(line)]
    found += [f'listed twice: {term}' for term, count in Counter(entry.term for entry in listed).items() if count > 1]
    found += [f'more than one sentence: {entry.term}' for entry in listed
              if re.search(r'[.!?] |[。！？]', entry.meaning.rstrip('.。'))]
    wanted: dict[str, set[str]] = {}
    for name, text in lectures.items():
        for term, places in taught(name, text).items():
            wanted.setdefault(term, set()).update(places)
            found += [f'{name} teaches it twice: {term}'] if len(places) > 1 else []
    known = {entry.term: entry.links for entry in listed}
    found += [f'missing: {term}, taught in {sorted(wanted[term])}' for term in wanted if term not in known]
    found += [f'taught nowhere: {term}' for term in known if term not in wanted]
    found += [f'links of {term}: {sorted(known[term])}, taught in {sorted(wanted[term])}'
              for term in wanted if term in known and known[term] != wanted[term]]
    return found


def unlike(zh: str, en: str) -> list[str]:
    """Terms that the two glossaries do not pair alike, in the same order."""
    left = [(entry.term, entry.other) for entry in entries(zh)]
    right = [(entry.other, entry.term) for entry in entries(en)]
    return [f'{a} in Chinese, {b} in English' for a, b in zip(left, right) if a != b] + (
        [f'{len(left)} entries in Chinese, {len(right)} in English'] if len(left) != len(right) else [])


def read(root: Path, language: str) -> tuple[str, dict[str, str]]:
    """A language's glossary, and its lectures by file name."""
    folder = root / 'lectures' / language
    return ((folder / 'glossary.md').read_text('utf-8'),
            {path.name: path.read_text('utf-8') for path in sorted(folder.glob('[0-9]*.md'))})
