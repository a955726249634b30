"""Token files, where the data pipeline and pre-training meet: one `.ds` file a domain, as datatrove writes them.

Tokens lie back to back, with an index of the documents' ends beside, and of validation files the documents' bytes as
text.
"""
from pathlib import Path

import numpy as np

# Domain -> its documents, each an array of tokens; of validation documents also their bytes as text.
Training = dict[str, list[np.ndarray]]
Validation = dict[str, tuple[list[np.ndarray], list[int]]]


def read_documents(path: Path) -> list[np.ndarray]:
    """The documents of a `.ds` file, each an array of tokens, shape (tokens,), over the file mapped into memory."""
    ends = np.fromfile(path.with_name(f'{path.name}.index'), '<u8').astype(np.int64)
    size = path.stat().st_size // int(ends[-1]) if len(ends) and ends[-1] else 2
    tokens = np.memmap(path, '<u2' if size == 2 else '<u4', 'r') if len(ends) else np.empty(0, '<u2')
    return np.split(tokens, ends[:-1])[:len(ends)]


def read_corpus(folder: Path) -> tuple[Training, Validation]:
    """All that `data.tokens.tokenize` wrote: the training documents of each domain, and the validation documents of
    each with their bytes as text."""
    training, validation = {}, {}
    for path in sorted(folder.glob('*.ds')):
        name = path.stem
        if name.endswith('.validation'):
            sizes = np.fromfile(path.with_name(f'{path.name}.bytes'), '<u4').tolist()
            validation[name.removesuffix('.validation')] = (read_documents(path), sizes)
        else:
            training[name] = read_documents(path)
    return training, validation
