"""The pre-training run as a TOML file, InternLM-Train's property in small: to train another model on other data, change
only the file."""
import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.store import tomllib

CONFIGS = Path(__file__).parent / 'configs'


@dataclass(frozen=True)
class Optimizer:
    """AdamW with gradient clipping (report, section 3.2.2)."""
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip: float = 1.0
    """Largest norm of the gradient."""


@dataclass(frozen=True)
class Phase:
    """One phase of pre-training (report, section 3.3): a context length, a RoPE base, a mixture and a learning rate of
    its own."""
    name: str
    steps: int
    sequence_length: int
    """Tokens in a row of a batch."""
    micro_batch: int
    """Rows in one forward pass of one process."""
    accumulation: int
    """Micro-batches in one optimiser step, over all processes: `micro_batch * accumulation` rows, which they divide."""
    learning_rate: float
    """Peak; cosine down to `floor` of it."""
    rope_theta: float
    mixture: Mapping[str, float]
    """Share of the tokens drawn from each domain of the corpus."""
    warmup: int = 50
    """Steps of linear warm-up."""
    opening: int = 0
    """First steps, whose rows are drawn from `opening_mixture` instead: what comes first can teach how to learn the
    rest."""
    opening_mixture: Mapping[str, float] = field(default_factory=dict)
    floor: float = 0.1
    compile: bool = False
    """Whether torch.compile takes the layers, where a compiler is found and bf16 is multiplied in hardware (on AVX2 it
    was not faster). It takes some twenty seconds before the first step: a phase of a few minutes saves no more than
    that."""
    activation_checkpointing: bool = False
    """Keep each layer's input alone and compute the rest again in the backward pass: a third more work, a fraction of
    the memory, same loss."""

    @property
    def tokens(self) -> int:
        """Tokens seen in this phase."""
        return self.steps * self.accumulation * self.micro_batch * self.sequence_length


@dataclass(frozen=True)
class PretrainConfig:
    """The whole run: the model's shape (InternLM2's config fields), the optimiser, the phases in order."""
    model: Mapping[str, object]
    phases: tuple[Phase, ...]
    optimizer: Optimizer = field(default_factory=Optimizer)
    seed: int = 0
    induction: int = 0
    """Heads that look back from the first step on for what followed the last time (`induction.look_back`); 0: none."""
    checkpoint_seconds: float = 20.0
    """Wall clock between two resumable checkpoints; it changes no weight."""

    def shape(self, phase: Phase, vocabulary: int):
        """The InternLM2Config of a phase for a tokenizer of `vocabulary` entries.

        Raises:
            CourseError: a model field that InternLM2Config does not have, or that the tokenizer or the phase gives.
        """
        from internlm_course.model import InternLM2Config
        given = dict(vocab_size=vocabulary, rope_theta=phase.rope_theta, max_position_embeddings=phase.sequence_length)
        fields = sorted(inspect.signature(InternLM2Config).parameters.keys() - given.keys() - {'kwargs'})
        for name in self.model:
            if name not in fields:
                raise CourseError(f'A pre-training config cannot set the model field "{name}".',
                                  f'It may set {", ".join(fields)}.')
        return InternLM2Config(**self.model, **given)

    def phase(self, name: str) -> Phase:
        """The phase of that name.

        Raises:
            CourseError: there is none.
        """
        for phase in self.phases:
            if phase.name == name:
                return phase
        raise CourseError(f'This pre-training config has no phase "{name}".',
                          f'Its phases are {", ".join(p.name for p in self.phases)}.')


def read_config(path: Path) -> PretrainConfig:
    """Reads a TOML config; the shipped ones are in `CONFIGS`, one for each scale.

    Raises:
        CourseError: no such file, not TOML, an unknown or missing key.
    """
    try:
        raw = tomllib.loads(path.read_text('utf-8'))
        phases = tuple(Phase(**phase) for phase in raw.pop('phase'))
        optimizer = raw.pop('optimizer', {})
        if 'betas' in optimizer:
            optimizer['betas'] = tuple(optimizer['betas'])
        for phase in phases:
            if not isinstance(phase.compile, bool):
                raise ValueError(f'compile = {phase.compile!r} is neither true nor false')
        return PretrainConfig(phases=phases, optimizer=Optimizer(**optimizer), **raw)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        known = ', '.join(f.name for f in dataclasses.fields(Phase))
        raise CourseError(f'The pre-training config {path} cannot be read: {error}.',
                          f'Start from one in {CONFIGS}; a [[phase]] has {known}.') from error
