"""The filters that datatrove's executors run on the crawl: extraction (trafilatura), language (py3langid), rules, near-duplicates.

datatrove's own MinHash is used as it is; the steps here are light ones for what it does with spaCy or a sandbox process per page.
"""
import itertools
import json
import math
import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
from datatrove.data import Document, DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.utils.text import TextNormConfig
from datatrove.utils.word_tokenizers import WordTokenizer

HANZI = re.compile(r'[\u4e00-\u9fff]')
WORD = re.compile(r'[^\W\d_]{2,}')
# What a shingle is made of: a Chinese character, a run of letters or digits, or one sign. Signs count: '47+38' is not '47-38'.
UNIT = re.compile(r'[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+|[^\w\s]')
# Report section 3.1: 128 hash functions, 5-grams, threshold 0.7: 16 bands of 8 rows let a pair of similarity (1/16)^(1/8) = 0.71 through
# half of the time. Numbers and signs are kept: without them two exercise sheets are the same page.
MINHASH = MinhashConfig(n_grams=5, num_buckets=16, hashes_per_bucket=8,
                        norm_config=TextNormConfig(norm_numbers=False, remove_punctuation=False))
THRESHOLD = 0.7

# Languages told apart; a page in one that is not listed goes to its nearest relative.
LANGUAGES = ('en', 'zh', 'fr', 'de', 'es', 'it', 'pt', 'nl', 'sv', 'pl', 'cs', 'tr', 'ru', 'uk', 'ar', 'fa', 'hi', 'ja', 'ko', 'vi', 'id')
CALLS = re.compile(
    r'\b(?:buy|order|shop|click|call (?:us|now|\d)|subscribe|sign up|add to cart'
    r'|for free|free (?:shipping|trial|gift)|discount|deals?|sale|guaranteed'
    r'|exclusive|save \d|only [$€£¥]|\d+% off)\b|[$€£¥]\s?\d'
    r'|立即|购买|下单|点击|优惠|折扣|\d折|包邮|抢购|特价|免费|试用|关注|扫码|客服|厂家|直销|立减|热线|仅需', re.I)
SENTENCE = re.compile(r'[.!?。！？\n]+')


# What HTML itself says is not the text: on a page of two lines trafilatura would take the menu for a part of it.
NOT_TEXT = ['//nav', '//header', '//footer', '//h1']


class Extract(BaseFilter):
    """HTML to text with trafilatura, called in the worker: nine times faster than one sandbox process per page.

    `fast` leaves out the fallback extractors, which drop short lines such as `47+38=85` and the indentation of code. The page's heading is
    its title, not its text.
    """
    name = '⛏ Trafilatura'

    def filter(self, doc: Document) -> bool:
        from trafilatura import extract
        doc.text = extract(doc.text, fast=True, include_comments=False, include_tables=False, prune_xpath=NOT_TEXT) or ''
        return bool(doc.text)


@cache
def language_identifier():
    """py3langid restricted to `LANGUAGES`."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))
    return identifier


def language(text: str) -> str:
    """'en', 'zh', another language's code, or 'und' where there is little language in the text, as in sums and code.

    Chinese characters decide first, because identifiers waver on pages that mix them with English. Only words are shown to the identifier,
    and only where they make up half of the page; English gets the benefit of the doubt.
    """
    words = WORD.findall(text)
    letters = sum(map(len, words))
    if len(HANZI.findall(text)) > 0.15 * max(letters, 1):
        return 'zh'
    if letters < 0.5 * len(re.sub(r'\s', '', text)):
        return 'und'
    ranked = dict(language_identifier().rank(' '.join(words)))
    return 'en' if ranked['en'] > 0.1 else max(ranked, key=ranked.get)


class Language(BaseFilter):
    """Keeps English, Chinese, and pages of sums or code, which are in no language."""
    name = '🌍 Language'

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        doc.metadata['lang'] = found = language(doc.text)
        return (True if found in ('en', 'zh', 'und') else (False, found))


@cache
def letter_pairs() -> dict[str, float]:
    """Log-probability of each letter given the one before it, from the Python manual on this machine; a space stands for a word's edge."""
    from pydoc_data.topics import topics
    text = ' '.join(WORD.findall(' '.join(topics.values()).lower()))
    alphabet = ' abcdefghijklmnopqrstuvwxyz'
    pairs, singles = Counter(itertools.pairwise(text)), Counter(text)
    return {a + b: math.log((pairs[a, b] + 0.5) / (singles[a] + 0.5 * len(alphabet))) for a in alphabet for b in alphabet}


def surprise(text: str) -> float:
    """Mean negative log-probability of the letters of the text's Latin words; English has about 2.6, shuffled letters over 3.6.

    Letters outside a to z are as surprising as the rarest pair. 0 where the text has fewer than 40 letters.
    """
    words = [word for word in WORD.findall(text.lower()) if not HANZI.match(word)]
    if sum(map(len, words)) < 40:
        return 0.0
    pairs, flow = letter_pairs(), f' {" ".join(words)} '
    return -sum(pairs.get(a + b, -8.0) for a, b in itertools.pairwise(flow)) / (len(flow) - 1)


