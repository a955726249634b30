"""OpenCompass, called once for all models and suites: base checkpoints through transformers, served chat models over
the OpenAI protocol.

One call, because importing OpenCompass takes longer than scoring a small model."""
import json
import re
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from internlm_course import jsonl
from internlm_course.errors import CourseError
from internlm_course.evaluate.suites import chance, read_items
from internlm_course.marking import is_correct, mark
from internlm_course.mmconfig import call, write_config
from internlm_course.process import open_loopback, run_tool

BATCH = 64
CONCURRENCY = 8
CONTINUED, CHATTED = ('prompt', 'answer'), ('question', 'reply')
PLUGINS, ICL = 'internlm_course.evaluate.plugins', 'opencompass.openicl'
NEVER_CUT = 1 << 20  # OpenCompass cuts a prompt that is longer than max_seq_len, without a word: here no prompt is


@dataclass(frozen=True)
class EvalModel:
    """A model to score under `name`: the base model in the folder `checkpoint`, or the chat model that `url` serves as
    `served_name`."""
    name: str
    checkpoint: Path | None = None
    url: str | None = None
    served_name: str | None = None

    @property
    def fields(self) -> tuple[str, str]:
        """The fields of an item that the model reads and that it should say."""
        return CONTINUED if self.url is None else CHATTED


def score(models: Sequence[EvalModel], items: Path, out: Path, home: Path, limit: int | None = None,
          suites: Sequence[str] | None = None) -> dict[str, dict[str, dict[str, float]]]:
    """Scores every model on every suite, greedily; base models continue `prompt` with `answer`, chat models answer
    `question` with `reply`.

    Args:
        models: names must differ.
        items: folder of <suite>.jsonl files.
        out: gets metrics.json (what is returned), predictions/<model>/<suite>.jsonl, and logs/ with the config and
            OpenCompass's own files.
        home: folder for caches.
        limit: at most so many items per suite.
        suites: which suites; None means all.

    Returns:
        {model: {suite: {score, n, low, high, chance, dimension}}}, the numbers but n in [0, 1].

    Raises:
        CourseError: bad arguments, a server that does not answer, or a score that OpenCompass did not deliver (it names
            model and suite).
    """
    rows = read_items(items, suites, limit)
    _check(models)
    logs = Path(out).resolve() / 'logs'
    data = logs / 'items'
    data.mkdir(parents=True)
    for suite, lines in rows.items():
        kept = [{key: item[key] for key in ('id', 'prompt', 'question', 'answer', 'reply')} for item in lines]
        jsonl.write(data / f'{suite}.jsonl', kept)
    config = logs / 'config.py'
    config.write_text(config_text(models, rows, data), 'utf-8')
    try:
        run_tool('internlm_course.evaluate.launch', [str(config), '--debug', '--work-dir', str(logs / 'opencompass')],
                 logs / 'opencompass.log', home)
    except CourseError as error:
        missing = _missing(models, rows, logs)
        raise CourseError(f'OpenCompass gave no score for {missing}. {error.cause}' if missing else error.cause,
                          error.remedy) from error
    if missing := _missing(models, rows, logs):
        raise CourseError(f'OpenCompass gave no score for {missing}.',
                          f'The whole log is in {logs / "opencompass.log"}.')
    result = {model.name: {suite: _collect(model, suite, lines, logs, Path(out)) for suite, lines in rows.items()}
              for model in models}
    (Path(out) / 'metrics.json').write_text(json.dumps(result, indent=2), 'utf-8')
    return result


def config_text(models: Sequence[EvalModel], rows: Mapping[str, Sequence[Mapping]], data: Path) -> str:
    """The OpenCompass config: models, datasets, which model meets which prompt, and runners that stay in this process.

    Args:
        rows: {suite: items}; only the longest answer or reply of a suite matters here, it sets how many tokens may be
            generated.
        data: folder with the <suite>.jsonl that OpenCompass reads.
    """
    base = [_base_model(model) for model in models if model.url is None]
    chat = [_chat_model(model) for model in models if model.url is not None]
    combinations = [dict(models=entries,
                         datasets=[_dataset(suite, lines, data, *fields) for suite, lines in rows.items()])
                    for entries, fields in ((base, CONTINUED), (chat, CHATTED)) if entries]
    one_per_model = call('opencompass.partitioners', 'NaivePartitioner', n=len(rows))  # so that each is loaded once
    asking = call(PLUGINS, 'SideBySide', task=call('opencompass.tasks', 'OpenICLInferTask'))
    marking = call('opencompass.runners', 'LocalRunner', task=call('opencompass.tasks', 'OpenICLEvalTask'))
    return write_config('OpenCompass config: `opencompass config.py --debug` gives the same scores.', {
        'Which models meet which prompt': dict(model_dataset_combinations=combinations),
        'All models, and the suites': dict(models=base + chat, datasets=combinations[0]['datasets']),
        'Runners': dict(infer=dict(partitioner=one_per_model, runner=asking),
                        eval=dict(partitioner=one_per_model, runner=marking))})


