"""What fine-tuning learns of a conversation, token by token: shown in a lab, and the same as in XTuner."""
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from internlm_course.finetune.messages import to_conversation


@dataclass(frozen=True)
class LossMask:
    """A conversation's tokens, and which of them the loss counts. Printed, what is learned stands between ⟦ and ⟧."""
    ids: list[int]
    learned: list[bool]
    spans: list[tuple[str, bool]]
    """The text in stretches, each with whether it is learned."""

    def __str__(self) -> str:
        return ''.join(f'⟦{text}⟧' if learned else text for text, learned in self.spans)

    def _repr_html_(self) -> str:
        marked = ''.join(f'<mark>{html.escape(text)}</mark>' if learned else html.escape(text)
                         for text, learned in self.spans)
        return f'<pre style="white-space: pre-wrap">{marked}</pre>'


def loss_mask(messages: Sequence[Mapping], tokenizer) -> LossMask:
    """What XTuner learns of a conversation: its ids, a flag each, both [tokens]; the first is `<s>`."""
    pieces = [(tokenizer.bos_token, False)]
    for turn in to_conversation(dict(messages=messages))['conversation']:
        pieces += [(turn['input'], False), (turn['output'], True), (turn['sep'], False)]
    encoded = [(tokenizer.encode(text, add_special_tokens=False), learned) for text, learned in pieces]
    spans = [(''.join(text for text, _ in stretch), learned)
             for learned, stretch in groupby(pieces, key=lambda piece: piece[1])]
    return LossMask([token for ids, _ in encoded for token in ids],
                    [learned for ids, learned in encoded for _ in ids], spans)
