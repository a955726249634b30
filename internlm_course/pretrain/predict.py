"""What a run will cost and reach, said before it starts and compared after: time, memory, tokens, final loss.

Time and the memory of a step come from a few steps of the same loop; the rest of the memory is arithmetic; the loss
comes from a scaling law that small runs were fitted to (`scaling.json`, made by staff/scaling.py).
"""
import dataclasses
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.machine import give_back
from internlm_course.memory import PeakMemory
from internlm_course.model import parameter_count
from internlm_course.pretrain.batches import BLOCK
from internlm_course.pretrain.config import Phase, PretrainConfig

SCALING = Path(__file__).parent / 'scaling.json'
LAST = 5  # logged points that make the final loss: one alone, the mean of a few steps, hangs on what their rows hold


@dataclass(frozen=True)
class Law:
    """Loss in nats of a model of N parameters after D tokens: E + A / N^a + B / D^b (arXiv 2203.15556, equation 2).

    It holds near the sizes and lengths that it was fitted to; far beyond them it is a guess.
    """
    E: float
    A: float
    a: float
    B: float
    b: float

    def __call__(self, parameters: float, tokens: float) -> float:
        return self.E + self.A / parameters**self.a + self.B / tokens**self.b


@dataclass(frozen=True)
class Prediction:
    """What a phase will take and give; `terms` are the parts of `memory_bytes`."""
    seconds: float
    memory_bytes: int
    tokens: int
    loss: float | None
    """Nats; None without a law."""
    terms: Mapping[str, int]


def fit_scaling(points: Sequence[Mapping[str, float]]) -> Law:
    """Fits the law to runs {parameters, tokens, loss}: least squares of log loss over E, A, a, B, b >= 0, the best of
    several starts.

    Raises:
        CourseError: fewer than three sizes.
    """
    import numpy as np
    from scipy.optimize import least_squares
    n, d, loss = (np.array([point[key] for point in points], float) for key in ('parameters', 'tokens', 'loss'))
    if len(set(n)) < 3:
        raise CourseError(f'A scaling law needs runs of three sizes; here are {len(set(n))}.',
                          'Make them with staff/scaling.py.')
    # Counted in units of the geometric mean, A and B are of the loss's own order.
    n0, d0 = np.exp(np.log(n).mean()), np.exp(np.log(d).mean())

    def misfit(x):
        E, A, a, B, b = x
        return np.log(E + A * (n / n0)**-a + B * (d / d0)**-b) - np.log(loss)
    low = loss.min()
    starts = [(low * e, low * (1 - e) / 2, a, low * (1 - e) / 2, b) for e in (0.1, 0.5, 0.9) for a in (0.2, 0.8)
              for b in (0.2, 0.8)]
    fits = [least_squares(misfit, start, bounds=([0, 0, 0.01, 0, 0.01], [low, 10 * low, 3, 10 * low, 3]))
            for start in starts]
    E, A, a, B, b = map(float, min(fits, key=lambda fit: fit.cost).x)
    return Law(E, A * float(n0)**a, a, B * float(d0)**b, b)


def final_loss(curve: Sequence[Sequence[float]]) -> float:
    """Mean of the last `LAST` points of a curve [[tokens, loss], …]."""
    last = [loss for _, loss in curve[-LAST:]]
    return sum(last) / len(last)


def read_points(path: Path = SCALING) -> list[dict]:
    """The sweep's runs, each {parameters, tokens, loss, fitted}; `fitted` is false for those kept to test the law."""
    return json.loads(path.read_text('utf-8'))['points']


def memory_terms(parameters: int, phase: Phase) -> dict[str, int]:
    """The memory of a phase that arithmetic gives, in bytes, for one process in fp32 with AdamW.

    weights 4 N; gradients 4 N; moments 2 * 4 N; checkpoint: weights and moments copied aside while they are written, 12
    N; rows: a block of the phase's tokens as int32. Among W processes all but the rows are divided by W. What is
    missing are the activations, and the code.
    """
    rows = phase.steps * phase.micro_batch * phase.accumulation * (phase.sequence_length + 1)
    return dict(weights=4 * parameters, gradients=4 * parameters, moments=8 * parameters, checkpoint=12 * parameters,
                rows=4 * min(rows, BLOCK))


