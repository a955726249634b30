"""What the tests of alignment share: the fine-tuned model that ships, and a reward model with a random head over it."""
from pathlib import Path

import torch

from internlm_course.course import STAFF
from internlm_course.model import InternLM2ForRewardModel, load_model, load_tokenizer, save_checkpoint

SFT = STAFF / 'tiny' / 'sft'


def actor():
    return load_model(SFT, dtype=torch.float32, attn='eager')


def write_reward(folder: Path) -> Path:
    """A reward model that judges by chance, as XTuner's training would leave it."""
    model = actor()
    torch.manual_seed(0)
    reward = InternLM2ForRewardModel(model.config)
    reward.model.load_state_dict(model.model.state_dict())
    save_checkpoint(reward, load_tokenizer(SFT), folder)
    return folder
