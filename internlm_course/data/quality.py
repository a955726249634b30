"""The classifiers of the pipeline: toxicity, advertisement, fluency (report section 3.1), trained from labels in a
second or two.

One vector for all: hashed runs of one and two units, and a logistic head each, fitted by scikit-learn and run with
numpy. The report fine-tunes BERT; `encoder` does the same where there is a GPU.
"""
import time
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from internlm_course.data.rules import UNIT
from internlm_course.errors import CourseError
from internlm_course.jsonl import rows

HEADS = ('toxic', 'advertisement', 'disfluent')
LABELS = ('clean', *HEADS)
# Above it a page is dropped: between the highest of 1,500 clean pages (0.03, 0.01, 0.20) and 98 % of the noisy ones
# (0.18, 0.48, 0.85).
THRESHOLDS = dict(toxic=0.1, advertisement=0.2, disfluent=0.8)
DIMENSIONS = 1 << 16


@lru_cache(1 << 16)
def unit_hash(unit: str) -> int:
    """A number for a unit, the same on every run; all numbers count as one."""
    return zlib.crc32(b'0' if unit[0].isdigit() else unit.encode('utf-8', 'surrogatepass'))


def features(text: str) -> np.ndarray:
    """The text's different features as sorted indices below `DIMENSIONS`: hashes of its units and of its pairs of
    neighbours."""
    units = np.fromiter(map(unit_hash, UNIT.findall(text.lower())), np.uint64)
    pairs = units[:-1] * np.uint64(0x9E3779B1) + units[1:] * np.uint64(0x85EBCA77)
    return np.unique(np.concatenate([units, pairs >> np.uint64(13)]) % np.uint64(DIMENSIONS)).astype(np.int64)


@dataclass(frozen=True)
class Classifiers:
    """A logistic head for each of `HEADS`: weights of shape (DIMENSIONS + 1, 3), the biases in the last row."""
    weights: np.ndarray

    def scores(self, text: str) -> dict[str, float]:
        """Probability of each label."""
        indices = features(text)
        logits = self.weights[indices].sum(0, dtype=np.float64) / max(len(indices), 1) ** 0.5 + self.weights[-1]
        return dict(zip(HEADS, (1 / (1 + np.exp(-logits))).round(4).tolist()))


def read_labels(path: Path) -> tuple[list[str], list[str]]:
    """Texts and labels of a jsonl file of {text, label}.

    Raises:
        CourseError: a row that is not of this form, a label that no head knows, or not both sides of every head.
    """
    labelled = [(row['text'], row['label']) for row in rows(path, 'A line is {"text", "label"}.', ('text', 'label'))]
    unknown = sorted({label for _, label in labelled} - set(LABELS))
    missing = [label for label in LABELS if label not in {label for _, label in labelled}]
    if unknown or missing:
        raise CourseError(f'{path} has labels {unknown} that are not known, and no example of {missing}.',
                          f'Use each of {", ".join(LABELS)}.')
    return [text for text, _ in labelled], [label for _, label in labelled]


def train_classifiers(labels: Path, out: Path, encoder: str | None = None) -> dict:
    """Fits the heads on labelled texts and writes them to `out`, one .npy file; with `encoder`, a hub id or folder,
    fine-tunes that model instead and writes it into the folder `out`.

    Returns:
        number of texts of each label, and seconds.

    Raises:
        CourseError: see `read_labels`.
    """
    began = time.perf_counter()
    texts, names = read_labels(labels)
    out.parent.mkdir(parents=True, exist_ok=True)
    if encoder:
        finetune(texts, names, encoder, out)
    else:
        fit(texts, names, out)
    return dict(labels={label: names.count(label) for label in LABELS}, seconds=round(time.perf_counter() - began, 2))


def fit(texts: list[str], names: list[str], out: Path) -> None:
    """The logistic heads; each row of the design has length one."""
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression
    rows = [features(text) for text in texts]
    ends = np.cumsum([0, *map(len, rows)])
    values = np.concatenate([np.full(len(row), max(len(row), 1) ** -0.5) for row in rows])
    design = csr_matrix((values, np.concatenate(rows), ends), (len(rows), DIMENSIONS))
    heads = [LogisticRegression(C=20.0, class_weight='balanced', solver='liblinear', random_state=0)
             .fit(design, [name == head for name in names]) for head in HEADS]
    part = out.with_name(f'{out.name}.part')
    with open(part, 'wb') as stream:
        np.save(stream, np.stack([np.append(head.coef_, head.intercept_) for head in heads], 1).astype(np.float32))
    part.replace(out)


def load_classifiers(path: Path):
    """What `train_classifiers` wrote: an object with `scores(text)`."""
    if path.is_dir():
        return Encoder(path)
    return Classifiers(np.load(path))


def finetune(texts: list[str], names: list[str], encoder: str, out: Path, epochs: int = 2, batch: int = 32) -> None:
    """Fine-tunes a sequence classifier with one sigmoid output for each head; on the GPU where there is one."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    model = AutoModelForSequenceClassification.from_pretrained(
        encoder, num_labels=len(HEADS), id2label=dict(enumerate(HEADS)), ignore_mismatched_sizes=True,
        problem_type='multi_label_classification').to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-5)
    for _ in range(epochs):
        for chosen in torch.randperm(len(texts)).split(batch):
            inputs = tokenizer([texts[i] for i in chosen], return_tensors='pt', padding=True, truncation=True,
                               max_length=256).to(device)
            targets = torch.tensor([[float(names[i] == head) for head in HEADS] for i in chosen], device=device)
            model(**inputs, labels=targets).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


class Encoder:
    """A fine-tuned encoder with the interface of `Classifiers`."""

    def __init__(self, path: Path):
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.model = AutoModelForSequenceClassification.from_pretrained(path).to(device).eval()

    def scores(self, text: str) -> dict[str, float]:
        """Probability of each label."""
        import torch
        with torch.inference_mode():
            inputs = self.tokenizer(text, return_tensors='pt', truncation=True, max_length=256).to(self.model.device)
            return dict(zip(HEADS, self.model(**inputs).logits[0].sigmoid().double().cpu().numpy().round(4).tolist()))
