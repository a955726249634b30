"""One dial from a laptop to a cluster: every number of the chain that depends on how large a computer there is."""
from dataclasses import dataclass

from internlm_course.errors import CourseError


@dataclass(frozen=True)
class Scale:
    """The numbers of one scale; the shape of the model and its phases are in `pretrain/configs/<pretrain>.toml`."""
    name: str
    pretrain: str
    """Pre-training config."""
    pages: int
    """Clean pages in the crawl; noise comes on top."""
    vocab_size: int
    conversations: int
    """Instruction conversations for fine-tuning."""
    sft: dict
    """Fields of `finetune.SFTSettings`."""
    reward: dict
    """Fields of `finetune.preference.RewardSettings`."""
    chat: dict
    """Fields of `align.grpo.GRPOSettings`."""
    ppo: dict
    """Fields of `align.ppo.PPOSettings`."""
    quantize: dict
    """Calibration of INT4: group_size (weights that share a scale), samples and length (tokens)."""
    items: int
    """Held-out items of each suite."""
    gpu_memory_gib: int = 0
    """Memory of the GPU that the scale needs; 0 where a CPU will do."""
    weights: dict | None = None
    """Released weights on the model hub, {base, chat}, used instead of pre-training when the user asks for them."""


def _released(name: str, pretrain: str, gpu_memory_gib: int, base: str, chat: str) -> Scale:
    """A released size of InternLM2 (report, table 3), fine-tuned with XTuner's QLoRA recipe for it."""
    return Scale(name, pretrain=pretrain, pages=100_000, vocab_size=92_544, conversations=20_000,
                 sft=dict(method='qlora', rank=64, alpha=16, learning_rate=2e-4, batch_size=16, max_length=2048),
                 reward=dict(learning_rate=1e-5, batch_size=16, max_length=2048, packed_length=8192, shuffle=False),
                 chat=dict(longest=256, learning_rate=1e-6),
                 ppo=dict(iterations=400, warmup=50, longest=256, actor_rate=1e-6, critic_rate=5e-6, kl=0.01),
                 quantize=dict(group_size=128, samples=128, length=2048), items=120, gpu_memory_gib=gpu_memory_gib,
                 weights=dict(base=base, chat=chat))


SCALES = {scale.name: scale for scale in (
    # Each seen once: what is never repeated is not learned by heart
    # Every weight is trained: adapters of a rank that learns as much have half of the weights here, and at their rate a
    # weak seed forgot how to copy names (labs/LOG.md)
    Scale('tiny', pretrain='tiny', pages=17_000, vocab_size=2048, conversations=46_000,
          sft=dict(method='full', learning_rate=3e-4, average=0.25, epochs=1, batch_size=1, max_length=1024),
          reward=dict(learning_rate=6e-4, batch_size=4, max_length=256, packed_length=768, shuffle=False,
                      compared='tokens'),
          chat=dict(), ppo=dict(),
          quantize=dict(group_size=64, samples=32, length=128), items=120),
    # The same chain with next to no training: proves in minutes that every tool works here; its scores mean nothing.
    Scale('smoke', pretrain='smoke', pages=600, vocab_size=2048, conversations=200,
          sft=dict(method='lora', rank=8, alpha=8, train_embeddings=True, learning_rate=1e-3, epochs=1, batch_size=2,
                   max_length=1024),
          reward=dict(learning_rate=6e-4, batch_size=4, max_length=256, packed_length=1024, shuffle=False,
                      compared='tokens', max_iters=4),
          chat=dict(steps=2, questions=2, group=2, longest=8),
          ppo=dict(iterations=2, warmup=1, queries=4, longest=8),
          quantize=dict(group_size=64, samples=8, length=64), items=8),
    _released('1_8b', '1_8b', 8, 'internlm/internlm2-1_8b', 'internlm/internlm2-chat-1_8b'),
    _released('7b', '7b', 24, 'internlm/internlm2-base-7b', 'internlm/internlm2-chat-7b'),
    _released('20b', '20b', 80, 'internlm/internlm2-base-20b', 'internlm/internlm2-chat-20b'))}


def open_scale(name: str) -> Scale:
    """The scale of that name, if this computer can run it.

    Raises:
        CourseError: there is no such scale, or it needs a GPU that is not here.
    """
    if name not in SCALES:
        raise CourseError(f'There is no scale "{name}".', f'Choose one of {", ".join(SCALES)}.')
    scale = SCALES[name]
    if scale.gpu_memory_gib:
        import torch
        found = torch.cuda.get_device_properties(0).total_memory / 2**30 if torch.cuda.is_available() else 0
        if found < scale.gpu_memory_gib * 0.9:
            there = f'this one has {found:.0f} GiB' if found else 'there is none here'
            raise CourseError(
                f'Scale "{name}" needs a CUDA GPU with {scale.gpu_memory_gib} GiB of memory, and {there}.',
                              'Use --scale tiny, which runs on two CPU cores, or a machine with such a GPU.')
    return scale
