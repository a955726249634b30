"""What lab 4 shows of other methods is what a bench measured."""
import importlib.util
import json
from pathlib import Path

from internlm_course.finetune.measured import by_method, mean_of, measured

BENCH = Path(__file__).resolve().parents[2] / 'bench'


def test_it_is_what_a_result_holds():
    spec = importlib.util.spec_from_file_location('bench', BENCH / 'finetuning.py')
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    found = measured()
    results = [json.loads(path.read_text('utf-8'))
               for path in (BENCH / 'results').glob(f'finetuning-{found["date"]}-*.json')]
    assert found in map(bench.shown, results)


def test_by_method():
    found = measured()
    table = by_method(found)
    assert list(table) == ['full', 'lora', 'qlora'] and table['full']['share'] == 1
    assert 0 < table['lora']['share'] == table['qlora']['share'] <= 0.1
    for method, row in table.items():
        runs = [run for name, run in found['methods'].items() if name.split(',')[0] == method]
        assert len(runs) == 3
        for asked in ('chat', 'continued'):
            low, high = row[asked]
            assert low <= high and {low, high} <= {mean_of(run, asked) for run in runs}
