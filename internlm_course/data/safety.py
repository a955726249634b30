"""The safety filters (report section 3.1): blocked domains and blocked words.

Where a real list is at hand, pass it instead of the course's (blocklist.py).
"""
import re
import unicodedata
from collections.abc import Iterable
from functools import cache

from internlm_course.blocklist import BLOCKED, WORDS


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
