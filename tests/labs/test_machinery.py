"""The tests of the tests, on a small lab: a changed output, a deleted check, a broken solution each make nbval fail;
the plain forms pass."""
import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from lab_cells import LABS
from nbgrader.utils import determine_grade
from run_nbval import nbval

from internlm_course import cli
from internlm_course.authoring import build
from internlm_course.errors import CourseError
from internlm_course.grading.compare import output_text, points

LAB = """\
# %% [markdown] name="title"
# # A lab [for tests](../README.md)

# %% name="setup" setup=true
from internlm_course.lab.check import Lab, attempt, self_check, show_values
lab = Lab('fixture', points=dict(double=2))

# %% name="double" exercise=true
def double(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% name="light"
def own(x):
    return x + x
self_check(double, own, [(1,), (2.5,)], hint='x + x')
double_used = attempt(double, own)
print('used', double_used(4))

# %% name="check-double" check="double" points=2 tolerance={"relative": 0.01}
# NBVAL_CHECK_OUTPUT
lab.check('double', double=(double, own, [(1,), (0.5,), (3.25,)]))

# %% name="check-tour" check=""
# NBVAL_CHECK_OUTPUT
show_values('tour', dict(steps=3))

# %% name="end"
lab.finish()
"""


@pytest.fixture(scope='module')
def lab(tmp_path_factory):
    """The small lab, built and executed once."""
    labs = tmp_path_factory.mktemp('labs')
    (labs / 'src').mkdir()
    (labs / 'src' / '99_fixture.py').write_text(LAB, 'utf-8')
    measured = build.build(labs / 'src' / '99_fixture.py')
    assert measured.startswith('Measured') and 'within the budget' in measured
    return labs


def executed(lab):
    return nbformat.read(lab / 'solutions' / '99_fixture.ipynb', as_version=4)


def cell(notebook, name):
    return next(cell for cell in notebook.cells if cell.id == name)


def test_reference_passes_and_every_marked_cell_is_compared(lab, tmp_path):
    code, compared, text = nbval(lab / 'solutions' / '99_fixture.ipynb', tmp_path, '--compared-minimum', '2')
    assert code == 0 and compared == {'check-double': 3, 'check-tour': 1}, text
    assert 'compared 2 of 2 marked cells' in text


def test_student_copy_runs_without_an_error(lab, tmp_path):
    code, compared, text = nbval(lab / '99_fixture.ipynb', tmp_path, form='--nbval-lax')
    assert code == 0 and compared == {}, text


def test_within_the_tolerance_passes_and_outside_fails(lab, tmp_path):
    notebook = executed(lab)
    values = cell(notebook, 'check-double').outputs[0].data
    values['text/plain'] = values['text/plain'].replace('6.5', '6.53')
    assert nbval(notebook, tmp_path)[0] == 0
    values['text/plain'] = values['text/plain'].replace('6.53', '6.7')
    code, compared, text = nbval(notebook, tmp_path)
    assert code == 1 and compared == {'check-tour': 1} and 'Cell outputs differ' in text


@pytest.mark.parametrize('change', ['deleted', 'unmarked', 'not run', 'silent'])
def test_a_check_that_is_not_compared_fails(lab, tmp_path, change):
    notebook = executed(lab)
    check = cell(notebook, 'check-double')
    if change == 'deleted':
        notebook.cells.remove(check)
    elif change == 'unmarked':
        check.source = check.source.replace(build.MARK, '')
        check.metadata.tags = ['nbval-ignore-output']
    elif change == 'not run':
        check.execution_count, check.outputs = None, []
    else:
        check.source, check.outputs = build.MARK, []
    code, compared, text = nbval(notebook, tmp_path, '--compared-minimum', '2')
    assert code == 1 and compared == {'check-tour': 1}, text


