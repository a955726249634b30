"""The shipped pre-training configs: every key is one that the code knows, the shapes are the released models', the
phases the report's."""
import math

import pytest
import torch

from internlm_course.errors import CourseError
from internlm_course.model import CONFIGS as RELEASED
from internlm_course.model import InternLM2ForCausalLM, parameter_count
from internlm_course.model.sizes import VOCABULARY
from internlm_course.pretrain.config import CONFIGS, read_config

# Parameters, batch, tokens
REPORT = {'1_8b': (1.889e9, 4e6, 2.0e12), '7b': (7.738e9, 4e6, 2.6e12), '20b': (19.861e9, 5e6, 2.6e12)}


@pytest.mark.parametrize('file', sorted(CONFIGS.glob('*.toml')), ids=lambda file: file.stem)
def test_every_config_makes_its_model(file):
    """On the meta device, at every phase, with the number of parameters that the closed form says; the mixtures are
    whole."""
    config = read_config(file)
    for phase in config.phases:
        shape = config.shape(phase, VOCABULARY)
        with torch.device('meta'):
            model = InternLM2ForCausalLM(shape)
        assert sum(p.numel() for p in model.parameters()) == parameter_count(shape)
        assert (shape.rope_theta, shape.max_position_embeddings) == (phase.rope_theta, phase.sequence_length)
        assert math.isclose(sum(phase.mixture.values()), 1.0, abs_tol=1e-9)


@pytest.mark.parametrize('name', REPORT)
def test_released_sizes(name):
    config, (parameters, batch, tokens) = read_config(CONFIGS / f'{name}.toml'), REPORT[name]
    short, long, enhancement = config.phases
    shape = config.shape(short, VOCABULARY)
    assert {field: getattr(shape, field) for field in RELEASED[name]} == RELEASED[name]
    assert parameter_count(shape) == pytest.approx(parameters, abs=5e5)
    for phase in (short, long):
        assert phase.tokens / phase.steps == pytest.approx(batch, rel=0.05)  # 4M is 1024 rows of 4096
    assert sum(phase.tokens for phase in config.phases) == pytest.approx(tokens, rel=1e-3)
    steps = sum(phase.steps for phase in config.phases)
    assert short.steps / steps == pytest.approx(0.90, abs=0.015)
    assert long.steps / steps == pytest.approx(0.09, abs=0.005)
    assert enhancement.tokens == pytest.approx(24.40e9, rel=1e-3)
    assert enhancement.tokens / enhancement.steps < batch and enhancement.learning_rate < long.learning_rate
    adamw = config.optimizer
    assert ((short.learning_rate, short.floor, adamw.betas, adamw.eps, adamw.weight_decay)
            == (3e-4, 0.1, (0.9, 0.95), 1e-8, 0.1))
    assert [(p.sequence_length, p.rope_theta) for p in (short, long)] == [(4096, 50_000), (32_768, 1_000_000)]
    assert long.mixture['long'] == 0.5


@pytest.mark.parametrize('old, new, fault', [
    ('warmup = 2000', 'warmups = 2000', 'warmups'), ('eps = 1e-8', 'epsilon = 1e-8', 'epsilon'),
    ('seed = 0', 'sead = 0', 'sead'),
    ('initializer_range', 'initialiser_range', 'cannot set the model field "initialiser_range"'),
    ('bias', 'vocab_size', 'cannot set the model field "vocab_size"')])
def test_unknown_keys_fail(tmp_path, old, new, fault):
    text = (CONFIGS / '7b.toml').read_text('utf-8').replace('[model]', '[model]\nbias = 0')
    (tmp_path / 'x.toml').write_text(text.replace(old, new), 'utf-8')
    with pytest.raises(CourseError, match=fault):
        config = read_config(tmp_path / 'x.toml')
        config.shape(config.phases[0], VOCABULARY)
