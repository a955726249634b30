"""A student's folder: copies are made once and kept, newer releases lie beside them with her answers, broken ones stop
nothing, the page tells where she is."""
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

from internlm_course import cli
from internlm_course.authoring import build
from internlm_course.grading.notebook import edited, in_use, load
from internlm_course.lab import jupyter, workspace

HOME = Path(__file__).resolve().parents[3]
LAB = """\
# %% [markdown] name="title"
# # 实验一：小实验 · Lab 1: a small one
# [the lecture](../lectures/en/01-small.md)

# %% name="setup" setup=true
lab = Lab('01_small', minutes=7)

# %% [markdown] name="guess"
# My prediction:

# %% name="double" exercise=true
def double(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% name="check-double" check="double" points=2
# NBVAL_CHECK_OUTPUT
show('double', double, [(1,)])

# %% name="triple" exercise=true
def triple(x):
    ### BEGIN SOLUTION
    return 3 * x
    ### END SOLUTION

# %% name="check-triple" check="triple" points=10
# NBVAL_CHECK_OUTPUT
show('triple', triple, [(1,)])
"""
ANSWER = 'def double(x):\n    return x + x  # 我的'


def write(labs: Path, source: str = LAB) -> None:
    """Both notebooks of the small lab, the reference with the outputs that it would have."""
    path = labs / 'src' / '01_small.py'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, 'utf-8')
    reference = build.reference(path)
    for check, value in (('double', 2), ('triple', 3)):
        say(cell(reference, f'check-{check}'), check, value)
    (labs / 'solutions').mkdir(exist_ok=True)
    nbformat.write(reference, labs / 'solutions' / '01_small.ipynb')
    nbformat.write(build.student(path), labs / '01_small.ipynb')


def say(cell, check: str, value: int) -> None:
    cell.outputs = [nbformat.v4.new_output('stream', text=f'{{"check": "{check}", "values": [{value}]}}\n')]


def cell(notebook, name: str):
    return next(each for each in notebook.cells if each.id == name)


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A course of one lab, as it is cloned."""
    write(tmp_path / 'labs')
    for tongue in ('zh', 'en'):
        (tmp_path / 'lectures' / tongue).mkdir(parents=True)
        (tmp_path / 'lectures' / tongue / '01-small.md').write_text('# Small\n')
    return tmp_path


@pytest.fixture
def solved(course: Path) -> Path:
    """The student's copy, with her answer to the first exercise."""
    workspace.prepare(course)
    path = course / 'work' / '01_small.ipynb'
    change(path, double=ANSWER, guess='My prediction: 2')
    return path


def change(path: Path, **sources: str) -> None:
    notebook = nbformat.read(path, as_version=4)
    for name, source in sources.items():
        cell(notebook, name).source = source
    nbformat.write(notebook, path)


def newer(course: Path, old: str = 'minutes=7', new: str = 'minutes=8') -> None:
    """A pull brings another release of the lab."""
    source = (course / 'labs' / 'src' / '01_small.py').read_text('utf-8')
    assert old in source
    write(course / 'labs', source.replace(old, new))


def page(course: Path, tongue: str = 'en') -> str:
    return (course / 'work' / workspace.PAGES[tongue]).read_text('utf-8')


# --- copies -----------------------------------------------------------------------------------------------------------
def test_copies_are_made_once_and_never_written_over(course, solved):
    work = course / 'work'
    copy, shipped = (nbformat.read(folder / 'solutions' / '01_small.ipynb', as_version=4)
                     for folder in (work, course / 'labs'))
    # Else JupyterLab adds it, and shows it unsaved
    assert copy.metadata.pop('language_info')['version'] == platform.python_version()
    assert shipped.metadata.pop('language_info') and copy == shipped
    hers = solved.read_bytes()
    assert workspace.prepare(course) == [] and solved.read_bytes() == hers
    assert sorted(path.name for path in work.iterdir()) == ['01_small.ipynb', 'START.md', 'START.zh.md', 'solutions']
    solved.unlink()
    workspace.prepare(course)
    assert edited(load(solved)) == {}


