"""One run of XTuner, whatever it trains: its config and data are written, its process is started and watched, its log
read back."""
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.finetune.config import RunSettings
from internlm_course.jsonl import line_of
from internlm_course.model.chat import generation_prompt
from internlm_course.process import run_tool


def run_xtuner(kind: str, checkpoint: Path, data: Sequence[dict], write_config: Callable[[Path, bool, int], str],
               out: Path, settings: RunSettings, steps: int, home: Path,
               on_step: Callable[[dict], None] | None = None) -> dict:
    """Trains and writes the checkpoint into `out`. Killed and called again with the same, it goes on from its last
    checkpoint.

    Args:
        kind: what is trained, as `launch` knows it: 'sft', 'dpo' or 'reward'.
        data: rows for XTuner, which are laid beside the config.
        write_config: the config's text for (the data's path, gpu, processes).
        steps: of the optimiser.
        on_step: called with {step, steps, tokens, loss, tokens_per_second} some fifty times.

    Returns:
        curves: {name in XTuner's log: [[packed sequences seen, value], …]}; samples: [{step, answers}] if any were
            asked for; train_seconds, trainable_parameters.

    Raises:
        CourseError: XTuner failed.
    """
    import torch

    gpu = torch.cuda.is_available()
    processes, threads = (1, {}) if gpu else share_cores(settings.batch_size)
    logs = out / 'logs'
    config, rows, work = logs / 'config.py', logs / 'data.jsonl', logs / 'xtuner'
    # As they were read here: XTuner's own reader stops at a byte order mark or half of a surrogate pair.
    texts = {config: write_config(rows, gpu, processes), rows: ''.join(map(line_of, data))}
    if any(not path.is_file() or path.read_bytes() != text.encode() for path, text in texts.items()):
        shutil.rmtree(work, ignore_errors=True)  # what another run left
        logs.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            path.write_bytes(text.encode())

    accumulation, told = settings.batch_size // processes, 0

    def watch() -> None:
        nonlocal told
        for row in log_rows(work):
            if row['step'] > told and on_step:
                told = row['step']
                on_step(dict(step=told // accumulation, steps=steps, loss=row['loss'],
                             tokens=told * processes * settings.max_length,
                             tokens_per_second=processes * settings.max_length / row['time']))
    run_tool('internlm_course.finetune.launch',
             [str(config), str(work), str(checkpoint), str(out), kind, str(processes)],
             logs / 'xtuner.log', home,
             # mmengine reads its own checkpoints as torch did before 2.6
             dict(threads, TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD='1'), watch)
    curves: dict[str, list[list[float]]] = {}
    for row in log_rows(work):
        for name in row.keys() - {'iter', 'step', 'lr', 'time', 'data_time', 'memory'}:
            curves.setdefault(name, []).append([row['step'] * processes, row[name]])
    found = dict(curves=curves, samples=list(read_samples(work, accumulation)),
                 **json.loads((work / 'result.json').read_text('utf-8')))
    if getattr(settings, 'keep_adapter', False):
        shutil.rmtree(out / 'adapter', ignore_errors=True)
        (work / 'hf').rename(out / 'adapter')
    shutil.rmtree(work)  # the adapter is in the merged weights, the curve in metrics.json
    return found


def share_cores(batch_size: int) -> tuple[int, dict[str, str]]:
    """How many XTuner processes share a step on this computer's CPU, and the environment that gives each its part of
    the cores.

    Two where there are two cores and a step's sequences divide. One short sequence is too little work for two threads,
    which are hardly faster than one; two processes of one thread get much more done. More would each hold a gigabyte
    more.
    """
    cores = len(os.sched_getaffinity(0))
    processes = 2 if cores > 1 and batch_size % 2 == 0 else 1
    return processes, {'OMP_NUM_THREADS': str(cores // processes)}


def log_rows(work: Path) -> list[dict]:
    """The lines so far of the log that mmengine keeps of the first rank, which sees one of `processes` sequences at a
    time; of a run that was killed and went on, in one piece. `step` counts its sequences."""
    rows = {}
    for path in sorted(work.glob('*/vis_data/scalars.json')):  # a folder for each start, named by its time
        for line in path.read_text('utf-8').split('\n')[:-1]:  # the last one is not whole yet
            row = json.loads(line)
            if 'loss' in row:
                rows[row['step']] = row
    return [rows[step] for step in sorted(rows)]


def read_samples(work: Path, accumulation: int) -> Iterator[dict]:
    """What EvaluateChatHook left at each checkpoint, without the questions."""
    paths = {int(path.stem.rsplit('_', 1)[1]): path for path in sorted(work.glob('*/vis_data/eval_outputs_iter_*.txt'))}
    for iteration, path in sorted(paths.items()):
        talks = re.split(r'^Eval output \d+:\n(?=<s>)', path.read_text('utf-8'), flags=re.M)[1:]
        yield dict(step=(iteration + 1) // accumulation,
                   answers=[talk.rpartition(generation_prompt)[2].strip().removesuffix('<|im_end|>') for talk in talks])


def need_checkpoint(checkpoint: Path) -> None:
    """
    Raises:
        CourseError: there is none.
    """
    if not (checkpoint / 'config.json').is_file():
        raise CourseError(f'There is no checkpoint in {checkpoint}.', 'Check the path, or build the model first.')
