"""The harness that judges a recipe by several seeds: what it makes of its records. (Its scores are held to
OpenCompass's in tests/chain/test_staff.py.)"""
import json

import pytest

from internlm_course.report import ranges
from internlm_course.staff import seeds

RECORDS = [dict(seed=seed, seconds=dict(base=100.0, sft=50.0),
                models=dict(base=dict(tools=tools, code=0.9), sft=dict(tools=tools, code=1.0)),
                agent=dict(with_tools=agent, without_tools=0.0))
           for seed, tools, agent in ((0, 0.95, 1.0), (1, 0.50, 0.02), (2, 0.90, 0.98))]
RESULT = dict(processor='a CPU (AVX2)', precision='float32', commit='abc1234', seeds=RECORDS)


def test_a_summary_names_the_worst_seed_of_each_suite():
    found = seeds.summary(RECORDS)
    assert list(found) == ['base', 'sft', 'agent']
    assert found['sft']['tools'] == dict(min=0.50, median=0.90) and found['base']['code'] == dict(min=0.9, median=0.9)
    assert found['agent']['with_tools'] == dict(min=0.02, median=0.98)


def test_a_chain_that_ends_before_fine_tuning_has_no_agent():
    assert (list(seeds.summary([{key: value for key, value in record.items() if key != 'agent'} for record in RECORDS]))
            == ['base', 'sft'])


def test_shipped_runs_are_those_that_a_run_is_compared_with(tmp_path, monkeypatch):
    """Once more the same seed on the same processor takes the older one's place; another processor's stays."""
    path = tmp_path / 'range.json'
    monkeypatch.setattr(seeds, 'RANGES', path)
    seeds.ship(RESULT)
    assert ranges.read_ranges(path)['sft']['tools'] == (0.50, 0.95)
    seeds.ship(dict(RESULT, processor='another (AMX)', seeds=RECORDS[:1]))
    better = dict(RECORDS[1], models=dict(RECORDS[1]['models'], sft=dict(tools=0.85, code=1.0)))
    seeds.ship(dict(RESULT, seeds=[better]))
    runs = json.loads(path.read_text('utf-8'))['runs']
    known = [('a CPU (AVX2)', 0), ('a CPU (AVX2)', 1), ('a CPU (AVX2)', 2), ('another (AMX)', 0)]
    assert sorted((run['processor'], run['seed']) for run in runs) == known
    assert ranges.read_ranges(path)['sft']['tools'] == (0.85, 0.95)


def test_the_kind_of_this_processor_has_a_name():
    assert seeds.kind() in ('AMX', 'AVX512-BF16', 'AVX512', 'AVX2', 'DEFAULT') and seeds.kind() in seeds.processor()


@pytest.mark.parametrize('arguments', [['--until', 'reward'], ['--seeds', 'one']])
def test_a_wrong_call_ends_before_anything_trains(arguments, monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['seeds', *arguments])
    with pytest.raises(SystemExit):
        seeds.main()
    assert 'invalid' in capsys.readouterr().err
