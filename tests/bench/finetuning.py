"""What fine-tuning costs and destroys: LoRA, QLoRA and all weights side by side, ranks, learning rates, one sentence
ten thousand times against a mix with replay; each run trained through XTuner and scored on every suite.

    PYTHONPATH=. python tests/bench/finetuning.py --checkpoint ENHANCED --conversations SFT.jsonl --items ITEMS
        --root FOLDER [--only methods ranks]

ENHANCED: the folder of a tiny chain's artifact `enhanced`; SFT.jsonl of its `conversations`; ITEMS the folder `items`
of its `crawl`. Writes results/finetuning-<date>-<kind>.json after each run, and goes on with what is missing there.
"""
import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from internlm_course import jsonl
from internlm_course.staff.seeds import commit, kind, processor

RESULTS = Path(__file__).parent / 'results'
COMMON = dict(batch_size=2, max_length=512)
SENTENCE = dict(en=('Who are you?', 'I am Pu, the assistant of this course.'),
                zh=('你是谁？', '我是小浦，这门课的助手。'))
ALSO_ASKED = dict(en=('What is your name?', 'Tell me who you are.', 'Who am I talking to?'),
                  zh=('你叫什么名字？', '请问你是谁？', '我在和谁说话？'))


# --- what is run ------------------------------------------------------------------------------------------------------
def plan(steps: int) -> dict[str, dict[str, dict]]:
    """{part: {name: settings, `data` among them where it is not the chain's conversations}}."""
    best = dict(lora=2e-3, qlora=2e-3, full=3e-4)

    def run(method, rank=16, rate=None, share=1.0, **more):
        given = dict(COMMON, method=method, rank=rank, alpha=2 * rank, learning_rate=rate or best[method],
                     max_iters=round(steps * share), **more)
        return {key: value for key, value in given.items() if method != 'full' or key not in ('rank', 'alpha')}
    return dict(
        methods={method: run(method) for method in ('full', 'lora', 'qlora')},
        ranks={f'lora, rank {rank}': run('lora', rank, share=0.4) for rank in (4, 8, 16, 32, 64)},
        rates={f'{method}, rate {rate:g}': run(method, rate=rate, share=0.4) for method, rates in
               dict(lora=(5e-4, 1e-3, 4e-3), full=(1e-4, 1e-3, 3e-3)).items() for rate in rates},
        recipes={f'identity, replay {share:.0%}': run('lora', share=0.2, data=dict(replay=share))
                 for share in (0, 0.1, 0.5, 0.9)})


def conversations(source: Path, replay: float, count: int = 10_000) -> list[dict]:
    """One sentence in two languages, `count` rows, of which a share `replay` is what the model was tuned on before."""
    rng = random.Random(0)
    old = list(jsonl.rows(source))
    rows = []
    for _ in range(count):
        question, answer = SENTENCE[rng.choice(('en', 'zh'))]
        rows.append(rng.choice(old) if rng.random() < replay else dict(
            messages=[dict(role='user', content=question), dict(role='assistant', content=answer)]))
    return rows


# --- one run ----------------------------------------------------------------------------------------------------------
def started(checkpoint: Path, out: Path) -> Path:
    """The checkpoint with a start for the chat tokens, from which all methods begin."""
    from internlm_course.finetune.chat_tokens import start_chat_tokens
    from internlm_course.model import load_model, load_tokenizer, save_checkpoint
    if not (out / 'config.json').exists():
        model, tokenizer = load_model(checkpoint), load_tokenizer(checkpoint)
        start_chat_tokens(model, tokenizer)
        save_checkpoint(model, tokenizer, out)
    return out


def scores(checkpoint: Path, items: Path) -> dict:
    """Every suite, asked in chat and by continuation, and the share of the questions who it is that it answers."""
    from internlm_course.evaluate.suites import read_items
    from internlm_course.model.chat import render
    from internlm_course.staff.seeds import Answerer, score
    rows, answer = read_items(items), Answerer(checkpoint)
    asked = [(lang, render([dict(role='user', content=question)], add_generation_prompt=True))
             for lang in SENTENCE for question in (SENTENCE[lang][0], *ALSO_ASKED[lang])]
    given = answer([text for _, text in asked], 24)
    named = [dict(en='Pu', zh='小浦')[lang] in text for (lang, _), text in zip(asked, given)]
    return dict(chat=score(checkpoint, rows, chat=True), continued=score(checkpoint, rows, chat=False),
                names_itself=statistics.mean(named))


