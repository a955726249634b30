"""Induction heads at birth: where they look before the first step, what they leave to chance, and what they refuse."""
import dataclasses

import pytest
import torch

from internlm_course.errors import CourseError
from internlm_course.model import InternLM2Config, InternLM2ForCausalLM
from internlm_course.pretrain.config import CONFIGS, read_config
from internlm_course.pretrain.induction import look_back
from internlm_course.pretrain.loop import initial_model
from internlm_course.pretrain.parallel import World


def born(heads: int, **changes) -> InternLM2ForCausalLM:
    torch.manual_seed(0)
    fields = dict(vocab_size=512, hidden_size=192, intermediate_size=64, num_hidden_layers=3, num_attention_heads=6,
                  num_key_value_heads=2, bias=True, rope_theta=50000.0, max_position_embeddings=256,
                  attn_implementation='eager', initializer_range=0.02)
    model = InternLM2ForCausalLM(InternLM2Config(**{**fields, **changes})).eval()
    look_back(model, heads)
    return model


@torch.no_grad()
def test_heads_of_the_first_layer_look_back_and_those_after_them_find_what_followed():
    """On 50 random tokens said twice: head d attends d tokens back; the second time, head k attends to what followed
    the first time."""
    tokens = torch.stack([torch.randperm(500)[:50] + 5 for _ in range(20)])
    attentions = born(2)(torch.cat([tokens, tokens], 1), output_attentions=True).attentions
    places, chance = torch.arange(55, 99), 1 / 77
    for back in (1, 2):
        assert attentions[0][:, back - 1, places, places - back].mean() > 0.6
    for k, (layer, head) in enumerate([(1, 0), (1, 3)]):
        assert attentions[layer][:, head, places, places - 49].mean() > 10 * chance, k
    free = [attentions[layer][:, head, places, places - back]
            for layer, head, back in ((0, 3, 1), (1, 1, 49), (2, 0, 49))]
    assert all(weights.mean() < 2 * chance for weights in free)


def test_a_third_head_stands_in_the_layer_after():
    """Two KV groups a layer: head 2 is the first of layer 2, and compares what stands two and three places before."""
    two, three = born(2), born(3)
    changed = [name for name, weight in three.state_dict().items() if not weight.equal(two.state_dict()[name])]
    assert 'model.layers.2.attention.wqkv.weight' in changed and 'model.layers.0.attention.wqkv.bias' in changed
    assert not any('feed_forward' in name or 'embeddings' in name for name in changed)


@pytest.mark.parametrize('heads, changes', [
    (2, dict(bias=False)), (4, {}), (3, dict(num_hidden_layers=2)), (1, dict(num_attention_heads=16)),
    (2, dict(num_attention_heads=2, num_key_value_heads=1))])
def test_a_model_that_they_do_not_fit_into_says_what_they_want(heads, changes):
    with pytest.raises(CourseError, match=f'{heads} induction heads do not fit.*bias = true'):
        born(heads, **changes)


def test_the_config_decides_and_the_seed_gives_the_rest():
    """`induction` in the TOML file; the same seed gives the same bits, another seed other ones; without it all is
    chance."""
    config = read_config(CONFIGS / 'tiny.toml')
    assert config.induction == 2
    phase = config.phase('short')

    def weights(**changes):
        model = initial_model(dataclasses.replace(config, **changes), phase, range(512), None, World.open('cpu'))
        return model.model.layers[1].attention.wqkv.weight
    assert weights().equal(weights()) and not weights().equal(weights(seed=1))
    assert not weights().equal(weights(induction=0))
    assert weights(induction=0).std() < 0.03 < weights().std()
