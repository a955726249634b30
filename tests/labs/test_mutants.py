"""A share of the mutants of every reference solution loses its points; all of them by `python tests/labs/mutants.py`,
whose result is committed."""

import json

import mutants
import pytest
from lab_cells import SOURCES, Cells

LABS = [source for source in SOURCES if source.stem in mutants.DRAWS]
SHARE = 4  # every fourth, so that it is seconds


@pytest.mark.parametrize('source', LABS, ids=lambda source: source.stem)
def test_of_the_mutants_that_behave_differently_nineteen_in_twenty_lose_their_points(source, tmp_path, monkeypatch):
    monkeypatch.setenv('INTERNLM_COURSE_RUNS', str(tmp_path))
    monkeypatch.setenv(mutants.SEED, '0')
    cells, known = Cells(source), json.loads(mutants.RESULT.read_text('utf-8'))[source.stem]
    assert known.keys() == set(cells.exercises)
    different = caught = 0
    for exercise in cells.exercises:
        found = mutants.tried(cells, source.stem, exercise, SHARE)
        assert found['different'] >= 5, exercise
        assert found['survivors'].keys() <= known[exercise]['survivors'].keys(), exercise
        different, caught = different + found['different'], caught + found['caught']
    assert caught >= 0.95 * different


def test_the_committed_result_is_whole_and_every_survivor_is_judged():
    result = json.loads(mutants.RESULT.read_text('utf-8'))
    for lab, exercises in result.items():
        for exercise, found in exercises.items():
            assert found['made'] >= mutants.FEWEST and found['caught'] >= 0.95 * found['different'], (lab, exercise)
            assert not any(mutants.UNJUDGED in said for said in found['survivors'].values()), (lab, exercise)


def test_a_change_is_seen_and_no_two_mutants_are_alike():
    made = mutants.mutants_of('def mean(a, b, c):\n    return (a + b + c) / 3\n')
    assert len(made) >= mutants.FEWEST and len(set(made.values())) == len(made)
    assert made['return (a + b + c) / 3 → return (a + b + c) * 3'] == 'def mean(a, b, c):\n    return (a + b + c) * 3'
