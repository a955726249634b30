"""Near-duplicates (report section 3.1): datatrove's MinHash as it is, with light words, confirmed pairs, and the newest
copy kept."""
import json
from pathlib import Path

import numpy as np
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.utils.text import TextNormConfig
from datatrove.utils.word_tokenizers import WordTokenizer

from internlm_course.data.rules import UNIT

# 128 hash functions, 5-grams, threshold 0.7: 16 bands of 8 rows let a pair of similarity (1/16)^(1/8) = 0.71 through
# half of the time. Numbers and signs are kept: without them two exercise sheets are the same page.
MINHASH = MinhashConfig(n_grams=5, num_buckets=16, hashes_per_bucket=8,
                        norm_config=TextNormConfig(norm_numbers=False, remove_punctuation=False))
THRESHOLD = 0.7


class Units(WordTokenizer):
    """Word splitting for MinHash: `UNIT`s; the only method that it calls."""

    def word_tokenize(self, text: str) -> list[str]:
        return UNIT.findall(text)

    def sent_tokenize(self, text: str) -> list[str]:
        return text.splitlines()

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in UNIT.finditer(text)]


class ConfirmPairs(PipelineStep):
    """Keeps the pairs whose whole signatures agree in at least `THRESHOLD` of the 128 hashes.

    One equal band of 8 makes a pair a candidate, and among thousands of pages that share a template chance makes many.
    The signatures are already on disk; one band of them is in memory at a time.
    """
    type, name = '🫂 - DEDUP', '🎯 Confirm pairs'

    def __init__(self, signatures: Path, pairs: Path, confirmed: Path):
        super().__init__()
        self.signatures, self.pairs, self.confirmed = signatures, pairs, confirmed

    def agreement(self, pairs: np.ndarray) -> np.ndarray:
        """Share of equal hashes of each pair; pairs: shape (n, 4), file and document of either side."""
        row = np.dtype([('hashes', '<u8', MINHASH.hashes_per_bucket), ('document', '<u4')])
        sides = [pairs[:, 0].astype(np.uint64) << np.uint64(32) | pairs[:, 1],
                 pairs[:, 2].astype(np.uint64) << np.uint64(32) | pairs[:, 3]]
        equal = np.zeros(len(pairs), np.int64)
        for bucket in range(MINHASH.num_buckets):
            keys, hashes = [], []
            for path in sorted((self.signatures / f'bucket_{bucket:03d}').glob('*.minhash.sig')):
                rows = np.fromfile(path, row)
                keys.append(rows['document'].astype(np.uint64) | np.uint64(int(path.name.split('.')[0]) << 32))
                hashes.append(rows['hashes'])
            keys, hashes = np.concatenate(keys), np.concatenate(hashes)
            order = np.argsort(keys)
            a, b = (hashes[order[np.searchsorted(keys, side, sorter=order)]] for side in sides)
            equal += (a == b).sum(1)
        return equal / (MINHASH.num_buckets * MINHASH.hashes_per_bucket)

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        self.confirmed.mkdir(parents=True, exist_ok=True)
        files = {path.name: np.fromfile(path, '<u4').reshape(-1, 4) for path in sorted(self.pairs.glob('*.dups'))}
        # A pair that agrees in several bands stands in several files.
        pairs, places = np.unique(np.concatenate([*files.values(), np.empty((0, 4), '<u4')]), axis=0,
                                  return_inverse=True)
        same, places = self.agreement(pairs) >= THRESHOLD if len(pairs) else np.empty(0, bool), places.reshape(-1)
        self.stat_update('candidates', value=len(pairs))
        self.stat_update('confirmed', value=int(same.sum()))
        at = 0
        for name, rows in files.items():
            rows[same[places[at:at + len(rows)]]].tofile(self.confirmed / name)
            at += len(rows)


class KeepNewest(PipelineStep):
    """Turns clusters of duplicates into lists of documents to remove: all but the newest of each (report section
    3.1)."""
    type, name = '🫂 - DEDUP', '🎯 Keep the newest'

    def __init__(self, documents: Path, clusters: Path):
        super().__init__()
        self.documents, self.clusters = documents, clusters

    def run(self, data: DocumentsPipeline = None, rank: int = 0, world_size: int = 1) -> None:
        members: dict[int, list[tuple[str, str, int, int]]] = {}
        for path in sorted(self.clusters.glob('*.clusters')):
            file = int(path.name.split('.')[0])
            cluster_of = dict(np.fromfile(path, '<u4').reshape(-1, 2).tolist())
            with open(self.documents / f'{file:05d}.jsonl', encoding='utf-8') as lines:
                for document, line in enumerate(lines):
                    if document in cluster_of:
                        row = json.loads(line)
                        member = row['metadata']['date'], row['id'], file, document
                        members.setdefault(cluster_of[document], []).append(member)
            path.with_suffix('.remove').unlink(missing_ok=True)
        removed: dict[int, list[int]] = {}
        for cluster in members.values():
            for *_, file, document in sorted(cluster)[:-1]:
                removed.setdefault(file, []).append(document)
        for file, documents in removed.items():
            np.array(sorted(documents), '<u4').tofile(self.clusters / f'{file:06d}.remove')
