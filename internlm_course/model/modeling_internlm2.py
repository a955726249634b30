"""InternLM2 as transformers classes, with the official parameter names and the interleaved wqkv packing, so that
released weights load.

Copied beside every checkpoint, where tools load it as one file: so it imports only torch, transformers and its
configuration, and is not split however long. Source: report 2.2, upstream's code."""
from __future__ import annotations

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    SequenceClassifierOutputWithPast,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.utils import can_return_tuple

from .configuration_internlm2 import InternLM2Config

BLOCK = 256  # queries of packed rows that attend together; half as many were slower, one mask for all slower still
KEYS = 64  # their keys begin at a multiple of it


class InternLM2RMSNorm(nn.Module):
    """x / rms(x) * weight; the statistics in float32, the product in x's own type."""

    def __init__(self, hidden_size: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.variance_epsilon = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * wide.to(x.dtype)


class InternLM2RotaryEmbedding(nn.Module):
    """Cosines and sines of the rotary angles; linear scaling divides the positions, dynamic NTK enlarges the base.

    Dynamic NTK depends on the sequence at hand alone: up to max_position_embeddings the trained base holds, beyond it
    base' = base * (f * L / Lmax - (f - 1)) ** (d / (d - 2)) for the present length L. Keys already cached keep the base
    of the length that they were written at, as upstream. There is no buffer, so no cast of the model can round the
    frequencies.
    """

    def __init__(self, config: InternLM2Config):
        super().__init__()
        self.dim = config.hidden_size // config.num_attention_heads
        self.base = float(config.rope_theta)
        self.trained_length = config.max_position_embeddings
        scaling = config.rope_scaling or {'type': None, 'factor': 1.0}
        self.kind, self.factor = scaling['type'], scaling['factor']

    @torch.no_grad()
    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Takes positions [batch, length]; returns cos and sin, each [batch, length, head_dim], in x's type; sin's
        first half negated."""
        base, positions = self.base, position_ids.float()
        if self.kind == 'linear':
            positions = positions / self.factor
        elif self.kind == 'dynamic':
            length = int(position_ids.max()) + 1
            if length > self.trained_length:
                stretch = self.factor * length / self.trained_length - (self.factor - 1)
                base = base * stretch ** (self.dim / (self.dim - 2))
        exponents = torch.arange(0, self.dim, 2, dtype=torch.float32, device=x.device) / self.dim
        angles = positions[..., None] * (1.0 / base ** exponents)
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((cos, cos), dim=-1).to(x.dtype), torch.cat((-sin, sin), dim=-1).to(x.dtype)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turns the pairs (i, i + d/2) of the last dimension by their angles; sin's first half is negated."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def packed_mask(positions: torch.Tensor, dtype: torch.dtype, queries: slice = slice(None),
                keys: slice = slice(None)) -> torch.Tensor:
    """What is added to attention scores so that a token sees itself and the earlier ones of its document: 0 or -inf,
    [batch, 1, queries, keys].

    Takes the positions within the documents that share a row, [batch, length]; where they start again, a document
    begins. transformers finds the same mask with vmap, once more at every call, and asks the data first: slower in
    every step of pre-training and of XTuner, and a branch that torch.compile cannot take whole.
    """
    index = torch.arange(positions.shape[1], device=positions.device)
    document = index - positions  # where each token's document begins
    seen = (document[:, queries, None] == document[:, None, keys]) & (index[queries, None] >= index[keys])
    return torch.where(seen, 0.0, float('-inf')).to(dtype)[:, None]


def packed_blocks(positions: torch.Tensor, dtype: torch.dtype) -> list[tuple[slice, torch.Tensor]]:
    """The packed mask of BLOCK queries after BLOCK: for each the keys that one of them may see, and their mask [batch,
    1, queries, keys].

    What is later, or in a document that ended long before, is not multiplied at all. Keys begin at a multiple of KEYS:
    oneDNN makes a kernel for each new shape, and the beginning of each document would be one.
    """
    starts, blocks = torch.arange(positions.shape[1], device=positions.device) - positions, []
    for first in range(0, positions.shape[1], BLOCK):
        last = min(first + BLOCK, positions.shape[1])
        keys = slice(max(0, int(starts[:, first:last].min())) // KEYS * KEYS, last)
        blocks.append((keys, packed_mask(positions, dtype, slice(first, last), keys)))
    return blocks


@torch.compiler.disable  # what it makes of softmax and its gradient is several times slower on a CPU
def eager_attention_forward(module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
                            attention_mask: torch.Tensor | list | None, scaling: float,
                            **kwargs) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attention by explicit matrix products. On a CPU its backward pass is faster than sdpa's.

    The queries of a group are stacked as rows over their one key head, so keys and values are never repeated.
    query [batch, heads, length, d]; key, value [batch, kv_heads, kv_length, d]; mask added, broadcast to [batch, 1,
    length, kv_length], or the blocks of `packed_blocks`. Returns [batch, length, heads, d] and the weights [batch,
    heads, length, kv_length], None of blocks.
    """
    if isinstance(attention_mask, list):
        parts = [eager_attention_forward(module, part, key[:, :, keys], value[:, :, keys], mask, scaling)[0]
                 for part, (keys, mask) in zip(query.split(BLOCK, 2), attention_mask)]
        return torch.cat(parts, 1), None
    batch, heads, length, dim = query.shape
    kv_heads, kv_length = key.shape[1:3]
    groups = heads // kv_heads
    scores = query.reshape(batch, kv_heads, groups * length, dim) * scaling @ key.transpose(2, 3)
    scores = scores.view(batch, heads, length, kv_length)
    if attention_mask is not None:
        scores = scores + attention_mask[..., :kv_length]
    weights = scores.softmax(-1)  # computed in float32, whatever it reads and writes
    output = weights.view(batch, kv_heads, groups * length, kv_length) @ value
    return output.view(batch, heads, length, dim).transpose(1, 2), weights


class InternLM2Attention(nn.Module):
    """Grouped-query attention over one fused projection.

    wqkv's rows are grouped by KV head: each group holds its g query heads, then its key, then its value.
    """

    def __init__(self, config: InternLM2Config, layer_idx: int):
        super().__init__()
        self.config, self.layer_idx, self.hidden_size = config, layer_idx, config.hidden_size
        self.num_heads, self.num_key_value_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = self.hidden_size // self.num_heads
        self.num_key_value_groups = self.num_heads // self.num_key_value_heads
        self.scaling = self.head_dim ** -0.5
        self.is_causal = True
        self.wqkv = nn.Linear(self.hidden_size, (self.num_heads + 2 * self.num_key_value_heads) * self.head_dim,
                              bias=config.bias)
        self.wo = nn.Linear(self.num_heads * self.head_dim, self.hidden_size, bias=config.bias)

    def forward(self, hidden_states: torch.Tensor, position_embeddings: tuple[torch.Tensor, torch.Tensor],
                attention_mask: torch.Tensor | None = None, past_key_values: Cache | None = None,
                cache_position: torch.Tensor | None = None, **kwargs) -> tuple[torch.Tensor, torch.Tensor | None]:
        batch, length, _ = hidden_states.shape
        cos, sin = (table[:, :, None, None] for table in position_embeddings)  # [batch, length, 1, 1, d]
        qkv = self.wqkv(hidden_states).view(batch, length, self.num_key_value_heads, self.num_key_value_groups + 2,
                                            self.head_dim)
        turned, value = qkv.split((self.num_key_value_groups + 1, 1), -2)  # a group's queries and key lie side by side
        query, key = rotate(turned, cos, sin).split((self.num_key_value_groups, 1), -2)
        query = query.flatten(2, 3).transpose(1, 2)  # [batch, heads, length, d]
        key, value = key.squeeze(-2).transpose(1, 2), value.squeeze(-2).transpose(1, 2)  # [batch, kv_heads, length, d]
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx, {'cache_position': cache_position})
        attend = eager_attention_forward
        if self.config._attn_implementation != 'eager':
            attend = ALL_ATTENTION_FUNCTIONS[self.config._attn_implementation]
        output, weights = attend(self, query, key, value, attention_mask, scaling=self.scaling, dropout=0.0, **kwargs)
        return self.wo(output.reshape(batch, length, -1)), weights


