"""What is said before a run against what happens: the scaling law on the committed sweep, time and memory on a run made
here."""
import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from internlm_course import lab
from internlm_course.errors import CourseError
from internlm_course.lab.plots import LossCurve
from internlm_course.memory import PeakMemory
from internlm_course.model import train_tokenizer
from internlm_course.pretrain.config import CONFIGS, Phase, PretrainConfig, read_config
from internlm_course.pretrain.loop import pretrain
from internlm_course.pretrain.predict import (
    SCALING,
    Law,
    compare,
    final_loss,
    fit_scaling,
    memory_terms,
    predict,
    read_points,
)
from internlm_course.staff import expected_curve, scaling


def test_fit_finds_the_law_that_made_the_points():
    """From nine exact points, the loss at four times the size and tokens within 0.5 %; with 1 % of noise within 3 %."""
    law, rng = Law(0.5, 40.0, 0.4, 900.0, 0.55), np.random.default_rng(0)
    sizes = [(n, d) for n in (3e5, 6e5, 1.2e6) for d in (6e5, 1.2e6, 2.4e6)]
    for noise, tolerance in ((0.0, 0.005), (0.01, 0.03)):
        points = [dict(parameters=n, tokens=d, loss=law(n, d) * rng.normal(1, noise)) for n, d in sizes]
        assert fit_scaling(points)(4.8e6, 1e7) == pytest.approx(law(4.8e6, 1e7), rel=tolerance)
    with pytest.raises(CourseError, match='three sizes; here are 2'):
        fit_scaling(points[:6])


def test_the_committed_sweep_predicts_the_tiny_size():
    """The bar: the law of three smaller sizes says the fourth's final loss within 5 %, at every number of tokens that
    was run."""
    points = read_points()
    fitted, kept = ([p for p in points if p['fitted'] is on] for on in (True, False))
    assert len({p['parameters'] for p in fitted}) == 3 and kept
    assert min(p['parameters'] for p in kept) > max(p['parameters'] for p in fitted)
    law = fit_scaling(fitted)
    for point in kept:
        assert law(point['parameters'], point['tokens']) == pytest.approx(point['loss'], rel=0.05)


def test_predicted_memory_and_what_is_compared(tmp_path):
    """The bar, 20 %, for a run of five times the trial's steps. Time is compared in every `make run`, and asserted
    nowhere: a machine may be busy."""
    rng = np.random.default_rng(0)
    documents = {'a': [np.concatenate([[1], rng.integers(3, 290, 40)]).astype(np.uint16) for _ in range(200)]}
    train_tokenizer(['one two three four five 一二三四五'] * 10, 300, tmp_path / 'tokenizer')
    phase = Phase('short', steps=300, sequence_length=64, micro_batch=4, accumulation=1, learning_rate=1e-3,
                  rope_theta=1e4, mixture=dict(a=1.0))
    config = PretrainConfig(dict(hidden_size=192, intermediate_size=384, num_hidden_layers=2, num_attention_heads=3,
                                 num_key_value_heads=1, attn_implementation='eager'), (phase,), checkpoint_seconds=0.5)
    waste = [b'\1' * 2**16 for _ in range(8000)]  # half a gigabyte that work before left freed, and not given back
    del waste[:-1]
    said = predict(config, phase, documents, tmp_path / 'tokenizer', device='cpu', law=Law(1.0, 1.0, 0.5, 1.0, 0.5))
    assert sum(said.terms.values()) == said.memory_bytes and said.tokens == phase.tokens and said.seconds > 0
    with PeakMemory() as memory:
        metrics = pretrain(config, phase, documents, {}, tmp_path / 'tokenizer', tmp_path, device='cpu')
    table = compare(said, metrics | dict(peak_memory_bytes=memory.peak_bytes))
    assert table['loss']['measured'] == final_loss(metrics['curve']) and table['tokens']['error'] == 0
    assert abs(table['memory_bytes']['error']) <= 0.20, table


