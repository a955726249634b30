"""The long track: documents long enough, written as prose is, whose second half needs their first.

Report section 3.1.3: (a) more than 32K bytes; (b) statistical filters on conjunctions, discourse markers and the like;
(c) a perplexity filter: the text is split into S1 and S2 and stays where PPL(S2|S1) < PPL(S2). The three together
removed much of the Web and of patents, and kept most books and papers.
"""
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO

from internlm_course.data.code import packed
from internlm_course.data.rules import HANZI
from internlm_course.jsonl import line_of

LENGTH = 32 * 1024  # bytes of UTF-8, report section 3.1


def perplexities(model, tokenizer, texts: Sequence[str], window: int | None = None,
                 batch: int = 16) -> list[tuple[float, float]]:
    """PPL(S2) and PPL(S2|S1) of each text, in one pass of the model for each.

    A text is cut at the paragraph nearest to its middle. Both halves are scored in a window of the model's context: the
    end of S1, then the beginning of S2. Both counts are over the same tokens of S2, behind the same `<s>`.

    Args:
        window: tokens of S1 and S2 together; the model's context by default.
    """
    window = window or model.config.max_position_embeddings
    pairs = [halves(text, tokenizer, window - 1) for text in texts]
    rows = [([], second) for _, second in pairs] + pairs
    losses = nats(model, rows, batch)
    return [(math.exp(alone), math.exp(behind)) for alone, behind in zip(losses[:len(pairs)], losses[len(pairs):])]


