"""The key to a lab, what is run of it, and what the graded kernel's package lacks."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from internlm_course.errors import CourseError
from internlm_course.grading.absence import RAISE, Package, needed, own_answers
from internlm_course.grading.rebuild import read_key, rebuilt

LABS = Path(__file__).resolve().parents[3] / 'labs'
NAMES = ('01_full_chain', '02_data', '03_pretraining', '04_finetuning', '05_rlhf')


@pytest.fixture(scope='module')
def key():
    return read_key(LABS, '03_pretraining')


def test_key_has_every_exercise_with_its_points_stub_and_check(key):
    assert key.points == 19 and list(key.exercises) == [
        'rope',
        'split',
        'attention',
        'schedule',
        'bits',
        'slow',
        'mfu',
        'memory',
    ]
    for exercise in key.exercises.values():
        assert (
            'NotImplementedError' in exercise.stub
            and 'lab.check' in exercise.check
            and 'NotImplementedError' not in exercise.answer
        )
    assert key.imports['torch'] == 'import torch' and not any(
        'internlm_course' in line for line in key.imports.values()
    )


def test_the_rebuilt_notebook_holds_the_students_cell_and_the_seed_in_the_check_alone(key):
    made = rebuilt(key, key.exercises['rope'], 'def rope(x, theta):\n    return torch.tensor(x)', 'se3d', 'rope')
    parts = {cell['id']: cell['source'] for cell in made['cells']}
    assert list(parts) == ['setup-0', 'imports', 'answer', 'check'] and parts['imports'] == 'import torch'
    assert 'se3d' in parts['check'] and not any('se3d' in source for name, source in parts.items() if name != 'check')
    assert not any(exercise.answer in source for exercise in key.exercises.values() for source in parts.values())


@pytest.mark.parametrize('lab', NAMES)
def test_no_answer_is_in_the_package_that_a_kernel_sees(tmp_path, lab):
    key = read_key(LABS, lab)
    package = Package(key, needed(key)[0])
    for name, exercise in key.exercises.items():
        package.write(exercise, tmp_path / name)
        bodies = {
            node.name: ast.unparse(node.body[0])
            for path in (tmp_path / name).rglob('*.py')
            for node in ast.walk(ast.parse(path.read_text('utf-8')))
            if isinstance(node, ast.FunctionDef)
        }
        for own in own_answers(exercise.check):
            assert bodies[own] == ast.unparse(ast.parse(RAISE)), (name, own)
        files = {path.name for path in (tmp_path / name).rglob('*') if path.is_file()}
        assert not any(file.endswith(('.json', '.ipynb', '.safetensors')) for file in files)


def test_what_an_answer_is_made_of_is_absent_too_unless_the_reference_needs_it():
    key = read_key(LABS, '01_full_chain')
    package = Package(key, needed(key)[0])
    absent = {name: package.absent(exercise) for name, exercise in key.exercises.items()}
    assert (
        'wilson' in absent['interval'] and 'render' in absent['template'] and 'parameter_count' in absent['parameters']
    )
    assert 'parameter_count' not in absent['memory'] and 'weight_bytes' in absent['memory']
    assert not {'weight_bytes', 'kv_bytes'} & absent['gpu'] and 'smallest_gpu' in absent['gpu']


def test_a_lab_whose_own_cells_fail_is_refused(key):
    broken = replace(key, setup=('1 / 0',))
    with pytest.raises(CourseError, match='ZeroDivisionError'):
        needed(broken)


def test_a_lab_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(CourseError, match='Labs there: none'):
        read_key(tmp_path, '09_nothing')
