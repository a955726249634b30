"""Supervised fine-tuning (InternLM2 report, section 4.1): checks what it is given, lets XTuner train, reads the loss curve back."""
import json
import os
import shutil
import time
from dataclasses import asdict
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.finetune.config import SFTSettings, config_text
from internlm_course.finetune.messages import count_tokens
from internlm_course.process import run_tool

ROLES = ('system', 'user', 'assistant', 'environment')


def sft(checkpoint: Path, conversations: Path, out: Path, settings: SFTSettings, home: Path) -> dict:
    """Fine-tunes a checkpoint and writes the merged checkpoint; the same seed gives the same weights, bit for bit, on one machine.

    Args:
        checkpoint: folder in Hugging Face format.
        conversations: jsonl of {'messages': [{'role', 'content', optional 'name'}]}.
        out: gets the checkpoint, metrics.json (what is returned) and logs/ with XTuner's config and log.
        home: folder for caches.

    Returns:
        loss: [[packed sequences seen, loss], …]; steps (of the optimiser), tokens (of one epoch), cut_conversations, trainable_parameters,
        train_seconds, seconds, settings.

    Raises:
        CourseError: settings or files that cannot work (before anything starts), or XTuner failed.
    """
    import torch

    start = time.perf_counter()
    settings.check()
    checkpoint, conversations, out = Path(checkpoint).resolve(), Path(conversations).resolve(), Path(out).resolve()
    examples = read_conversations(conversations)
    tokens, cut = _measure(checkpoint, examples, settings)
    # At least two steps: a schedule with warm-up and decay has no room in one.
    steps = max(2, settings.max_iters or round(settings.epochs * max(1, tokens // settings.max_length) / settings.batch_size))
    logs = out / 'logs'
    logs.mkdir(parents=True, exist_ok=True)
    config, work = logs / 'config.py', logs / 'xtuner'
    gpu = torch.cuda.is_available()
    processes, threads = (1, {}) if gpu else share_cores(settings.batch_size)
    config.write_text(config_text(checkpoint, conversations, settings, steps * settings.batch_size, gpu, processes), 'utf-8')
    run_tool('internlm_course.finetune.launch', [str(config), str(work), str(checkpoint), str(out), settings.method, str(processes)],
             logs / 'xtuner.log', home, threads)
    metrics = dict(loss=_loss_curve(work, processes), steps=steps, tokens=tokens, cut_conversations=cut,
                   **json.loads((work / 'result.json').read_text('utf-8')), settings=asdict(settings))
    shutil.rmtree(work)  # the adapter is in the merged weights, the curve in metrics.json
    metrics['seconds'] = time.perf_counter() - start
    (out / 'metrics.json').write_text(json.dumps(metrics, indent=2), 'utf-8')
    return metrics


def share_cores(batch_size: int) -> tuple[int, dict[str, str]]:
    """How many XTuner processes share a step on this computer's CPU, and the environment that gives each its part of the cores.

    Two where there are two cores and a step's sequences divide. One short sequence is too little work for two threads,
    which are hardly faster than one; two processes of one thread get much more done. More would each hold a gigabyte
    more.
    """
    cores = len(os.sched_getaffinity(0))
    processes = 2 if cores > 1 and batch_size % 2 == 0 else 1
    return processes, {'OMP_NUM_THREADS': str(cores // processes)}


def read_conversations(path: Path) -> list[dict]:
    """
    Raises:
        CourseError: the file is missing, empty or no jsonl, or a line is not a conversation in which the assistant speaks.
    """
    try:
        lines = [line for line in Path(path).read_text('utf-8').splitlines() if line.strip()]
    except (OSError, UnicodeError) as error:
        raise CourseError(f'The conversations {path} cannot be read: {error}.', 'Check the path, or build the corpus first.') from error
    if not lines:
        raise CourseError(f'The file {path} holds no conversation.', 'Give a jsonl file of {"messages": […]} lines.')
    examples = []
    for number, line in enumerate(lines, 1):
        try:
            example = json.loads(line)
            good = all(message['role'] in ROLES and isinstance(message['content'], str) for message in example['messages'])
            good = good and any(message['role'] == 'assistant' for message in example['messages'])
        except (ValueError, KeyError, TypeError):
            good = False
        if not good:
            raise CourseError(f'Line {number} of {path} is not a conversation.',
                              f'A line is {{"messages": [{{"role", "content"}}, …]}}; roles {", ".join(ROLES)}, one turn of the assistant.')
        examples.append(example)
    return examples


def _measure(checkpoint: Path, examples: list[dict], settings: SFTSettings) -> tuple[int, int]:
    from internlm_course.model import load_tokenizer

    if not (checkpoint / 'config.json').is_file():
        raise CourseError(f'There is no checkpoint in {checkpoint}.', 'Check the path, or build the model first.')
    return count_tokens(examples, load_tokenizer(checkpoint), settings.max_length)


def _loss_curve(work: Path, processes: int) -> list[list[float]]:
    """[[packed sequences seen, loss], …] from the log that mmengine keeps of the first rank, which sees one of `processes` at a time."""
    path = next(work.glob('*/vis_data/scalars.json'))
    rows = [json.loads(line) for line in path.read_text('utf-8').splitlines()]
    return [[row.get('iter', row['step']) * processes, row['loss']] for row in rows if 'loss' in row]