def test_work_done_in_labs_comes_along_or_is_pointed_at(course):
    change(course / 'labs' / '01_small.ipynb', double=ANSWER)
    said, = workspace.prepare(course)
    assert cell(nbformat.read(course / 'work' / '01_small.ipynb', as_version=4), 'double').source == ANSWER
    assert 'is in its copy' in said['en']
    assert said['en'].endswith('git checkout ' + str(course / 'labs' / '01_small.ipynb')) and '冲突' in said['zh']
    change(course / 'labs' / '01_small.ipynb', triple='def triple(x): return 3 * x')
    said, = workspace.prepare(course)
    assert 'is not in your copy' in said['en'] and '不在你的副本里' in said['zh']


@pytest.mark.skipif(not (HOME / '.git').exists(), reason='not a clone')
def test_git_sees_nothing_of_it():
    assert subprocess.run(['git', '-C', HOME, 'check-ignore', 'work/01_full_chain.ipynb'],
                          stdout=subprocess.DEVNULL).returncode == 0


def test_a_newer_release_lies_beside_with_the_answers_of_the_older(course, solved):
    newer(course)
    newer(course, 'def triple(x):', 'def triple(x: float):')
    change(solved, title='# mine', setup='lab = 1')
    hers = solved.read_bytes()
    newer(course, 'the lecture', 'lecture 1')
    said = workspace.prepare(course)
    offered = next(course.glob('work/01_small.new-*.ipynb'))
    new = nbformat.read(offered, as_version=4)
    assert solved.read_bytes() == hers and nbformat.validate(new) is None
    assert cell(new, 'double').source == ANSWER and cell(new, 'guess').source == 'My prediction: 2'
    assert 'minutes=8' in cell(new, 'setup').source and 'lecture 1' in cell(new, 'title').source
    assert 'def triple(x: float):' in cell(new, 'triple').source
    assert 'raise NotImplementedError' in cell(new, 'triple').source
    lab = next(line for line in said if offered.name in line['en'])
    assert 'your answers to guess, double.' in lab['en'] and offered.name in lab['zh'] and 'double' in lab['zh']
    assert lab['en'] in page(course) and lab['zh'] in page(course, 'zh')
    assert f'[newer release]({offered.name}) | | not run yet |' in page(course)
    assert workspace.prepare(course) == [] and lab['en'] not in page(course)


def test_the_next_release_takes_up_where_she_went_on(course, solved):
    newer(course)
    workspace.prepare(course)
    second = next(course.glob('work/01_small.new-*.ipynb'))
    change(second, triple='def triple(x):\n    return x * 3')
    os.utime(solved, (1, 1))
    newer(course, 'minutes=8', 'minutes=9')
    workspace.prepare(course)
    third, = set(course.glob('work/01_small.new-*.ipynb')) - {second}
    new = nbformat.read(third, as_version=4)
    assert (cell(new, 'double').source, cell(new, 'triple').source) == (ANSWER, 'def triple(x):\n    return x * 3')


def test_an_untouched_copy_has_no_answers_to_carry_over(course):
    workspace.prepare(course)
    newer(course)
    assert all('no answers yet' in line['en'] for line in workspace.prepare(course))


def test_a_renamed_offer_is_hers_from_then_on(course, solved):
    newer(course)
    workspace.prepare(course)
    next(course.glob('work/01_small.new-*.ipynb')).replace(solved)
    assert workspace.prepare(course) == [] and not list(course.glob('work/01_small.new-*.ipynb'))


def test_answers_are_found_where_a_tool_dropped_the_ids(course, solved):
    notebook = nbformat.read(solved, as_version=4)
    notebook.nbformat_minor = 4
    for each in notebook.cells:
        del each['id']
    solved.write_text(nbformat.writes(notebook), 'utf-8')
    newer(course)
    workspace.prepare(course)
    assert cell(nbformat.read(next(course.glob('work/01_small.new-*.ipynb')), as_version=4), 'double').source == ANSWER


@pytest.mark.parametrize('content',
                         [b'', b'{', b'[]', b'null', b'\xff\xfe',
                          b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": 3}',
                          b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {"course": {"release": 7}}, "cells": []}',
                          b'[' * 100_000])
def test_a_broken_notebook_is_one_sentence_and_the_others_go_on(course, content):
    shutil.copy(course / 'labs' / '01_small.ipynb', course / 'labs' / '02_small.ipynb')
    workspace.prepare(course)
    broken, whole = (course / 'work' / f'{number}_small.ipynb' for number in ('01', '02'))
    broken.write_bytes(content)
    whole.unlink()
    said, = workspace.prepare(course)
    assert 'work/01_small.ipynb is no notebook that can be read' in said['en'] and '01_small.ipynb' in said['zh']
    assert '无法读取' in said['zh']
    assert broken.read_bytes() == content and whole.exists()
    assert 'cannot be read |' in page(course) and '无法读取 |' in page(course, 'zh')
    assert '(02_small.ipynb)' in page(course)


