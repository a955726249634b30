"""Every lab, in both forms, in a real kernel under nbval; the notebooks are what their sources say.

The student's form runs first, on an empty store, and is held to 2 GB; the reference follows on the same store, so that
what both make is made once.
"""
import json
import re

import nbformat
import pytest
from lab_cells import LABS, SOURCES
from run_nbval import nbval

from internlm_course.authoring import build
from internlm_course.grading.compare import output_text, printed

# Compared cells; a lab may have more, never fewer
MINIMUM = {'01_full_chain': 11, '02_data': 9, '03_pretraining': 11, '04_finetuning': 8, '05_rlhf': 9}
NAMES = [source.stem for source in SOURCES]
MACHINE = re.compile(r'/(tmp|home|root|Users|work)/|Traceback')


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp('runs')


def notebook(name: str, solved: bool):
    return nbformat.read(build.paths(LABS / 'src' / f'{name}.py')[0 if solved else 1], as_version=4)


def test_generated_notebooks_are_what_their_sources_say():
    assert build.outdated(LABS) == []


@pytest.mark.parametrize('name', NAMES)
def test_reference_was_executed_without_an_error_and_within_its_budget(name):
    cells = [cell for cell in notebook(name, solved=True).cells if cell.cell_type == 'code']
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == 'error' or o.get('name') == 'stderr']
    assert not [o for o in outputs
                if MACHINE.search(json.dumps(o.get('data', {}).get('text/plain', '')) + o.get('text', ''))]
    assert any('image/png' in o.get('data', {}) for o in outputs), 'a reader on GitHub sees no plot'
    assert not any('○' in str(o.get('data')) or '✗' in str(o.get('data')) for o in outputs)
    assert 'within the budget' in output_text(cells[-1])


@pytest.mark.parametrize('name', NAMES)
def test_every_check_has_values_and_a_minimum_of_them_is_compared(name):
    checks = [cell for cell in notebook(name, solved=True).cells if build.MARK in cell.source.splitlines()]
    assert len(checks) >= MINIMUM[name] and all(printed(output_text(cell)) for cell in checks)
    assert all('nbval-ignore-output' in c.metadata.tags
               for c in notebook(name, solved=True).cells if c.cell_type == 'code' and c not in checks)


@pytest.mark.chain
@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_student_copy_runs_to_its_end(name, tmp_path, runs):
    code, _, text = nbval(build.paths(LABS / 'src' / f'{name}.py')[1], tmp_path, form='--nbval-lax', runs=runs,
                          timeout=1500)
    assert code == 0, text[-4000:]
    measured = json.loads((runs / f'{name}.json').read_text('utf-8'))
    print(measured)
    # Seconds depend on what else runs: the executed reference is held to them
    assert measured['peak_memory_bytes'] <= 2e9, measured


@pytest.mark.chain
@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_reference_compares(name, tmp_path, runs):
    code, compared, text = nbval(build.paths(LABS / 'src' / f'{name}.py')[0], tmp_path, '--compared-minimum',
                                 str(MINIMUM[name]), runs=runs, timeout=1500)
    print(text.splitlines()[-1], f'{name}: {len(compared)} cells, {sum(compared.values())} values')
    assert code == 0, text[-4000:]
    assert len(compared) >= MINIMUM[name]
