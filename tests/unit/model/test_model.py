"""InternLM2 against two oracles: upstream's own modelling code (the copy in the xtuner package) and transformers'
LLaMA."""
import importlib.util
import itertools
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from small_models import LENGTH, SCALINGS, TOLERANCE, TRAINED, small, tokens
from transformers import DynamicCache
from transformers.masking_utils import create_causal_mask

from internlm_course.model import (
    CONFIGS,
    InternLM2Config,
    InternLM2ForCausalLM,
    InternLM2ForRewardModel,
    load_model,
    parameter_count,
    save_checkpoint,
    to_llama,
)
from internlm_course.model import modeling_internlm2 as modeling
from internlm_course.process import tool_environment


@pytest.fixture(scope='module')
def upstream() -> ModuleType:
    """xtuner/_lite/modelings/internlm2, loaded as a package of its own: importing xtuner takes 18 s and gigabytes."""
    root = Path(importlib.util.find_spec('xtuner').origin).parent / '_lite/modelings/internlm2'
    package = ModuleType('upstream_internlm2')
    package.__path__ = [str(root)]
    sys.modules['upstream_internlm2'] = package
    return importlib.import_module('upstream_internlm2.modeling_internlm2')


@pytest.mark.parametrize(('groups', 'scaling', 'bias', 'length'), [
    *((groups, scaling, False, LENGTH) for groups, scaling in itertools.product((1, 2, 4, 6), SCALINGS)),
    *((groups, scaling, True, 3 * TRAINED) for groups, scaling in itertools.product((1, 2, 4, 6), SCALINGS))])
@torch.no_grad()
def test_logits_equal_upstreams_and_llamas(upstream, groups, scaling, bias, length):
    """fp32 logits to 1e-5, within the trained length and at three times it, where dynamic scaling changes the base."""
    model = small(groups, scaling, seed=groups, bias=bias)
    config = upstream.InternLM2Config(**{**model.config.to_dict(), 'attn_implementation': 'eager', 'pretraining_tp': 1})
    config._attn_implementation = 'eager'
    theirs = upstream.InternLM2ForCausalLM(config).eval()
    theirs.load_state_dict(model.state_dict())
    ids = tokens(length=length)
    logits = model(ids).logits
    assert logits.std() > 0.3
    assert (logits - theirs(ids, use_cache=False).logits).abs().max() <= TOLERANCE
    assert (logits - to_llama(model)(ids).logits).abs().max() <= TOLERANCE
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    ours, llamas = (one(ids, attention_mask=mask, position_ids=positions).logits[mask.bool()]
                    for one in (model, to_llama(model)))
    assert (ours - llamas).abs().max() <= TOLERANCE


@pytest.mark.parametrize('groups', [1, 2, 4, 6])
@torch.no_grad()
def test_eager_equals_sdpa(groups):
    model, ids = small(groups), tokens()
    mask = torch.ones_like(ids)
    mask[1, :7] = 0
    results = {}
    for name in ('eager', 'sdpa'):
        model.set_attn_implementation(name)
        assert model.config._attn_implementation == name
        results[name] = torch.cat((model(ids).logits, model(ids, attention_mask=mask).logits * mask[..., None]))
    assert (results['eager'] - results['sdpa']).abs().max() <= TOLERANCE


@pytest.mark.parametrize('scaling', SCALINGS)
@pytest.mark.parametrize('attention', ['eager', 'sdpa'])
@torch.no_grad()
def test_cached_generation_equals_uncached(scaling, attention):
    """Greedy tokens from a left-padded batch, with and without the cache, and each row alone; up to the trained
    length."""
    model = small(4, scaling)
    model.set_attn_implementation(attention)
    ids, mask = tokens(rows=3, length=12), torch.ones(3, 12, dtype=torch.long)
    for row, padding in enumerate((0, 3, 7)):
        ids[row, :padding], mask[row, :padding] = 2, 0
    settings = {'max_new_tokens': TRAINED - 12, 'do_sample': False, 'eos_token_id': None, 'pad_token_id': 2}
    cached = model.generate(ids, attention_mask=mask, use_cache=True, **settings)
    assert torch.equal(cached, model.generate(ids, attention_mask=mask, use_cache=False, **settings))
    for row, padding in enumerate((0, 3, 7)):
        alone = model.generate(ids[row:row + 1, padding:], attention_mask=mask[row:row + 1, padding:], **settings)
        assert torch.equal(alone[0], cached[row, padding:])


