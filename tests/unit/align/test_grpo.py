"""GRPO on the shipped model, a few steps of a few replies."""
from dataclasses import replace

import pytest
import torch
from aligned_models import SFT, actor

from internlm_course.align.grpo import GRPOSettings, grpo
from internlm_course.model import load_tokenizer
from internlm_course.world.bootcamp import Instructions

SETTINGS = GRPOSettings(steps=3, questions=4, group=4, longest=12)


def test_the_same_seed_gives_the_same_weights_and_another_others():
    def run(seed: int):
        model = actor()
        curve = grpo(model, actor(), load_tokenizer(SFT), Instructions(seed), replace(SETTINGS, seed=seed))
        return curve, torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    (curve, weights), (again, same), (_, others) = run(0), run(0), run(1)
    assert curve == again and torch.equal(weights, same) and not torch.equal(weights, others)
    assert [row['step'] for row in curve] == [1, 2, 3] and all(0 <= row['reward'] <= 1 for row in curve)


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    settings = replace(SETTINGS, steps=4, save_every=2)
    whole, again, killed = actor(), actor(), tmp_path / 'killed'
    for folder in (tmp_path / 'whole', killed):
        folder.mkdir()
    curve = grpo(whole, actor(), load_tokenizer(SFT), Instructions(0), settings, out=tmp_path / 'whole')

    def kill(record: dict) -> None:
        if record['step'] == 4:
            raise Killed
    with pytest.raises(Killed):
        grpo(actor(), actor(), load_tokenizer(SFT), Instructions(0), settings, kill, killed)
    assert grpo(again, actor(), load_tokenizer(SFT), Instructions(0), settings, out=killed) == curve
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))
    assert [file.name for file in killed.iterdir()] == ['grpo.pt']


class Shout:
    """Whoever writes more than four characters is right: a reward that is easy to learn."""

    def case_generator(self) -> dict:
        return {}

    @staticmethod
    def prompt_func(question_case: dict) -> str:
        return 'Hi'

    @staticmethod
    def verify_score(model_output: str, identity: dict) -> float:
        return min(1.0, model_output.count('!') / 2)


def test_what_is_rewarded_becomes_more_frequent():
    curve = grpo(actor(), actor(), load_tokenizer(SFT), Shout(),
                 GRPOSettings(steps=12, questions=4, group=8, longest=12, learning_rate=3e-4, kl=0.0))
    first, last = (sum(row['reward'] for row in part) / 4 for part in (curve[:4], curve[-4:]))
    assert last > first + 0.1
