"""Induction heads from the first step: attention that finds what followed the last time, written into the weights.

Whatever a model copies (a name, digits for a tool, a secret), one head has to tell each token what stands before it,
and one of a later layer has to look for the place where the same stood before: an induction head (Elhage et al., A
Mathematical Framework for Transformer Circuits, 2021; Olsson et al., In-context Learning and Induction Heads, 2022).
Large models find the pair by chance somewhere in their first billions of tokens. A small model trained for minutes
has it or has it not by luck of the seed, and every score that stands on it with it. So the pair is given at birth,
roughly, and trained like all else; structure in the initial weights instead of noise is called mimetic initialisation
(Trockman and Kolter, arXiv 2305.09828).
"""
import math

import torch

from internlm_course.errors import CourseError

SHARPNESS = 4.0  # of looking back: a place one further away has less than a tenth of the weight
TURNING = 6  # pairs of a head's width that RoPE turns fastest: they tell near places apart; the next turn too slowly
SLOW = 7  # from this pair on they turn so slowly that content can be compared across a first context
TOLD, MATCHED, COPIED = 0.04, 2.0, 0.5  # gains: of what is told about earlier tokens, of a match, of what is copied


@torch.no_grad()
def look_back(model, heads: int) -> None:
    """Makes heads of `model`, an InternLM2ForCausalLM with biases and random weights, look back for what followed.

    Head d (1 to `heads`) of the first layer attends to the token d places before, by its biases alone, and writes a
    projection of it into a subspace of the residual stream, d's own. Of the layers after it, head k (0 to `heads` - 1),
    the first of its KV group, compares what stands k places before the query with what stands k + 1 places before a
    key, and copies the key's token towards the output, whose rows begin as those of the embedding.

    Raises:
        CourseError: the model has no biases, or too few or too narrow heads, or too few layers.
    """
    config = model.config
    kv_heads, dim = config.num_key_value_heads, config.hidden_size // config.num_attention_heads
    queries, half = config.num_attention_heads // kv_heads, dim // 2
    room = min(queries, (config.num_hidden_layers - 1) * kv_heads, config.hidden_size // dim - 1)
    if not config.bias or half <= SLOW or heads > room:
        raise CourseError(f'{heads} induction heads do not fit into this model.',
                          f'They want bias = true, heads at least {2 * SLOW + 2} wide and more than {heads} of them, '
                          f'{heads} for each key head, and {1 - -heads // kv_heads} layers; or set induction = 0.')
    token, *earlier = directions(config.hidden_size, dim, heads + 1)

    first = model.model.layers[0].attention
    weight, bias = (grouped(parameter, kv_heads, dim) for parameter in (first.wqkv.weight, first.wqkv.bias))
    angles = config.rope_theta ** (-torch.arange(TURNING) / half)
    gain = math.sqrt(SHARPNESS * math.sqrt(dim))
    bias[0, queries, :TURNING] = gain  # the key, the same at every place until RoPE turns it
    weight[0, queries + 1] = token * math.sqrt(TOLD)
    for back, subspace in enumerate(earlier, 1):  # the queries, turned back by `back` places
        bias[0, back - 1, :TURNING] = gain * (angles * back).cos()
        bias[0, back - 1, half:half + TURNING] = -gain * (angles * back).sin()
        first.wo.weight[:, (back - 1) * dim:back * dim] = subspace.T * math.sqrt(TOLD)

    slow = [*range(SLOW, half), *range(half + SLOW, dim)]
    for k in range(heads):
        attention, group = model.model.layers[1 + k // kv_heads].attention, k % kv_heads
        weight = grouped(attention.wqkv.weight, kv_heads, dim)
        weight[group, 0, slow] = MATCHED * (token, *earlier)[k][:len(slow)]
        weight[group, queries, slow] = MATCHED * earlier[k][:len(slow)]
        [copied] = directions(config.hidden_size, dim, 1)
        weight[group, queries + 1] = copied * math.sqrt(COPIED)
        start = group * queries * dim
        attention.wo.weight[:, start:start + dim] = copied.T * math.sqrt(COPIED)
    model.output.weight.copy_(model.model.tok_embeddings.weight)


def directions(width: int, dim: int, count: int) -> torch.Tensor:
    """Random subspaces of a space of `width`, orthogonal to each other: [count, dim, width], rows orthonormal."""
    return torch.linalg.qr(torch.randn(width, count * dim))[0].T.view(count, dim, width)


def grouped(parameter: torch.Tensor, kv_heads: int, dim: int) -> torch.Tensor:
    """wqkv's weight or bias as [kv_heads, queries + 2, dim, …]: each group's queries, its key, its value."""
    return parameter.view(kv_heads, -1, dim, *parameter.shape[1:])
