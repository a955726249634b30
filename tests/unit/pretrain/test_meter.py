"""The formula of the model's operations against torch's own count, and the meter against figures worked out by hand."""
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from internlm_course.model import InternLM2Config, InternLM2ForCausalLM, parameter_count
from internlm_course.model.sizes import released
from internlm_course.pretrain import meter
from internlm_course.pretrain.config import CONFIGS, read_config


@pytest.mark.parametrize('length', [64, 256])
def test_formula_is_torchs_count(length):
    """FlopCounterMode counts every matrix product of forward and backward, attention's over all keys: the formula
    without `causal`, within 1 %."""
    config = InternLM2Config(**dict(read_config(CONFIGS / 'tiny.toml').model, attn_implementation='eager'),
                             vocab_size=512)
    model = InternLM2ForCausalLM(config)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.randint(3, 512, (2, length))).logits.sum().backward()
    assert (counter.get_total_flops() / (2 * length)
            == pytest.approx(meter.flops_per_token(config, length, causal=False), rel=0.01))
    attention = 12 * 4 * 192 * length
    assert meter.flops_per_token(config, length, causal=False) - meter.flops_per_token(config, length) == attention / 2


def test_matmul_parameters_are_all_but_embedding_and_norms():
    for config in released().values():
        rest = config.vocab_size * config.hidden_size + (2 * config.num_hidden_layers + 1) * config.hidden_size
        assert meter.matmul_parameters(config) == parameter_count(config) - rest


def test_mfu():
    """7B at 4096: 6 * 7.36e9 + 6 * 32 * 4096 * 4096 operations a token; at this rate on one A100, worked by hand."""
    config = released()['7b']
    assert meter.flops_per_token(config, 4096) == pytest.approx(4.737e10, rel=1e-3)
    assert meter.mfu(config, 4096, tokens_per_second=4000, peak=312e12) == pytest.approx(0.6073, rel=1e-3)


def test_peak():
    """A matrix product is measured, and between what any computer and what no CPU does."""
    assert 1e8 < meter.gemm_flops(dtype='float32', size=512, seconds=0.1) < 1e15


@pytest.mark.parametrize('name, peak', [('NVIDIA A100-SXM4-80GB', 312e12), ('NVIDIA H100 80GB HBM3', 989e12)])
def test_peak_of_known_gpus(monkeypatch, name, peak):
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: name)
    assert meter.peak_flops('cuda') == peak
