"""The numbers that lecture 4's figures show are computed again."""
import json
from pathlib import Path
from statistics import NormalDist, mean

import pytest

from internlm_course.course import STAFF
from internlm_course.finetune.mask import loss_mask
from internlm_course.lab.answers import lab04 as own
from internlm_course.model import load_tokenizer, parameter_count, sizes

ROOT = Path(__file__).resolve().parents[2]
FACTS = json.loads((ROOT / 'images/src/facts_finetune.json').read_text('utf-8'))


def test_the_mask_is_what_xtuner_learns():
    shown, tokenizer = FACTS['mask'], load_tokenizer(STAFF / 'tiny/sft')
    talk = [dict(role=role, content=text) for turn in shown['asked'] for role, text in zip(('user', 'assistant'), turn)]
    mask = loss_mask(talk, tokenizer)
    assert shown['tokens'] == [[tokenizer.decode([token]).replace('\n', '↵'), int(flag)]
                               for token, flag in zip(mask.ids, mask.learned)]


def test_the_levels_are_those_of_nf4():
    assert FACTS['nf4']['levels'] == pytest.approx(own.NF4, abs=1e-4)
    assert FACTS['nf4']['widest'] == round(NormalDist().inv_cdf(0.9677083), 4)


@pytest.mark.parametrize('size', FACTS['memory']['sizes'], ids=lambda size: size['key'])
def test_memory(size):
    shape = sizes.released()[size['key']]
    count = parameter_count(shape)
    adapter = 16 * own.lora_parameters(shape, FACTS['memory']['rank'], ('wqkv', 'wo', 'w1', 'w2', 'w3'))
    ends = 2 * shape.vocab_size * shape.hidden_size
    quantised = (count - ends) * (4 + 8 / 64 + 32 / (64 * 256)) / 8
    assert size['gb'] == [round(held / 1e9, 1) for held in (16 * count, 2 * count + adapter,
                                                            2 * ends + quantised + adapter)]
    assert all(FACTS['memory']['range'][0] < gb < FACTS['memory']['range'][1] for gb in size['gb'])


def test_ranks_rates_and_replay_are_as_measured():
    measured = json.loads((ROOT / 'tests/bench/results/finetuning-2026-12-01-AMX.json').read_text('utf-8'))['runs']

    def value(run: str, asked: str) -> float:
        part, name = run.split('/')
        found = measured[part][name][asked]
        return round(100 * (mean(found.values()) if isinstance(found, dict) else found), 1)
    for panel in FACTS['tuning']['panels']:
        for line in panel['lines']:
            assert line['values'] == [value(run, line['asked']) for run in line['runs']]
            if panel['turned'] == 'replay':
                assert line['at'] == [int(run.split()[-1].rstrip('%')) for run in line['runs']]
            else:
                assert line['at'] == [measured[part][name]['settings'][panel['turned']]
                                      for part, name in (run.split('/') for run in line['runs'])]
