"""COOL RLHF's training from beginning to end, with a judge that judges by chance."""
import json

import pytest
from aligned_models import SFT, write_reward

from internlm_course import jsonl
from internlm_course.align import cool
from internlm_course.align.ppo import PPOSettings
from internlm_course.errors import CourseError
from internlm_course.model import load_model
from internlm_course.world.bootcamp import ABROAD, Instructions
from internlm_course.world.preferences import write_questions

SETTINGS = PPOSettings(iterations=3, warmup=1, queries=4, longest=8, save_every=1)


@pytest.fixture(scope='module')
def given(tmp_path_factory):
    """Judge and questions."""
    folder = tmp_path_factory.mktemp('given')
    for name, unseen, count in (('train', False, 40), ('heldout', True, 12)):
        task = Instructions(0, unseen, ABROAD)
        jsonl.write(folder / f'{name}.jsonl', [task.case_generator() for _ in range(count)])
    return write_reward(folder / 'judge'), folder


def test_a_killed_run_goes_on_and_is_measured_as_a_whole_one(given, tmp_path, monkeypatch):
    monkeypatch.setattr(cool, 'EVERY', 1)
    told = []
    whole = cool.train(SFT, *given, tmp_path / 'whole', SETTINGS, told.append)
    assert [record['step'] for record in told] == [1, 2, 3] and told[0]['steps'] == 3
    assert all(0 <= row['verified'] <= 1 for row in whole['curve'])
    assert whole['verified']['after'] == whole['curve'][-1]['verified'] and whole['verified']['n'] == 12
    assert json.loads((tmp_path / 'whole' / 'metrics.json').read_text('utf-8')) == whole
    load_model(tmp_path / 'whole', 'float32')

    def kill(record: dict) -> None:
        if record['step'] == 2:
            raise InterruptedError

    def kill_at_last(*_) -> None:
        raise InterruptedError
    with pytest.raises(InterruptedError):
        cool.train(SFT, *given, tmp_path / 'killed', SETTINGS, kill)
    with pytest.raises(InterruptedError), monkeypatch.context() as patched:
        patched.setattr(cool, 'save_checkpoint', kill_at_last)
        cool.train(SFT, *given, tmp_path / 'killed', SETTINGS)
    told.clear()
    again = cool.train(SFT, *given, tmp_path / 'killed', SETTINGS, told.append)
    assert not told, 'every iteration was done before the second kill'
    assert again | dict(seconds=0) == whole | dict(seconds=0)
    assert not (tmp_path / 'killed' / cool.STATE).exists()
    weights = [(tmp_path / name / 'model.safetensors').read_bytes() for name in ('whole', 'killed')]
    assert weights[0] == weights[1]


def test_too_few_questions_to_practise(given, tmp_path):
    with pytest.raises(CourseError, match='sure of its reply to all but .* of 40 questions'):
        cool.train(SFT, *given, tmp_path, PPOSettings(queries=41, longest=8))


def test_questions_are_different_and_the_held_out_ones_not_practised(tmp_path):
    write_questions(tmp_path, 0)
    practised, held = ([row['question'] for row in jsonl.rows(tmp_path / f'{name}.jsonl')]
                       for name in ('train', 'heldout'))
    assert len(set(practised)) == 3000 and len(set(held)) == 300 and not set(practised) & set(held)
