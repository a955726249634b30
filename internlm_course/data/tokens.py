"""From the clean corpus to token files: one `.ds` file a domain in datatrove's format (tokens back to back, and an
index of document ends).

One document of a hundred is held out as validation, chosen by a hash of its text; bytes of text are kept beside, for
bits per byte.
"""
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np

from internlm_course.data.pipeline import documents
from internlm_course.errors import CourseError
from internlm_course.tokenfiles import Training, Validation

BOS, EOS = '<s>', '</s>'
HELD_OUT = 100  # one document of so many is for validation
BATCH = 1000
KNOWLEDGE = ('encyclopedia', 'quiz')  # kinds of pages of one domain; each of the others is a domain of its own


def tokenize(corpus: Path, tokenizer: Path, out: Path) -> dict:
    """Writes the clean documents of `corpus` as `out/<domain>.ds` and `out/<domain>.validation.ds`, each document as
    `<s>` tokens `</s>`.

    A file holds uint16 tokens (uint32 for a vocabulary over 65,536); `.ds.index` holds each document's end, uint64, in
    tokens; `.ds.bytes` its length in bytes of UTF-8, uint32. Special tokens written in a page are encoded as the text
    they are.

    Args:
        corpus: folder that `build_corpus` wrote.
        tokenizer: `tokenizer.json`, or the folder that holds it.

    Returns:
        documents, tokens, bytes; domains: {name: {documents, tokens, bytes}}.

    Raises:
        CourseError: there is no tokenizer, or it lacks `<s>` or `</s>`.
    """
    from datatrove.pipeline.tokens.tokenizer import TokenizedFile
    encoder, token_size = load(tokenizer)
    out.mkdir(parents=True, exist_ok=True)
    files: dict[str, TokenizedFile] = {}
    sizes: dict[str, list[int]] = {}
    texts = ((document['metadata']['domain'], document['text']) for document in documents(corpus / 'clean'))
    for domain, held_out, tokens, size in encode(texts, encoder):
        name = f'{domain}.validation' if held_out else domain
        if name not in files:
            files[name], sizes[name] = TokenizedFile(str(out), f'{name}.ds', token_size=token_size), []
        files[name].write(tokens, None)
        sizes[name].append(size)
    domains = {}
    for name in sorted(files):
        files[name].close()
        np.array(sizes[name], '<u4').tofile(out / f'{name}.ds.bytes')
        domains[name] = dict(documents=len(sizes[name]), tokens=len(files[name]), bytes=sum(sizes[name]))
    totals = {unit: sum(domain[unit] for domain in domains.values()) for unit in ('documents', 'tokens', 'bytes')}
    return totals | dict(domains=domains)


def load(tokenizer: Path):
    """The tokenizer, set to take special tokens in text for text, and the bytes that one of its tokens needs."""
    from tokenizers import Tokenizer
    path = tokenizer / 'tokenizer.json' if tokenizer.is_dir() else tokenizer
    if not path.is_file():
        raise CourseError(f'There is no tokenizer at {path}.',
                          'Train one first (internlm_course.model.train_tokenizer).')
    encoder = Tokenizer.from_file(str(path))
    for token in (BOS, EOS):
        if encoder.token_to_id(token) is None:
            raise CourseError(f'The tokenizer at {path} has no token {token}.',
                              'Train it with internlm_course.model.train_tokenizer, which adds it.')
    encoder.encode_special_tokens = True
    encoder.no_truncation()
    encoder.no_padding()
    return encoder, 2 if encoder.get_vocab_size() <= 1 << 16 else 4


def encode(texts: Iterator[tuple[str, str]], encoder) -> Iterator[tuple[str, bool, list[int], int]]:
    """Of each (domain, text): its domain, whether it is held out, its tokens and its bytes."""
    first, last = encoder.token_to_id(BOS), encoder.token_to_id(EOS)
    while batch := list(islice(texts, BATCH)):
        encodings = encoder.encode_batch_fast([text for _, text in batch], add_special_tokens=False)
        for (domain, text), encoding in zip(batch, encodings, strict=True):
            raw = text.encode()
            yield domain, zlib.crc32(raw) % HELD_OUT == 0, [first, *encoding.ids, last], len(raw)


class Page(Protocol):
    """A page before it was HTML, as the micro-world makes them."""
    kind: str
    lines: tuple[str, ...]


def tokenize_pages(pages: Iterable[Page], tokenizer: Path) -> tuple[Training, Validation]:
    """Pages of the micro-world straight into what `read_corpus` gives, in memory: for runs of minutes, which need no
    crawl and no cleaning."""
    encoder, token_size = load(tokenizer)
    training: Training = {}
    validation: Validation = {}
    texts = (('knowledge' if page.kind in KNOWLEDGE else page.kind, '\n'.join(page.lines)) for page in pages)
    for domain, held_out, tokens, size in encode(texts, encoder):
        document = np.array(tokens, f'<u{token_size}')
        if held_out:
            held = validation.setdefault(domain, ([], []))
            held[0].append(document)
            held[1].append(size)
        else:
            training.setdefault(domain, []).append(document)
    return training, validation
