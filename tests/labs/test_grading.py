"""A class of hostile and honest submissions, graded once: no unearned point, no lost one, the right status for each."""

import csv
import html
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import hostile
import nbformat
import pytest

from internlm_course import cli, store
from internlm_course.authoring import build
from internlm_course.grading import modes
from internlm_course.grading.grade import Class, Settings, grade
from internlm_course.grading.mistakes import known

ROOT = Path(__file__).resolve().parents[2]
MODE, FAULTS = modes.best()
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
    expected = hostile.write_class(
        top / 'submissions', json.loads((labs / '98_hostile.ipynb').read_text('utf-8')), labs / 'src' / '98_hostile.py'
    )
    rows = grade(
        top / 'submissions',
        top / 'out',
        Settings('98_hostile', labs, timeout=4, jobs=4, memory=1 << 29),
        lambda line: None,
    )
    return {row['student']: row for row in rows}, expected, top


STUDENTS = [
    *hostile.CELLS,
    'prying',
    *hostile.NOTEBOOKS,
    *hostile.UNREADABLE,
    'zip',
    'zip slip',
    'zip with a link',
    'zip bomb',
    'broken zip',
    'link',
    'folder only',
    '=1+1',
    '<img src=x onerror=alert(1)>',
    'na\udcffme',
    'with a BOM',
    'zip in a zip',
    'zip too deep',
    'zip with a password',
    'pipe',
    'with tests of its own',
]


@pytest.mark.parametrize('student', STUDENTS)
def test_each_submission_has_its_status_and_points(graded, student):
    rows, expected, _ = graded
    found = rows[student]['exercises']
    statuses, points, *bits = expected[student]
    # of two limits that one cell reaches, either may come first
    assert found['slow']['status'] in statuses.split(' or '), (found['slow'], rows[student]['notes'])
    assert [found['slow']['points'], found['bits']['status'], found['bits']['points']] == [points, *bits]


def test_there_is_one_row_for_each_student(graded):
    rows, expected, _ = graded
    assert rows.keys() == expected.keys() == set(STUDENTS) and len(STUDENTS) >= 130


def test_nothing_of_the_class_is_left_running(graded):
    assert not left()


def left() -> list[str]:
    """Processes of a grading that still run."""
    return [
        pid for pid in os.listdir('/proc') if pid.isdigit() and pid != str(os.getpid()) and b'/grade-' in _line(pid)
    ]


def _line(pid: str) -> bytes:
    try:
        return Path('/proc', pid, 'cmdline').read_bytes()
    except OSError:
        return b''


def test_tables_hold_every_row_and_no_formula(graded):
    rows, expected, top = graded
    for name in ('grades.csv', 'canvas.csv', 'moodle.csv'):
        lines = list(csv.reader((top / 'out' / name).read_text('utf-8').splitlines()))
        assert len(lines) == len(expected) + 1 + (name == 'canvas.csv')
        assert not any(cell.startswith(('=', '+', '@')) for line in lines for cell in line)
    report = json.loads((top / 'out' / 'grades.json').read_text('utf-8'))
    assert report['rows'] == list(rows.values()) and report['sandbox'] == 'sandboxed' and report['environment']['nbval']


def test_pages_hold_no_markup_of_a_student(graded):
    _, _, top = graded
    pages = [path.read_text('utf-8') for path in (top / 'out').rglob('*.html')]
    assert len(pages) == len(STUDENTS) + 1 and not any('<img' in page or '<script' in page for page in pages)


def test_the_report_proves_what_ran_and_holds_no_seed_and_no_value(graded):
    rows, _, top = graded
    assert (
        rows['right']['ran']['slow'] != rows['wrong']['ran']['slow']
        and rows['right']['ran']['bits'] == rows['wrong']['ran']['bits']
    )
    seed = (top / 'out' / '.grading' / 'seed').read_text().strip()
    files = [path for path in (top / 'out').rglob('*') if path.is_file() and path.name != 'seed']
    assert not any(seed in path.read_text('utf-8') or '"values"' in path.read_text('utf-8') for path in files)


def test_a_known_mistake_gets_its_advice_and_is_not_in_the_graded_kernel(tmp_path):
    """In lab 1, under a secret seed: what a student with two misconceptions is told, and one who pries."""
    lab, folder = '01_full_chain', tmp_path / 'in'
    template, better = known(lab)['template']['chat_text'][0], known(lab)['interval']['better'][0]
    cells = dict(
        mistaken=dict(template=template.source, interval=better.source),
        prying=dict(template='from internlm_course.grading.mistakes import known\n' + template.source),
    )
    folder.mkdir()
    for student, answers in cells.items():
        made = json.loads((ROOT / 'labs' / f'{lab}.ipynb').read_text('utf-8'))
        for name, source in answers.items():
            hostile.cell_of(made, name)['source'] = source
        (folder / f'{student}.ipynb').write_text(json.dumps(made), 'utf-8')
    rows = grade(folder, tmp_path / 'out', Settings(lab, ROOT / 'labs'), lambda line: None)
    marks = {row['student']: row['exercises'] for row in rows}
    found = {
        student: {name: [m['name'] for m in mark['mistakes']] for name, mark in each.items() if mark['mistakes']}
        for student, each in marks.items()
    }
    assert found == dict(mistaken=dict(template=[template.name], interval=[better.name]), prying={})
    assert marks['prying']['template']['status'] == 'error'
    (page,) = (tmp_path / 'out' / 'feedback').glob('mistaken-*.html')
    for file in (page, tmp_path / 'out' / 'class.html'):
        text = html.unescape(file.read_text('utf-8'))
        assert all(sentence in text for mistake in (template, better) for sentence in (mistake.en, mistake.zh))
    assert f'<b>{template.name}</b>' in (tmp_path / 'out' / 'class.html').read_text('utf-8')


