"""The numbers that lecture 3's figures show are computed again."""
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from internlm_course.lab.answers import lab03 as own
from internlm_course.model import parameter_count, sizes
from internlm_course.pretrain.config import CONFIGS, read_config

ROOT = Path(__file__).resolve().parents[2]
FACTS = json.loads((ROOT / 'images/src/facts_pretrain.json').read_text('utf-8'))


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


def test_the_loss_curve_tells_the_shipped_run():
    shown = FACTS['curve']
    metrics, band = (json.loads((ROOT / 'internlm_course' / shown[name]).read_text('utf-8'))
                     for name in ('base', 'band'))
    curve, steps = dict(map(tuple, metrics['curve'])), metrics['steps']
    opening = read_config(CONFIGS / 'tiny.toml').phase('short').opening
    before = opening * metrics['tokens'] // steps
    assert (shown['opening'], shown['before']) == (opening, round(curve[before], 2))
    leap = max((tokens for tokens in curve if tokens > before), key=curve.get)
    assert shown['peak'] == [leap, curve[leap]] and shown['leap'] == round(curve[leap], 2)
    assert (shown['start'], shown['end']) == tuple(round(metrics['curve'][i][1], 2) for i in (0, -1))
    assert shown['uniform'] == round(math.log(2048), 2) and max(row[3] for row in band['band']) < shown['uniform']
    low, high = shown['down']
    assert all(low < loss < high for loss in [*curve.values(), *(loss for row in band['band'] for loss in row[1:])])
    assert all(f'{count:,} steps' in run['en']
               for run, count in zip(shown['runs'], (steps, band['run_of']['phase']['steps'])))


def test_attention_on_three_tokens():
    shown = FACTS['attention']
    scores = np.array(shown['scores'], float)
    masked = np.where(np.tri(3, dtype=bool), scores, -np.inf)
    assert [[said.replace('−∞', '-inf') for said in row] for row in shown['masked']] == [
        [f'{score:.1f}' for score in row] for row in masked]
    weights = np.exp(masked) / np.exp(masked).sum(1, keepdims=True)
    assert shown['weights'] == [[f'{weight:.2f}' for weight in row] for row in weights]
    values = np.array([list(map(float, shown['values'][word].split(', '))) for word in shown['words']])
    assert shown['out'] == [f'{part:.2f}' for part in weights[2] @ values]


def test_the_needle_map_is_the_executed_labs():
    shown = FACTS['needle']
    cells = json.loads((ROOT / 'labs/solutions/03_pretraining.ipynb').read_text('utf-8'))['cells']
    outputs = next(cell['outputs'] for cell in cells if cell['id'] == 'needle')
    said = ''.join(''.join(output.get('data', {}).get('text/plain', '')) for output in outputs)
    printed = ''.join(''.join(output.get('text', '')) for output in outputs)
    shares = [float(share) for share in re.findall(r'\d\.\d+', said)]
    assert [count for found in shown['maps'] for row in found['found'] for count in row] == [
        round(share * shown['items']) for share in shares]
    assert re.findall(r': (\d+%)', printed) == [found['furthest'] for found in shown['maps']]
