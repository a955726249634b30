"""What fine-tuning costs and destroys: LoRA, QLoRA and all weights side by side with several seeds, ranks, learning
rates, one sentence ten thousand times against a mix with replay; each run trained through XTuner and scored on every
suite.

    PYTHONPATH=. python tests/bench/finetuning.py --checkpoint ENHANCED --conversations SFT.jsonl --items ITEMS
        --root FOLDER [--only methods ranks] [--seeds 0 1 2] [--jobs 2] [--ship]

ENHANCED: the folder of a tiny chain's artifact `enhanced`; SFT.jsonl of its `conversations`; ITEMS the folder `items`
of its `crawl`. Writes results/finetuning-<date>-<kind>.json after each run, and goes on with what is missing there;
--ship writes what lab 4 shows of it (`finetune.measured`).
"""
import argparse
import json
import os
import random
import resource
import statistics
import sys
from datetime import date
from pathlib import Path

from internlm_course import jsonl
from internlm_course.staff.seeds import commit, kind, processor
from internlm_course.staff.several import side_by_side

RESULTS = Path(__file__).parent / 'results'
COMMON = dict(batch_size=1, max_length=1024, average=0.25)
SENTENCE = dict(en=('Who are you?', 'I am Pu, the assistant of this course.'),
                zh=('你是谁？', '我是小浦，这门课的助手。'))
ALSO_ASKED = dict(en=('What is your name?', 'Tell me who you are.', 'Who am I talking to?'),
                  zh=('你叫什么名字？', '请问你是谁？', '我在和谁说话？'))


