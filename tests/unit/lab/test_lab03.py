"""Lab 3's own answers against the model, the loop and the meter: what a student is compared with is what the course
runs."""
import math

import numpy as np
import pytest
import torch

from internlm_course.lab.answers import lab03 as own
from internlm_course.model import sizes
from internlm_course.model.modeling_internlm2 import InternLM2RotaryEmbedding, eager_attention_forward, rotate
from internlm_course.pretrain import loop, meter
from internlm_course.pretrain.config import Phase

RNG = np.random.default_rng(0)


@pytest.mark.parametrize('theta', [50_000.0, 1_000_000.0])
def test_rope_is_the_models(theta):
    x = RNG.normal(size=(300, 64))
    shape = sizes.shape(hidden_size=192, num_attention_heads=3, rope_theta=theta, max_position_embeddings=300,
                        rope_scaling=None)
    cos, sin = InternLM2RotaryEmbedding(shape)(torch.zeros(1), torch.arange(300)[None])
    turned = rotate(torch.from_numpy(x).float()[None], cos, sin)[0].numpy()
    assert np.abs(own.rope(x, theta) - turned).max() < 2e-4  # float32 angles of up to 300 radians


def test_rope_keeps_lengths_and_sees_distances_only():
    q, k = (own.rope(np.repeat(RNG.normal(size=(1, 8)), 50, 0), 100.0) for _ in range(2))
    assert np.allclose(np.linalg.norm(q, axis=1), np.linalg.norm(q[0]))
    products = q @ k.T
    assert all(np.allclose(np.diag(products, -distance), products[distance, 0]) for distance in range(50))


def test_the_split_is_the_models_view():
    heads, kv_heads, d, width = 6, 2, 4, 5
    wqkv, x = RNG.normal(size=((heads + 2 * kv_heads) * d, width)), RNG.normal(size=(7, width))
    # As in InternLM2Attention.forward
    viewed = torch.from_numpy(x @ wqkv.T).view(7, kv_heads, heads // kv_heads + 2, d)
    q, k, v = own.split_wqkv(wqkv, heads, kv_heads)
    for mine, theirs in ((q, viewed[..., :-2, :].flatten(1)), (k, viewed[..., -2, :].flatten(1)),
                         (v, viewed[..., -1, :].flatten(1))):
        assert np.allclose(x @ mine.T, theirs.numpy(), rtol=1e-12)


def test_attention_is_the_models():
    q, k, v = RNG.normal(size=(6, 9, 4)), RNG.normal(size=(2, 9, 4)), RNG.normal(size=(2, 9, 4))
    mask = torch.full((9, 9), -torch.inf, dtype=torch.float64).triu(1)[None, None]
    theirs, _ = eager_attention_forward(None, *(torch.from_numpy(part)[None] for part in (q, k, v)), mask, scaling=0.5)
    assert np.allclose(own.attention(q, k, v), theirs[0].transpose(0, 1).numpy(), atol=1e-6)  # its softmax is float32


def test_the_schedule_is_the_loops():
    phase = Phase('p', steps=90, sequence_length=8, micro_batch=1, accumulation=1, learning_rate=3e-3, rope_theta=1e4,
                  mixture={}, warmup=7, floor=0.2)
    mine = [own.learning_rate(step, 90, 7, 3e-3, 0.2) for step in range(90)]
    assert mine == pytest.approx([loop.learning_rate(step, phase) for step in range(90)], rel=1e-12)


def test_bits_of_a_uniform_guess_over_bytes_are_eight():
    assert own.bits_per_byte([math.log(256)] * 6, '你好') == pytest.approx(8)


def test_mfu_is_the_meters():
    shape = sizes.released()['7b']
    mine = own.mfu(meter.matmul_parameters(shape), shape.num_hidden_layers, shape.hidden_size, 4096, 4000.0, 312e12)
    assert mine == pytest.approx(meter.mfu(shape, 4096, 4000.0, 312e12), rel=1e-12)


def test_memory_agrees_with_the_sizes_and_slow_pairs_with_their_definition():
    shape = sizes.released()['7b']
    parameters = meter.matmul_parameters(shape)
    assert sum(own.card_bytes(parameters, 8).values()) == 16 * parameters
    assert sum(own.card_bytes(parameters, 8, own.STATES).values()) == 2 * parameters
    assert own.card_bytes(7, 1)['states'] == 12 * 7 and sizes.adamw_bytes(shape) % 12 == 0
    for d, theta, context in ((128, 5e4, 4096), (64, 1e6, 1024)):
        x = np.zeros((context + 1, d))
        x[:, :d // 2] = 1  # the pair (1, 0): after m steps its angle is m * omega
        turned = own.rope(x, theta)
        swept = np.unwrap(np.arctan2(turned[:, d // 2:], turned[:, :d // 2]), axis=0)[-1]
        assert own.slow_pairs(d, theta, context) == (np.abs(swept) < 2 * math.pi).sum()
