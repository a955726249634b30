"""What the code track drops: files that say what another one says, whatever their layout, and files of low quality.

Report section 3.1: file-level deduplication on code-aware tokens, because layout changes while code does not; a quality
score (105.6 GB high, 16.8%, read for several epochs; 440.1 GB moderate, 69.9%, once; 83.85 GB low, 13.3%, dropped) from
a model trained on about 50,000 labels in three rounds. Here the score is a rule whose features can be read.
"""
import ast
import hashlib
import io
import re
import tokenize
import warnings
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import TypeVar

import numpy as np

T = TypeVar('T')
LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
BLOCK = {tokenize.NEWLINE: '\n', tokenize.INDENT: '\t', tokenize.DEDENT: '\b'}
STRING = re.compile(r'([A-Za-z]*)(\'\'\'|"""|\'|")(.*)\2', re.S)
WORD = re.compile(r'\w+|[^\w\s]')

# MinHash as in the report's text pipeline; a pair that it proposes is confirmed on the shingles themselves. On the
# standard library the 0.7 of text drops 55 files, sre_parse for sre_compile (0.83) among them; 0.85 drops 30, all of
# them codecs made from one template.
HASHES, BANDS, NGRAM, THRESHOLD = 128, 16, 5, 0.85


# --- duplicates -------------------------------------------------------------------------------------------------------
def code_tokens(text: str) -> list[str]:
    """The tokens of a Python file without its layout: no comments, blank lines, line breaks inside brackets or width of
    indentation, and strings without their quotes. What Python sees stays: names, signs, numbers, docstrings, ends of
    statements, blocks.

    Comments go because licences and dates in them are what copies of one file differ in. A file that is no Python is
    split into words and signs.
    """
    tokens = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in BLOCK:
                tokens.append(BLOCK[token.type])
            elif token.type == tokenize.STRING:
                tokens.append(string_value(token.string))
            elif token.type not in LAYOUT:
                tokens.append(token.string.rstrip('\'"'))  # an f-string's ends from Python 3.12 on
    except (tokenize.TokenError, SyntaxError):
        return WORD.findall(text)
    return tokens


def string_value(literal: str) -> str:
    """A string literal as its kind and value: 'a', "a" and '''a''' are one."""
    try:
        value = ast.literal_eval(literal)
        return f'b"{value!r}' if isinstance(value, bytes) else f'"{value}'
    except (ValueError, SyntaxError):  # an f-string, which has no value yet
        prefix, _, body = STRING.fullmatch(literal).groups()
        return f'{"".join(sorted(prefix.lower()))}"{body}'


def shingles(tokens: list[str], n: int = NGRAM) -> np.ndarray:
    """The set of `n`-grams of the tokens as sorted hashes, uint64 [count]; a file of fewer tokens is one shingle."""
    words = np.array([word_hash(token) for token in tokens], np.uint64)
    n = max(1, min(n, len(words)))
    mixed = np.zeros(max(len(words) - n + 1, 0), np.uint64)
    for i in range(n):
        mixed = (mixed ^ words[i:len(words) - n + 1 + i]) * np.uint64(0x9E3779B97F4A7C15)
    return np.unique(mixed ^ (mixed >> np.uint64(29)))


@cache
def word_hash(word: str) -> int:
    """64 bits that are the same on every run."""
    return int.from_bytes(hashlib.blake2b(word.encode('utf-8', 'surrogatepass'), digest_size=8).digest(), 'little')


@cache
def multipliers() -> tuple[np.ndarray, np.ndarray]:
    """Odd multipliers and offsets of the hash functions, uint64 [HASHES, 1]."""
    random = np.random.default_rng(0)
    return tuple(random.integers(0, 1 << 63, (HASHES, 1), np.uint64) * np.uint64(2) + np.uint64(1) for _ in range(2))


