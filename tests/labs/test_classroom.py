"""A class in small, from the template of a lab: built, released, solved by some, graded again and again, as the guides
say it."""
import csv
import json
import os
import pty
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import nbformat
import pytest
from lab_cells import Cells

from internlm_course import cli
from internlm_course.authoring import build, release
from internlm_course.errors import CourseError
from internlm_course.grading import modes
from internlm_course.grading.compare import OWN, output_text

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / 'guides' / 'template'
MISTAKES = runpy.run_path(str(TEMPLATE / 'mistakes.py'))['MISTAKES']['length']['bytes_a_token']
WRONG = MISTAKES[0].source
NAME = '01_full_chain'  # the lab that the guides take for an example
RIGHT = 'def bytes_a_token(text, tokens):\n    return len(text.encode()) / max(len(tokens), 1)'
needs_sandbox = pytest.mark.skipif(not modes.best()[0], reason=f'no sandbox can be built here: {modes.best()[1]}')


@pytest.fixture(scope='module')
def course(tmp_path_factory):
    """A folder of the course whose one lab is the template under another name, built and executed."""
    folder = tmp_path_factory.mktemp('course')
    (folder / 'labs' / 'src').mkdir(parents=True)
    (folder / '.venv').symlink_to(Path(sys.executable).parent.parent)
    source = folder / 'labs' / 'src' / f'{NAME}.py'
    source.write_text((TEMPLATE / 'lab.py').read_text('utf-8').replace('00_template', NAME), 'utf-8')
    assert 'within the budget' in build.build(source)
    return folder


@pytest.fixture(scope='module')
def blank(course):
    return nbformat.read(course / 'labs' / f'{NAME}.ipynb', as_version=4)


def hand_in(blank, path: Path, answer: str | None = None) -> Path:
    """A student's notebook, with her answer where she has one."""
    notebook = nbformat.from_dict(json.loads(json.dumps(blank)))
    if answer:
        next(cell for cell in notebook.cells if cell.id == 'length').source = answer
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def call(course: Path, *words) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-m', 'internlm_course.cli', *map(str, words)], cwd=course, text=True,
                          capture_output=True, env=dict(os.environ, PYTHONPATH=str(ROOT), LC_ALL='C.UTF-8'))


# --- the template -----------------------------------------------------------------------------------------------------
def test_the_template_runs_solved_and_unsolved(course, blank):
    solved = nbformat.read(course / 'labs' / 'solutions' / f'{NAME}.ipynb', as_version=4)
    assert '本机得分: 2 of 2' in ''.join(map(output_text, solved.cells))
    build.execute(blank_copy := nbformat.from_dict(json.loads(json.dumps(blank))), course)
    said = ''.join(map(output_text, blank_copy.cells))
    assert '○ bytes_a_token: not attempted' in said and '本机得分: 0 of 2' in said


def test_the_templates_check_tells_right_from_each_known_mistake(course, monkeypatch, tmp_path):
    monkeypatch.setenv('INTERNLM_COURSE_RUNS', str(tmp_path))
    cells = Cells(course / 'labs' / 'src' / f'{NAME}.py')
    assert cells.points('length', RIGHT) == 2
    points = {mistake.name: cells.points('length', mistake.source) for mistake in MISTAKES}
    assert len(points) >= 3 and not any(points.values())


# --- release ----------------------------------------------------------------------------------------------------------
def test_a_release_is_the_same_bytes_each_time_and_says_course_and_date(course, tmp_path):
    made = [release.release(course / 'labs', tmp_path / name / 'spring', course='LLM 2027', due='2027-03-31')
            for name in 'ab']
    assert made[0].archive.read_bytes() == made[1].archive.read_bytes() and made[0].link == ''
    with zipfile.ZipFile(made[0].archive) as packed:
        assert packed.namelist() == [f'work/{NAME}.ipynb']
        about = json.loads(packed.read(f'work/{NAME}.ipynb'))['metadata']['course']
    assert (about['lab'], about['course'], about['due']) == (NAME, 'LLM 2027', '2027-03-31')