def _base_model(model: EvalModel) -> dict:
    import torch

    from internlm_course.machine import cpu_dtype

    gpu = torch.cuda.is_available()
    dtype = 'torch.bfloat16' if gpu or cpu_dtype() == 'bfloat16' else 'torch.float'
    path = str(Path(model.checkpoint).resolve())
    return call('opencompass.models', 'HuggingFaceBaseModel', abbr=model.name, path=path, max_seq_len=NEVER_CUT,
                batch_size=BATCH, max_out_len=64, stop_words=['\n'],
                model_kwargs=dict(device_map='cuda:0' if gpu else 'cpu', torch_dtype=dtype),
                # transformers' fast tokenizers also return token_type_ids, which a causal model's generate() refuses
                tokenizer_kwargs=dict(model_input_names=['input_ids', 'attention_mask']),
                run_cfg=dict(num_gpus=int(gpu)))


def _chat_model(model: EvalModel) -> dict:
    return call(PLUGINS, 'ServedChat', abbr=model.name, path=model.served_name, openai_api_base=f'{model.url}/',
                key='local', max_seq_len=NEVER_CUT, batch_size=16 * CONCURRENCY,
                max_workers=CONCURRENCY, query_per_second=1000, max_out_len=64, temperature=0.0, retry=2, timeout=120,
                # special tokens stay visible: an answer made only of them would be empty, which OpenCompass takes for a
                # broken server
                extra_body=dict(top_k=1, skip_special_tokens=False, spaces_between_special_tokens=False),
                openai_extra_kwargs=dict(stop=['\n']), run_cfg=dict(num_gpus=0))


def _dataset(suite: str, lines: Sequence[Mapping], data: Path, column: str, expected: str) -> dict:
    return call('opencompass.datasets', 'CustomDataset', abbr=suite, path=str(data / f'{suite}.jsonl'),
                reader_cfg=dict(input_columns=[column], output_column=expected),
                infer_cfg=dict(prompt_template=call(PLUGINS, 'Field', template=f'{{{column}}}'),
                               retriever=call(f'{ICL}.icl_retriever', 'ZeroRetriever'),
                               inferencer=call(f'{ICL}.icl_inferencer', 'GenInferencer',
                                               max_out_len=longest(lines, expected))),
                eval_cfg=dict(evaluator=call(PLUGINS, 'ExactAnswer')))


def longest(lines: Sequence[Mapping], expected: str) -> int:
    """Tokens of the longest answer at most: one holds at least a byte; two more for a blank and the full stop."""
    return max(len(item[expected].encode()) for item in lines) + 2


def _check(models: Sequence[EvalModel]) -> None:
    names = [model.name for model in models]
    odd = [name for name in names if not re.fullmatch(r'[\w.-]+', name) or names.count(name) > 1]
    if odd or not models:
        raise CourseError(f"The models {names} cannot be told apart or named ('{odd[0]}')." if odd
                          else 'No model was given.',
                          'Give each model a name of its own, of letters, digits, dots and dashes.')
    open_loopback()
    for model in models:
        if model.url is None:
            if model.checkpoint is None or not (Path(model.checkpoint) / 'config.json').is_file():
                raise CourseError(f"Model '{model.name}' has no checkpoint in {model.checkpoint}.", 'Check the path.')
            continue
        try:
            with urllib.request.urlopen(f'{model.url}/models', timeout=10) as response:
                served = [entry['id'] for entry in json.load(response)['data']]
        except (OSError, ValueError, KeyError) as error:
            raise CourseError(f"The server of model '{model.name}' at {model.url} does not answer: {error}.",
                              'Start it with `make serve`, or check the address.') from error
        if model.served_name not in served:
            raise CourseError(f"The server at {model.url} serves {', '.join(served)}, not '{model.served_name}'.",
                              'Correct the name.')


def _file(kind: str, model: str, suite: str, logs: Path) -> Path | None:
    return next(logs.glob(f'opencompass/*/{kind}/{model}/{suite}.json'), None)


def _missing(models: Sequence[EvalModel], rows: Mapping, logs: Path) -> str:
    """The first model and suite without a score, '' when all are there: a failed task may leave OpenCompass running
    with a gap."""
    for model in models:
        for suite in rows:
            path = _file('results', model.name, suite, logs)
            if path is None or 'accuracy' not in json.loads(path.read_text('utf-8')):
                untried = '' if _file('predictions', model.name, suite, logs) else ', which stopped while generating'
                return f"model '{model.name}' on suite '{suite}'{untried}"
    return ''


def _collect(model: EvalModel, suite: str, lines: Sequence[Mapping], logs: Path, out: Path) -> dict:
    """Writes predictions/<model>/<suite>.jsonl and returns the suite's row; the marks must be those that OpenCompass
    gave."""
    said = json.loads(_file('predictions', model.name, suite, logs).read_text('utf-8'))
    accuracy = json.loads(_file('results', model.name, suite, logs).read_text('utf-8'))['accuracy']
    texts = [said[key]['prediction'] for key in sorted(said, key=int)]
    _, expected = model.fields
    rows = [dict(id=item['id'], prediction=text, answer=item[expected], correct=is_correct(text, item[expected]))
            for text, item in zip(texts, lines, strict=False)]
    correct = sum(row['correct'] for row in rows)
    if len(texts) != len(lines) or abs(100 * correct / len(lines) - accuracy) > 1e-6:
        raise CourseError(f"OpenCompass's {accuracy}% of model '{model.name}' on suite '{suite}' is not what its "
                          f"{len(texts)} predictions give.",
                          f'The whole log is in {logs / "opencompass.log"}.')
    path = out / 'predictions' / model.name / f'{suite}.jsonl'
    path.parent.mkdir(parents=True, exist_ok=True)
    jsonl.write(path, rows)
    return dict(mark(correct, len(rows)), chance=chance(lines), dimension=lines[0]['dimension'])