def split(text: str) -> tuple[str, str]:
    """The text in two at the line break nearest to its middle, or in the middle where there is none."""
    breaks = [match.end() for match in re.finditer('\n', text) if match.end() < len(text)]
    cut = min(breaks, key=lambda at: abs(at - len(text) / 2), default=len(text) // 2)
    return text[:cut], text[cut:]


def halves(text: str, tokenizer, window: int) -> tuple[list[int], list[int]]:
    """The tokens of the end of S1 and of the beginning of S2, at most `window` together."""
    first, second = (tokenizer.encode(part, add_special_tokens=False) for part in split(text))
    second = second[:max(window // 2, window - len(first))]
    return first[-(window - len(second)):], second


def nats(model, rows: Sequence[tuple[list[int], list[int]]], batch: int) -> list[float]:
    """Mean negative log-likelihood, in nats a token, of each row's second part after `<s>` and its first part."""
    import torch
    from torch.nn import functional as F
    device, start, means = next(model.parameters()).device, model.config.bos_token_id, [0.0] * len(rows)
    by_length = sorted(range(len(rows)), key=lambda i: sum(map(len, rows[i])))
    model.eval()
    with torch.no_grad():
        for at in range(0, len(rows), batch):
            chosen = by_length[at:at + batch]
            width = max(sum(map(len, rows[i])) for i in chosen) + 1
            tokens = torch.zeros(len(chosen), width, dtype=torch.int64)
            counted = torch.zeros(len(chosen), width, dtype=torch.bool)
            for place, i in enumerate(chosen):
                first, second = rows[i]
                tokens[place, :1 + len(first) + len(second)] = torch.tensor([start, *first, *second])
                counted[place, 1 + len(first):1 + len(first) + len(second)] = True
            tokens, counted = tokens.to(device), counted.to(device)[:, 1:]
            logits = model(input_ids=tokens, use_cache=False).logits[:, :-1]
            losses = F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten(),
                                     reduction='none').view(len(chosen), -1)
            batch_means = (losses * counted).sum(1) / counted.sum(1)
            for i, mean in zip(chosen, batch_means.tolist()):
                means[i] = mean
    return means


# --- statistics -------------------------------------------------------------------------------------------------------
# What ties one statement to another. The report names conjunctions and discourse markers and publishes no list: this
# one is ours.
MARKERS = re.compile(
    r'\b(?:and|but|or|so|if|when|while|because|since|although|though|unless|until|whereas|however|therefore'
    r'|thus|hence|moreover|furthermore|instead|otherwise|meanwhile|nevertheless|finally|then|also'
    r'|for (?:example|instance)|that is|in (?:fact|other words|addition|contrast|particular)|as a result)\b'
    r'|因为|所以|因此|但是|但|然而|不过|而且|并且|虽然|尽管|如果|只要|只有|除非|于是|然后|首先|其次|最后|此外|另外|同时'
    r'|例如|比如|也就是|换句话说|总之|从而|否则|反而|而是|其中|由于|即使|以及|并|而|则', re.I)
WORDS = re.compile(r'[\u4e00-\u9fff]|[^\W\d_\u4e00-\u9fff]+')  # a Chinese character or a word
A_WORD = 1.6  # Chinese characters in a word, on average
PARAGRAPH = 60  # words in a paragraph of prose, at least
# Statistic -> its least and largest value.
LIMITS = dict(markers=(10.0, 200.0), words=(0.6, 1.0), prose=(0.1, 1.0), repeated=(0.0, 0.3))


def statistics(text: str) -> dict[str, float]:
    """What tells prose from tables, lists and code.

    Returns:
        markers: conjunctions and discourse markers per 1,000 words; words: share of the characters other than space
            that stand in words; prose: share of the words in paragraphs of at least `PARAGRAPH`; repeated: share of the
            characters in lines that stood there before.
    """
    blocks = [word_count(block) for block in re.split(r'\n\s*\n', text)]
    words = sum(blocks)
    seen: set[str] = set()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    repeated = sum(len(line) for line in lines if line in seen or seen.add(line))
    return dict(markers=round(1000 * len(MARKERS.findall(text)) / max(words, 1), 1),
                words=round(sum(map(len, WORDS.findall(text))) / max(len(re.sub(r'\s', '', text)), 1), 3),
                prose=round(sum(size for size in blocks if size >= PARAGRAPH) / max(words, 1), 3),
                repeated=round(repeated / max(sum(map(len, lines)), 1), 3))


def word_count(text: str) -> float:
    """Words, a Chinese one for every `A_WORD` characters."""
    runs, hanzi = len(WORDS.findall(text)), len(HANZI.findall(text))
    return runs - hanzi + hanzi / A_WORD


def coherent(text: str, limits: dict[str, tuple[float, float]] = LIMITS) -> tuple[bool, str]:
    """Whether every statistic of the text is within its limits; else the first that is not, with its value."""
    measured = statistics(text)
    for name, (low, high) in limits.items():
        if not low <= measured[name] <= high:
            return False, f'{name} {measured[name]}'
    return True, ''


# --- perplexity -------------------------------------------------------------------------------------------------------
def gains(pairs: Iterable[tuple[float, float]]) -> list[float]:
    """How much S1 helps: log PPL(S2) - log PPL(S2|S1), in nats a token of S2."""
    return [math.log(alone / behind) for alone, behind in pairs]


def depends(pairs: Iterable[tuple[float, float]], margin: float = 0.0) -> list[bool]:
    """The perplexity filter: which texts stay. The report's criterion PPL(S2|S1) < PPL(S2) is a margin of 0.

    Measured with the tiny model on long pages of the micro-world, 20 of a kind. Margin 0: all pages stay whose question
    at the end needs the first half, and of pages glued from two of one language 65%, of two languages 60%. The margin
    of `margin_of`, 0.060: 80%, and 5%, 0%.
    """
    return [gain > margin for gain in gains(pairs)]


def margin_of(model, tokenizer, texts: Sequence[str], quantile: float = 0.9, **options) -> float:
    """The gain that a first half which has nothing to do with the second seldom gives: the quantile of the gains of
    texts whose first halves are each another text's. It needs no labels.

    Any text before S2 helps a little by its language and style; beyond this margin it is what S1 says that helps.
    """
    parts = [split(text) for text in texts]
    strangers = [parts[i - 1][0].rstrip('\n') + '\n' + parts[i][1] for i in range(len(parts))]
    ranked = sorted(gains(perplexities(model, tokenizer, strangers, **options)))
    return float(ranked[min(int(quantile * len(parts)), len(parts) - 1)])


# --- the corpus -------------------------------------------------------------------------------------------------------
def long_corpus(corpus: Iterable[dict], out: Path, checkpoint: Path, length: int = LENGTH,
                limits: dict[str, tuple[float, float]] = LIMITS,
                margin: float = 0.0, device: str | None = None) -> dict:
    """Writes the documents that are long, coherent and of one piece to `out/clean/long.jsonl.gz`, and what the other
    two filters dropped, with the reason in its metadata, to `out/dropped/statistics.jsonl.gz` and
    `perplexity.jsonl.gz`; short documents are only counted.

    Args:
        corpus: documents {id, text, metadata}, such as `pipeline.documents(corpus / 'clean')`.
        checkpoint: the base model that judges; its context is the window.
        length: bytes of UTF-8 that a document must exceed; margin: see `depends`.

    Returns:
        funnel: list of {step, documents, bytes}; ppl: [id, PPL(S2), PPL(S2|S1)] of each document that came so far.

    Raises:
        CourseError: the checkpoint cannot be loaded.
    """
    import torch

    from internlm_course.model import load_model, load_tokenizer
    model = load_model(checkpoint, dtype=torch.float32).to(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    tokenizer, scores = load_tokenizer(checkpoint), []
    counts = {step: Counter() for step in ('found', 'length', 'statistics', 'perplexity')}
    with packed(out / 'clean' / 'long.jsonl.gz') as kept, packed(out / 'dropped' / 'statistics.jsonl.gz') as loose, \
            packed(out / 'dropped' / 'perplexity.jsonl.gz') as apart:

        def count(step: str, document: dict) -> None:
            counts[step].update(documents=1, bytes=len(document['text'].encode()))

        def drop(lines: IO[bytes], document: dict, reason: str) -> None:
            metadata = document.get('metadata', {}) | dict(dropped=reason)
            lines.write(line_of(document | dict(metadata=metadata)).encode())

        def candidates() -> Iterator[dict]:
            for document in corpus:
                count('found', document)
                if len(document['text'].encode()) > length:
                    count('length', document)
                    good, reason = coherent(document['text'], limits)
                    if good:
                        count('statistics', document)
                        yield document
                    else:
                        drop(loose, document, reason)

        stream = candidates()
        while batch := list(islice(stream, 64)):
            pairs = perplexities(model, tokenizer, [document['text'] for document in batch])
            for document, (alone, behind), good in zip(batch, pairs, depends(pairs, margin)):
                scores.append([document['id'], round(alone, 4), round(behind, 4)])
                if good:
                    count('perplexity', document)
                    kept.write(line_of(document).encode())
                else:
                    drop(apart, document, f'PPL {alone:.4f} alone, {behind:.4f} after S1')
    metrics = dict(funnel=[dict(step=step, documents=counts[step]['documents'], bytes=counts[step]['bytes'])
                           for step in counts], ppl=scores)
    (out / 'metrics.json').write_text(json.dumps(metrics, indent=1), 'utf-8')
    return metrics