class InternLM2MLP(nn.Module):
    """SwiGLU: w2(silu(w1 x) * w3 x)."""

    def __init__(self, config: InternLM2Config):
        super().__init__()
        self.w1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.w3 = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.w2 = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.act_fn = ACT2FN[config.hidden_act]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w2(self.act_fn(self.w1(x)) * self.w3(x))


class InternLM2DecoderLayer(GradientCheckpointingLayer):
    """Pre-norm attention, then pre-norm feed-forward, each added to the residual stream."""

    def __init__(self, config: InternLM2Config, layer_idx: int):
        super().__init__()
        self.attention = InternLM2Attention(config, layer_idx)
        self.feed_forward = InternLM2MLP(config)
        self.attention_norm = InternLM2RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.ffn_norm = InternLM2RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, hidden_states: torch.Tensor, **kwargs) -> tuple[torch.Tensor, torch.Tensor | None]:
        attended, weights = self.attention(self.attention_norm(hidden_states), **kwargs)
        hidden_states = hidden_states + attended
        return hidden_states + self.feed_forward(self.ffn_norm(hidden_states)), weights


class InternLM2PreTrainedModel(PreTrainedModel):
    config_class = InternLM2Config
    base_model_prefix = 'model'
    supports_gradient_checkpointing = True
    _no_split_modules = ['InternLM2DecoderLayer']
    _skip_keys_device_placement = ['past_key_values']
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
            if getattr(module, 'bias', None) is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, InternLM2RMSNorm):
            nn.init.ones_(module.weight)

    def get_input_embeddings(self) -> nn.Module:
        return getattr(self, 'model', self).tok_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        getattr(self, 'model', self).tok_embeddings = value


