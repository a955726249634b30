"""The safety filters' lists (report section 3.1): blocked domains and blocked words.

Real lists hold sites and words that no course should print. These stand for them: domains under `.example`, which
nobody can register, and compounds that no language has. Where a real list is at hand, pass it instead of these.
"""
import re
import unicodedata
from collections.abc import Iterable
from functools import cache

BLOCKED = frozenset(f'{name}.example' for name in (
    'lucky-wheel', 'night-casino', 'fast-credit', 'free-serials', 'click-farm', 'copied-homework', 'miracle-cure',
    'fake-diploma'))
WORDS = ('grobnik', 'vexdrop', 'snarlgas', 'murkpowder', 'shadowcoin mixer', 'quellstab', 'dreadleaf', 'forgepass',
         '幽萤丸', '黑鲨签', '乌骨贷', '暗门券', '迷雾粉', '假章坊', '雷管糖', '夜狐群')


def normal(text: str) -> str:
    """The text as its readers hear it: full-width and other forms of a character are one (NFKC), so are capitals and
    small letters."""
    return (text if text.isascii() else unicodedata.normalize('NFKC', text)).casefold()


def host(url: str) -> str:
    """The part of a URL between `//` and the path; '' where it has none."""
    return url.split('/')[2] if url.count('/') > 1 else ''


def blocked_host(url: str, domains: Iterable[str] = BLOCKED) -> str | None:
    """The listed domain that the URL's host is or lies under, or None."""
    labels = host(url).rsplit('@')[-1].split(':')[0].lower().split('.')
    return next((name for i in range(len(labels)) if (name := '.'.join(labels[i:])) in domains), None)


@cache
def pattern(words: tuple[str, ...]) -> re.Pattern:
    """One pattern for all words: whole words where a script has them, anywhere in Chinese."""
    return re.compile('|'.join(rf'\b{re.escape(word)}\b' if word.isascii() else re.escape(word) for word in words))


def blocked_word(text: str, words: tuple[str, ...] = WORDS) -> str | None:
    """The first listed word of the text, whatever its case and width, or None."""
    match = pattern(words).search(normal(text))
    return match and match.group()
