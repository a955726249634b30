"""Points need a comparison that took place; tables are safe to open and the same bytes each time."""

import csv
import io
import json
from dataclasses import replace

import pytest

from internlm_course.grading import tables
from internlm_course.grading.mistakes import Mistake, known
from internlm_course.grading.rebuild import Exercise
from internlm_course.grading.verdict import Known, judge, untouched

EXERCISE = Exercise(
    'double', 4, 'def f(x): return 2 * x', 'def f(x):\n    # here\n    raise NotImplementedError', '', {}, False, ('f',)
)
WANTED = {'a': [2, 4.0], 'b': [1]}


def said(*shown: str, error=None, answer=None, ended='') -> dict:
    return dict(
        cells=dict(answer=dict(shown=[], error=answer), check=dict(shown=list(shown), error=error)), ended=ended
    )


def line(name: str, values) -> str:
    return json.dumps(dict(check=name, values=values))


A, B = line('a', [2, 4.0]), line('b', [1])


@pytest.mark.parametrize(
    'status, points, put_out',
    [
        ('ok', 4, said(f'{A}\n{B}')),
        ('ok', 4, said(A, B)),
        ('ok', 4, said('noise', A, '{}', B)),
        ('wrong', 0, said(line('a', [2, 5.0]), B)),
        ('wrong', 0, said(line('a', [2, 4.0, 1]), B)),
        ('wrong', 0, said(line('a', None), B)),
        ('tampered', 0, said()),
        ('tampered', 0, said(A)),
        ('tampered', 0, said(A, A, B)),
        ('tampered', 0, said(A, B, line('c', 1))),
        ('tampered', 0, said(A.replace('4.0', '1' * 5000), B)),
        ('tampered', 0, said('[' * 10**5)),
        ('error', 0, said(error=['NameError', "name 'f' is not defined"])),
        ('error', 0, said(line('a', [dict(error='KeyError')] * 2), B)),
        ('memory', 0, said(error=['MemoryError', ''])),
        ('memory', 0, said(line('a', [dict(error='MemoryError')] * 2), B)),
        (
            'not attempted',
            0,
            said(line('a', [dict(error='not attempted')] * 2), line('b', [dict(error='not attempted')])),
        ),
        ('wrong', 0, said(line('a', [dict(error='PackagesOwnAnswer')] * 2), B)),
        ('timeout', 0, said(A, B, ended='timeout')),
        ('killed', 0, said(ended='anything')),
        ('killed', 0, None),
    ],
)
def test_judge(status, points, put_out):
    found = judge(EXERCISE, put_out, WANTED)
    assert (found.status, found.points) == (status, points)


def test_calling_the_packages_own_is_said():
    assert "package's own" in judge(EXERCISE, said(line('a', [dict(error='PackagesOwnAnswer')] * 2), B), WANTED).en


KNOWN = [Known(Mistake(name, '', f'{name}?', f'{name}？'), part, values) for name, part, values in (
    ('squares', 'a', [1, 4.0]), ('powers', 'a', [1, 4.0]), ('right-here', 'a', [2, 4.0]), ('seven', 'b', [7]),
    ('fails', 'a', [dict(error='ZeroDivisionError'), 4.0]))]


@pytest.mark.parametrize(
    'names, put_out',
    [
        ([], said(A, B)),
        (['squares'], said(line('a', [1, 4.0 + 1e-9]), B)),
        (['squares', 'seven'], said(line('b', [7]), line('a', [1, 4.0]))),
        ([], said(line('a', [1, 4.1]), B)),
        ([], said(line('a', [1]), B)),
        ([], said(line('a', None), B)),
        (['seven'], said(line('a', [dict(error='not attempted')] * 2), line('b', [7]))),
        (['fails'], said(line('a', [dict(error='ZeroDivisionError'), 4.0]), B)),
        ([], said(line('a', [1, 4.0]))),
        ([], None),
    ],
)
def test_a_known_mistake_is_recognised_by_its_values(names, put_out):
    """The first of those with the same values, in each part that is wrong; it costs and earns nothing."""
    found = judge(EXERCISE, put_out, WANTED, KNOWN)
    assert found.mistakes == [dict(name=name, en=f'{name}?', zh=f'{name}？') for name in names]
    assert replace(found, mistakes=[]) == judge(EXERCISE, put_out, WANTED)


def test_a_lab_without_known_mistakes_has_none():
    assert known('98_hostile') == known('') == known('../x') == {}


def test_parts_earn_their_share_where_the_check_says_so():
    assert judge(replace(EXERCISE, partial=True), said(A, line('b', [7])), WANTED).points == 2


def test_an_error_in_the_check_shows_no_hidden_input():
    assert 'secret' not in judge(EXERCISE, said(error=['KeyError', 'secret']), WANTED).en
    assert 'line 3' in judge(EXERCISE, said(error=['NameError', 'f'], answer=['SyntaxError', 'line 3']), WANTED).en


@pytest.mark.parametrize(
    'source, same', [('', True), ('# no\n', True), (EXERCISE.stub + '\n', True), ('x = 1', False), ('def (', False)]
)
def test_untouched(source, same):
    assert untouched(source, EXERCISE) == same


@pytest.mark.parametrize('text', ['=1+1', '+1', '-1', '@x', '\t=1', '\n=1', '|x', '%x', ' =1'])
def test_no_cell_is_a_formula(text):
    (row,) = csv.reader(io.StringIO(tables.table([text], [])))
    assert row[0].startswith("'")


def test_a_table_survives_quotes_and_lines():
    text = tables.table(['a'], [['x"y\nz,'], [1.5]])
    assert list(csv.reader(io.StringIO(text)))[1:] == [['x"y z,'], ['1.5']]