def test_memory_terms_by_hand():
    """A million parameters: 4, 4, 8 and 12 MB; ten steps of two rows of five tokens and one more: 480 bytes."""
    phase = Phase('x', steps=10, sequence_length=5, micro_batch=1, accumulation=2, learning_rate=1.0, rope_theta=1.0,
                  mixture={})
    assert memory_terms(10**6, phase) == dict(weights=4 * 10**6, gradients=4 * 10**6, moments=8 * 10**6,
                                              checkpoint=12 * 10**6, rows=480)


def test_band_of_several_seeds(monkeypatch):
    """Lowest, mean, highest at each number of tokens; LossCurve draws them as an area, behind the points."""
    band = expected_curve.band([[[10, 3.0], [20, 2.0]], [[10, 5.0], [20, 1.0]], [[10, 4.0], [20, 3.0]]])
    assert band == [[10, 3.0, 4.0, 5.0], [20, 1.0, 2.0, 3.0]]
    shown = []
    monkeypatch.setattr('internlm_course.lab.plots.bundle', lambda made, text: shown.append(made) or {})
    curve = LossCurve(band=band)
    curve(dict(step=1, steps=2, tokens=10, loss=4.5, tokens_per_second=1.0))
    assert len(shown) == 2, 'before the first step, and with it'
    axes = shown[1].axes[0]
    area = axes.collections[0].get_paths()[0].get_extents()
    assert (area.x0, area.x1, area.y0, area.y1) == (10, 20, 1.0, 5.0)
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[10, 4.0], [20, 2.0]], [[10, 4.5]]]


def test_the_band_and_the_sweep_are_of_the_labs_config():
    """Lab 3 trains by lab.toml, whose model is the chain's; what it compares itself with was measured with just
    that."""
    config, tiny = (read_config(CONFIGS / f'{name}.toml') for name in ('lab', 'tiny'))
    phase = json.loads(json.dumps(dataclasses.asdict(config.phase('short'))))
    band = json.loads((Path(lab.__file__).parent / 'expected' / '03_curve.json').read_text('utf-8'))['run_of']
    recipe = json.loads(SCALING.read_text('utf-8'))['recipe']
    assert (band['model'], band['phase']) == (config.model, phase) and config.model == tiny.model
    assert recipe == {name: phase[name] for name in recipe}


def test_sweep_shapes_are_models():
    """Three distinct sizes below tiny's; the report fits the small ones alone."""
    config = scaling.read_config(scaling.CONFIGS / 'lab.toml')
    from internlm_course.model import parameter_count
    models = [dataclasses.replace(config, model=scaling.shape_of(size, config.model)) for size in scaling.SIZES]
    sizes = [parameter_count(model.shape(config.phases[0], 2048)) for model in models]
    assert sizes == sorted(set(sizes)) and len(sizes) == 4
    law = Law(0.5, 40.0, 0.4, 900.0, 0.55)
    points = [dict(parameters=n, tokens=d, steps=1, loss=round(law(n, d), 4), fitted=n < sizes[-1]) for n in sizes
              for d in (6e5, 1.2e6)]
    assert all(abs(point['error']) < 0.01 for point in scaling.report(points)['kept'])


def test_gpu_mfu_without_a_gpu(monkeypatch, capsys):
    """One sentence and code 2; the table that it would fill holds every combination once."""
    path = Path(__file__).parents[2] / 'bench' / 'gpu_mfu.py'
    gpu_mfu = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location('gpu_mfu', path))
    spec.loader.exec_module(gpu_mfu)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert gpu_mfu.main() == 2
    assert capsys.readouterr().err == ('gpu_mfu: This measurement needs a CUDA GPU, and there is none here. '
                                       'Run it on a machine with one A100 or H100 of 80 GB.\n')
    assert len({json.dumps(setting) for setting in gpu_mfu.settings()}) == 2 * 2 * 2 * 4
