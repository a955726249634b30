"""Paged attention on a CPU: keys and values live in blocks, each sequence lists its blocks, a decoding batch is one
batched product.

Computed in float32 and rounded once to the query's format, whatever the CPU: a decode step reads the cache once and
multiplies little.
"""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from lmdeploy.pytorch.backends.attention import AttentionBuilder, AttentionImpl, AttentionMetadata


@dataclass
class CpuAttentionMetadata(AttentionMetadata):
    """What every layer of one step shares, worked out once.

    Attributes:
        lengths: (new tokens, tokens in all) of each sequence.
        slots: (tokens,) twice: the block and the place in it where each new token's key and value go.
        blocks: (batch, blocks) each sequence's blocks, cut to the longest sequence.
        mask: (batch, 1, 1, blocks * block_size) 0 where a decoding sequence has a token, else -inf.
    """
    lengths: list[tuple[int, int]] | None = None
    slots: tuple[torch.Tensor, torch.Tensor] | None = None
    blocks: torch.Tensor | None = None
    mask: torch.Tensor | None = None

    def prepare(self, block_size: int) -> None:
        self.lengths = list(zip(self.q_seqlens.tolist(), self.kv_seqlens.tolist()))
        longest = max(total for _, total in self.lengths)
        self.blocks = self.block_offsets[:, :-(-longest // block_size)].long()
        position = torch.cat([torch.arange(total - new, total) for new, total in self.lengths])
        sequence = torch.repeat_interleave(torch.tensor([new for new, _ in self.lengths]))
        self.slots = self.blocks[sequence, position // block_size], position % block_size
        if self.is_decoding:
            unused = torch.arange(self.blocks.shape[1] * block_size) >= self.kv_seqlens[:, None]
            self.mask = torch.zeros(unused.shape).masked_fill_(unused, float('-inf'))[:, None, None]


class CpuPagedAttention(AttentionImpl):
    """query: (tokens, heads, head), key and value: (tokens, kv_heads, head), caches: (blocks, block_size, kv_heads,
    head)."""

    def forward(self, query, key, value, k_cache, v_cache, attn_metadata, k_scales_zeros=None, v_scales_zeros=None,
                inplace=False, **kwargs):
        meta = attn_metadata
        if meta.slots is None:
            meta.prepare(k_cache.shape[1])
        k_cache[meta.slots] = key.to(k_cache.dtype)  # a layer's cache is a strided view: flattening it would copy
        v_cache[meta.slots] = value.to(v_cache.dtype)
        return (self.decode(query, k_cache, v_cache, meta) if meta.is_decoding
                else self.prefill(query, k_cache, v_cache, meta))

    def decode(self, query, k_cache, v_cache, meta):
        """One new token of each sequence, all at once; the query heads that share a KV head ride in one product."""
        batch = len(meta.lengths)
        q = query.view(batch, self.num_kv_heads, -1, self.head_size).float()
        k = k_cache[meta.blocks].flatten(1, 2).transpose(1, 2).float()  # (batch, kv_heads, tokens, head)
        v = v_cache[meta.blocks].flatten(1, 2).transpose(1, 2).float()
        weight = torch.softmax(q @ k.mT * self.scale + meta.mask, -1)
        return (weight @ v).to(query.dtype).view(batch, -1, self.v_head_size)

    def prefill(self, query, k_cache, v_cache, meta):
        """The new tokens of one sequence after another, each attending to its cached past and causally to itself."""
        out, start = query.new_empty(*query.shape[:-1], self.v_head_size), 0
        for blocks, (new, total) in zip(meta.blocks, meta.lengths):
            used = blocks[:-(-total // k_cache.shape[1])]
            q = query[start:start + new].transpose(0, 1)[None].float()
            k = k_cache[used].flatten(0, 1)[:total].transpose(0, 1)[None].float()
            v = v_cache[used].flatten(0, 1)[:total].transpose(0, 1)[None].float()
            mask = torch.ones(new, total, dtype=torch.bool).tril(total - new)
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale, enable_gqa=True)
            out[start:start + new] = attended[0].transpose(0, 1).to(out.dtype)
            start += new
        return out


class CpuAttentionBuilder(AttentionBuilder):
    @staticmethod
    def build(num_heads, head_size, scale=None, num_kv_heads=None, v_head_size=None, **kwargs):
        return CpuPagedAttention(num_heads, head_size, scale=scale, num_kv_heads=num_kv_heads, v_head_size=v_head_size)
