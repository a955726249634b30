"""The conditional reward model (COOL RLHF; InternLM2 report, 4.2): one model, told by a system message whose preference
it speaks for. XTuner trains it (finetune.preference); here it judges."""
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from internlm_course.align.rollout import asked
from internlm_course.model import load_model, load_tokenizer
from internlm_course.model.chat import render
from internlm_course.model.tokenizer import REWARD

# The report's texts are not published: these are the course's own.
CONDITIONS = dict(helpful='Helpful: answer as asked.', harmless='Harmless: say what you do not know.',
                  math='Math: show the sum.', code='Code: only the value.')
BATCH = 128


def condition(domain: str | None, talk: Sequence[Mapping]) -> list[Mapping]:
    """The messages that the reward model reads before a reply: the domain's system message, if there is one, and the
    talk."""
    told = [dict(role='system', content=CONDITIONS[domain])] if domain else []
    return [*told, *talk]


def training_pairs(pairs: Sequence[Mapping], conditional: bool = True) -> list[dict]:
    """Preference pairs as XTuner reads them (finetune.preference), the domain told unless not `conditional`."""
    return [dict(prompt=condition(pair['domain'] if conditional else None, asked(pair['question'])),
                 chosen=[dict(role='assistant', content=pair['chosen'])],
                 rejected=[dict(role='assistant', content=pair['rejected'])]) for pair in pairs]


class RewardModel:
    """A reward model from a folder that XTuner's training left.

    Raises:
        CourseError: the folder holds none.
    """

    def __init__(self, folder: Path):
        self.model = load_model(folder, dtype=torch.float32, attn='eager', reward=True)
        self.tokenizer = load_tokenizer(folder)
        self.mark = self.tokenizer.convert_tokens_to_ids(REWARD)

    @torch.no_grad()
    def __call__(self, talks: Sequence[Sequence[Mapping]], replies: Sequence[str],
                 domains: Sequence[str | None]) -> torch.Tensor:
        """The score of each reply to its talk in its domain, float32 [rows], most between -5 and 5."""
        texts = [render([*condition(domain, talk), dict(role='assistant', content=reply)])
                 for talk, reply, domain in zip(talks, replies, domains, strict=True)]
        encoded = [self.tokenizer(text).input_ids + [self.mark] for text in texts]
        order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
        scores = torch.zeros(len(encoded))
        for start in range(0, len(order), BATCH):
            part = order[start:start + BATCH]
            width = max(len(encoded[row]) for row in part)
            tokens = torch.tensor([encoded[row] + [0] * (width - len(encoded[row])) for row in part])
            real = torch.tensor([[1] * len(encoded[row]) + [0] * (width - len(encoded[row])) for row in part])
            scores[part] = self.model(input_ids=tokens, attention_mask=real, use_cache=False).logits[:, 0].float()
        return scores

    def agreement(self, pairs: Sequence[Mapping], conditional: bool = True) -> float:
        """The share of preference pairs in which it scores the chosen reply higher.

        Args:
            pairs: {domain, question, chosen, rejected} each.
            conditional: tell it the domain.
        """
        domains = [pair['domain'] if conditional else None for pair in pairs]
        talks = [asked(pair['question']) for pair in pairs]
        chosen, rejected = (self(talks, [pair[side] for pair in pairs], domains) for side in ('chosen', 'rejected'))
        return (chosen > rejected).float().mean().item()
