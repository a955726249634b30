"""The names against the course that they name: what the chain builds, what the labs open, and nothing heavy behind
it."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

from internlm_course import course, material
from internlm_course.names import AGENT_SUITES, DIMENSIONS, MODELS, STAGES, SUITES, in_order

LABS = Path(__file__).resolve().parents[2] / 'labs' / 'src'


def test_order_is_that_of_the_names_and_the_unknown_comes_last_once():
    assert in_order(['z', 'b', 'a', 'z', 'b'], {'a': 1, 'b': 2, 'c': 3}) == ['a', 'b', 'z']


def test_every_stage_is_one_that_the_chain_builds():
    source = ''.join(Path(module.__file__).read_text('utf-8') for module in (material, course))
    built = set(re.findall(r"_(?:build|pretrained)\('(?!staff-)(\w+)'", source))
    built |= set(re.findall(r"(?:_build\(|stage.* = )'(\w+)' if mine else", source))
    assert built == set(STAGES)
    assert list(MODELS) == [stage for stage in STAGES if stage in MODELS]
    assert all(callable(getattr(course.Course, name)) for name in STAGES)


@pytest.mark.parametrize('model', MODELS)
def test_the_labs_of_a_model_are_those_that_open_it(model):
    opened = [int(lab.stem[:2]) for lab in sorted(LABS.glob('*.py')) if f'course.{model}(' in lab.read_text('utf-8')]
    assert list(MODELS[model].labs) == opened


def test_names_are_whole_and_different():
    for names in (STAGES, MODELS, SUITES, DIMENSIONS, AGENT_SUITES):
        for language in ('zh', 'en'):
            said = [getattr(name, language) for name in names.values()]
            assert all(said) and len(set(said)) == len(said)


def test_the_names_need_nothing_heavy():
    script = 'import sys, internlm_course.names; print([m for m in ("torch", "numpy") if m in sys.modules])'
    assert subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True).stdout == '[]\n'