def strange(text: str) -> float:
    """Share of characters that readers of English and Chinese rarely see: outside GB 2312's first level of hanzi, ASCII and common
    punctuation."""
    rare = 0
    for char in text:
        if char.isascii():
            rare += not (char.isprintable() or char in '\n\t')
        else:
            try:
                lead = char.encode('gb2312')[0]
                rare += not (0xB0 <= lead <= 0xD7 or lead in (0xA1, 0xA3))
            except UnicodeEncodeError:
                rare += char not in '—–’‘“”…©'
    return rare / max(len(text), 1)


class Gibberish(BaseFilter):
    """Drops text whose letters follow each other as in no word, or whose characters are mostly rare: shuffled, mis-decoded, typed
    blindly."""
    name = '🌀 Gibberish'

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        if strange(doc.text) > 0.1:
            return False, 'strange'
        return True if surprise(doc.text) < 3.3 else (False, 'surprise')


def pressure(text: str) -> float:
    """How hard a text sells: calls to act, prices and exclamation marks, per sentence."""
    sentences = sum(bool(part.strip()) for part in SENTENCE.split(text))
    return (len(CALLS.findall(text)) + text.count('!') + text.count('！')) / max(sentences, 1)


class Advertisement(BaseFilter):
    """Drops pages that ask their reader to buy in half of their sentences."""
    name = '📢 Advertisement'

    def filter(self, doc: Document) -> bool:
        return pressure(doc.text) < 0.5


class Units(WordTokenizer):
    """Word splitting for MinHash: `UNIT`s; the only method that it calls."""

    def word_tokenize(self, text: str) -> list[str]:
        return UNIT.findall(text)

    def sent_tokenize(self, text: str) -> list[str]:
        return text.splitlines()

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [found.span() for found in UNIT.finditer(text)]


class ConfirmPairs(PipelineStep):
    """Keeps the pairs whose whole signatures agree in at least `THRESHOLD` of the 128 hashes.

    One equal band of 8 makes a pair a candidate, and among thousands of pages that share a template chance makes many. The signatures are
    already on disk.
    """
    type, name = '🫂 - DEDUP', '🎯 Confirm pairs'

    def __init__(self, signatures: Path, pairs: Path, confirmed: Path):
        super().__init__()
        self.signatures, self.pairs, self.confirmed = signatures, pairs, confirmed

    def load(self) -> dict[tuple[int, int], np.ndarray]:
        """(file, document) -> its signature, shape (16, 8)."""
        rows = np.dtype([('hashes', '<u8', MINHASH.hashes_per_bucket), ('document', '<u4')])
        found: dict[tuple[int, int], np.ndarray] = {}
        for bucket in range(MINHASH.num_buckets):
            for path in sorted((self.signatures / f'bucket_{bucket:03d}').glob('*.minhash.sig')):
                file = int(path.name.split('.')[0])
                for hashes, document in np.fromfile(path, rows):
                    empty = np.empty((MINHASH.num_buckets, MINHASH.hashes_per_bucket), np.uint64)
                    found.setdefault((file, int(document)), empty)[bucket] = hashes
        return found

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        signatures = self.load()
        self.confirmed.mkdir(parents=True, exist_ok=True)
        for path in sorted(self.pairs.glob('*.dups')):
            pairs = np.fromfile(path, '<u4').reshape(-1, 4)
            same = [np.mean(signatures[int(a), int(i)] == signatures[int(b), int(j)]) >= THRESHOLD for a, i, b, j in pairs]
            self.stat_update('candidates', value=len(pairs))
            self.stat_update('confirmed', value=int(sum(same)))
            pairs[np.array(same, bool)].tofile(self.confirmed / path.name)


class KeepNewest(PipelineStep):
    """Turns clusters of duplicates into lists of documents to remove: all but the newest of each (report section 3.1)."""
    type, name = '🫂 - DEDUP', '🎯 Keep the newest'

    def __init__(self, documents: Path, clusters: Path):
        super().__init__()
        self.documents, self.clusters = documents, clusters

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        members: dict[int, list[tuple[str, str, int, int]]] = {}
        for path in sorted(self.clusters.glob('*.clusters')):
            file = int(path.name.split('.')[0])
            with open(self.documents / f'{file:05d}.jsonl', encoding='utf-8') as lines:
                dates = [(row['metadata']['date'], row['id']) for row in map(json.loads, lines)]
            for document, cluster in np.fromfile(path, '<u4').reshape(-1, 2).tolist():
                members.setdefault(cluster, []).append((*dates[document], file, document))
            path.with_suffix('.remove').unlink(missing_ok=True)
        removed: dict[int, list[int]] = {}
        for cluster in members.values():
            for *_, file, document in sorted(cluster)[:-1]:
                removed.setdefault(file, []).append(document)
        for file, documents in removed.items():
            np.array(sorted(documents), '<u4').tofile(self.clusters / f'{file:06d}.remove')
