"""A class of hostile and honest submissions, graded once: no unearned point, no lost one, the right status for each."""
import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import hostile
import nbformat
import pytest

from internlm_course.authoring import build
from internlm_course.grading import sandbox
from internlm_course.grading.grade import Settings, grade

ROOT = Path(__file__).resolve().parents[2]
MODE, FAULTS = sandbox.best()
pytestmark = pytest.mark.skipif(not MODE, reason=f'no sandbox can be built here: {FAULTS}')


@pytest.fixture(scope='module')
def labs(tmp_path_factory):
    """The lab of the hostile class, not executed."""
    folder = tmp_path_factory.mktemp('labs')
    for name in ('src', 'solutions'):
        (folder / name).mkdir()
    source = folder / 'src' / '98_hostile.py'
    source.write_text(hostile.LAB, 'utf-8')
    solved, blank = build.paths(source)
    nbformat.write(build.reference(source), solved)
    nbformat.write(build.student(source), blank)
    return folder


@pytest.fixture(scope='module')
def graded(labs, tmp_path_factory):
    """(rows by student, what was expected, the folder of the results)."""
    top = tmp_path_factory.mktemp('class')
    (top / 'submissions').mkdir()
    expected = hostile.write_class(top / 'submissions', json.loads((labs / '98_hostile.ipynb').read_text('utf-8')), labs / 'src' / '98_hostile.py')
    rows = grade(top / 'submissions', top / 'out', Settings('98_hostile', labs, timeout=5, jobs=4, memory=1 << 29), lambda line: None)
    return {row['student']: row for row in rows}, expected, top


STUDENTS = [*hostile.CELLS, 'prying', *hostile.NOTEBOOKS, *hostile.UNREADABLE, 'zip', 'zip slip', 'zip with a link', 'zip bomb', 'broken zip',
            'link', 'folder only', '=1+1']


@pytest.mark.parametrize('student', STUDENTS)
def test_each_submission_has_its_status_and_points(graded, student):
    rows, expected, _ = graded
    found = rows[student]['exercises']
    said = (found['slow']['status'], found['slow']['points'], found['bits']['status'], found['bits']['points'])
    assert said == expected[student], (found['slow'], rows[student]['notes'])


def test_there_is_one_row_for_each_student(graded):
    rows, expected, _ = graded
    assert rows.keys() == expected.keys() == set(STUDENTS) and len(STUDENTS) >= 40


def test_nothing_of_the_class_is_left_running(graded):
    left = [pid for pid in os.listdir('/proc') if pid.isdigit() and b'grade-' in _line(pid)]
    assert not left


def _line(pid: str) -> bytes:
    try:
        return Path('/proc', pid, 'cmdline').read_bytes()
    except OSError:
        return b''