def test_the_link_opens_one_lab_or_the_folder_of_several():
    one, two = (release.link('https://hub.example.org/', 'https://git.example.org/me/spring.git', 'main', labs)
                for labs in ([Path('01_a.ipynb')], [Path('01_a.ipynb'), Path('02_b.ipynb')]))
    assert one == ('https://hub.example.org/hub/user-redirect/git-pull?repo=https%3A%2F%2Fgit.example.org%2Fme%2F'
                   'spring.git&branch=main&urlpath=lab%2Ftree%2Fspring%2Fwork%2F01_a.ipynb')
    assert two.endswith('urlpath=lab%2Ftree%2Fspring%2Fwork')


def test_what_cannot_be_released_is_one_sentence(course, blank, tmp_path):
    labs = course / 'labs'
    for options, said in ((dict(names=('77_none',)), 'no lab "77_none"'), (dict(due='tomorrow'), '"tomorrow" is no')):
        with pytest.raises(CourseError, match=said):
            release.release(labs, tmp_path / 'out', **options)
    work = hand_in(blank, tmp_path / 'mine' / 'work' / f'{NAME}.ipynb', RIGHT)
    before = work.read_bytes()
    with pytest.raises(CourseError, match="somebody's work"):
        release.release(labs, tmp_path / 'mine')
    assert work.read_bytes() == before and not (tmp_path / 'out').exists()


@pytest.fixture(scope='module')
def without(course, tmp_path_factory):
    """A course without answers, made of the whole package and the one lab."""
    home = tmp_path_factory.mktemp('whole')
    shutil.copytree(course / 'labs', home / 'labs')
    (home / 'internlm_course').symlink_to(ROOT / 'internlm_course')
    out = home / 'spring'
    release.release(home / 'labs', out, answers=False)
    return out


def test_without_answers_no_answer_is_left_anywhere(without):
    texts = {path: path.read_text('utf-8') for path in without.rglob('*')
             if path.suffix in ('.py', '.ipynb') and 'answers' in path.parts or 'labs' in path.parts and path.is_file()}
    assert len(texts) >= 6 and not any('len(text.encode()) / len(tokens)' in text for text in texts.values())
    assert not list(without.glob('labs/src')) and OWN in texts[without / 'internlm_course/lab/answers/template.py']


def test_without_answers_lights_and_points_still_work(without, blank, tmp_path):
    """Its own package compares with the published values; an open exercise stops the lab, and says why."""
    for answer, said in ((RIGHT, '本机得分: 2 of 2'), (None, 'solve the exercise first')):
        path = hand_in(blank, tmp_path / 'lab.ipynb', answer)
        done = subprocess.run([sys.executable, '-m', 'nbconvert', '--to', 'notebook', '--execute', '--allow-errors',
                               '--stdout', path], capture_output=True, text=True,
                              env=dict(os.environ, PYTHONPATH=str(without), INTERNLM_COURSE_RUNS=str(tmp_path)))
        found = ''.join(f'{output_text(cell)} {[o.evalue for o in cell.get("outputs", ()) if "evalue" in o]}'
                        for cell in nbformat.reads(done.stdout, as_version=4).cells)
        assert said in found and 'this copy of the course has no answers' in found, found


# --- the guides' commands, executed -----------------------------------------------------------------------------------
def guide(language: str, name: str) -> str:
    return (ROOT / 'guides' / language / f'{name}.md').read_text('utf-8')


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf'```{kind}\n(.*?)```', text, re.S)


def lines(text: str) -> list[list[str]]:
    """The calls of the command line tool in a guide's blocks, in their order."""
    return [shlex.split(line, comments=True)[1:] for block in blocks(text, 'bash')
            for line in block.replace('\\\n', ' ').splitlines() if line.startswith('.venv/bin/internlm-course ')]


