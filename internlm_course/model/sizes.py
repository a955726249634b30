"""How many bytes a model of a given shape takes: weights, KV cache, optimiser; closed forms, before anything is loaded.

`config` is an InternLM2Config or anything with its fields."""
from __future__ import annotations

from types import SimpleNamespace

from internlm_course.model.checkpoint import CONFIGS, parameter_count

VOCABULARY = 92_544  # of the released models


def shape(**fields) -> SimpleNamespace:
    """A shape to calculate with, without importing transformers: InternLM2's released values but for `fields`."""
    return SimpleNamespace(**{**dict(vocab_size=VOCABULARY, bias=False, tie_word_embeddings=False), **fields})


def released() -> dict[str, SimpleNamespace]:
    """The shapes of the released models: 1_8b, 7b, 20b (report, table 3)."""
    return {name: shape(**fields) for name, fields in CONFIGS.items()}


def weight_bytes(config, bits: int = 16) -> int:
    """Weights when the decoder layers are stored in `bits` bits; embedding and output stay at 16, as LMDeploy's AWQ
    leaves them.

    The scales of the groups, some 3% at 4 bits in groups of 128, are not counted.
    """
    ends = 2 * config.vocab_size * config.hidden_size
    return 2 * ends + (parameter_count(config) - ends) * bits // 8


def kv_bytes(config, tokens: int, bits: int = 16) -> int:
    """KV cache of `tokens` tokens: a key and a value for each layer and each key head (grouped-query attention keeps
    these few)."""
    head = config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * config.num_key_value_heads * head * tokens * bits // 8


def adamw_bytes(config) -> int:
    """States of AdamW in mixed precision: fp32 master weights and two fp32 moments, 12 bytes a parameter (weights and
    gradients apart)."""
    return 12 * parameter_count(config)