@pytest.mark.parametrize('solution', ['return 3 * x', 'raise ValueError(x)'])
def test_a_broken_solution_fails(lab, tmp_path, solution):
    notebook = executed(lab)
    exercise = cell(notebook, 'double')
    exercise.source = exercise.source.replace('return 2 * x', solution)
    code, compared, text = nbval(notebook, tmp_path, '--compared-minimum', '2')
    assert code == 1 and compared == {'check-tour': 1} and 'Cell outputs differ' in text


ANSWERS = dict(right='def double(x):\n    return x * 2', wrong='def double(x):\n    return x ** 2',
               broken='def double(x):\n    return 2 * x +',
               empty=None,
               noisy='import warnings\ndef double(x):\n    warnings.warn("odd")\n    print("debugging")\n    return '
                     '2 * x')


def commands(start: str) -> list[list[str]]:
    """The commands of labs/README.md that start so; the same in both languages."""
    blocks = re.findall(r'```bash\n(.*?)```', (LABS / 'README.md').read_text('utf-8').replace('\\\n', ' '), re.DOTALL)
    found = [shlex.split(line) for line in ''.join(blocks).splitlines() if line.startswith(start)]
    half = len(found) // 2
    assert found and found[:half] == found[half:]
    return found[:half]


def student(lab, answer):
    notebook = nbformat.read(lab / '99_fixture.ipynb', as_version=4)
    cell(notebook, 'double').source = ANSWERS[answer] or cell(notebook, 'double').source
    return notebook


@pytest.mark.parametrize('answer, ended', [('noisy', 0), ('wrong', 1), ('empty', 1)])
def test_a_students_rerun_is_compared_with_the_reference_and_not_with_itself(lab, tmp_path, answer, ended):
    notebook, mine = student(lab, answer), tmp_path / 'mine.ipynb'
    cell(notebook, 'check-double').source = 'raise ValueError  # who changes a check changes nothing'
    (command,) = commands('.venv/bin/python -m pytest')
    instead = {'.venv/bin/python': sys.executable,
               'labs/solutions/01_full_chain.ipynb': str(lab / 'solutions' / '99_fixture.ipynb'), '11': '2',
               'work/01_full_chain.ipynb': str(mine)}
    command = [instead.get(word, word) for word in command] + ['--compared-report', str(tmp_path / 'compared.json')]
    for there, compared, code in ((True, {'check-tour': 1} if ended else {'check-double': 3, 'check-tour': 1}, ended),
                                  (False, {'check-tour': 1}, 1)):
        if not there:
            notebook.cells.remove(cell(notebook, 'check-double'))
        nbformat.write(notebook, mine)
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True,
                              env=dict(os.environ, INTERNLM_COURSE_RUNS=str(tmp_path / 'runs')))
        assert done.returncode == code and json.loads((tmp_path
                                                       / 'compared.json').read_text(
                                                           'utf-8')) == compared, done.stdout + done.stderr
        if ended:
            break  # a check that is missing costs one more run, and is the same for all


def test_a_reference_that_is_not_there_is_one_sentence(lab, tmp_path):
    code, _, text = nbval(lab / '99_fixture.ipynb', tmp_path, '--compared-with', tmp_path / 'none.ipynb')
    assert code == 4
    assert text.strip().splitlines()[-1] == f'ERROR: --compared-with: there is no notebook {tmp_path / "none.ipynb"}.'


