"""The conditional reward model (COOL RLHF; InternLM2 report, 4.2): one model, told by a system message whose preference
it speaks for. XTuner trains it (finetune.preference); here it judges."""
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from internlm_course import jsonl
from internlm_course.align.feedback import slow_path
from internlm_course.align.rollout import asked
from internlm_course.finetune.preference import RewardSettings, reward
from internlm_course.model import load_model, load_tokenizer
from internlm_course.model.chat import render
from internlm_course.model.tokenizer import REWARD

ROUNDS = 3  # in which a model is asked for its wrong replies: one that errs seldom gives too few in one (labs/LOG.md)
# The report's texts are not published: these are the course's own. A sentence each made a row a fifth longer.
CONDITIONS = dict(helpful='Helpful', harmless='Harmless', math='Math', code='Code')
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


def train(checkpoint: Path, pairs: Path, out: Path, settings: RewardSettings, home: Path,
          on_step: Callable[[dict], None] | None = None, conditional: bool = True, questions: Path | None = None,
          longest: int = 48) -> dict:
    """Trains the reward model with XTuner, and measures it on held-out pairs.

    Args:
        pairs: folder of train.jsonl and heldout.jsonl, {domain, question, chosen, rejected, conflict} a line.
        checkpoint, out, home, on_step: see `finetune.preference.reward`.
        conditional: tell it each pair's domain.
        questions: jsonl of items of `internlm_course.verify` that the checkpoint answers first, with `longest` tokens
            at most: its own wrong replies stand among the second half of the pairs (`feedback.slow_path`).

    Returns:
        What `finetune.preference.reward` does, and agreement {domain: share of held-out pairs}, conflicts (that share
        of the pairs in which domains contradict each other), scores [lowest, highest].
    """
    rows = list(jsonl.rows(Path(pairs) / 'train.jsonl'))
    if questions:
        rows = with_own(rows, checkpoint, list(jsonl.rows(questions)), settings.seed, longest)
    Path(out).mkdir(parents=True, exist_ok=True)
    jsonl.write(Path(out) / 'pairs.jsonl', training_pairs(rows, conditional))
    metrics = reward(checkpoint, Path(out) / 'pairs.jsonl', out, settings, home, on_step)
    metrics |= judge(RewardModel(out), list(jsonl.rows(Path(pairs) / 'heldout.jsonl')), conditional)
    (Path(out) / 'metrics.json').write_text(json.dumps(metrics, indent=2), 'utf-8')
    return metrics


def with_own(pairs: Sequence[dict], checkpoint: Path, items: Sequence[dict], seed: int,
             longest: int = 48) -> list[dict]:
    """The pairs with those of the checkpoint's own replies to the items mixed into their second half."""
    own = slow_path(load_model(checkpoint, dtype=torch.float32, attn='eager'), load_tokenizer(checkpoint), items,
                    'helpful', seed, longest, ROUNDS)
    later = [*pairs[len(pairs) // 2:], *own]
    random.Random(seed).shuffle(later)
    return [*pairs[:len(pairs) // 2], *later]


def judge(model: 'RewardModel', pairs: Sequence[Mapping], conditional: bool = True) -> dict:
    """{agreement, conflicts, scores} as `train` says."""
    scores = model.compare(pairs, conditional)
    right = [chosen > rejected for chosen, rejected in scores]
    by_domain = {domain: [one for pair, one in zip(pairs, right) if pair['domain'] == domain] for domain in CONDITIONS}
    conflicts = [one for pair, one in zip(pairs, right) if pair['conflict']]
    return dict(agreement={domain: sum(some) / len(some) for domain, some in by_domain.items() if some},
                conflicts=sum(conflicts) / len(conflicts),
                scores=[min(map(min, scores)), max(map(max, scores))])


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
        scores = self.compare(pairs, conditional)
        return sum(chosen > rejected for chosen, rejected in scores) / len(scores)

    def compare(self, pairs: Sequence[Mapping], conditional: bool = True) -> list[tuple[float, float]]:
        """The scores of the chosen and of the rejected reply of each pair; see `agreement`."""
        domains = [pair['domain'] if conditional else None for pair in pairs]
        talks = [asked(pair['question']) for pair in pairs]
        chosen, rejected = (self(talks, [pair[side] for pair in pairs], domains) for side in ('chosen', 'rejected'))
        return list(zip(chosen.tolist(), rejected.tolist()))
