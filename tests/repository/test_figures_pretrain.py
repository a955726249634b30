"""The numbers that lecture 3's figures show are computed again."""
import json
import math
from pathlib import Path

import pytest

from internlm_course.lab.answers import lab03 as own
from internlm_course.model import parameter_count, sizes
from internlm_course.pretrain.config import CONFIGS, read_config

FACTS = json.loads((Path(__file__).resolve().parents[2] / 'images/src/facts_pretrain.json').read_text('utf-8'))


def test_cache():
    for shown, shape in zip(FACTS['kv']['sizes'], sizes.released().values()):
        every = sizes.shape(**{**vars(shape), 'num_key_value_heads': shape.num_attention_heads})
        assert (shown['all'], shown['grouped']) == (sizes.kv_bytes(every, 1), sizes.kv_bytes(shape, 1))
        assert ([round(sizes.kv_bytes(s, 32_768) / 1e9, 1) for s in (every, shape)]
                == [shown['all_gb'], shown['grouped_gb']])


def test_packing():
    shown, shape = FACTS['wqkv'], sizes.released()['7b']
    d = shape.hidden_size // shape.num_attention_heads
    assert (shown['queries'], shown['keys'], shown['rows'], shown['groups']) == (
        shape.num_attention_heads, shape.num_key_value_heads, d, shape.num_key_value_heads)
    assert shown['shape'] == f'{(shown["queries"] + 2 * shown["keys"]) * d:,} × {shape.hidden_size:,}'
    stacked = ['q'] * shown['queries'] + ['k'] * shown['keys'] + ['v'] * shown['keys']
    half = len(stacked) // 2
    assert stacked[:half].count('q') == half == shown['stacked']['first']
    assert stacked[half:].count('q') == shown['stacked']['second']


def test_wavelengths():
    shown = FACTS['rope']
    for row in shown['beyond']:
        assert own.slow_pairs(shown['head'], shown['bases'][row['base']]['theta'],
                              shown['contexts'][row['context']]['tokens']) == row['pairs']


def test_phases():
    third = FACTS['phases']['phases'][2]
    assert third['share_text'] == f'{24.40e9 / 2.6e12:.1%} – {24.40e9 / 2.0e12:.1%}'
    tiny = read_config(CONFIGS / 'tiny.toml')
    for shown, phase in zip(FACTS['phases']['phases'], tiny.phases, strict=True):
        assert f'{phase.sequence_length:,}, {phase.tokens / 1e6:.2f}M tokens' in shown['course']['en']
    assert math.isclose(15.97 + 2.17 + 6.26, 24.40)


@pytest.mark.parametrize('way', FACTS['sharding']['ways'], ids=lambda way: way['en'])
def test_sharding(way):
    shown = FACTS['sharding']
    assert shown['bytes'] == own.STATES
    assert shown['parameters'] == round(parameter_count(sizes.released()['7b']) / 1e9, 3)
    assert round(sum(own.card_bytes(parameter_count(sizes.released()['7b']), shown['cards'], way['cut']).values())
                 / 1e9, 1) == way['total']