@torch.no_grad()
def test_logits_token_by_token_equal_a_single_pass():
    model, ids, cache = small(6), tokens(), DynamicCache()
    steps = [model(ids[:, start:start + 4], past_key_values=cache, use_cache=True).logits
             for start in range(0, LENGTH, 4)]
    assert (torch.cat(steps, 1) - model(ids).logits).abs().max() <= TOLERANCE


@torch.no_grad()
def test_dynamic_scaling_beyond_the_trained_length():
    """The base follows the sequence at hand: a long one leaves no trace in the next. Cached keys keep the base of when
    they were written, so a step beyond the trained length equals an uncached pass only in its own position's angle, as
    in upstream's code."""
    model, short, long = small(scaling=SCALINGS[2]), tokens(), tokens(length=2 * TRAINED)
    before = model(short).logits
    plain = small(scaling=None)
    assert torch.equal(before, plain(short).logits)
    whole = model(long).logits
    assert (whole - plain(long).logits).abs().max() > 1e-2
    assert torch.equal(model(short).logits, before)
    cache = DynamicCache()
    first = model(long[:, :-1], past_key_values=cache, use_cache=True).logits
    last = model(long[:, -1:], past_key_values=cache, use_cache=True).logits
    assert 1e-6 < (last - whole[:, -1:]).abs().max() < (first[:, -1:] - whole[:, -1:]).abs().max()


@torch.no_grad()
def test_packed_sequences_do_not_see_each_other():
    """XTuner packs: positions that start again mark a new sequence."""
    model, ids = small(), tokens(rows=1)
    positions = torch.cat((torch.arange(10), torch.arange(LENGTH - 10)))[None]
    for name in ('eager', 'sdpa'):
        model.set_attn_implementation(name)
        packed = model(ids, position_ids=positions, use_cache=False).logits
        apart = torch.cat((model(ids[:, :10]).logits, model(ids[:, 10:]).logits), 1)
        assert (packed - apart).abs().max() <= TOLERANCE


@torch.no_grad()
def test_the_packed_mask_is_transformers_own():
    """Rows packed each in its own way; and positions that begin beyond 0, or in the middle of a document, are no start
    of one."""
    model, ids = small(), tokens(rows=3)
    positions = torch.arange(LENGTH).repeat(3, 1)
    positions[0, 10:] -= 10
    positions[1, 12:30] -= 12
    positions[1, 30:] -= 30
    positions[2] += 7
    for name in ('eager', 'sdpa'):
        model.set_attn_implementation(name)
        theirs = create_causal_mask(model.config, ids.float()[..., None], None, torch.arange(LENGTH), None,
                                    positions).expand(3, -1, -1, -1)
        assert torch.equal(modeling.packed_mask(positions, torch.float32) == 0,
                           theirs if theirs.dtype == torch.bool else theirs == 0)
        ours, wanted = (model(ids, position_ids=positions, use_cache=False, **given).logits
                        for given in ({}, {'attention_mask': theirs}))
        assert torch.equal(ours, wanted)


def test_blocks_of_packed_rows_are_the_whole_mask(monkeypatch):
    """Queries in blocks that cut documents anywhere: outputs and gradients as with one mask, and no key that nobody may
    see is multiplied."""
    model, ids = small().train(), tokens(rows=3)
    model.set_attn_implementation('eager')
    positions = torch.arange(LENGTH).repeat(3, 1)
    positions[0, 10:] -= 10
    positions[1, 12:] -= 12
    positions[2] += 7
    monkeypatch.setattr(modeling, 'BLOCK', 8)
    monkeypatch.setattr(modeling, 'KEYS', 4)
    results = []
    for whole in (False, True):
        model.zero_grad()
        logits = model(ids, position_ids=positions, use_cache=False, output_attentions=whole).logits
        logits.square().mean().backward()
        results.append((logits.detach(), [weight.grad.clone() for weight in model.parameters()]))
    (ours, our_gradients), (wanted, gradients) = results
    torch.testing.assert_close(ours, wanted, rtol=0, atol=TOLERANCE)
    for gradient, expected in zip(our_gradients, gradients):
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)
    assert ([keys for keys, _ in modeling.packed_blocks(positions[1:2], torch.float32)]
            == [slice(0, 8), slice(0, 16), slice(12, 24)])
    assert ([keys for keys, _ in modeling.packed_blocks(positions[:2], torch.float32)]
            == [slice(0, 8), slice(0, 16), slice(8, 24)])


