"""InternLM2's configuration, with the official field names; copied beside every checkpoint, so it imports transformers
alone.

The defaults are the released 7B's values, not those of upstream's code (vocabulary 103168, biases, eps 1e-6), which no
release has."""
from __future__ import annotations

from transformers import PretrainedConfig


class InternLM2Config(PretrainedConfig):
    """Shape and constants of an InternLM2 model.

    Args:
        vocab_size: entries of the embedding and of the output layer.
        hidden_size: width of the residual stream; `hidden_size // num_attention_heads` is the head's width.
        intermediate_size: width between the SwiGLU projections.
        num_key_value_heads: heads that the cache holds; `num_attention_heads` is a multiple of it (grouped-query
            attention).
        max_position_embeddings: the longest trained sequence, in tokens; dynamic RoPE scaling begins beyond it.
        rope_theta: base of the rotary angles.
        rope_scaling: None, or {'type': 'linear' | 'dynamic', 'factor': number >= 1}; 'rope_type' is read as 'type'.
        bias: whether wqkv and wo carry a bias (no release does).
        attn_implementation: 'eager', 'sdpa', 'flash_attention_2', …; None lets transformers choose.

    Raises:
        ValueError: heads do not divide, or an unknown `rope_scaling`.
    """
    model_type = 'internlm2'
    keys_to_ignore_at_inference = ['past_key_values']

    def __init__(self, vocab_size=92544, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
                 num_attention_heads=32,
                 num_key_value_heads=None, hidden_act='silu', max_position_embeddings=32768, initializer_range=0.02,
                 rms_norm_eps=1e-5,
                 use_cache=True, pad_token_id=2, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False, bias=False,
                 rope_theta=1_000_000, rope_scaling=None, attn_implementation=None, **kwargs):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads or num_attention_heads
        self.hidden_act = hidden_act
        self.max_position_embeddings = max_position_embeddings
        self.initializer_range = initializer_range
        self.rms_norm_eps = rms_norm_eps
        self.use_cache = use_cache
        self.bias = bias
        self.rope_theta = rope_theta
        self.rope_scaling = rope_scaling
        self._validate()
        super().__init__(pad_token_id=pad_token_id, bos_token_id=bos_token_id, eos_token_id=eos_token_id,
                         tie_word_embeddings=tie_word_embeddings, attn_implementation=attn_implementation, **kwargs)

    def _validate(self) -> None:
        heads, groups = self.num_attention_heads, self.num_key_value_heads
        if self.hidden_size % heads or heads % groups:
            raise ValueError(f'hidden_size {self.hidden_size} must be a multiple of num_attention_heads {heads}, '
                             f'and that of num_key_value_heads {groups}')
        if self.rope_scaling is None:
            return
        scaling = dict(self.rope_scaling) if isinstance(self.rope_scaling, dict) else {}
        kinds = {scaling.pop(key) for key in ('type', 'rope_type') if key in scaling}
        factor = scaling.pop('factor', None)
        if (len(kinds) != 1 or not kinds <= {'linear', 'dynamic'} or scaling or not isinstance(factor, (int, float))
            or factor < 1):
            raise ValueError("rope_scaling must be {'type': 'linear' or 'dynamic', 'factor': a number >= 1}, "
                             f'got {self.rope_scaling}')
        # One spelling on disk: LMDeploy and upstream's own code read 'type'.
        self.rope_scaling = {'type': kinds.pop(), 'factor': float(factor)}
