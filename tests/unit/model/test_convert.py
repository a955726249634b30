"""InternLM2 to LLaMA and back: bit for bit, from weights as files hold them, and one sentence where they do not fit."""
import pytest
import torch
from small_models import SCALINGS, TOLERANCE, small
from transformers import LlamaConfig, LlamaForCausalLM

from internlm_course.errors import CourseError
from internlm_course.model import from_llama, to_llama

LLAMA = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64)


@pytest.mark.parametrize('groups', [1, 2, 4, 6])
def test_llama_conversion_round_trip_is_bit_exact(groups):
    model = small(groups, SCALINGS[2], bias=True).bfloat16()
    back = from_llama(to_llama(model))
    assert back.config.rope_scaling == model.config.rope_scaling and back.dtype == torch.bfloat16
    state = back.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize('options, lost, added', [
    (dict(tie_word_embeddings=True), 'lm_head.weight', None),
    ({}, None, 'model.layers.0.self_attn.rotary_emb.inv_freq'), ({}, None, 'model.rotary_emb.cos_cached'),
    (dict(rope_scaling=dict(rope_type='default')), None, None),
    (dict(rope_scaling=dict(rope_type='linear', factor=2.0)), None, None)])
def test_a_llamas_raw_weights_are_converted(options, lost, added):
    """As files hold them: a matrix that is output and embedding is stored once; older releases stored rotary tables."""
    torch.manual_seed(0)
    llama = LlamaForCausalLM(LlamaConfig(**LLAMA, **options)).eval()
    state = {added: torch.ones(4, dtype=torch.float64)} if added else {}
    state.update((name, tensor) for name, tensor in llama.state_dict().items() if name != lost)
    model, ids = from_llama(state, llama.config), torch.arange(20)[None]
    assert model.dtype == torch.float32 and (model(ids).logits - llama(ids).logits).abs().max() <= TOLERANCE
    assert (model.output.weight is model.model.tok_embeddings.weight) is bool(lost)
    again = {name: tensor for name, tensor in model.state_dict().items() if not lost or name != 'output.weight'}
    assert torch.equal(to_llama(again, model.config)(ids).logits, llama(ids).logits)


@pytest.mark.parametrize('options, change, told', [
    (dict(rope_scaling=dict(rope_type='yarn', factor=2.0)), {}, 'yarn'), (dict(head_dim=16), {}, '16 numbers'),
    (dict(mlp_bias=True), {}, 'bias'),
    ({}, {'lm_head.weight': None}, 'output.weight'), ({}, {'model.embed_tokens.weight': None}, 'tok_embeddings'),
    ({}, {'model.layers.1.self_attn.k_proj.weight': None}, 'k_proj'),
    ({}, {'model.norm.weight': torch.ones(31)}, 'norm.weight'), ({}, {'extra.weight': torch.ones(1)}, 'extra.weight'),
    ({}, {'model.layers.0.self_attn.q_proj.weight': torch.ones(3, 32)}, 'do not fit')])
def test_a_llama_that_is_no_internlm2_is_one_sentence(options, change, told):
    config = LlamaConfig(**LLAMA, **options)
    state = LlamaForCausalLM(config).state_dict() | change
    state = {name: tensor for name, tensor in state.items() if tensor is not None}
    with pytest.raises(CourseError, match=told) as error:
        from_llama(state, config)
    assert '\n' not in str(error.value)
    with pytest.raises(CourseError, match='config'):
        from_llama(state)