def test_gradient_checkpointing_gives_the_same_gradients():
    model, ids = small().train(), tokens()
    model(ids, labels=ids).loss.backward()
    wanted = [weight.grad.clone() for weight in model.parameters()]
    for reentrant in (False, True):
        model.zero_grad()
        model.gradient_checkpointing_enable({'use_reentrant': reentrant})
        model.enable_input_require_grads()
        model(ids, labels=ids).loss.backward()
        assert all(torch.equal(one, weight.grad) for one, weight in zip(wanted, model.parameters(), strict=True))


def test_loss_is_the_mean_over_unmasked_next_tokens():
    model, ids = small(), tokens()
    labels = ids.masked_fill(torch.arange(LENGTH) < 9, -100)
    output = model(ids, labels=labels)
    wanted = torch.nn.functional.cross_entropy(output.logits[:, 8:-1].flatten(0, 1), ids[:, 9:].flatten())
    torch.testing.assert_close(output.loss, wanted)
    # Close, not equal: the last matrix product has another shape, and some processors' kernels then add in another
    # order.
    torch.testing.assert_close(model(ids, logits_to_keep=3).logits, output.logits[:, -3:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(('scale', 'wanted'), [('1_8b', 1_889_110_016), ('7b', 7_737_708_544), ('20b', 19_861_149_696)])
def test_parameter_counts_of_the_released_models(scale, wanted):
    config = InternLM2Config(**CONFIGS[scale])
    with torch.device('meta'):
        model = InternLM2ForCausalLM(config)
    assert sum(weight.numel() for weight in model.parameters()) == parameter_count(config) == wanted


def test_parameter_count_knows_biases():
    model = small(4, bias=True)
    assert parameter_count(model.config) == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize('scaling',
                         [{'type': 'yarn', 'factor': 2}, {'type': 'linear'}, {'type': 'linear', 'factor': 0.5},
                          'dynamic',
                          {'type': 'linear', 'rope_type': 'dynamic', 'factor': 2}])
def test_wrong_rope_scaling_is_refused(scaling):
    with pytest.raises(ValueError, match='rope_scaling'):
        InternLM2Config(rope_scaling=scaling)


def test_rope_type_is_read_as_type():
    assert (InternLM2Config(rope_scaling={'rope_type': 'dynamic', 'factor': 2}).rope_scaling
            == {'type': 'dynamic', 'factor': 2.0})


@torch.no_grad()
def test_reward_is_read_at_the_last_marked_token(tmp_path):
    model, ids = small(kind=InternLM2ForRewardModel, reward_token_id=5), tokens()
    mask = (torch.arange(LENGTH) < torch.tensor([[LENGTH], [9]])).long()
    rewards = model(ids, attention_mask=mask).logits
    assert rewards.shape == (2, 1) and model.reward_token_id == 5
    alone = torch.stack([model(ids[0:1]).logits[0], model(ids[1:2, :9]).logits[0]])
    assert (rewards - alone).abs().max() <= TOLERANCE
    save_checkpoint(model, None, tmp_path / 'reward')
    again = load_model(tmp_path / 'reward', dtype='float32', reward=True)
    assert torch.equal(again.v_head.weight, model.v_head.weight.bfloat16().float())
    assert 'InternLM2ForRewardModel' in json.loads((tmp_path
                                                    / 'reward/config.json').read_text())['auto_map']['AutoModel']


def test_importing_the_package_imports_no_heavy_library():
    script = 'import sys, internlm_course.model; assert not {"torch", "transformers"} & set(sys.modules)'
    subprocess.run([sys.executable, '-c', script], check=True, env=tool_environment(Path('.')))
