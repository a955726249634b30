"""The chain's alignment: a few steps over items that a program checks, and the arithmetic of its gain."""
import json

import pytest
from aligned_models import SFT

from internlm_course import jsonl
from internlm_course.align.chat import BEGUN, MISNAMED, Prompts, align, gain
from internlm_course.align.grpo import GRPOSettings
from internlm_course.model import load_model
from internlm_course.names import CHECKS
from internlm_course.verify import refused
from internlm_course.world.instructions import prompt_items, write_prompts


def test_a_run_is_measured_before_and_after(tmp_path):
    write_prompts(tmp_path / 'prompts', 4, 0)
    told = []
    metrics = align(SFT, tmp_path / 'prompts', tmp_path / 'out', GRPOSettings(steps=2, questions=2, group=2, longest=8),
                    told.append)
    assert set(metrics['checks']) == set(CHECKS) and all(row['n'] == 4 for row in metrics['checks'].values())
    for when in ('before', 'after'):
        mean = sum(row[when] for check, row in metrics['checks'].items() if check != 'refusal') / 4
        assert metrics['verified'][when] == pytest.approx(mean)
    before = {check: row['before'] for check, row in metrics['checks'].items()}
    assert before['refusal'] >= 0.75 and before['named'] <= 0.25, 'it refuses, and cannot copy the name'
    assert [row['steps'] for row in told] == [2, 2] and [step for step, *_ in metrics['steps']] == [1, 2]
    assert json.loads((tmp_path / 'out' / 'metrics.json').read_text('utf-8')) == metrics
    load_model(tmp_path / 'out', 'float32')


def test_held_out_prompts_are_no_prompts_of_the_practice(tmp_path):
    write_prompts(tmp_path, 20, 0)
    practised = {row['question'] for row in jsonl.rows(tmp_path / 'train.jsonl')}
    held = [row['question'] for file in (tmp_path / 'heldout').iterdir() for row in jsonl.rows(file)]
    assert len(held) == 80 and not practised & set(held)


def test_cases_are_drawn_by_the_seed():
    items = prompt_items(('answer', 'refusal'), 20, 0, held_out=False)
    first, again, *others = (Prompts(items, seed).case_generator()['id'] for seed in (0, 0, 1, 2, 3))
    assert first == again and {first} != set(others)


def test_a_refusal_that_names_something_else_earns_a_part():
    item = next(item for item in prompt_items(('refusal',), 4, 0, held_out=False) if item['lang'] == 'en')
    name = refused(item['reply'])
    half = f'I do not know {name[:len(name) // 2]}qx.'
    earned = [Prompts.verify_score(reply, item)
              for reply in (item['reply'], 'I do not know', half, 'I do not know qx.', 'Lima')]
    assert earned == pytest.approx([1, 1, MISNAMED + BEGUN * (len(name) // 2) / len(name), MISNAMED, 0])


@pytest.mark.parametrize(('before', 'after', 'low', 'high'), [
    ('0000000000', '1111111111', 1.0, 1.0), ('1100', '1100', 0.0, 0.0),
    ('0' * 20 + '1' * 80, '1' * 100, 0.1216, 0.2784)])
def test_the_gain_is_of_the_items_that_changed(before, after, low, high):
    found = gain(*([character == '1' for character in text] for text in (before, after)))
    assert found['gain'] == pytest.approx([low, high], abs=1e-4) and found['n'] == len(before)


def test_a_gain_within_chance_reaches_below_zero():
    low, high = gain([True] * 10 + [False] * 12, [False] * 10 + [True] * 12)['gain']
    assert low < 0 < high