def test_nbgraders_own_marking_is_ours(lab, tmp_path):
    """The real nbgrader, as an instructor calls it: assignment from the reference, then the marks of five students."""
    def folder(*parts: str) -> Path:
        made = tmp_path.joinpath('marking', *parts, 'lab1')
        made.mkdir(parents=True)
        return made / '99_fixture.ipynb'
    shutil.copyfile(lab / 'solutions' / '99_fixture.ipynb', folder('source'))
    for answer in ANSWERS:
        nbformat.write(student(lab, answer), folder('submitted', answer))
    environment = dict(os.environ, INTERNLM_COURSE_RUNS=str(tmp_path / 'runs'),
                       PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}')
    for command in commands('nbgrader '):
        done = subprocess.run([sys.executable, '-m', *command], cwd=tmp_path, capture_output=True, text=True,
                              env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
    with (tmp_path / 'grades.csv').open(newline='') as stream:
        theirs = {row['student_id']: float(row['score']) for row in csv.DictReader(stream)}
    marked = {answer: nbformat.read(tmp_path / 'marking' / 'autograded' / answer / 'lab1' / '99_fixture.ipynb',
                                    as_version=4) for answer in ANSWERS}
    reference = cell(executed(lab), 'check-double')
    ours = {answer: points(reference, output_text(cell(notebook, 'check-double')))
            for answer, notebook in marked.items()}
    assert ours == theirs == dict(right=2, wrong=0, broken=0, empty=0, noisy=2)


def test_the_two_forms_are_what_nbgrader_makes_of_one_source(lab):
    solved, blank = executed(lab), nbformat.read(lab / '99_fixture.ipynb', as_version=4)
    names = ['title', 'setup', 'double', 'light', 'check-double', 'check-tour', 'end']
    assert [c.id for c in solved.cells] == [c.id for c in blank.cells] == names
    assert 'return 2 * x' in cell(solved, 'double').source and 'return 2 * x' not in cell(blank, 'double').source
    assert 'raise NotImplementedError' in cell(blank, 'double').source
    assert all(not c.get('outputs') and c.get('execution_count') is None for c in blank.cells)
    assert cell(blank, 'check-double').metadata.nbgrader.points == 2
    assert cell(blank, 'check-double').metadata.editable is False
    assert cell(blank, 'double').metadata.nbgrader.solution
    assert cell(blank, 'double').metadata.nbgrader.grade_id == 'double'
    assert '(../README.md)' in cell(blank, 'title').source and '(../../README.md)' in cell(solved, 'title').source
    assert cell(solved, 'light').outputs[-1].text == 'used 8\n'
    nbformat.validate(solved), nbformat.validate(blank)


def test_a_generated_file_that_differs_from_its_source_is_named(lab):
    assert build.outdated(lab) == []
    path = lab / '99_fixture.ipynb'
    text = path.read_text('utf-8')
    try:
        path.write_text(text.replace('x + x', 'x * 2'), 'utf-8')
        assert len(build.outdated(lab)) == 1 and 'differs from' in build.outdated(lab)[0]
        assert 'light' in build.outdated(lab)[0]
        path.unlink()
        assert 'is missing' in build.outdated(lab)[0]
        path.write_text('{')
        assert 'no notebook that can be read' in build.outdated(lab)[0]
        (lab / '98_stray.ipynb').write_text('{}')
        assert any('has no source' in fault for fault in build.outdated(lab))
    finally:
        path.write_text(text, 'utf-8')
        (lab / '98_stray.ipynb').unlink(missing_ok=True)


@pytest.mark.parametrize('content', ['answered', 'run', 'broken'])
def test_what_somebody_worked_in_is_left_alone(lab, tmp_path, capsys, content):
    labs = tmp_path / 'labs'
    shutil.copytree(lab, labs)
    blank, solved = labs / '99_fixture.ipynb', labs / 'solutions' / '99_fixture.ipynb'
    if content == 'broken':
        blank.write_text('{')
    else:
        notebook = nbformat.read(blank, as_version=4)
        if content == 'run':
            cell(notebook, 'light').outputs = executed(lab).cells[3].outputs
        else:
            cell(notebook, 'double').source = 'def double(x): return x + x'
        nbformat.write(notebook, blank)
    solved.write_text(solved.read_text('utf-8').replace('return 2 * x', 'return 2.5 * x'), 'utf-8')
    hers = blank.read_bytes(), solved.read_bytes()
    assert cli.main(['notebooks', '--folder', str(labs)]) == 2
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and str(blank) in said and str(solved) in said and 'work/' in said
    assert '--force' in said
    assert (blank.read_bytes(), solved.read_bytes()) == hers


def test_what_only_a_kernel_changed_is_built_again_and_force_writes_over_the_rest(lab, tmp_path, capsys):
    labs = tmp_path / 'labs'
    shutil.copytree(lab, labs)
    blank, solved = labs / '99_fixture.ipynb', labs / 'solutions' / '99_fixture.ipynb'
    notebook = executed(labs)
    cell(notebook, 'light').outputs = []
    nbformat.write(notebook, solved)
    blank.write_text('{')
    assert cli.main(['notebooks', '--folder', str(labs)]) == 2
    assert str(solved) not in capsys.readouterr().err and cell(executed(labs), 'light').outputs[-1].text == 'used 8\n'
    solved.write_text('{')
    assert cli.main(['notebooks', '--folder', str(labs), '--force']) == 0
    assert cell(executed(labs), 'light').outputs[-1].text == 'used 8\n' and build.outdated(labs) == []


@pytest.mark.parametrize('change, words', [
    (('name="light"', ''), 'has no name'), (('name="light"', 'name="double"'), 'like one before'),
    ((' exercise=true', ''), 'contradicts its header'),
    (('# NBVAL_CHECK_OUTPUT\nlab.check(', 'lab.check('), 'contradicts its header')])
def test_a_source_that_contradicts_itself_is_refused(tmp_path, change, words):
    source = tmp_path / 'bad.py'
    assert change[0] in LAB
    source.write_text(LAB.replace(*change, 1), 'utf-8')
    with pytest.raises(CourseError, match=words):
        build.read(source)


def test_a_lab_that_stops_is_one_sentence(lab, tmp_path):
    notebook = build.reference(lab / 'src' / '99_fixture.py')
    cell(notebook, 'light').source = 'print(undefined)'
    with pytest.raises(CourseError, match="stopped in cell light: NameError: name 'undefined' is not defined"):
        build.execute(notebook, tmp_path)


def test_points_need_a_comparison_that_took_place(lab):
    check = cell(executed(lab), 'check-double')
    said = output_text(check)
    assert determine_grade(check)[0] == 2
    assert points(check, said) == points(check, f'noise\n{said}') == 2
    assert (points(check, '') == points(check, said.replace('6.5', '9'))
            == points(check, said.replace('double', 'other')) == 0)
    silent = dict(check, outputs=[])
    assert points(silent, '') == points(silent, said) == 0


@pytest.mark.parametrize('tolerance, ended', [(0.1, 0), (None, 1)])
def test_a_notebook_without_cell_ids_is_compared(tmp_path, tolerance, ended):
    """nbformat 4.0 to 4.4, which Colab writes; cell metadata as other tools leave it."""
    code = ('# NBVAL_CHECK_OUTPUT\nimport json\n'
            'print(json.dumps(dict(check="a", values=[1.5, "\\u2028"]), ensure_ascii=False))')
    output = nbformat.v4.new_output('stream', name='stdout', text='{"check": "a", "values": [1.6, "\u2028"]}\n')
    stated = dict(course=dict(tolerance=tolerance and dict(relative=tolerance, note='wide')))
    notebook = nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_code_cell(code, execution_count=1, outputs=[output], metadata=stated),
        nbformat.v4.new_code_cell('1', execution_count=2, metadata=dict(course=None, tags=['nbval-ignore-output']))])
    notebook.nbformat_minor = 0
    for cell in notebook.cells:
        del cell['id']
    (tmp_path / 'lab.ipynb').write_text(json.dumps(notebook), 'utf-8')  # nbformat would write ids of its own
    assert nbval(tmp_path / 'lab.ipynb', tmp_path)[:2] == (ended, {} if ended else {'lab.ipynb: Cell 0': 2})
