"""Every exercise tells right from wrong: its stub earns nothing, its reference everything, and each known mistake loses
the points, with nbgrader as with us. No kernel is started."""
import json

import nbformat
import pytest
from lab_cells import SOURCES, Cells
from nbgrader.utils import determine_grade

from internlm_course.authoring import build
from internlm_course.grading.compare import output_text, points, printed
from internlm_course.grading.mistakes import known

WRONG = {source.stem: {exercise: [mistake for found in functions.values() for mistake in found]
                       for exercise, functions in known(source.stem).items()} for source in SOURCES}
MISTAKES = [pytest.param(lab, exercise, mistake, id=mistake.name) for lab, found in WRONG.items()
            for exercise, answers in found.items() for mistake in answers]


@pytest.fixture(scope='module')
def cells(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('INTERNLM_COURSE_RUNS', str(tmp_path_factory.mktemp('runs')))
        yield {source.stem: Cells(source) for source in SOURCES}


@pytest.mark.parametrize('lab', WRONG)
def test_each_exercise_has_a_check_points_and_three_known_mistakes(cells, lab):
    lab_cells = cells[lab]
    assert 4 <= len(lab_cells.exercises) <= 8
    assert sorted(lab_cells.checks) == sorted(lab_cells.exercises) == sorted(WRONG[lab])
    for exercise in lab_cells.exercises:
        assert lab_cells.checks[exercise].metadata.nbgrader.points > 0 and len(WRONG[lab][exercise]) >= 3, exercise
    assert lab_cells.namespace['lab'].points == {name: lab_cells.checks[name].metadata.nbgrader.points
                                                 for name in lab_cells.exercises}


@pytest.mark.parametrize('lab, exercise', [(lab, exercise) for lab, found in WRONG.items() for exercise in found])
def test_stub_earns_nothing_and_reference_everything(cells, lab, exercise):
    lab_cells = cells[lab]
    full = lab_cells.checks[exercise].metadata.nbgrader.points
    assert lab_cells.points(exercise, lab_cells.solved[exercise].source) == full
    assert lab_cells.points(exercise, lab_cells.blank[exercise].source) == 0
    line = lab_cells.checked(exercise, lab_cells.blank[exercise].source).outputs[-1].data['text/html']
    assert f'○ {exercise}: not attempted: 0 of {full} points' in line


@pytest.mark.parametrize('seed', ['0', 'graded'])
@pytest.mark.parametrize('kind', ['empty', 'partly', 'wrong', 'full'])
@pytest.mark.parametrize('lab', WRONG)
def test_nbgraders_marking_the_tally_and_ours_agree(cells, monkeypatch, lab, kind, seed):
    monkeypatch.setenv('INTERNLM_COURSE_SEED', seed)
    lab_cells, half = cells[lab], len(cells[lab].exercises) // 2
    solved, blank = ({name: notebook[name].source for name in lab_cells.exercises}
                     for notebook in (lab_cells.solved, lab_cells.blank))
    wrong = {name: WRONG[lab][name][0].source for name in lab_cells.exercises}
    answers = dict(empty=blank, partly={**solved, **dict(list(blank.items())[half:])}, wrong=wrong, full=solved)[kind]
    checks, full = lab_cells.copy(answers), lab_cells.namespace['lab'].points
    ours = {name: points(lab_cells.executed(name), output_text(check)) for name, check in checks.items()}
    theirs = {name: determine_grade(check)[0] for name, check in checks.items()}
    lab_cells.copy(answers)  # `executed` was one more run of the lab
    assert ours == theirs == lab_cells.namespace['lab'].earned
    assert ours == {name: full[name] if kind == 'full' or kind == 'partly' and name in lab_cells.exercises[:half] else 0
                    for name in full}


@pytest.mark.parametrize('seed', ['0', '1', '2', 'graded'])
@pytest.mark.parametrize('lab, exercise, mistake', MISTAKES)
def test_known_mistakes_lose_the_points(cells, monkeypatch, lab, exercise, mistake, seed):
    """Also under seeds that no student has seen; and each mistake runs, so that what is caught is the mistake and not a
    typing error in this file."""
    monkeypatch.setenv('INTERNLM_COURSE_SEED', seed)
    said = cells[lab].say(exercise, mistake.source)
    assert cells[lab].points(exercise, mistake.source) == 0 and 'NameError' not in said


@pytest.mark.parametrize('lab, exercise', [(lab, exercise) for lab, found in WRONG.items() for exercise in found])
def test_a_leaked_answer_is_worth_nothing_under_another_seed(cells, monkeypatch, lab, exercise):
    leaked = cells[lab].say(exercise, cells[lab].solved[exercise].source)
    monkeypatch.setenv('INTERNLM_COURSE_SEED', 'graded')
    assert points(cells[lab].executed(exercise), leaked) == 0


def changed(value):
    """The value with its first leaf changed, by more than any tolerance."""
    if isinstance(value, dict):
        key = next(iter(value))
        return {**value, key: changed(value[key])}
    if isinstance(value, list):
        return [changed(value[0]), *value[1:]]
    return f'{value}!' if isinstance(value, str) else not value if isinstance(value, bool) else (value or 0) * 1.5 + 1


@pytest.mark.parametrize('source', SOURCES, ids=lambda source: source.stem)
def test_one_changed_value_in_the_real_reference_is_seen(cells, source):
    for cell in nbformat.read(build.paths(source)[0], as_version=4).cells:
        if cell.metadata.get('nbgrader', {}).get('grade'):
            said = output_text(cell)
            for check, values in printed(said).items():
                other = said.replace(json.dumps(dict(check=check, values=values), ensure_ascii=False),
                                     json.dumps(dict(check=check, values=changed(values)), ensure_ascii=False))
                assert other != said and points(cell, said) > 0 and points(cell, other) == 0, check


@pytest.mark.parametrize('source', SOURCES, ids=lambda source: source.stem)
def test_the_executed_reference_holds_what_the_solutions_print(cells, source):
    """Breaking a solution, or changing a compared output, is seen here within a second; nbval sees it in the kernel."""
    committed = {cell.id: cell for cell in nbformat.read(build.paths(source)[0], as_version=4).cells}
    for exercise, check in cells[source.stem].checks.items():
        said = cells[source.stem].say(exercise, cells[source.stem].solved[exercise].source)
        told = exercise, said, output_text(committed[check.id])
        assert points(committed[check.id], said) == check.metadata.nbgrader.points, told
