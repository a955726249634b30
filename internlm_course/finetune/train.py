"""Supervised fine-tuning (InternLM2 report, section 4.1): checks what it is given, lets XTuner train, reads the loss
curve back."""
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from internlm_course.errors import CourseError
from internlm_course.finetune.config import SFTSettings, config_text
from internlm_course.finetune.messages import count_tokens, is_message, known_fields
from internlm_course.finetune.run import need_checkpoint, run_xtuner
from internlm_course.jsonl import numbered
from internlm_course.model.chat import ROLES

FORM = ('Give a jsonl file; a line is {"messages": [{"role", "content"}, …]}, '
        f'roles {", ".join(ROLES)}, one turn of the assistant.')


def sft(checkpoint: Path, conversations: Path, out: Path, settings: SFTSettings, home: Path,
        on_step: Callable[[dict], None] | None = None) -> dict:
    """Fine-tunes a checkpoint and writes the merged checkpoint; the same seed gives the same weights, bit for bit, on
    one machine.

    Args:
        checkpoint: folder in Hugging Face format.
        conversations: jsonl of {'messages': [{'role', 'content', optional 'name'}]}.
        out: gets the checkpoint, metrics.json (what is returned) and logs/ with XTuner's config and log; what a killed
            call left there is gone on from.
        home: folder for caches.
        on_step: called while it trains, as `lab.plots.LossCurve` wants it; see `run.run_xtuner`.

    Returns:
        loss: [[packed sequences seen, loss], …]; steps (of the optimiser), tokens (of one epoch), cut_conversations,
            trainable_parameters, samples: [{step, answers}] to the sample questions; train_seconds, seconds, settings.

    Raises:
        CourseError: settings or files that cannot work (before anything starts), or XTuner failed.
    """
    start = time.perf_counter()
    settings.check()
    checkpoint, conversations, out = Path(checkpoint).resolve(), Path(conversations).resolve(), Path(out).resolve()
    examples = read_conversations(conversations)
    tokens, cut = _measure(checkpoint, examples, settings)
    # At least two steps: a schedule with warm-up and decay has no room in one.
    steps = max(2, settings.max_iters
                or round(settings.epochs * max(1, tokens // settings.max_length) / settings.batch_size))

    def write_config(path: Path, gpu: bool, processes: int) -> str:
        return config_text(checkpoint, path, settings, steps * settings.batch_size, gpu, processes)
    found = run_xtuner('sft', checkpoint, examples, write_config, out, settings, steps, home, on_step)
    metrics = dict(loss=found.pop('curves')['loss'], steps=steps, tokens=tokens, cut_conversations=cut, **found,
                   settings=asdict(settings), seconds=time.perf_counter() - start)
    (out / 'metrics.json').write_text(json.dumps(metrics, indent=2), 'utf-8')
    return metrics


def read_conversations(path: Path) -> list[dict]:
    """
    Raises:
        CourseError: the file is missing, empty or no jsonl, or a line is not a conversation in which the assistant
            speaks.
    """
    examples = []
    for number, row in numbered(path, FORM):
        messages, text = row.get('messages'), row.get('text')
        if isinstance(text, str) and text and messages is None:
            examples.append(dict(text=text))
            continue
        good = isinstance(messages, list) and all(map(is_message, messages))
        if not good or all(message['role'] != 'assistant' for message in messages):
            raise CourseError(f'Line {number} of {path} is not a conversation.', FORM)
        examples.append(dict(messages=list(map(known_fields, messages))))
    if not examples:
        raise CourseError(f'The file {path} holds no conversation.', FORM)
    return examples


def _measure(checkpoint: Path, examples: list[dict], settings: SFTSettings) -> tuple[int, int]:
    from internlm_course.model import load_tokenizer

    need_checkpoint(checkpoint)
    return count_tokens(examples, load_tokenizer(checkpoint), settings.max_length)
