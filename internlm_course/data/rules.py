"""What a text shows on its surface: its language, and the report's rules (section 3.1) for separators, line breaks,
characters, punctuation, letters.

Every function takes plain text; `rule_fault` puts the rules in a row. The thresholds stand a factor of two or more from
what clean pages, sums and code reach (measured on 20,000 clean pages of the crawl).
"""
import itertools
import math
import re
from collections import Counter
from functools import cache, lru_cache

import numpy as np

from internlm_course.data.safety import normal

HANZI = re.compile(r'[\u4e00-\u9fff]')
WORD = re.compile(r'[^\W\d_]{2,}')
# What rules, shingles, features and decontamination count: a Chinese character, a run of letters or digits, or one
# sign. Signs count: '47+38' is not '47-38'.
UNIT = re.compile(r'[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+|[^\w\s]')

# Languages told apart; a page in one that is not listed goes to its nearest relative.
LANGUAGES = ('en', 'zh', 'fr', 'de', 'es', 'it', 'pt', 'nl', 'sv', 'pl', 'cs', 'tr', 'ru', 'uk', 'ar', 'fa', 'hi', 'ja',
             'ko', 'vi', 'id')

# A line of signs only, as between sections; runs of marks that end or part sentences; what is drawn rather than
# written, or was lost in decoding.
SEPARATOR = re.compile(r'^[^\w\n]{3,}$', re.M)
RUN = re.compile(r'(?:[!?,;~]|[，。！？；、…～]){4,}')
MARK = re.compile(r'[.!?;:,。！？；：，\n]')
SYMBOL = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202f\u2190-\u21ff\u2460-\u27bf\u2b00-\u2bff'
                    '\ue000-\uf8ff\ufeff\ufff0-\uffff\U0001f000-\U0001faff\U000f0000-\U0010ffff]')
PLAIN = frozenset('—–’‘“”…©')
FUNCTION_WORDS = frozenset(['the', 'The', 'of', 'and', 'that', 'with', 'this', 'which', 'you', 'your'])


@cache
def language_identifier():
    """py3langid restricted to `LANGUAGES`."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))
    return identifier


def language(text: str) -> str:
    """'en', 'zh', another language's code, or 'und' where there is little language in the text, as in sums and code.

    Chinese characters decide first, because identifiers waver on pages that mix them with English. Only words are shown
    to the identifier, and only where they make up half of the page; English gets the benefit of the doubt. Words that
    no other language has spare most English pages the identifier, ten times slower.
    """
    words = WORD.findall(text)
    letters = sum(map(len, words))
    if len(HANZI.findall(text)) > 0.15 * max(letters, 1):
        return 'zh'
    if letters < 0.5 * len(re.sub(r'\s', '', text)):
        return 'und'
    if sum(word in FUNCTION_WORDS for word in words) > 0.08 * len(words):
        return 'en'
    ranked = dict(language_identifier().rank(' '.join(words)))
    return 'en' if ranked['en'] > 0.1 else max(ranked, key=ranked.get)


@cache
def letter_pairs() -> np.ndarray:
    """Surprise (negative log-probability) of each letter after the one before it, from the Python manual on this
    machine, shape (28, 28): a space for a word's edge, a to z, and any other letter, which is as surprising as the
    rarest pair."""
    from pydoc_data.topics import topics
    text = ' '.join(WORD.findall(' '.join(topics.values()).lower()))
    alphabet = ' abcdefghijklmnopqrstuvwxyz'
    pairs, singles = Counter(itertools.pairwise(text)), Counter(text)
    table = np.full((28, 28), 8.0)
    for (i, a), (j, b) in itertools.product(enumerate(alphabet), repeat=2):
        table[i, j] = -math.log((pairs[a, b] + 0.5) / (singles[a] + 0.5 * len(alphabet)))
    return table


def surprise(text: str) -> float:
    """Mean surprise of a letter of the text's Latin words, in nats; English has about 2.6, shuffled letters over 3.6. 0
    where the text has fewer than 40 letters."""
    words = [word for word in WORD.findall(normal(text)) if not HANZI.match(word)]
    if sum(map(len, words)) < 40:
        return 0.0
    codes = np.frombuffer(f' {" ".join(words)} '.encode('ascii', 'replace'), np.uint8).astype(np.int64) - 96
    codes[codes == ord(' ') - 96] = 0
    codes[codes < 0] = 27
    return float(letter_pairs()[codes[:-1], codes[1:]].mean())


@lru_cache(1 << 16)
def is_strange(char: str) -> bool:
    """Whether readers of English and Chinese rarely see the character: it is outside GB 2312's first level of hanzi,
    ASCII and common punctuation."""
    if char.isascii():
        return not (char.isprintable() or char in '\n\t')
    try:
        lead = char.encode('gb2312')[0]
    except UnicodeEncodeError:
        return char not in PLAIN
    return not (0xB0 <= lead <= 0xD7 or lead in (0xA1, 0xA3))


def strange(text: str) -> float:
    """Share of the text's characters that are strange."""
    return sum(count for char, count in Counter(text).items() if is_strange(char)) / max(len(text), 1)


def rule_fault(text: str) -> str | None:
    """The first rule that the text breaks, or None.

    separators: over a fifth of its lines are signs only. breaks: eight lines and more of under 2 units on average.
    characters: over 2 % are drawn symbols, controls or lost in decoding. punctuation: a run of four marks in every
    third line, or 150 units with no mark at all. strange: over 10 % rare characters. surprise: letters follow each
    other as in no word.
    """
    lines = text.count('\n') + 1
    if len(SEPARATOR.findall(text)) > 0.2 * lines:
        return 'separators'
    if len(SYMBOL.findall(text)) > 0.02 * len(text):
        return 'characters'
    if strange(text) > 0.1:
        return 'strange'
    if len(RUN.findall(text)) > 0.3 * lines:
        return 'punctuation'
    if lines >= 8 and len(UNIT.findall(text)) < 2 * lines:
        return 'breaks'
    if len(text) > 300 and any(len(part) > 300 and len(UNIT.findall(part)) > 150 for part in MARK.split(text)):
        return 'punctuation'
    return None if surprise(text) < 3.3 else 'surprise'