class InternLM2Model(InternLM2PreTrainedModel):
    """Embedding, decoder layers, final norm."""

    def __init__(self, config: InternLM2Config):
        super().__init__(config)
        # Upstream passes padding_idx, which is </s> in every release and would freeze its embedding in training.
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(InternLM2DecoderLayer(config, index) for index in range(config.num_hidden_layers))
        self.norm = InternLM2RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = InternLM2RotaryEmbedding(config)
        self.gradient_checkpointing = False
        self.post_init()

    @can_return_tuple
    def forward(self, input_ids: torch.Tensor | None = None, attention_mask: torch.Tensor | None = None,
                position_ids: torch.Tensor | None = None, past_key_values: Cache | None = None,
                inputs_embeds: torch.Tensor | None = None, use_cache: bool | None = None,
                cache_position: torch.Tensor | None = None,
                output_attentions: bool | None = None, output_hidden_states: bool | None = None,
                **kwargs) -> BaseModelOutputWithPast:
        """Takes input_ids [batch, length] or inputs_embeds [batch, length, hidden]; returns last_hidden_state [batch,
        length, hidden].

        Positions that start again within a row, given without a mask or a cache, mark packed sequences: they do not see
        each other.

        Raises:
            ValueError: both or neither of input_ids and inputs_embeds given.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError('give exactly one of input_ids and inputs_embeds')
        output_attentions = self.config.output_attentions if output_attentions is None else output_attentions
        output_hidden_states = (self.config.output_hidden_states if output_hidden_states is None
                                else output_hidden_states)
        use_cache = self.config.use_cache and not self.training if use_cache is None else use_cache
        hidden = self.tok_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        if cache_position is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            cache_position = torch.arange(seen, seen + hidden.shape[1], device=hidden.device)
        packed = attention_mask is None and position_ids is not None and past_key_values is None
        if packed and self.config._attn_implementation in ('eager', 'sdpa'):
            device = hidden.device.type
            # torch.compile would make a new graph of every new set of blocks.
            blocks = (self.config._attn_implementation == 'eager' and not output_attentions
                      and not torch.compiler.is_compiling())
            mask = (packed_blocks if blocks else packed_mask)(
                position_ids, torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype)
        else:
            # Rows that differ in nothing share one mask [1, 1, length, kv_length] instead of one each.
            shared = attention_mask is None and position_ids is None
            mask = create_causal_mask(self.config, hidden[:1] if shared else hidden, attention_mask, cache_position,
                                      past_key_values, position_ids)
        if position_ids is None:
            position_ids = cache_position[None]
        tables = self.rotary_emb(hidden, position_ids)

        states, attentions = (hidden,), ()
        for layer in self.layers:
            hidden, weights = layer(hidden, attention_mask=mask, position_embeddings=tables, position_ids=position_ids,
                                    past_key_values=past_key_values, cache_position=cache_position, **kwargs)
            if output_hidden_states:
                states += (hidden,)
            if output_attentions:
                attentions += (weights,)
        hidden = self.norm(hidden)
        return BaseModelOutputWithPast(
            last_hidden_state=hidden, past_key_values=past_key_values if use_cache else None,
            hidden_states=states[:-1] + (hidden,) if output_hidden_states else None,
            attentions=attentions if output_attentions else None)


class InternLM2ForCausalLM(InternLM2PreTrainedModel, GenerationMixin):
    """The language model: logits over the vocabulary, and the next-token loss when labels are given."""
    _tied_weights_keys = ['output.weight']

    def __init__(self, config: InternLM2Config):
        super().__init__(config)
        self.model = InternLM2Model(config)
        self.vocab_size = config.vocab_size
        self.output = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.output

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.output = value

    @can_return_tuple
    def forward(self, input_ids: torch.Tensor | None = None, attention_mask: torch.Tensor | None = None,
                position_ids: torch.Tensor | None = None, past_key_values: Cache | None = None,
                inputs_embeds: torch.Tensor | None = None, labels: torch.Tensor | None = None,
                use_cache: bool | None = None,
                output_attentions: bool | None = None, output_hidden_states: bool | None = None,
                cache_position: torch.Tensor | None = None, logits_to_keep: int | torch.Tensor = 0,
                **kwargs) -> CausalLMOutputWithPast:
        """Returns logits [batch, kept, vocab] of the last `logits_to_keep` positions (0: all). labels [batch, length],
        -100 not counted."""
        outputs = self.model(input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache,
                             cache_position, output_attentions, output_hidden_states, **kwargs)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.output(outputs.last_hidden_state[:, kept])
        loss = None if labels is None else self.loss_function(logits=logits, labels=labels,
                                                              vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=outputs.past_key_values,
                                      hidden_states=outputs.hidden_states, attentions=outputs.attentions)


class InternLM2ForRewardModel(InternLM2PreTrainedModel):
    """The reward model: a linear head reads one number from the last token of each conversation (the reward token)."""

    def __init__(self, config: InternLM2Config):
        super().__init__(config)
        self.model = InternLM2Model(config)
        self.v_head = nn.Linear(config.hidden_size, 1, bias=False)
        self.reward_token_id = getattr(config, 'reward_token_id', None)
        self.post_init()

    @can_return_tuple
    def forward(self, input_ids: torch.Tensor | None = None, attention_mask: torch.Tensor | None = None,
                position_ids: torch.Tensor | None = None, past_key_values: Cache | None = None,
                inputs_embeds: torch.Tensor | None = None, use_cache: bool | None = None,
                **kwargs) -> SequenceClassifierOutputWithPast:
        """Returns logits [batch, 1]: the reward at the last position that attention_mask [batch, length] marks; the
        last without it."""
        outputs = self.model(input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache,
                             **kwargs)
        scores = self.v_head(outputs.last_hidden_state).squeeze(-1)  # [batch, length]
        rewards = (scores[:, -1:] if attention_mask is None
                   else scores.gather(1, attention_mask.long().cumsum(1).argmax(1, keepdim=True)))
        return SequenceClassifierOutputWithPast(logits=rewards, past_key_values=outputs.past_key_values,
                                                hidden_states=outputs.hidden_states, attentions=outputs.attentions)