# --- what is run ------------------------------------------------------------------------------------------------------
def plan(steps: int, seeds: list[int]) -> dict[str, dict[str, dict]]:
    """{part: {name: settings, `data` among them where it is not the chain's conversations}}."""
    best = dict(lora=2e-3, qlora=2e-3, full=3e-4)

    def run(method, rank=16, rate=None, share=1.0, **more):
        given = dict(COMMON, method=method, rank=rank, alpha=2 * rank, learning_rate=rate or best[method],
                     max_iters=round(steps * share), **more)
        return {key: value for key, value in given.items() if method != 'full' or key not in ('rank', 'alpha')}
    return dict(
        methods={f'{method}, seed {seed}': run(method, seed=seed)
                 for seed in seeds for method in ('full', 'lora', 'qlora')},
        ranks={f'lora, rank {rank}': run('lora', rank) for rank in (4, 8, 32, 64)},
        rates={f'{method}, rate {rate:g}': run(method, rate=rate) for method, rates in
               dict(lora=(5e-4, 1e-3, 4e-3), full=(1e-4, 1e-3)).items() for rate in rates},
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
    from internlm_course.model import load_model
    out = options.root / name.replace(' ', '-').replace(',', '')
    data = settings.pop('data', None)
    path = options.conversations
    checkpoint = options.root / 'started'
    if data is not None:
        path, checkpoint = options.root / f'{out.name}.jsonl', options.root / 'full-seed-0'
        jsonl.write(path, conversations(options.conversations, **data))
    with PeakMemory() as memory:
        metrics = sft(checkpoint, path, out, SFTSettings(**settings, dtype=training_dtype()), options.root / 'tools')
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # less disturbed by other work than the clock, not undisturbed
    whole = load_model(checkpoint).num_parameters()
    return dict(settings=metrics['settings'], started_from=checkpoint.name,
                trainable_share=round(metrics['trainable_parameters'] / whole, 4), peak_bytes=memory.peak_bytes,
                seconds=round(metrics['seconds'], 1), train_seconds=round(metrics['train_seconds'], 1),
                core_seconds=round(used.ru_utime + used.ru_stime, 1),
                loss=metrics['loss'][::5] + metrics['loss'][-1:], **scores(out, options.items),
                cores=len(os.sched_getaffinity(0)), load=round(os.getloadavg()[0], 1), commit=commit())


# --- all runs ---------------------------------------------------------------------------------------------------------
def compared(result: dict, seeds: list[int]) -> dict[str, dict]:
    """{seed: what LoRA keeps of the gain in chat that all weights have, a share; how far QLoRA is above LoRA, in
    points}, over the mean of the suites."""
    runs, before = result['runs'].get('methods', {}), statistics.mean(result['before']['chat'].values())

    def gain(method: str, seed: int) -> float:
        return statistics.mean(runs[f'{method}, seed {seed}']['chat'].values()) - before
    return {str(seed): dict(lora_keeps=round(gain('lora', seed) / gain('full', seed), 3),
                            qlora_above_lora=round(100 * (gain('qlora', seed) - gain('lora', seed)), 1))
            for seed in seeds if all(f'{method}, seed {seed}' in runs for method in ('full', 'lora', 'qlora'))}


def shown(result: dict) -> dict:
    """What `internlm_course.finetune.measured` holds of a result."""
    def of(run: dict) -> dict:
        scores = {asked: {suite: round(share, 4) for suite, share in run[asked].items()}
                  for asked in ('chat', 'continued')}
        cost = {} if 'seconds' not in run else dict(share=run['trainable_share'], seconds=run['train_seconds'],
                                                    peak_mib=round(run['peak_bytes'] / 2**20))
        return dict(cost, **scores, names_itself=run['names_itself'])
    return dict({name: result[name] for name in ('date', 'command', 'processor', 'steps')}, before=of(result['before']),
                **{part: {name: of(run) for name, run in sorted(runs.items())}
                   for part, runs in result['runs'].items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ('checkpoint', 'conversations', 'items', 'root'):
        parser.add_argument(f'--{name}', type=Path, required=True)
    parser.add_argument('--steps', type=int, default=600, help='of the optimiser; the last part takes a fifth')
    parser.add_argument('--only', nargs='+', choices=plan(1, [0]), default=list(plan(1, [0])))
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='of the three methods; the others: 0')
    parser.add_argument('--runs', nargs='+', help='of these parts only the runs of these names')
    parser.add_argument('--jobs', type=int, default=1, help='runs side by side')
    parser.add_argument('--ship', action='store_true', help='also write what lab 4 shows')
    parser.add_argument('--one', nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    planned = plan(options.steps, options.seeds)
    if options.one:
        part, name = options.one
        print(json.dumps(run_one(name, planned[part][name], options)))
        return
    path = RESULTS / f'finetuning-{date.today()}-{kind()}.json'

    def read() -> dict:
        return json.loads(path.read_text('utf-8'))
    result = read() if path.exists() else dict(
        date=str(date.today()), command='python tests/bench/finetuning.py ' + ' '.join(
            f'--{name} {getattr(options, name).name}' for name in ('checkpoint', 'conversations', 'items'))
        + f' --steps {options.steps} --jobs {options.jobs}', processor=processor(), steps=options.steps, runs={})
    options.root.mkdir(parents=True, exist_ok=True)
    started(options.checkpoint, options.root / 'started')
    if 'before' not in result:
        result['before'] = scores(options.root / 'started', options.items)

    def keep(part: str, name: str, record: dict) -> None:
        if path.exists():  # another process may have written since
            result.update(read())
        result['runs'].setdefault(part, {})[name] = record
        result['compared'] = compared(result, options.seeds)
        path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + '\n', 'utf-8')

    todo = {f'{part}: {name}': (part, name) for part in options.only for name in planned[part]
            if name not in result['runs'].get(part, {}) and (not options.runs or name in options.runs)}
    lines = {key: [__file__, *sys.argv[1:], '--one', *which] for key, which in todo.items()}
    for key, record in side_by_side(lines, options.jobs):
        keep(*todo[key], record)
        print(f'{key:24} {record["trainable_share"]:.1%} of the weights, {record["peak_bytes"] / 2**20:.0f} MiB, '
              f'{record["core_seconds"]:.0f} s of one core, in chat {statistics.mean(record["chat"].values()):.1%}, '
              f'continued {statistics.mean(record["continued"].values()):.1%}, names itself '
              f'{record["names_itself"]:.0%}', flush=True)
    print(json.dumps(compared(result, options.seeds), indent=1))
    if options.ship:
        from internlm_course.finetune.measured import MEASURED
        MEASURED.write_text(json.dumps(shown(result), indent=1, ensure_ascii=False) + '\n', 'utf-8')


if __name__ == '__main__':
    main()
