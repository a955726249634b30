"""Trains the chain for several seeds and scores every model in this process: what a recipe is chosen by, and where the
course's range comes from.

    python -m internlm_course.staff.seeds --seeds 0 1 2 3 4 [--jobs 2] [--until sft] [--root runs/seeds] [--ship]

One run may stand at an edge that another processor's rounding falls off, so a recipe is judged by its worst seed. The
items and the marking are the chain's own; servers and OpenCompass are left out, which saves minutes a seed
(tests/chain/test_staff.py holds the two ways together). `--jobs` seeds train side by side, each on its share of the
cores. Writes tests/bench/results/seeds-<date>-<kind>.json; `--ship` adds the runs to `range.json`, which the package
compares a student's run with.
"""
import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from internlm_course import jsonl
from internlm_course.names import MODELS
from internlm_course.report.ranges import RANGES
from internlm_course.staff.several import side_by_side

NAMES = tuple(MODELS)
ALIGNED = dict(sft='checks', chat='aligned_checks')  # what verified replies of a model are called in a record
BATCH = 40  # prompts that are continued together
RESULTS = Path(__file__).resolve().parents[2] / 'tests' / 'bench' / 'results'


# --- scores without a server ------------------------------------------------------------------------------------------
class Answerer:
    """A checkpoint that continues texts greedily, many at a time; INT4 weights are widened first, as the server's CPU
    device does it."""

    def __init__(self, checkpoint: Path):
        from internlm_course.model import load_tokenizer
        from internlm_course.model.chat import STOP
        self.tokenizer = load_tokenizer(checkpoint)
        self.model = load_wide(checkpoint).eval()
        lines = [token for token in range(len(self.tokenizer)) if '\n' in self.tokenizer.decode([token])]
        self.ends = [self.tokenizer.convert_tokens_to_ids(name) for name in STOP]
        self.line_ends = sorted({*lines, *self.ends})

    def __call__(self, prompts: Sequence[str], most: int, whole: bool = False) -> list[str]:
        """What follows each prompt, up to `most` tokens: to the end of the line, or of the message (`whole`)."""
        import torch
        encoded = [self.tokenizer(prompt).input_ids for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
        texts = [''] * len(prompts)
        for start in range(0, len(order), BATCH):
            batch = order[start:start + BATCH]
            width = max(len(encoded[i]) for i in batch)
            blanks = [width - len(encoded[i]) for i in batch]
            with torch.inference_mode():
                rows = self.model.generate(
                    input_ids=torch.tensor([[0] * blank + encoded[i] for blank, i in zip(blanks, batch)]),
                    attention_mask=torch.tensor([[0] * blank + [1] * (width - blank) for blank in blanks]),
                    max_new_tokens=most, do_sample=False, pad_token_id=0,
                    eos_token_id=self.ends if whole else self.line_ends)
            for i, row in zip(batch, rows[:, width:].tolist()):
                # A row that ended first is filled with 0
                texts[i] = self.tokenizer.decode([token for token in row if token])
        return texts


def load_wide(checkpoint: Path):
    """The model in float32, from a checkpoint in any format that the chain writes."""
    import torch

    from internlm_course.model import InternLM2Config, InternLM2ForCausalLM, load_model
    settings = json.loads((checkpoint / 'config.json').read_text('utf-8'))
    if 'quantization_config' not in settings:
        return load_model(checkpoint, dtype=torch.float32)
    from lmdeploy.pytorch.backends.default.awq_modules import dequantize_gemm
    from safetensors.torch import load_file
    stored = {name: weight for path in checkpoint.glob('*.safetensors') for name, weight in load_file(path).items()}
    group = settings.pop('quantization_config')['group_size']
    weights = {name: weight.float() for name, weight in stored.items() if name.endswith(('.weight', '.bias'))}
    for name in [name.removesuffix('.qweight') for name in stored if name.endswith('.qweight')]:
        packed = (stored[f'{name}.{part}'] for part in ('qweight', 'qzeros', 'scales'))
        weights[f'{name}.weight'] = dequantize_gemm(*packed, 4, group).t().float()
    model = InternLM2ForCausalLM(InternLM2Config.from_pretrained(checkpoint))
    model.load_state_dict(weights)
    return model


def score(checkpoint: Path, items: Mapping[str, Sequence[Mapping]], chat: bool) -> dict[str, float]:
    """The share of right answers in each suite {suite: items}; as OpenCompass does it, chat models are asked in chat
    and answer in a sentence."""
    from internlm_course.evaluate.opencompass import CHATTED, CONTINUED, longest
    from internlm_course.marking import is_correct
    from internlm_course.model.chat import render
    asked, expected = CHATTED if chat else CONTINUED
    answer, shares = Answerer(checkpoint), {}
    for suite, rows in items.items():
        texts = [row[asked] for row in rows]
        if chat:
            texts = [render([dict(role='user', content=text)], add_generation_prompt=True) for text in texts]
        given = answer(texts, longest(rows, expected))
        shares[suite] = sum(is_correct(text, row[expected]) for text, row in zip(given, rows)) / len(rows)
    return shares


def score_agent(checkpoint: Path, problems: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """The share of long multiplications solved with the calculator and without: the messages of `agents.multiply`,
    without a server and Lagent."""
    from internlm_course.agents.calculator import calculate
    from internlm_course.marking import is_correct
    from internlm_course.model.chat import PLUGIN, TOOL_PROMPT, parse_call, render
    answer = Answerer(checkpoint)
    told = dict(role='system', name=PLUGIN, content=TOOL_PROMPT)
    questions = [dict(role='user', content=problem['question']) for problem in problems]
    calls = answer([render([told, question], add_generation_prompt=True) for question in questions], 64, whole=True)
    talks = []
    for question, text in zip(questions, calls):
        name, parameters = parse_call(text) or ('', {})
        try:
            result = calculate(str(parameters.get('expression', ''))) if name == 'calculator' else ''
        except ValueError as error:
            result = str(error)
        talks.append([told, question, dict(role='assistant', content=text.removesuffix('<|im_end|>')),
                      dict(role='environment', name=PLUGIN, content=result)])
    texts = dict(with_tools=answer([render(talk, add_generation_prompt=True) for talk in talks], 64, whole=True),
                 without_tools=answer([render([question], add_generation_prompt=True) for question in questions], 64,
                                      whole=True))
    return {kind: sum(is_correct(text, problem['answer']) for text, problem in zip(given, problems)) / len(problems)
            for kind, given in texts.items()}


def score_checks(checkpoint: Path, prompts: Path) -> dict[str, float]:
    """The share of held-out prompts to which a chat model's reply is verified, {check: share}; of the instructions the
    share whose form is kept, right or wrong, as `obeyed`; of the questions that it could answer the share that it
    refuses, as `refused_known`."""
    from internlm_course.align.chat import CHECKED, share
    from internlm_course.model.chat import render
    from internlm_course.verify import is_refusal, obeys
    from internlm_course.world.instructions import messages
    answer, items, texts = Answerer(checkpoint), {}, {}
    for name in {name for name, _ in CHECKED.values()}:
        items[name] = list(jsonl.rows(prompts / f'{name}.jsonl'))
        texts[name] = answer([render(messages(row), add_generation_prompt=True) for row in items[name]], 48, whole=True)
    shares = {check: share(texts[name], items[name], rule) for check, (name, rule) in CHECKED.items()}
    kept = [obeys(item['constraint'], text) for item, text in zip(items['constraints'], texts['constraints'])]
    return shares | dict(obeyed=sum(kept) / len(kept),
                         refused_known=sum(map(is_refusal, texts['known'])) / len(items['known']))


# --- one seed, many seeds ---------------------------------------------------------------------------------------------
def run_seed(seed: int, root: Path, until: str, scale: str = 'tiny') -> dict:
    """Trains the chain from `seed` up to the model `until` and scores every model on the way."""
    from internlm_course.course import Course
    from internlm_course.evaluate.suites import read_items
    course = Course.open(scale, root, seed=seed, listen=lambda stage, record: _tell(seed, stage, record))
    items = read_items(course.crawl().path / 'items')
    problems = list(jsonl.rows(course.crawl().path / 'agent.jsonl'))
    record = dict(seed=seed, seconds={}, models={}, bits_per_byte={})
    for name in NAMES[:NAMES.index(until) + 1]:
        artifact = getattr(course, name)(mine=True)
        record['seconds'][name] = artifact.seconds
        record['bits_per_byte'][name] = artifact.metrics.get('bits_per_byte')
        record['models'][name] = score(artifact.path, items, chat=MODELS[name].chats)
        if name == 'sft':
            record['agent'] = score_agent(artifact.path, problems)
        if name in ALIGNED:
            record[ALIGNED[name]] = score_checks(artifact.path, course.preferences().path / 'prompts' / 'heldout')
        _tell(seed, name, dict(scores=record['models'][name]))
    return record


def _tell(seed: int, stage: str, record: dict) -> None:
    if 'scores' in record:
        print(f'seed {seed} {stage}: ' + '  '.join(f'{suite} {share:.0%}' for suite, share in record['scores'].items()),
              file=sys.stderr, flush=True)
    elif 'loss' in record and record['step'] % 200 == 0:
        print(f'seed {seed} {stage}: step {record["step"]} of {record["steps"]}, loss {record["loss"]:.3f}, '
              f'{record["tokens_per_second"]:,.0f} tokens/s', file=sys.stderr, flush=True)


def run_seeds(seeds: Sequence[int], root: Path, until: str, jobs: int, scale: str = 'tiny') -> list[dict]:
    """Each seed in a process of its own, `jobs` at a time, each on its share of the cores."""
    from internlm_course.course import Course
    shared = Course.open(scale, root)  # what all seeds share is made once, before they start
    shared.tokens()
    shared.conversations()
    lines = {f'Seed {seed}': ['-m', 'internlm_course.staff.seeds', '--one', str(seed), '--root', str(root), '--until',
                              until, '--scale', scale] for seed in seeds}
    return sorted((record for _, record in side_by_side(lines, jobs)), key=lambda record: record['seed'])


# --- the record -------------------------------------------------------------------------------------------------------
def processor() -> str:
    """The CPU's name with its best instruction set for matrices, as `doctor` and the results name a kind."""
    import torch
    names = [line.split(':', 1)[1].strip()
             for line in Path('/proc/cpuinfo').read_text().splitlines() if line.startswith('model name')]
    return f'{names[0] if names else platform.processor()} ({kind()}), torch {torch.__version__}'


def kind() -> str:
    """AMX, AVX512-BF16, AVX512 or AVX2."""
    import torch
    if torch.cpu._is_amx_tile_supported():
        return 'AMX'
    if torch.cpu._is_avx512_bf16_supported():
        return 'AVX512-BF16'
    return torch.backends.cpu.get_cpu_capability()


def summary(records: Sequence[Mapping]) -> dict[str, dict[str, dict[str, float]]]:
    """{model: {suite: {min, median}}} over the seeds, the agent's and the checks of chat among the models."""
    table = {}
    for model in (*NAMES, 'agent', *ALIGNED.values()):
        rows = [record[model] if model in record else record['models'][model] for record in records
                if model in record or model in record['models']]
        if rows:
            table[model] = {suite: dict(min=round(min(row[suite] for row in rows), 4),
                                        median=round(statistics.median(row[suite] for row in rows), 4))
                            for suite in rows[0]}
    return table


def commit() -> str:
    """The commit of the code that trained, with a + where the tree holds more."""
    def git(*arguments: str) -> str:
        return subprocess.run(['git', *arguments], cwd=Path(__file__).parent, capture_output=True,
                              text=True).stdout.strip()
    return git('rev-parse', '--short', 'HEAD') + '+' * bool(git('status', '--porcelain', '--', '..'))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--jobs', type=int, default=1, help='seeds that train side by side')
    parser.add_argument('--until', choices=NAMES, default='int4')
    parser.add_argument('--root', type=Path, default=Path('runs/seeds'))
    parser.add_argument('--scale', choices=('tiny', 'smoke'), default='tiny')
    parser.add_argument('--ship', action='store_true', help='also add the runs to the range that ships')
    parser.add_argument('--one', type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(run_seed(options.one, options.root, options.until, options.scale)))
        return
    from internlm_course.machine import cpu_dtype
    began = time.monotonic()
    records = run_seeds(options.seeds, options.root, options.until, options.jobs, options.scale)
    seeds = ' '.join(map(str, options.seeds))
    result = dict(date=str(date.today()),
                  command=f'python -m internlm_course.staff.seeds --seeds {seeds} --jobs {options.jobs} --until '
                          f'{options.until}',
                  processor=processor(), precision=cpu_dtype(), commit=commit(),
                  seconds=round(time.monotonic() - began, 1), seeds=records, summary=summary(records))
    path = RESULTS / f'seeds-{result["date"]}-{kind()}.json'
    path.write_text(json.dumps(result, indent=1) + '\n', 'utf-8')
    if options.ship:
        ship(result)
    for model, suites in result['summary'].items():
        print(f'{model:9}' + '  '.join(f'{suite} {row["min"]:.0%} ({row["median"]:.0%})'
                                       for suite, row in suites.items()))
    print(path)


def ship(result: Mapping) -> None:
    """Adds the runs of a result to `range.json`, in place of those of the same seeds on the same processor."""
    known = json.loads(RANGES.read_text('utf-8'))['runs'] if RANGES.exists() else []
    fresh = [dict(processor=result['processor'], precision=result['precision'], commit=result['commit'],
                  seed=record['seed'],
                  seconds=round(sum(record['seconds'].values()), 1), models=record['models'],
                  agent=record.get('agent', {}))
             for record in result['seeds']]
    made = {(run['processor'], run['seed']) for run in fresh}
    runs = [run for run in known if (run['processor'], run['seed']) not in made] + fresh
    RANGES.write_text(json.dumps(dict(runs=runs), indent=1) + '\n', 'utf-8')


if __name__ == '__main__':
    main()