def test_a_folder_that_cannot_be_written_is_one_sentence(course, capsys):
    (course / 'work').write_text('a file of hers')
    assert cli.main(['lab', '--folder', str(course)]) == 2
    assert capsys.readouterr().err.count('\n') == 1 and (course / 'work').read_text() == 'a file of hers'


# --- the page ---------------------------------------------------------------------------------------------------------
def test_the_page_tells_time_progress_and_the_way(course):
    workspace.prepare(course)
    assert ('| [Lab 1: a small one](01_small.ipynb) | about 1 h + 7 min | not started yet '
            '| [lecture](../lectures/en/01-small.md) |') in page(course)
    assert ('| [实验一：小实验](01_small.ipynb) | 约 1 小时 + 7 分钟 | 还没开始 '
            '| [讲义](../lectures/zh/01-small.md) |') in page(course, 'zh')
    for tongue in ('zh', 'en'):
        links = re.findall(r'\]\(([^)]+)\)', page(course, tongue))
        assert len(links) == 4 and all((course / 'work' / link).is_file() for link in links)


def test_a_lab_without_a_heading_goes_by_its_name(course):
    newer(course, '# # 实验一：小实验 · Lab 1: a small one', '# A small one')
    newer(course, 'minutes=7', 'gigabytes=1')
    workspace.prepare(course)
    assert '| [01_small](01_small.ipynb) | about 1 h + 5 min |' in page(course)


@pytest.mark.parametrize('double, triple, told',
                         [(2, 3, '2 of 2 exercises, 12 of 12 points'), (2, 4, '1 of 2 exercises, 2 of 12 points'),
                          (1, 1, '0 of 2 exercises, 0 of 12 points')])
def test_progress_is_what_the_saved_checks_printed(course, double, triple, told):
    workspace.prepare(course)
    path = course / 'work' / '01_small.ipynb'
    notebook = nbformat.read(path, as_version=4)
    say(cell(notebook, 'check-double'), 'double', double)
    say(cell(notebook, 'check-triple'), 'triple', triple)
    nbformat.write(notebook, path)
    workspace.prepare(course)
    assert f'| {told} |' in page(course)


@pytest.mark.parametrize('environment, name',
                         [(dict(LANG='zh_CN.UTF-8'), 'START.zh.md'),
                          (dict(LANG='zh_CN.UTF-8', LC_ALL=''), 'START.zh.md'),
                          (dict(LANG='zh_CN.UTF-8', LC_ALL='C'), 'START.md'), (dict(LANG='en_US.UTF-8'), 'START.md'),
                          ({}, 'START.md')])
def test_jupyterlab_opens_on_the_page_of_the_users_language(course, monkeypatch, environment, name):
    for variable in ('LANG', 'LC_ALL'):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert jupyter.landing(course) == '/lab'
    workspace.prepare(course)
    assert jupyter.landing(course) == f'/lab/tree/work/{name}'


# --- the course's own labs --------------------------------------------------------------------------------------------
@pytest.mark.parametrize('path', sorted(HOME.glob('labs/**/*.ipynb')),
                         ids=lambda path: path.relative_to(HOME).as_posix())
def test_links_of_a_lab_lead_somewhere_from_its_copy(path):
    text = '\n'.join(each.source for each in nbformat.read(path, as_version=4).cells if each.cell_type == 'markdown')
    folder = HOME / 'work' / path.parent.relative_to(HOME / 'labs')
    for link in re.findall(r'(?:\]\(|(?:src|href)=")(?!https?:|#|attachment:)([^)"#]+)', text):
        target = Path(os.path.normpath(folder / link)).relative_to(HOME)
        assert (HOME / Path(*('labs' if part == 'work' else part for part in target.parts))).exists(), link


def test_a_shipped_notebook_is_as_it_says_that_it_was_released():
    for source in build.sources(HOME / 'labs'):
        assert [path for path in build.paths(source) if in_use(path, runs=path.parent.name == 'labs')] == []
