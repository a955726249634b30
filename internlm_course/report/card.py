"""The report card's numbers: what the stages of a run measured, put together (keys as in the README)."""
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path

from internlm_course import jsonl
from internlm_course.machine import cpu_dtype
from internlm_course.report.ranges import Ranges, compare_with_ranges
from internlm_course.store import Artifact

TOOLS = ('torch', 'transformers', 'datatrove', 'xtuner', 'lmdeploy', 'opencompass', 'lagent')
SAMPLED = ('knowledge', 'translation', 'reading', 'addition', 'word_problem', 'code', 'tools')  # suites
ANSWERING = ('base', 'sft')  # the models whose answers stand beside each other


def gather(scale: str, seed: int, seconds_now: float, made: Sequence[Artifact], models: Mapping[str, dict],
           multiplication: dict, funnel: list, samples: list[dict], ranges: Ranges) -> dict:
    """The card of a run.

    Args:
        seconds_now: of this run alone; what was fetched from the store took its own before.
        made: the artifacts of all stages, as they came.
        models: by name what `model_numbers` gives.
        multiplication: the agent's scores with_tools and without_tools.
        ranges: what to compare the models with; empty for nothing.
    """
    stages = [dict(name=each.stage, seconds=each.seconds, peak_memory_bytes=each.peak_memory_bytes, cached=each.cached,
                   metrics=each.metrics) for each in made]
    agent = {kind: multiplication[kind] for kind in ('with_tools', 'without_tools')}
    card = dict(scale=scale, seed=seed, seconds=round(sum(each.seconds for each in made), 1), seconds_now=seconds_now,
                peak_memory_bytes=max(each.peak_memory_bytes for each in made), machine=machine(),
                versions={tool: metadata.version(tool) for tool in TOOLS}, stages=stages, models=dict(models),
                agent=dict(multiplication=dict(agent, n=agent['with_tools']['n'])), data=dict(funnel=funnel),
                samples=samples)
    if ranges:
        card['range'] = compare_with_ranges(card, ranges)
    return card


def model_numbers(model: Artifact, suites: dict, dimensions: dict, decode_tokens_per_second: float | None) -> dict:
    """A model's part of the card: what its making measured, and its scores by dimension and by suite."""
    weights = [file for pattern in ('*.safetensors', '*.bin') for file in model.path.glob(pattern)]
    return dict(bits_per_byte=model.metrics.get('bits_per_byte'), bytes=sum(file.stat().st_size for file in weights),
                linear_bytes=model.metrics.get('linear_bytes_after'),
                decode_tokens_per_second=decode_tokens_per_second, scores=dimensions, suites=suites)


def samples_of(items: Path, predictions: Path) -> list[dict]:
    """One question of each kind with its answer, what each of `ANSWERING` said to it, and whether that is right.

    Args:
        items: folder of <suite>.jsonl, {question, answer} a line.
        predictions: folder of <model>/<suite>.jsonl, {prediction, correct} a line, in the same order.
    """
    samples = []
    for index, suite in enumerate(SAMPLED):
        item = list(jsonl.rows(items / f'{suite}.jsonl'))[index]
        said = {name: list(jsonl.rows(predictions / name / f'{suite}.jsonl'))[index] for name in ANSWERING}
        samples.append(dict(question=item['question'], answer=item['answer'],
                            correct={name: row['correct'] for name, row in said.items()},
                            **{name: row['prediction'] for name, row in said.items()}))
    return samples


def machine() -> dict:
    """The computer of this run, in words."""
    torch = import_module('torch')
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return dict(system=platform.system(), processor=platform.machine(), cores=os.cpu_count(),
                python=sys.version.split()[0], cpu_capability=torch.backends.cpu.get_cpu_capability(),
                cpu_precision=cpu_dtype(), gpu=gpu)
