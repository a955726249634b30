"""InternLM2 to LLaMA and back, by copying weights; transformers' LlamaForCausalLM then computes the same logits.

Source: InternLM/InternLM tools/convert2llama.py. The one step that is not a rename is wqkv: its rows are grouped by KV
head, each group holding g query heads, one key head, one value head."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers.modeling_utils import no_init_weights

from internlm_course.errors import CourseError
from internlm_course.model.configuration_internlm2 import InternLM2Config
from internlm_course.model.modeling_internlm2 import InternLM2ForCausalLM

NAMES = (('tok_embeddings', 'embed_tokens'), ('attention_norm', 'input_layernorm'),
         ('ffn_norm', 'post_attention_layernorm'),
         ('feed_forward.w1', 'mlp.gate_proj'), ('feed_forward.w3', 'mlp.up_proj'), ('feed_forward.w2', 'mlp.down_proj'),
         ('attention.wo', 'self_attn.o_proj'))
SHARED = ('vocab_size', 'hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads',
          'num_key_value_heads',
          'hidden_act', 'max_position_embeddings', 'initializer_range', 'rms_norm_eps', 'use_cache', 'pad_token_id',
          'bos_token_id',
          'eos_token_id', 'tie_word_embeddings', 'rope_theta')


REMEDY = 'Convert the weights of a LLaMA or InternLM2 causal language model, with the config that they were saved with.'
ENDS = {LlamaForCausalLM: ('model.embed_tokens.weight', 'lm_head.weight'),
        InternLM2ForCausalLM: ('model.tok_embeddings.weight', 'output.weight')}


def split_wqkv(packed: torch.Tensor, config: InternLM2Config) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Takes wqkv's weight [(heads + 2 kv_heads) d, hidden] (or bias, without hidden) apart into q [heads d, …], k and v
    [kv_heads d, …]."""
    groups = config.num_attention_heads // config.num_key_value_heads
    dim = config.hidden_size // config.num_attention_heads
    grouped = packed.reshape(config.num_key_value_heads, groups + 2, dim, *packed.shape[1:])
    return tuple(part.reshape(-1, *packed.shape[1:]).contiguous()
                 for part in (grouped[:, :groups], grouped[:, -2], grouped[:, -1]))


def join_wqkv(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, config: InternLM2Config) -> torch.Tensor:
    """The inverse of `split_wqkv`."""
    dim = config.hidden_size // config.num_attention_heads
    parts = [part.reshape(config.num_key_value_heads, -1, dim, *part.shape[1:]) for part in (query, key, value)]
    return torch.cat(parts, dim=1).reshape(-1, *query.shape[1:])


def to_llama(model_or_state: PreTrainedModel | Mapping[str, torch.Tensor],
             config: InternLM2Config | None = None) -> LlamaForCausalLM:
    """Returns a LLaMA model with the same weights; `config` may be left out when a model is given.

    Raises:
        CourseError: weights and config do not fit.
    """
    state = {}
    with _fitting():
        config = _config(model_or_state, config)
        for name, tensor in _state(model_or_state).items():
            if '.wqkv.' in name:
                for letter, part in zip('qkv', split_wqkv(tensor, config), strict=True):
                    state[name.replace('attention.wqkv', f'self_attn.{letter}_proj')] = part
            else:
                state[_rename(name, *NAMES)] = tensor
        kind, factor = _scaling(config)
        scaling = kind and {'rope_type': kind, 'factor': factor}
        shared = {field: getattr(config, field) for field in SHARED}
        wanted = LlamaConfig(**shared, attention_bias=config.bias, rope_scaling=scaling)
        return _fill(LlamaForCausalLM, wanted, state)


def from_llama(model_or_state: PreTrainedModel | Mapping[str, torch.Tensor],
               config: LlamaConfig | None = None) -> InternLM2ForCausalLM:
    """Returns an InternLM2 model with the weights of a LLaMA model whose head width is hidden_size / heads.

    Raises:
        CourseError: InternLM2 has no place for what the config or the weights hold, or weights are missing.
    """
    source, state = _state(model_or_state), {}
    with _fitting():
        config = _config(model_or_state, config)
        width = config.hidden_size // config.num_attention_heads
        if (found := getattr(config, 'head_dim', None) or width) != width:
            raise CourseError(f'The heads have {found} numbers, not hidden_size / heads = {width} as InternLM2.',
                              REMEDY)
        kind, factor = _scaling(config)
        scaling = kind and {'type': kind, 'factor': factor}
        shared = {field: getattr(config, field) for field in SHARED}
        wanted = InternLM2Config(**shared, bias=config.attention_bias, rope_scaling=scaling)
        for name, tensor in source.items():
            if '.q_proj.' in name:
                key, value = (source[name.replace('q_proj', other)] for other in ('k_proj', 'v_proj'))
                state[name.replace('self_attn.q_proj', 'attention.wqkv')] = join_wqkv(tensor, key, value, wanted)
            elif '.k_proj.' not in name and '.v_proj.' not in name:
                state[_rename(name, *((new, old) for old, new in NAMES))] = tensor
        return _fill(InternLM2ForCausalLM, wanted, state)


def _config(model_or_state: PreTrainedModel | Mapping[str, torch.Tensor], config):
    config = config or getattr(model_or_state, 'config', None)
    if config is None:
        raise CourseError('Weights alone do not say how they are read.', 'Give their config too.')
    return config


def _state(model_or_state: PreTrainedModel | Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights by name, without the rotary tables that older releases stored: they follow from the config."""
    state = model_or_state.state_dict() if isinstance(model_or_state, torch.nn.Module) else model_or_state
    return {name: tensor for name, tensor in state.items() if '.rotary_emb.' not in name}


def _scaling(config) -> tuple[str | None, float]:
    """The kind of RoPE scaling, None where there is none, and its factor; `type` is the earlier name of `rope_type`."""
    scaling = config.rope_scaling or {}
    kind, factor = scaling.get('rope_type') or scaling.get('type') or 'default', scaling.get('factor', 1.0)
    if kind not in ('default', 'linear', 'dynamic'):
        raise CourseError(f"The RoPE scaling '{kind}' is not one that InternLM2 and LLaMA share.", REMEDY)
    return (None if kind == 'default' else kind), factor


def _rename(name: str, *pairs: tuple[str, str]) -> str:
    if name.startswith(('output.', 'lm_head.')):
        return (name.replace('output.', 'lm_head.') if name.startswith('output.')
                else name.replace('lm_head.', 'output.'))
    for old, new in pairs:
        name = name.replace(old, new)
    return name


def _fill(kind: type[PreTrainedModel], config, state: Mapping[str, torch.Tensor]) -> PreTrainedModel:
    embedding, head = ENDS[kind]
    if config.tie_word_embeddings:
        state = {head: state[embedding], **state}
    # The number format is given at construction: a later cast would round LLaMA's rotary frequencies too.
    with no_init_weights():
        model = kind._from_config(config, dtype=state[embedding].dtype)
    model.load_state_dict(state)
    model.tie_weights()  # which no_init_weights left out
    return model.eval()


@contextmanager
def _fitting() -> Iterator[None]:
    """Turns what torch and the configs say of weights that do not fit, over many lines, into one sentence."""
    try:
        yield
    except KeyError as error:
        raise CourseError(f'The weights lack {error.args[0]}.', REMEDY) from error
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        cause = ' '.join(str(error).split())[:300]
        raise CourseError(f'The weights and their config do not fit: {cause}.', REMEDY) from error
