"""Lab 4's own answers: fine-tuning in numpy and float64, small enough to read; the tests hold them against XTuner,
PEFT, bitsandbytes and the chat format.

A piece is a token as text; a row of x [tokens, n] is a token; w is [m, n], A is [r, n], B is [m, r].
"""
import json
import re
from collections.abc import Collection, Sequence
from itertools import groupby

import numpy as np

NF4 = (-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
       -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634,
       0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0)
"""The sixteen levels of 4-bit NormalFloat (QLoRA, arXiv 2305.14314, appendix E)."""
CHINESE, LATIN = re.compile(r'[\u4e00-\u9fff]'), re.compile('[A-Za-z]')


def loss_mask(conversation: Sequence[tuple[str, Sequence[str]]]) -> list[bool]:
    """Whether each piece is learned, `<s>` first: of what the assistant says all behind the header's line break, up to
    and with `<|im_end|>`; [(role, pieces from `<|im_start|>` to the last line break)]."""
    mask = [False]
    for role, pieces in conversation:
        header, end = pieces.index('\n'), len(pieces) - 1
        mask += [role == 'assistant' and header < i < end for i in range(len(pieces))]
    return mask


def learned_loss(nats: Sequence[float], mask: Sequence[bool]) -> float:
    """The mean loss over the pieces that are learned; 0 where there is none."""
    learned = [loss for loss, counts in zip(nats, mask) if counts]
    return sum(learned) / len(learned) if learned else 0.0


def lora(x: np.ndarray, w: np.ndarray, a: np.ndarray, b: np.ndarray, alpha: float) -> np.ndarray:
    """x [tokens, n] through the frozen w and, beside it, through A and B: [tokens, m]."""
    return x @ w.T + alpha / len(a) * (x @ a.T) @ b.T


def merged(w: np.ndarray, a: np.ndarray, b: np.ndarray, alpha: float) -> np.ndarray:
    """The one matrix [m, n] that does what w and the adapter do together."""
    return w + alpha / len(a) * b @ a


def lora_parameters(shape, rank: int, targets: Collection[str]) -> int:
    """Parameters of the adapters on the matrices named in `targets`, of `wqkv`, `wo`, `w1`, `w2`, `w3`, in every layer;
    `shape` is an InternLM2Config or anything with its fields."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    rows = hidden // shape.num_attention_heads * (shape.num_attention_heads + 2 * shape.num_key_value_heads)
    ends = dict(wqkv=hidden + rows, wo=2 * hidden, w1=hidden + inner, w2=inner + hidden, w3=hidden + inner)
    return shape.num_hidden_layers * rank * sum(ends[name] for name in targets)


def quantise(block: np.ndarray) -> tuple[list[int], float]:
    """Indices into NF4 of a block's weights over their largest size, and that size."""
    scale = float(np.abs(block).max())
    return np.abs(block[:, None] / (scale or 1.0) - np.array(NF4)).argmin(1).tolist(), scale


def dequantise(indices: Sequence[int], scale: float) -> np.ndarray:
    """The weights that four bits each and a common scale stand for."""
    return scale * np.array(NF4)[list(indices)]


def pack(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Conversations laid end to end and cut after every `room` tokens, as XTuner does it: the lengths of the pieces in
    each row; what does not fill a row is left out."""
    owners = [i for i, length in enumerate(lengths) for _ in range(length)]
    return [[len(list(piece)) for _, piece in groupby(owners[start:start + room])]
            for start in range(0, len(owners) - room + 1, room)]


def may_see(pieces: Sequence[int]) -> np.ndarray:
    """[tokens, tokens] of a packed row, true where the token of this row of the matrix may attend to that of the
    column: itself and what came before it in the same piece."""
    piece = np.repeat(np.arange(len(pieces)), pieces)
    return (piece[:, None] == piece) & np.tri(len(piece), dtype=bool)


def obeys(constraint: str, reply: str) -> bool:
    """Whether a reply keeps the form that was asked for: 'only_number', 'json', 'three_words' or 'in_chinese'."""
    text = reply.strip()
    if constraint == 'only_number':
        return bool(re.fullmatch('-?[0-9]+[.。]?', text))
    if constraint == 'three_words':
        return len(text.split()) == 3
    if constraint == 'in_chinese':
        return bool(CHINESE.search(text)) and not LATIN.search(text)
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and list(value) == ['answer']