def predict(config: PretrainConfig, phase: Phase, documents: Mapping[str, list], tokenizer: Path,
            start: Path | None = None, device: str | None = None, law: Law | None = None) -> Prediction:
    """Predicts `pretrain` with the same arguments from its first 60 steps, trained in a temporary folder and thrown
    away.

    The first 20 hold what happens once (compilation, first touches), the other 40 are the pace. Memory is anonymous and
    shared memory of the process tree (`PeakMemory`): terms `process` (before), those of `memory_terms`, and
    `activations`, which is what the trial's peak leaves over when its own terms are taken away: activations, the
    backward pass's temporaries and the libraries' buffers.
    """
    from internlm_course.model import load_tokenizer
    from internlm_course.pretrain.loop import LOG_EVERY, pretrain
    parameters = parameter_count(config.shape(phase, len(load_tokenizer(tokenizer))))
    trial = dataclasses.replace(phase, steps=min(phase.steps, 3 * LOG_EVERY))
    # Checkpoints all the time: their copies belong to the peak.
    trying = dataclasses.replace(config, checkpoint_seconds=0.0)
    give_back()  # or the loop would do it between the trial and the run
    with tempfile.TemporaryDirectory() as folder, PeakMemory() as memory:
        before = memory.lap()
        curve = []
        pretrain(trying, trial, documents, {}, tokenizer, Path(folder), start, device, on_step=curve.append)
    own, whole = memory_terms(parameters, trial), memory_terms(parameters, phase)
    left = max(0, memory.peak_bytes - before - sum(own.values()))
    elapsed = [record['tokens'] / record['tokens_per_second'] for record in curve]
    pace = ((elapsed[-1] - elapsed[0]) / (curve[-1]['step'] - curve[0]['step']) if len(curve) > 1
            else elapsed[0] / trial.steps)
    seconds = elapsed[0] + pace * (phase.steps - curve[0]['step'])
    terms = dict(process=before, **whole, activations=left)
    return Prediction(seconds, sum(terms.values()), phase.tokens, law and law(parameters, phase.tokens), terms)


def compare(prediction: Prediction, metrics: Mapping[str, object]) -> dict[str, dict[str, float]]:
    """The prediction beside what happened: for each of seconds, tokens, loss, memory_bytes {predicted, measured,
    error}; error is relative.

    Args:
        metrics: what `pretrain` returned; `peak_memory_bytes` of a `PeakMemory` around it may be added.
    """
    measured = dict(seconds=metrics['seconds'], tokens=metrics['tokens'], loss=final_loss(metrics['curve']),
                    memory_bytes=metrics.get('peak_memory_bytes'))
    table = {}
    for name, value in measured.items():
        said = getattr(prediction, name)
        if said is not None and value is not None:
            table[name] = dict(predicted=said, measured=value, error=round(said / value - 1, 4) if value else math.inf)
    return table


def pretrain_as_predicted(config: PretrainConfig, phase: Phase, documents: Mapping[str, list],
                          validation: Mapping[str, tuple[list, list]],
                          tokenizer: Path, out: Path, on_step: Callable[[dict], None] = lambda record: None,
                          on_prediction: Callable[[Prediction], None] = lambda prediction: None) -> dict:
    """`pretrain` from random weights with `predict` before it and `compare` after it; the prediction stands in `out`
    for a run that resumes.

    Returns: `pretrain`'s metrics and `prediction`, the table of `compare`.
    """
    from internlm_course.pretrain.loop import pretrain
    path = out / 'prediction.json'
    if path.exists():
        prediction = Prediction(**json.loads(path.read_text('utf-8')))
    else:
        # No law: the sweep's runs are far shorter than a full phase, and what it says there is wrong.
        prediction = predict(config, phase, documents, tokenizer)
        partial = path.with_suffix('.partial')
        partial.write_text(json.dumps(dataclasses.asdict(prediction)), 'utf-8')
        partial.replace(path)
    on_prediction(prediction)
    with PeakMemory() as memory:
        metrics = pretrain(config, phase, documents, validation, tokenizer, out, on_step=on_step)
    metrics['prediction'] = compare(prediction, metrics | dict(peak_memory_bytes=memory.peak_bytes))
    (out / 'metrics.json').write_text(json.dumps(metrics, indent=1) + '\n', 'utf-8')
    return metrics