FILES = ('grades.csv', 'grades.json', 'canvas.csv', 'moodle.csv')


@pytest.fixture(scope='module')
def few(labs, tmp_path_factory):
    """A folder with four submissions, a seed and a roster, for runs that are compared."""
    folder = tmp_path_factory.mktemp('few')
    blank = json.loads((labs / '98_hostile.ipynb').read_text('utf-8'))
    for student in ('right', 'wrong', 'sleeps', 'empty'):
        (folder / 'in' / student).mkdir(parents=True)
        content = json.dumps(hostile.notebook_of(blank, hostile.CELLS[student][2])) if student in hostile.CELLS else ''
        (folder / 'in' / student / 'lab.ipynb').write_text(content)
    (folder / 'seed').write_text('a long random text\n')
    (folder / 'roster.csv').write_text('student,name\nwrong,W\nabsent,A\nright,R\nsleeps,S\n')
    return folder


def command(labs, few, out, *more: str) -> list[str]:
    return [
        sys.executable,
        '-m',
        'internlm_course.cli',
        'grade',
        str(few / 'in'),
        '--out',
        str(out),
        '--lab',
        '98_hostile',
        '--labs',
        str(labs),
        '--seed-file',
        str(few / 'seed'),
        '--roster',
        str(few / 'roster.csv'),
        '--timeout',
        '2',
        '--jobs',
        '1',
        *more,
    ]


@pytest.fixture(scope='module')
def first(labs, few, tmp_path_factory):
    """The results of one whole run of the command."""
    out = tmp_path_factory.mktemp('first')
    done = subprocess.run(
        command(labs, few, out), capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=str(ROOT))
    )
    assert done.returncode == 0, done.stderr
    return {name: (out / name).read_bytes() for name in FILES}


def test_rows_stand_in_the_rosters_order(first):
    lines = list(csv.DictReader(first['grades.csv'].decode().splitlines()))
    assert [(line['student'], line['name'], line['status'], line['points']) for line in lines] == [
        ('wrong', 'W', 'wrong', '2'),
        ('absent', 'A', 'not attempted', '0'),
        ('right', 'R', 'ok', '5'),
        ('sleeps', 'S', 'timeout', '2'),
        ('empty', 'empty', 'unreadable', '0'),
    ]


def test_killed_and_run_again_gives_the_same_bytes(labs, few, first, tmp_path):
    process = subprocess.Popen(
        command(labs, few, tmp_path), stdout=subprocess.PIPE, text=True, env=dict(os.environ, PYTHONPATH=str(ROOT))
    )
    assert process.stdout.readline().startswith('1/3')
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while left() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left()
    again = subprocess.run(
        command(labs, few, tmp_path), capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=str(ROOT))
    )
    assert again.returncode == 0 and '1/2' in again.stdout  # one was known
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == first


def test_rows_of_another_grader_are_made_anew(labs, few, tmp_path, monkeypatch):
    def version() -> str:
        store.code_version.cache_clear()
        return Class(few / 'in', tmp_path, Settings('98_hostile', labs, seed_file=few / 'seed')).version

    versions = [version()]
    for part in ('grading', 'lab'):
        shutil.copytree(store.PACKAGE / part, tmp_path / 'package' / part)
    monkeypatch.setattr(store, 'PACKAGE', tmp_path / 'package')
    compare = tmp_path / 'package' / 'grading' / 'compare.py'
    for new in ('1e-6', '1e-6 ', '1e-5'):
        compare.write_text(compare.read_text('utf-8').replace('1e-6', new), 'utf-8')
        versions.append(version())
    store.code_version.cache_clear()
    assert versions[0] == versions[1] == versions[2] != versions[3]  # layout changes no mark


def test_one_student_alone(labs, few, first, tmp_path):
    done = subprocess.run(
        command(labs, few, tmp_path, '--only', 'right'),
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
    )
    lines = list(csv.DictReader((tmp_path / 'grades.csv').read_text('utf-8').splitlines()))
    assert done.returncode == 0 and [line['status'] for line in lines] == [
        'not graded',
        'not graded',
        'ok',
        'not graded',
        'not graded',
    ]


def test_faults_of_the_call_are_one_sentence(labs, few, tmp_path, capsys):
    for more, said in ((['--only', 'nobody'], 'no student "nobody"'), (['--lab', '97_none'], 'Labs there: 98_hostile')):
        assert cli.main(command(labs, few, tmp_path, *more)[3:]) == 2
        assert said in capsys.readouterr().err
    (tmp_path / 'seed').write_text('')
    assert cli.main([*command(labs, few, tmp_path)[3:], '--seed-file', str(tmp_path / 'seed')]) == 2


def test_without_a_sandbox_nothing_runs_unless_the_instructor_says_so(labs, few, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(modes, 'best', lambda: ('', dict(namespaces='not here')))
    assert cli.main(command(labs, few, tmp_path)[3:]) == 2
    assert 'not here' in capsys.readouterr().err and not (tmp_path / 'grades.csv').exists()
    assert cli.main([*command(labs, few, tmp_path)[3:], '--no-sandbox']) == 0
    rows = json.loads((tmp_path / 'grades.json').read_text('utf-8'))
    assert 'none' in rows['sandbox'] and [row['status'] for row in rows['rows']] == [
        'wrong',
        'not attempted',
        'ok',
        'timeout',
        'unreadable',
    ]