@needs_sandbox
def test_an_evening_as_the_instructors_guide_says_it(course, blank, without):
    """The commands of the tool, in the guide's order, on two submissions: one right, one that comes again."""
    text, said = guide('en', 'instructor'), []
    assert lines(text) == lines(guide('zh', 'instructor'))
    (course / 'roster.csv').write_text(blocks(text, 'csv')[0], 'utf-8')
    hand_in(blank, course / 'submissions' / 'ada' / f'{NAME}.ipynb', RIGHT)
    late = hand_in(blank, course / 'submissions' / 'lin' / f'{NAME}.ipynb')
    hand_in(blank, course / 'work' / f'{NAME}.ipynb', RIGHT)
    for words in lines(text):
        if {'--watch', '--without-answers', '--only'} & set(words):
            cli.parser().parse_args(words)  # these have tests of their own
            continue
        done = call(course, *words)
        assert done.returncode == 0, (words, done.stderr)
        said.append((words, done.stdout))
        if words[0] == 'grade':  # the next call finds the late answer
            hand_in(blank, late, RIGHT)
    first, again = (out for words, out in said if words[0] == 'grade')
    assert '2/2' in first and 'changed' not in first
    assert '1/1 lin' in again and 'ada' not in again  # what was known is not run again
    assert 'changed: lin, length: not attempted 0 -> ok 2' in again
    out = course / 'grades' / 'lab1'
    changes, = csv.DictReader((out / 'changes.csv').read_text('utf-8').splitlines())
    assert (changes['student'], changes['points before'], changes['points after']) == ('lin', '0', '2')
    report = json.loads((out / 'grades.json').read_text('utf-8'))
    assert [(row['student'], row['points']) for row in report['rows']] == [('ada', 2), ('lin', 2), ('chen', 0)]
    assert re.fullmatch('[0-9a-f]{16}', report['environment']['hash'])


@needs_sandbox
def test_a_student_sees_the_public_half_of_the_verdict(course, blank, without):
    """As the student's guide says it; and in a copy without answers, which has the same values to compare with."""
    words, = lines(guide('en', 'student'))
    assert [words] == lines(guide('zh', 'student'))
    shutil.rmtree(course / 'work', ignore_errors=True)
    done = call(course, *words)
    assert done.returncode == 2 and 'make lab' in done.stderr
    work = hand_in(blank, course / 'work' / f'{NAME}.ipynb', RIGHT)
    done = call(course, *words)
    assert done.returncode == 0 and '✓ length            2 / 2    ok: Right.' in done.stdout, done
    hand_in(blank, work, WRONG)
    done = call(course, *words, '--labs', without / 'labs')
    assert '✗ length            0 / 2    wrong: Not right' in done.stdout and '2 / 2' not in done.stdout


@needs_sandbox
def test_watch_grades_what_arrives_until_ctrl_d(course, blank, tmp_path):
    keyboard, terminal = pty.openpty()
    (tmp_path / 'in').mkdir()
    process = subprocess.Popen(
        [sys.executable, '-m', 'internlm_course.cli', 'grade', tmp_path / 'in', '--out', tmp_path / 'out', '--watch'],
        stdin=terminal, stdout=subprocess.PIPE, text=True, cwd=course, env=dict(os.environ, PYTHONPATH=str(ROOT)))
    try:
        assert 'Ctrl-D' in process.stdout.readline()
        hand_in(blank, tmp_path / 'in' / 'ada.ipynb', RIGHT)
        assert process.stdout.readline() == '1/1 ada: 2 of 2 (ok)\n'
        time.sleep(0.1)
        hand_in(blank, tmp_path / 'in' / 'ada.ipynb', WRONG)
        assert process.stdout.readline() == '1/1 ada: 0 of 2 (wrong)\n'
        assert process.stdout.readline() == 'changed: ada, length: ok 2 -> wrong 0\n'
        os.write(keyboard, b'\x04')
        assert process.wait(60) == 0 and process.stdout.read() == ''
    finally:
        process.kill()
