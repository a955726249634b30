"""The guides are twins, and what they say of the labs is true. Their commands: test_commands.py; executed:
labs/test_classroom.py."""
import re
from pathlib import Path

import pytest
import twins

from internlm_course.authoring import build
from internlm_course.grading.verdict import STATUSES

ROOT = Path(__file__).resolve().parents[2]


def guide(language: str, name: str) -> str:
    return (ROOT / 'guides' / language / f'{name}.md').read_text('utf-8')


@pytest.mark.parametrize('name', ['instructor', 'student'])
def test_guides_are_twins(name):
    assert twins.compare(guide('zh', name), guide('en', name)) == []


@pytest.mark.parametrize('language', ['zh', 'en'])
def test_the_table_of_labs_is_that_of_the_labs(language):
    """Whoever adds a lab tells teachers: exercises and points are those of its checks."""
    said = re.findall(r'(?m)^\| \[.*\| `(\w+)` \| (\d+) \| (\d+) \|', guide(language, 'instructor'))
    there = []
    for source in build.sources(ROOT / 'labs'):
        points = [cell.metadata.nbgrader.points for cell in build.read(source).cells
                  if cell.metadata.get('nbgrader', {}).get('grade')]
        there.append((source.stem, str(len(points)), str(sum(points))))
    assert said == there


@pytest.mark.parametrize('language', ['zh', 'en'])
def test_every_status_has_a_meaning(language):
    table = re.search(r'(?m)^\| (?:Status|状态) .*\n(?:\|.*\n)+', guide(language, 'instructor'))[0]
    assert set(re.findall(r'`([a-z ]+)`', table)) == set(STATUSES)


def test_readmes_lead_to_the_guides():
    for name, language in (('README.md', 'en'), ('README.zh.md', 'zh')):
        text = (ROOT / name).read_text('utf-8')
        assert all(f'guides/{language}/{guide}.md' in text for guide in ('instructor', 'student'))
