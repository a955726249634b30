"""Every exercise tells right from wrong: its stub earns nothing, its reference everything, and each known mistake loses
the points, with nbgrader as with us, and gets its advice. No kernel is started."""
import html
import json
import re

import nbformat
import pytest
from lab_cells import LABS, SOURCES, Cells
from nbgrader.utils import determine_grade

from internlm_course.authoring import build
from internlm_course.grading.absence import check_parts
from internlm_course.grading.compare import output_text, points, printed
from internlm_course.grading.mistakes import Mistake, known
from internlm_course.grading.rebuild import read_key
from internlm_course.grading.verdict import Known, judge
from internlm_course.lab import check as lab_check

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


def test_each_known_mistake_has_a_name_and_one_sentence_of_advice_in_both_languages():
    mistakes = [mistake for _, _, mistake in (param.values for param in MISTAKES)]
    assert len({mistake.name for mistake in mistakes}) == len({m.en for m in mistakes}) == len(mistakes) >= 100
    for mistake in mistakes:
        assert re.fullmatch('[a-z0-9]+(-[a-z0-9]+)*', mistake.name)
        assert re.search('[.?]$', mistake.en) and not re.search('[.?] |[\u4e00-\u9fff]', mistake.en), mistake.name
        assert re.search('[。？]$', mistake.zh) and not re.search('[。？].', mistake.zh), mistake.name


def share(shown: dict[str, bool], record_property) -> float:
    """The share that is shown, recorded; who is not is named where a test fails."""
    found = sum(shown.values()) / len(shown)
    record_property('advice_shown', found)
    print(f'advice shown: {found:.1%} of {len(shown)}; not: {[name for name in shown if not shown[name]]}')
    return found


@pytest.mark.parametrize('lab', WRONG)
def test_advice_is_shown_at_home(cells, monkeypatch, record_property, lab):
    """By the self-check; and by the check, to whoever left that out."""
    monkeypatch.setattr(lab_check, '_wrong', set())

    def checked(exercise: str, answer: str) -> str:
        return html.unescape(cells[lab].checked(exercise, answer).outputs[-1].data['text/html'])
    for look in (checked, cells[lab].light):
        shown = {mistake.name: f'{mistake.zh} · {mistake.en}' in look(exercise, mistake.source)
                 for exercise, mistakes in WRONG[lab].items() for mistake in mistakes}
        assert share(shown, record_property) >= 0.9


class Marks:
    """The verdicts of a grader without kernels: values come from the cells."""

    def __init__(self, cells: Cells, lab: str):
        self.cells, self.key = cells, read_key(LABS, lab)
        self.known, self.wanted = {}, {}
        for name, exercise in self.key.exercises.items():
            parts = {mine: part for part, mine, _ in check_parts(exercise.check)}
            assert parts.keys() >= known(lab)[name].keys()
            self.wanted[name] = cells.values(name, exercise.answer)
            self.known[name] = [Known(mistake, parts[function], cells.values(name, mistake.source)[parts[function]])
                                for function, found in known(lab)[name].items() for mistake in found]

    def mistakes(self, exercise: str, answer: str) -> list[str]:
        """The names of the mistakes recognised in an answer that earns nothing."""
        said = dict(ended='', cells=dict(check=dict(shown=[self.cells.say(exercise, answer)])))
        found = judge(self.key.exercises[exercise], said, self.wanted[exercise], self.known[exercise])
        assert not found.points
        return [mistake['name'] for mistake in found.mistakes]


@pytest.fixture(params=['0', 'graded', 'another'])
def marks(request, cells, monkeypatch):
    monkeypatch.setenv('INTERNLM_COURSE_SEED', request.param)
    return {lab: Marks(cells[lab], lab) for lab in cells}


def test_advice_is_in_the_graders_feedback(marks, record_property):
    for lab in WRONG:
        shown = {mistake.name: marks[lab].mistakes(exercise, mistake.source) == [mistake.name]
                 for exercise, mistakes in WRONG[lab].items() for mistake in mistakes}
        assert share(shown, record_property) >= 0.9


HALF_RIGHT = [
    ('01_full_chain', 'template', 'return text +', 'return text.replace("user", "User") +'),
    ('01_full_chain', 'parameters', 'layer + width', 'layer'),
    ('01_full_chain', 'gpu', 'return None', "return 'none'"),
    ('01_full_chain', 'interval', "else 'undecided'", "else 'tie'"),
    ('02_data', 'rates', 'right / targets if targets else None', 'None'),
    ('02_data', 'signature', '/ len(one)', '/ (len(one) + 1)'),
    ('02_data', 'cut', '>= wanted', '>= 0'),
    ('03_pretraining', 'attention', 'np.tri(length,', 'np.tri(length, k=1,'),
    ('03_pretraining', 'schedule', 'step < warmup', 'step <= warmup'),
    ('03_pretraining', 'memory', 'weights=2', 'weights=4'),
    ('04_finetuning', 'lora', '(x @ a.T) @ b.T', '(x @ a.T) @ b.T / 2'),
    ('04_finetuning', 'parameters', '2 * hidden', 'hidden'),
    ('04_finetuning', 'nf4', '.argmin(1)', '.argmax(1)'),
    ('04_finetuning', 'packing', '- room + 1', '- room'),
    ('05_rlhf', 'clip', '1 - epsilon, 1 + epsilon', '-epsilon, epsilon'),
    ('05_rlhf', 'groups', 'groups.mean(axis=1, keepdims=True)', 'groups.max(axis=1, keepdims=True)'),
    ('05_rlhf', 'verifier', 'text.rpartition', 'text.partition'),
    ('05_rlhf', 'diagnosis', 'score.index(max(score))', 'score.index(min(score))')]


@pytest.mark.parametrize('lab, exercise, right, wrong', HALF_RIGHT)
def test_half_right_answers_get_no_advice_that_does_not_fit(cells, marks, monkeypatch, lab, exercise, right, wrong):
    answer = cells[lab].solved[exercise].source
    assert answer.count(right) == 1
    answer = answer.replace(right, wrong)
    assert marks[lab].mistakes(exercise, answer) == []
    monkeypatch.setattr(lab_check, '_wrong', set())
    said = cells[lab].light(exercise, answer)
    assert '✗' in said and not any(mistake.en in said for mistake in WRONG[lab][exercise])


def test_each_function_is_told_its_own_mistake(cells, marks):
    """One that is right, or not written yet, changes nothing for the other."""
    def named(lab: str, name: str) -> Mistake:
        return next(m for mistakes in WRONG[lab].values() for m in mistakes if m.name == name)
    ninety, alone = named('01_full_chain', 'ninety-percent'), named('01_full_chain', 'compares-scores-alone')
    both = f'{ninety.source}\n\n{alone.source[alone.source.index("def better"):]}'
    assert marks['01_full_chain'].mistakes('interval', both) == [ninety.name, alone.name]
    sets = named('02_data', 'signatures-as-sets')
    half = f'{cells["02_data"].blank["signature"].source}\n\n{sets.source[sets.source.index("def resemblance"):]}'
    assert marks['02_data'].mistakes('signature', half) == [sets.name]
    assert sets.en in cells['02_data'].light('signature', sets.source)


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
