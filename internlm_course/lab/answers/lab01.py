"""From a model to an application, on paper: the decision flow of lecture 1, the smallest GPU that serves a model, and
what a score proves."""
from internlm_course.marking import wilson
from internlm_course.model.chat import render
from internlm_course.model.sizes import adamw_bytes, kv_bytes, weight_bytes

GPUS = {'RTX 4060': 8, 'T4': 16, 'RTX 4090': 24, 'A100 40G': 40, 'A100 80G': 80}
"""Memory of each card in GiB, smallest first."""
USABLE = 0.9  # the rest is for activations and the driver


def steps(complex_scene: bool, enough_compute: bool, needs_environment: bool) -> list[str]:
    """The way from a model to an application (lecture 1): which steps, in which order."""
    way = ['choose']
    if complex_scene:
        way.append('full fine-tuning' if enough_compute else 'LoRA')
        if needs_environment:
            way.append('agent')
    return [*way, 'evaluate', 'deploy']


def chat_text(messages: list[dict]) -> str:
    """The text that a chat model reads, with the assistant's turn opened at its end."""
    return render(messages, add_generation_prompt=True)


def memory(config, bits: int, tokens: int) -> dict[str, int]:
    """Bytes of the weights in `bits` bits, of the KV cache of `tokens` tokens, and of AdamW's states."""
    return dict(weights=weight_bytes(config, bits), kv=kv_bytes(config, tokens), adamw=adamw_bytes(config))


def smallest_gpu(config, bits: int, tokens: int) -> str | None:
    """The smallest of GPUS that holds the weights and the KV cache of `tokens` tokens in its usable memory; None if
    none does."""
    need = weight_bytes(config, bits) + kv_bytes(config, tokens)
    return next((name for name, gib in GPUS.items() if need <= USABLE * gib * 2**30), None)


def interval(score: float, n: int) -> tuple[float, float]:
    """Wilson's 95% interval around a share of right answers in a table.

    Args:
        score: in [0, 1].
        n: items of the benchmark.
    """
    return wilson(score * n, n)


def better(first: float, second: float, n: int) -> str:
    """'first' or 'second' where the two intervals lie apart, otherwise 'undecided'."""
    (low, high), (other_low, other_high) = interval(first, n), interval(second, n)
    return 'first' if low > other_high else 'second' if other_low > high else 'undecided'
