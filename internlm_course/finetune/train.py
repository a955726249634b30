"""Supervised fine-tuning (InternLM2 report, section 4.1): checks what it is given, lets XTuner train, reads the loss
curve back."""
import json
import os
import shutil
import time
from dataclasses import asdict
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.finetune.config import SFTSettings, config_text
from internlm_course.finetune.messages import count_tokens
from internlm_course.jsonl import numbered, rows, write
from internlm_course.model.chat import ROLES
from internlm_course.process import run_tool

KNOWN = ('role', 'content', 'name', 'tool_calls')
FORM = ('Give a jsonl file; a line is {"messages": [{"role", "content"}, …]}, '
        f'roles {", ".join(ROLES)}, one turn of the assistant.')


def sft(checkpoint: Path, conversations: Path, out: Path, settings: SFTSettings, home: Path) -> dict:
    """Fine-tunes a checkpoint and writes the merged checkpoint; the same seed gives the same weights, bit for bit, on
    one machine.

    Args:
        checkpoint: folder in Hugging Face format.
        conversations: jsonl of {'messages': [{'role', 'content', optional 'name'}]}.
        out: gets the checkpoint, metrics.json (what is returned) and logs/ with XTuner's config and log.
        home: folder for caches.

    Returns:
        loss: [[packed sequences seen, loss], …]; steps (of the optimiser), tokens (of one epoch), cut_conversations,
            trainable_parameters,
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
    steps = max(2, settings.max_iters
                or round(settings.epochs * max(1, tokens // settings.max_length) / settings.batch_size))
    logs = out / 'logs'
    logs.mkdir(parents=True, exist_ok=True)
    config, work = logs / 'config.py', logs / 'xtuner'
    # As they were read here: XTuner's own reader stops at a byte order mark or half of a surrogate pair.
    plain = logs / 'conversations.jsonl'
    write(plain, examples)
    gpu = torch.cuda.is_available()
    processes, threads = (1, {}) if gpu else share_cores(settings.batch_size)
    config.write_text(config_text(checkpoint, plain, settings, steps * settings.batch_size, gpu, processes), 'utf-8')
    run_tool('internlm_course.finetune.launch',
             [str(config), str(work), str(checkpoint), str(out), settings.method, str(processes)],
             logs / 'xtuner.log', home, threads)
    metrics = dict(loss=_loss_curve(work, processes), steps=steps, tokens=tokens, cut_conversations=cut,
                   **json.loads((work / 'result.json').read_text('utf-8')), settings=asdict(settings))
    shutil.rmtree(work)  # the adapter is in the merged weights, the curve in metrics.json
    metrics['seconds'] = time.perf_counter() - start
    (out / 'metrics.json').write_text(json.dumps(metrics, indent=2), 'utf-8')
    return metrics


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


def read_conversations(path: Path) -> list[dict]:
    """
    Raises:
        CourseError: the file is missing, empty or no jsonl, or a line is not a conversation in which the assistant
            speaks.
    """
    examples = []
    for number, row in numbered(path, FORM):
        messages = row.get('messages')
        good = isinstance(messages, list) and all(map(_is_message, messages))
        if not good or all(message['role'] != 'assistant' for message in messages):
            raise CourseError(f'Line {number} of {path} is not a conversation.', FORM)
        # XTuner's reader wants fields of the same types in all messages: what the chat format does not know is left
        # out.
        known = [{key: value for key, value in message.items() if key in KNOWN} for message in messages]
        examples.append(dict(messages=known))
    if not examples:
        raise CourseError(f'The file {path} holds no conversation.', FORM)
    return examples


def _is_message(message: object) -> bool:
    return (isinstance(message, dict) and message.get('role') in ROLES and isinstance(message.get('content'), str)
            and isinstance(message.get('name'), str | None) and _are_calls(message.get('tool_calls') or []))


def _are_calls(calls: object) -> bool:
    def is_call(call: object) -> bool:
        function = call.get('function') if isinstance(call, dict) else None
        return isinstance(function, dict) and isinstance(function.get('name'), str) and 'arguments' in function
    return isinstance(calls, list) and all(map(is_call, calls))


def _measure(checkpoint: Path, examples: list[dict], settings: SFTSettings) -> tuple[int, int]:
    from internlm_course.model import load_tokenizer

    if not (checkpoint / 'config.json').is_file():
        raise CourseError(f'There is no checkpoint in {checkpoint}.', 'Check the path, or build the model first.')
    return count_tokens(examples, load_tokenizer(checkpoint), settings.max_length)


def _loss_curve(work: Path, processes: int) -> list[list[float]]:
    """[[packed sequences seen, loss], …] from the log that mmengine keeps of the first rank, which sees one of
    `processes` at a time."""
    path = next(work.glob('*/vis_data/scalars.json'))
    return [[row.get('iter', row['step']) * processes, row['loss']] for row in rows(path) if 'loss' in row]
