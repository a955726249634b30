"""What the methods of fine-tuning cost and destroy, measured beforehand (`measured.json`, written by
tests/bench/finetuning.py), for a lab that trains one run itself."""
import json
from pathlib import Path
from statistics import mean

MEASURED = Path(__file__).parent / 'measured.json'


def measured() -> dict:
    """{date, command (that measured it), processor, steps; methods {run: {share (of the weights that were trained),
    peak_mib, seconds, chat, continued ({suite: share of right answers}, asked in chat and as a continued text),
    names_itself}}; before, the same of the model that all runs began as, without what training costs}."""
    return json.loads(MEASURED.read_text('utf-8'))


def mean_of(run: dict, asked: str) -> float:
    """The mean of the suites of one run, `asked` 'chat' or 'continued'."""
    return mean(run[asked].values())


def by_method(found: dict) -> dict[str, dict]:
    """{method: {share, peak_mib, seconds (medians over the seeds), chat, continued ([lowest, highest] mean of the
    suites)}} of what `measured` gives."""
    table = {}
    for method in ('full', 'lora', 'qlora'):
        runs = [run for name, run in found['methods'].items() if name.startswith(f'{method},')]
        middle = {name: sorted(run[name] for run in runs)[len(runs) // 2] for name in ('share', 'peak_mib', 'seconds')}
        means = {asked: [mean_of(run, asked) for run in runs] for asked in ('chat', 'continued')}
        table[method] = middle | {asked: [min(some), max(some)] for asked, some in means.items()}
    return table
