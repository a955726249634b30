"""What is taken from a student's notebook, in whatever state."""
import json
from pathlib import Path

import pytest

from internlm_course.errors import CourseError
from internlm_course.grading.answers import read_cells, take
from internlm_course.grading.rebuild import read_key
from internlm_course.grading.submissions import MOST_BYTES

LABS = Path(__file__).resolve().parents[3] / 'labs'


@pytest.fixture(scope='module')
def key():
    return read_key(LABS, '03_pretraining')


def notebook(*cells: dict) -> bytes:
    return json.dumps(dict(nbformat=4, nbformat_minor=5, metadata={}, cells=list(cells))).encode()


def code(source: str, **fields) -> dict:
    return dict(dict(cell_type='code', source=source, metadata={}, outputs=[], execution_count=None), **fields)


def test_a_lost_id_is_told_by_name_comment_or_function(key):
    answers = take(notebook(code('rope = 1', metadata=dict(nbgrader=dict(grade_id='rope'))),
                            code('# 练习：split\nsplit_wqkv = 2', id='zzz'),
                            code('def attention(q, k, v): pass', id='yyy')), key)
    assert answers.cells == dict(rope='rope = 1', split='# 练习：split\nsplit_wqkv = 2',
                                 attention='def attention(q, k, v): pass')
    said = ' '.join(note['en'] for note in answers.notes)
    assert 'split: the cell has lost its id; taken by its marker comment' in said and 'mfu: there is no cell' in said


def test_changed_and_missing_cells_are_said(key):
    answers = take(notebook(code('1/0', id='setup'), code('x', id='rope')), key)
    said = [note['en'] for note in answers.notes]
    assert 'setup: the cell was changed; the original was used.' in said
    assert 'check-rope: the cell is missing; the original was used.' in said and answers.cells == dict(rope='x')


@pytest.mark.parametrize('content', [b'', b'{', b'[]', b'7', b'{"cells": 3}', b'{"cells": []}', b'[' * 10**5, b'\xff',
                                     b' ' * (MOST_BYTES + 1)])
def test_what_is_no_notebook_is_one_sentence(content):
    with pytest.raises(CourseError):
        read_cells(content)


@pytest.mark.parametrize('cells', [[None], [1, 'x'], [{}], [dict(source=None)],
                                   [dict(source=[1, 'a'], metadata=[], id=7)]])
def test_broken_cells_are_read_as_far_as_they_go(key, cells):
    assert take(json.dumps(dict(cells=cells)).encode(), key).cells == {}
