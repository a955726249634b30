"""The READMEs are twins, tell the hours that the landing page tells, name a place for questions and the rules;
report.png shows scores and curve."""
import importlib.util
import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
import twins
from PIL import Image
from test_report import FAKE

from internlm_course.lab import workspace

ROOT = Path(__file__).resolve().parents[2]
READMES = [pytest.param((ROOT / name).read_text('utf-8'), words, id=name) for name, words in {
    'README.md': ('issues page of this repository', 'AI assistant', 'who or what helped'),
    'README.zh.md': ('本仓库的 issues 页面', 'AI 助手', '写明谁帮了你')}.items()]


def test_twins_say_the_same():
    english, chinese = (readme.values[0] for readme in READMES)
    assert twins.compare(chinese, english) == []


@pytest.mark.parametrize(('text', 'words'), READMES)
def test_a_student_finds_the_place_for_questions_and_the_rules_after_the_labs(text, words):
    start, labs, rules, learned = (twins.sections(text)[i].title for i in (3, 4, 5, 6))
    assert text.index(f'## {start}') < text.index('make run\nmake lab') < text.index(f'## {labs}') < text.index(
        f'## {rules}')
    part = text[text.index(f'## {rules}'):text.index(f'## {learned}')]
    assert [word for word in words if word not in part] == []


@pytest.mark.parametrize(('text', 'words'), READMES)
def test_what_the_model_learns_is_said_in_plain_words_before_the_scores_further_down(text, words):
    parts = text.split('\n## ')
    plain, scores, troubles = parts[5], *(next(part for part in parts if sign in part)
                                          for sign in ('| base | long |', '`make doctor ARGS'))
    assert not re.search(r'\d|\||CPU', plain) and f'](#{twins.slug(scores.splitlines()[0])})' in plain
    assert text.index(plain) < text.index(troubles) < text.index(scores)


@pytest.mark.parametrize(('text', 'words'), READMES)
def test_the_beginning_says_what_one_sees_and_where_all_commands_stand(text, words):
    begin = text[text.index('make run\nmake lab'):].split('\n## ')[0]
    assert [word for word in ('setup:', 'runs/tiny/report.html', 'http://127.0.0.1', 'Ctrl-C', '`make help`',
                              '`make doctor`') if word not in begin] == []


@pytest.mark.parametrize(('text', 'words'), READMES)
def test_the_hours_of_a_lab_are_those_of_the_page_that_jupyterlab_opens(text, words):
    for notebook in sorted((ROOT / 'labs').glob('*.ipynb')):
        points = sum(cell.metadata.get('nbgrader', {}).get('points', 0) for cell in nbformat.read(notebook, 4).cells)
        [told] = re.findall(rf'\(labs/{notebook.name}\) \| ([\d.]+) (?:h|小时) \|', text)
        assert float(told) == round(points * workspace.MINUTES_A_POINT / 30) / 2, notebook.name


@pytest.mark.skipif(not shutil.which('chromium'), reason='no Chromium here: the picture was not drawn')
def test_the_picture_is_cut_below_the_curve(tmp_path):
    """The second phase's colour is in the scores and in the curve; below that is a margin of one colour, and nothing
    else."""
    spec = importlib.util.spec_from_file_location('report_png', ROOT / 'images' / 'src' / 'report_png.py')
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.draw(FAKE, tmp_path / 'report.png', 'chromium')
    picture = np.asarray(Image.open(tmp_path / 'report.png').convert('RGB'))
    height, width, _ = picture.shape
    assert width == script.WIDTH * script.SHARPNESS and 0.8 < height / width < 1.6
    assert (picture[-script.MARGIN:] == picture[-1, 0]).all()
    rows = np.flatnonzero((picture == (0xc2, 0x70, 0x3d)).all(2).any(1)) / height
    assert rows[0] < 0.6 and rows[-1] > 0.85