def signature(hashes: np.ndarray) -> np.ndarray:
    """MinHash of a set of shingles, uint64 [HASHES]: two sets agree at a position with the probability of their Jaccard
    similarity."""
    factor, offset = multipliers()
    smallest = np.full(HASHES, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(hashes), 4096):  # [HASHES, 4096] at a time: 4 MB
        # The high half of a product mod 2^64 depends on all bits of the factor; the low bits would not.
        smallest = np.minimum(smallest, ((hashes[start:start + 4096] * factor + offset) >> np.uint64(32)).min(1))
    return smallest


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Similarity of two sets of shingles, each sorted and without repeats."""
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / max(len(a) + len(b) - common, 1)


def duplicates(texts: Mapping[T, str], threshold: float = THRESHOLD) -> dict[T, tuple[T, str]]:
    """Files that say what another one says: each with the file that stays and 'exact' (equal tokens) or 'near' (Jaccard
    similarity of 5-grams of tokens >= `threshold`). Of two the one that comes first in `texts` stays, so no file is
    dropped for one that is dropped itself.
    """
    dropped: dict[T, tuple[T, str]] = {}
    seen: dict[bytes, T] = {}
    sets: dict[T, np.ndarray] = {}
    bands: dict[bytes, list[T]] = {}
    for name, text in texts.items():
        tokens = code_tokens(text)
        key = hashlib.blake2b('\0'.join(tokens).encode('utf-8', 'surrogatepass')).digest()
        if key in seen:
            dropped[name] = (seen[key], 'exact')
            continue
        seen[key] = name
        mine = shingles(tokens)
        rows = signature(mine).reshape(BANDS, -1)
        keys = [bytes([band]) + row.tobytes() for band, row in enumerate(rows)]
        candidates = dict.fromkeys(other for band in keys for other in bands.get(band, ()))
        match = next((other for other in candidates if jaccard(mine, sets[other]) >= threshold), None)
        if match is not None:
            dropped[name] = (match, 'near')
            continue
        sets[name] = mine
        for band in keys:
            bands.setdefault(band, []).append(name)
    return dropped


# --- quality ----------------------------------------------------------------------------------------------------------
GENERATED = re.compile(r'auto-?matically generated|auto-?generated|generated (?:from|by|with|using)\b'
                       r'|do not (?:edit|modify)|@generated', re.I)
# Limits of the rule, each set on the standard library and on files made bad on purpose
# (tests/unit/data/test_code_data.py).
HEAD = 1500  # characters in which a generator signs
LONG_LINE, MEAN_LINE = 1000, 100  # characters: people write lines of 30 to 40 on average
SHORT_NAME = 0.5  # share of names of one letter: a minifier's work, where nothing explains them (colorsys calls red r)
DATA = 0.4  # share of tokens that are literals; a table of numbers has a half, the other half being commas
SMALLEST = 30  # tokens: less is a stub or an empty `__init__`
DOCUMENTED = 0.5  # share of public functions and classes with a docstring, or...
COMMENTED = 0.1  # ...comments by line of code


def quality(text: str) -> tuple[str, dict]:
    """Grade of a Python file, 'high', 'moderate' or 'low', and the features it rests on.

    Low: does not parse, signed by a generator, minified (long lines, names of one letter), a data table, or a stub.
    High: sound, defines something, and explained by docstrings or comments. Moderate: what is between.

    Returns:
        grade; features: reason, tokens, definitions, longest_line, mean_line, data (share of tokens that are literals),
            short_names (share),
        documented (share of public definitions), comments (per line of code).
    """
    lines = [line for line in text.splitlines() if line.strip()]
    features = dict(longest_line=max(map(len, lines), default=0),
                    mean_line=round(sum(map(len, lines)) / max(len(lines), 1), 1))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # old escapes in strings are their author's concern
            tree = ast.parse(text)
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return 'low', features | dict(reason='does not parse')
    kinds = Counter(token.type for token in tokens)
    docs = {(node.body[0].lineno, node.body[0].col_offset) for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and ast.get_docstring(node, False) is not None}
    real = [token for token in tokens if token.type not in LAYOUT and token.type not in BLOCK
            and token.start not in docs]
    literals = sum(token.type in (tokenize.STRING, tokenize.NUMBER) for token in real)
    names = [token.string for token in real if token.type == tokenize.NAME]
    public = [node for node in ast.walk(tree) if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
              and node.name[0] != '_']
    code_lines = len({token.start[0] for token in real})
    features |= dict(
        tokens=len(real), definitions=len(public), data=round(literals / max(len(real), 1), 3),
        short_names=round(sum(len(name) == 1 for name in names) / max(len(names), 1), 3),
        documented=round(sum(ast.get_docstring(node, False) is not None for node in public) / max(len(public), 1), 3),
        comments=round(kinds[tokenize.COMMENT] / max(code_lines, 1), 3))
    reason = fault(text, features)
    if reason:
        return 'low', features | dict(reason=reason)
    if public and (features['documented'] >= DOCUMENTED or features['comments'] >= COMMENTED):
        return 'high', features | dict(reason='explained')
    return 'moderate', features | dict(reason='sound')


def fault(text: str, features: dict) -> str:
    """Why a file that parses is low, or ''."""
    if signed := GENERATED.search(head_comment(text)):
        return f'generated: {signed[0].lower()}'
    if features['longest_line'] > LONG_LINE or features['mean_line'] > MEAN_LINE:
        return 'long lines'
    if features['tokens'] < SMALLEST:
        return 'stub'
    if features['data'] > DATA:
        return 'data table'
    unexplained = not features['documented'] and not features['comments']
    return 'short names' if features['short_names'] > SHORT_NAME and unexplained else ''


def head_comment(text: str) -> str:
    """The comments and the docstring with which a file begins: where a generator signs."""
    lines = []
    for line in text[:HEAD].splitlines():
        if line.strip() and not lines and not line.lstrip().startswith(('#', '"', "'", 'r"', "r'")):
            return ''
        lines.append(line)
    head = '\n'.join(lines)
    # Up to the first statement; the generator's name in code further down is somebody's string.
    statement = re.search(r'^(?:import|from|def|class|if|try|\w+\s*=)\b', head, re.M)
    return head[:statement.start()] if statement else head
