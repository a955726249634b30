"""Small random models, and tokens for them."""
import torch

from internlm_course.model import InternLM2Config, InternLM2ForCausalLM

LENGTH, TRAINED = 24, 32
SCALINGS = (None, {'type': 'linear', 'factor': 2.0}, {'type': 'dynamic', 'factor': 2.0})
TOLERANCE = 1e-5


def small(groups: int = 2, scaling: dict | None = None, seed: int = 0, kind=InternLM2ForCausalLM, **fields):
    """A random model with `groups` query heads per KV head; norms and biases are random too, so that no weight is at a
    neutral value.

    Weights have deviation hidden_size ** -0.5, so that every logit is of order one and 1e-5 means the same at each
    width.
    """
    torch.manual_seed(seed)
    config = InternLM2Config(**{
        'vocab_size': 97, 'hidden_size': 2 * groups * 16, 'intermediate_size': 72, 'num_hidden_layers': 2,
        'num_attention_heads': 2 * groups, 'num_key_value_heads': 2, 'max_position_embeddings': TRAINED,
        'rope_theta': 10000.0,
        'rope_scaling': scaling, 'initializer_range': (32 * groups) ** -0.5, **fields})
    model = kind(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if 'norm' in name or 'bias' in name:
                weight.normal_(1.0 if 'norm' in name else 0.0, 0.3)
    return model


def tokens(rows: int = 2, length: int = LENGTH, seed: int = 1) -> torch.Tensor:
    return torch.randint(3, 97, (rows, length), generator=torch.Generator().manual_seed(seed))