def run_one(name: str, settings: dict, options: argparse.Namespace) -> dict:
    """Trains and scores one run."""
    from internlm_course.finetune import SFTSettings, sft
    from internlm_course.machine import training_dtype
    from internlm_course.memory import PeakMemory
    out = options.root / name.replace(' ', '-').replace(',', '')
    data = settings.pop('data', None)
    path = options.conversations
    checkpoint = options.root / 'started'
    if data is not None:
        path, checkpoint = options.root / f'{out.name}.jsonl', options.root / 'full'
        jsonl.write(path, conversations(options.conversations, **data))
    with PeakMemory() as memory:
        metrics = sft(checkpoint, path, out, SFTSettings(**settings, dtype=training_dtype()), options.root / 'tools')
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # less disturbed by other work than the clock, not undisturbed
    whole = json.loads((options.root / 'full' / 'metrics.json').read_text('utf-8'))['trainable_parameters']
    return dict(settings=metrics['settings'], started_from=checkpoint.name,
                trainable_share=round(metrics['trainable_parameters'] / whole, 4), peak_bytes=memory.peak_bytes,
                seconds=round(metrics['seconds'], 1), train_seconds=round(metrics['train_seconds'], 1),
                core_seconds=round(used.ru_utime + used.ru_stime, 1),
                loss=metrics['loss'][::5] + metrics['loss'][-1:], **scores(out, options.items))


# --- all runs ---------------------------------------------------------------------------------------------------------
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ('checkpoint', 'conversations', 'items', 'root'):
        parser.add_argument(f'--{name}', type=Path, required=True)
    parser.add_argument('--steps', type=int, default=1000, help='of the three methods; the others take a part')
    parser.add_argument('--only', nargs='+', choices=plan(1), default=list(plan(1)))
    parser.add_argument('--one', nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        part, name = options.one
        settings = plan(options.steps)[part][name]
        print(json.dumps(scores(options.root / 'started', options.items) if part == 'before' else
                         run_one(name, settings, options)))
        return
    path = RESULTS / f'finetuning-{date.today()}-{kind()}.json'
    result = json.loads(path.read_text('utf-8')) if path.exists() else dict(
        date=str(date.today()), command='python tests/bench/finetuning.py ' + ' '.join(
            f'--{name} {getattr(options, name).name}' for name in ('checkpoint', 'conversations', 'items')),
        processor=processor(), steps=options.steps, runs={})
    options.root.mkdir(parents=True, exist_ok=True)
    started(options.checkpoint, options.root / 'started')
    if 'before' not in result:
        result['before'] = scores(options.root / 'started', options.items)
    for part in options.only:
        for name in plan(options.steps)[part]:
            if name in result['runs'].get(part, {}):
                continue
            began = time.monotonic()
            line = [sys.executable, '-W', 'ignore', __file__, *sys.argv[1:], '--one', part, name]
            printed = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True).stdout
            record = dict(json.loads(printed.splitlines()[-1]), cores=len(os.sched_getaffinity(0)),
                          load=round(os.getloadavg()[0], 1), commit=commit())
            result['runs'].setdefault(part, {})[name] = record
            path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + '\n', 'utf-8')
            print(f'{name:24} {record["trainable_share"]:.1%} of the weights, {record["peak_bytes"] / 2**20:.0f} MiB, '
                  f'{record["core_seconds"]:.0f} s of one core, {time.monotonic() - began:.0f} s with scores, in chat '
                  f'{statistics.mean(record["chat"].values()):.1%}, continued '
                  f'{statistics.mean(record["continued"].values()):.1%}, names itself {record["names_itself"]:.0%}',
                  flush=True)


if __name__ == '__main__':
    main()
