"""Attempts, values out, the student's own light, points, budget and tally, without a kernel; what a kernel adds, in
IPython's own shell."""
import json
import re
import sys
from textwrap import dedent

import pytest

from internlm_course.grading.compare import OWN, agrees, output_text, points, printed
from internlm_course.lab import check, kernel


def own(x):
    return 2 * x


def stub(x):
    raise NotImplementedError


def broken(x):
    raise ZeroDivisionError('oops')


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setenv('INTERNLM_COURSE_RUNS', str(tmp_path))
    return check.Lab('none', minutes=1, gigabytes=100, points=dict(double=2, half=1.5, last=1))


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """IPython in this process; calling it runs a cell, and gives what it printed, and what it displayed, its last
    line's value included, by MIME type."""
    from IPython.core.displayhook import DisplayHook
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    from traitlets.config import Config
    monkeypatch.setenv('IPYTHONDIR', str(tmp_path / 'ipython'))
    monkeypatch.setattr(DisplayHook, 'write_output_prompt', lambda self: None)  # a terminal's way to show a value
    monkeypatch.setattr(DisplayHook, 'write_format_data', lambda self, data, metadata: shown.append(data))
    monkeypatch.setattr(DisplayHook, 'finish_displayhook', lambda self: None)
    shown, ipython = [], InteractiveShell.instance(config=Config(HistoryManager=dict(enabled=False)))

    def cell(source: str, cell_id: str | None = None, fails: bool = False) -> tuple[str, list[dict]]:
        shown.clear()
        with capture_output() as captured:
            result = ipython.run_cell(dedent(source), cell_id=cell_id)
            fails or result.raise_error()
        return captured.stdout, [output.data for output in captured.outputs] + shown
    cell('from internlm_course.lab.check import *\nfrom internlm_course.lab import kernel\nown = lambda x: 2 * x')
    yield cell
    InteractiveShell.clear_instance()


# --- attempts and values ----------------------------------------------------------------------------------------------
def test_attempt_goes_on_with_the_packages_own_and_says_so_once(capsys):
    used = check.attempt(stub, own)
    assert used(1) == 2 and used(2) == 4
    assert capsys.readouterr().out.count('stub: not attempted · 未作答') == 1
    assert check.attempt(broken, own)(3) == 6 and 'broken: ZeroDivisionError: oops' in capsys.readouterr().out
    assert check.attempt(lambda x: 7, own)(3) == 7 and capsys.readouterr().out == ''
    assert check.attempt(lambda x: None, own)(3) == 6 and 'is a return missing?' in capsys.readouterr().out
    assert check.attempt(lambda x: None, lambda x: None)(3) is None and capsys.readouterr().out == ''


def test_what_is_wrong_in_one_exercise_is_not_carried_into_the_next(capsys):
    """A function that its self-check found wrong is not used until it is right, and the line under the cell says so."""
    answers = [{'weights': 1}, 6]

    def mine(x):
        return answers[0]
    used, cases = check.attempt(mine, own), [(3,)]
    assert used(3) == {'weights': 1}  # not checked yet
    check.self_check(mine, own, cases, 'hint')
    capsys.readouterr()
    assert used(3) == 6 and 'mine: not right yet · 还不对' in capsys.readouterr().out
    answers.reverse()
    check.self_check(mine, own, cases, 'hint')
    answers[0] = 7  # whatever it says now is hers again
    assert used(3) == 7


def test_a_lab_says_that_it_is_the_template_and_not_a_copy(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv('INTERNLM_COURSE_RUNS', str(tmp_path / 'runs'))
    (tmp_path / 'internlm_course').mkdir()
    for folder, said in (('labs', True), ('work', False)):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        check.Lab('02_data').finish()
        assert ('Open your copy, work/02_data.ipynb' in capsys.readouterr().out) == said


def test_the_template_links_the_copy(shell, monkeypatch, tmp_path):
    monkeypatch.setenv('INTERNLM_COURSE_RUNS', str(tmp_path / 'runs'))
    for folder in ('internlm_course', 'labs'):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / 'labs')
    _, (said,) = shell('lab = Lab("02_data")')
    assert '<a href="../work/02_data.ipynb">work/02_data.ipynb</a>' in said['text/html']
    assert '<a' not in said['text/plain'] and 'make lab' in said['text/plain']


def test_what_attempt_says_stands_under_the_cells_table(shell):
    shell('def mine(x): raise NotImplementedError\nused = attempt(mine, own)')
    printed_, _ = shell('for x in (1, 2):\n    print(f"row {x} {used(x)}")')
    first, second, said = printed_.splitlines()
    assert (first, second) == ('row 1 2', 'row 2 4') and said.startswith('mine: not attempted')
    assert shell('print(used(3))')[0] == '6\n'


def test_values_go_out_as_one_json_line_whatever_the_student_returns(lab, capsys):
    import numpy
    values = [numpy.float32(0.5), numpy.arange(2), float('nan'), object(), (1, 2), {3: None}, 'é']
    cases = [(i,) for i in range(len(values))]
    capsys.readouterr()
    lab.check('double', x=(lambda i: values[i], own, cases))
    out = capsys.readouterr().out
    assert out.count('\n') == 1
    assert printed(out)['x'] == [0.5, [0, 1], {'error': 'nan'}, {'error': 'a object is no JSON value'}, [1, 2],
                                 {'3': None}, 'é']
    lab.check('double', x=(broken, own, [(1,)]), y=(stub, own, [(1,), (2,)]))
    assert printed(capsys.readouterr().out) == dict(x=[{'error': 'ZeroDivisionError'}],
                                                    y=[{'error': 'not attempted'}] * 2)


def test_a_function_cannot_change_the_cases_of_the_next(lab):
    cases = [([1, 2],)]
    lab.check('double', x=(lambda given: given.pop(), own, cases))
    assert cases == [([1, 2],)]


def test_what_a_student_prints_is_no_value_and_no_failure(lab, capsys):
    def chatty(x):
        print('debugging')
        print('trouble', file=sys.stderr)  # nbgrader takes a cell that writes there for one that failed
        return 2 * x
    capsys.readouterr()
    assert lab.check('double', x=(chatty, own, [(1,)])).points == 2
    assert capsys.readouterr() == ('{"check": "x", "values": [2]}\n', '')


def test_a_notebook_shows_values_folded_and_a_line_and_nbgrader_a_number(shell, monkeypatch, tmp_path):
    monkeypatch.setenv('INTERNLM_COURSE_RUNS', str(tmp_path))
    shell('lab = Lab("none", points=dict(double=2))')
    out, (values,
          line) = shell('lab.check("double", a=(lambda x: x + x, own, [(1,), ("<b>",)]), b=(lambda x: 4, own, [(1,), '
                        '(2,), (3,)]))')
    assert out == ''
    assert values['text/plain'] == '{"check": "a", "values": [2, "<b><b>"]}\n{"check": "b", "values": [4, 4, 4]}'
    assert values['text/html'].startswith('<details') and '&lt;b&gt;' in values['text/html']
    assert '<b>' not in values['text/html']
    assert line['text/plain'] == '0'
    assert '✗ double: 3 of 5 cases right; points need all of them: 0 of 2 points' in line['text/html']
    assert shell('lab.check("double", a=(own, own, [(1,)]))')[1][1]['text/plain'] == '2'
    cell = dict(metadata=dict(course={}, nbgrader=dict(points=2)),
                outputs=[dict(output_type='display_data', data=values)])
    assert printed(output_text(cell)).keys() == {'a', 'b'} and points(cell, values['text/plain']) == 2
    assert points(cell, line['text/plain']) == 0


def test_no_check_is_no_agreement():
    said = '{"check": "a", "values": [1.5]}'
    assert agrees(said, said, {}) and agrees(said.replace('1.5', '1.6'), said, dict(relative=0.1))
    assert not agrees(said.replace('1.5', '1.6'), said, {})
    assert not agrees('', '', {}) and not agrees(said, '', {}) and not agrees(said.replace('a', 'b', 1), said, {})


# --- the student's own light ------------------------------------------------------------------------------------------
def test_self_check_is_green_grey_or_red_with_the_first_difference(capsys):
    check.self_check(own, own, [(1,), (2,)], hint='double it')
    check.self_check(stub, own, [(1,)], hint='double it')
    check.self_check(lambda x: 2, own, [(1,), (2,)], hint='double it')
    green, grey, *red = capsys.readouterr().out.splitlines()
    assert green.startswith('✓') and 'all 2 examples right' in green and grey.startswith('○')
    assert 'not attempted' in grey
    assert red == ['✗ <lambda>: 1 of 2 examples right · 2 例中对 1 例', 'case 2 · 第 2 例: <lambda>(2)',
                   '    yours    · 你的  2', '    expected · 应为  4', 'double it']


def rows(mine, wanted):
    """What is shown of two values, and the place of the mark, each wide letter counted once."""
    *_, yours, right, mark = check.Trial(lambda: mine, lambda: wanted, [()]).difference()
    start = yours.index('你的') + 4
    assert right.index('应为') + 4 == start and mark.strip() == '^'
    return yours[start:], right[start:], mark.index('^') - start


def test_values_stand_one_under_the_other_with_a_mark_at_the_first_difference():
    assert rows('你好\n', '你好') == (r"'你好\n'", "'你好'", 3)
    assert rows(dict(b=[1.0, 2], a=0.3 + 1e-12), dict(a=0.3, b=[1, 3])) == ("{'a': 0.3, 'b': [1, 2]}",
                                                                         "{'a': 0.3, 'b': [1, 3]}", 20)
    assert rows([1, 2, 3], [1, 2]) == ('[1, 2, 3]', '[1, 2]', 5)
    assert '\u3000\u3000' in check.Trial(lambda: '你好吗', lambda: '你好', [()]).difference()[-1]


def test_long_values_are_cut_to_what_stands_around_the_first_difference():
    yours, right, mark = rows('a' * 500 + 'x' + 'b' * 500, 'a' * 500 + 'y' + 'b' * 9)
    assert (yours[mark], right[mark]) == ('x', 'y') and yours[:mark] == right[:mark] == '…' + 'a' * 36
    assert yours.endswith('b…') and right.endswith("b'") and len(yours) == 74
    yours, right, mark = rows('a' * 500, 'a' * 10)
    assert yours[0] == right[0] == "'" and mark == 11 and right == repr('a' * 10) and len(yours) == 73
    *_, wanted, = check.Trial(broken, lambda x: 'a' * 500, [(1,)]).difference()
    assert wanted.endswith('a…') and len(wanted) < 100


def test_values_are_in_monospace_and_keep_their_backticks(shell):
    _, (red,) = shell("self_check(lambda x: 'a `b` <i>', lambda x: 'a `b` <c>', [(1,)], hint='see `cut`')")
    assert re.search('<pre[^>]*>    yours    · 你的  &#x27;a `b` &lt;i&gt;&#x27;<br>    expected · 应为  .*<br>.*'
                     r'\^</pre><div>see <code>cut</code></div>', red['text/html'])
    assert 'a `b` <c>' in red['text/plain']


def absent(x):
    raise type(OWN, (Exception,), {})('solve it first')


def test_where_the_answers_are_absent_published_values_take_their_place(lab, capsys, monkeypatch):
    """Where nothing can be compared, nothing is called wrong, and who calls the absent answer is not called right."""
    for mine, said in ((own, 'has no answers'), (absent, 'has no answers'), (stub, check.NOT_ATTEMPTED)):
        check.self_check(mine, absent, [(1,), (2,)], hint='double it')
        shown = capsys.readouterr().out
        assert shown.startswith('○') and said in shown and mine.__name__ not in check._wrong
    with pytest.raises(Exception, match='solve it first'):
        check.attempt(stub, absent)(1)
    part = dict(double=(own, absent, [(1,), (2,)]))
    assert lab.check('double', **part).points == 0
    monkeypatch.setattr(lab, 'expected', dict(double=[2, 4]).get)
    assert lab.check('double', **part).points == 2
    assert lab.check('double', double=(lambda x: 2, absent, [(1,), (2,)])).points == 0
    assert lab.check('double', double=(absent, absent, [(1,), (2,)])).points == 0


def test_an_error_is_shown_with_its_line_in_the_students_cell(shell):
    shell("""\
        def helper(x):
            return [1][x]

        def mine(x):
            if x > 1:
                total = total + helper(x)
            return 2 * x""")
    _, (red,) = shell("self_check(mine, own, [(1,), (2,)], hint='double it')")
    said = red['text/plain'].splitlines()
    assert said[1:] == ['case 2 · 第 2 例: mine(2)', said[2],
                        'line 6 of your cell · 你的单元第 6 行: total = total + helper(x)',
                        '    expected · 应为  4', 'double it']
    assert said[2].startswith('UnboundLocalError: ') and "'total'" in said[2]
    assert '<br>' in red['text/html'] and 'line 6 of your cell' in red['text/html']
    shell('def mine(x): return helper(x)')  # where the error rises in another cell, the line of this one that led there
    said = shell("self_check(mine, own, [(1,)], '')")[1][0]['text/plain']
    assert 'line 1 of your cell · 你的单元第 1 行: def mine(x): return helper(x)' in said


def test_a_missing_return_is_asked_for_unless_none_is_right(capsys):
    check.self_check(lambda x: None, own, [(1,)], hint='')
    assert ('your function returned nothing: is a return missing? · 函数没有返回值：是不是漏了 return？\n'
            '    expected · 应为  2') in capsys.readouterr().out
    check.self_check(lambda x: None, lambda x: None, [(1,)], hint='')
    assert '✓' in capsys.readouterr().out
    check.self_check(lambda x: 3, lambda x: None, [(1,)], hint='')
    assert 'yours    · 你的  3\n    expected · 应为  None' in capsys.readouterr().out
    check.self_check(lambda x: None, lambda x: x or None, [(0,), (4,)], hint='')  # nothing is the answer to some case
    assert 'yours    · 你的  None\n    expected · 应为  4' in capsys.readouterr().out


def test_inputs_are_shown_short_and_whole_and_odd_values_named(capsys):
    import numpy

    from internlm_course.model import sizes
    given = ('a\nb' * 100, list(range(1000)), numpy.zeros((5, 4)), sizes.released()['7b'])
    check.self_check(lambda *given: {1}, lambda *given: [1], [given], hint='')
    case, yours = capsys.readouterr().out.splitlines()[1:3]
    assert "'a\\nba\\nb" in case
    assert ('[0, 1, 2, 3, 4, 5, ...], array of 5 × 4, '
            'config(vocab_size=92544, num_hidden_layers=32, hidden_size=4096,') in case
    assert case.endswith('intermediate_size=14336))') and len(case) < 330
    assert yours == '    yours    · 你的  a set is no JSON value'
    assert kernel.shell() is None


def test_an_answer_above_the_line_of_the_stub_is_not_called_unattempted(lab, capsys):
    def forgotten(x):
        print(2 * x)
        raise NotImplementedError

    def above_it(x):
        raise NotImplementedError
        return 2 * x

    def twice(x):
        return 2 * x

    def twice(x):  # noqa: F811
        raise NotImplementedError

    def calls_a_stub(x):
        return stub(x)
    capsys.readouterr()
    assert check.attempt(forgotten, own)(2) == 4 and 'your answer is there' in capsys.readouterr().out
    check.self_check(forgotten, own, [(1,)], hint='')
    said = capsys.readouterr().out
    assert said.startswith('2\n✗ forgotten: your answer is there, but your cell still raises '
                           'NotImplementedError: delete the line raise NotImplementedError ·') and '删去' in said
    for left in (forgotten, above_it, twice):
        assert 'your answer is there' in lab.check('double', x=(left, own, [(1,)])).says
    capsys.readouterr()
    check.self_check(calls_a_stub, own, [(1,)], hint='')
    assert '✗ calls_a_stub: 0 of 1' in (said := capsys.readouterr().out) and 'NotImplementedError' in said
    assert 'your answer' not in said


def test_a_check_says_which_part_is_open_and_shows_a_case_that_the_examples_missed(lab):
    half = lab.check('double', a=(own, own, [(1,), (2,)]), b=(stub, own, [(1,)]))
    assert half.points == 0 and half.says.splitlines() == [
        '✗ double: 2 of 3 cases right; points need all of them: 0 of 2 points · 3 例中对 2 '
        '例；全对才得分：2 分中得 0 分',
        'stub: not attempted · 未作答']

    def nearly(x):
        return x + 1
    cases = dict(x=(nearly, own, [(1,), (3,)]))
    check.self_check(nearly, own, [(1,)], hint='')
    assert lab.check('double', **cases).says.splitlines()[1:] == [
        'nearly: 1 of 2 cases right · 2 例中对 1 例', 'case 2 · 第 2 例: nearly(3)',
        '    yours    · 你的  4', '    expected · 应为  6']
    check.self_check(nearly, own, [(3,)], hint='')  # the light shows one
    assert len(lab.check('double', **cases).says.splitlines()) == 1
    assert lab.check('double',
                     x=(own, own, [(1,)])).says.startswith('✓ double: all 1 cases right: 2 of 2 points')


GOOD = 'def mine(x): return 2 * x'


@pytest.mark.parametrize('last, stale', [
    (GOOD, False), ('def mine(x): return 2 *', True), ('def mime(x): return 3 * x', True),
    ('de mine(x): return 2 * x', True),
    ('1 / 0\n' + GOOD, True), (GOOD + '\n1 / 0', False), ('twice = lambda x: 2 * x\nmine = twice', False)])
def test_a_function_older_than_its_cell_is_neither_green_nor_worth_points(shell, monkeypatch, tmp_path, last, stale):
    monkeypatch.setenv('INTERNLM_COURSE_RUNS', str(tmp_path))
    shell('lab = Lab("none", points=dict(double=2))')
    shell(GOOD, cell_id='exercise')
    shell('print("another cell")', cell_id='light')
    shell(last, cell_id='exercise', fails=True)
    _, (light,) = shell("self_check(mine, own, [(1,)], hint='')", cell_id='light')
    _, (values, line) = shell('lab.check("double", x=(mine, own, [(1,)]))', cell_id='check')
    assert light['text/plain'].startswith('✗ ' if stale else '✓ ')
    assert ('older version' in light['text/plain']) == ('旧' in line['text/html']) == stale
    assert line['text/plain'] == ('0' if stale else '2') and (printed(values['text/plain'])['x'] == [2]) != stale
    shell('used = attempt(mine, own)')
    assert shell('print(used(3))')[0].splitlines()[0] == '6'
    shell(GOOD, cell_id='exercise')
    assert shell("self_check(mine, own, [(1,)], hint='')", cell_id='light')[1][0]['text/plain'].startswith('✓')


def test_a_syntax_error_is_noticed_where_cells_have_no_ids(shell, monkeypatch, tmp_path):
    monkeypatch.setenv('INTERNLM_COURSE_RUNS', str(tmp_path))
    shell('lab = Lab("none")')
    shell(GOOD)
    shell('def mine(x): return 2 *', fails=True)
    assert 'older version' in shell("self_check(mine, own, [(1,)], hint='')")[1][0]['text/plain']


def test_code_in_a_line_is_code_in_a_notebook_and_plain_elsewhere(shell):
    _, (red,) = shell("self_check(lambda x: None, own, [(1,)], hint='see `cut` and `a < b`')")
    assert 'is a return missing?' in red['text/plain'] and red['text/plain'].endswith('see cut and a < b')
    assert 'is a <code>return</code> missing?' in red['text/html'] and '<code>a &lt; b</code>' in red['text/html']
    assert '`' not in red['text/html']


def test_markup_in_what_is_shown_stays_text(shell):
    _, (red,) = shell("self_check(lambda x: '<script>', own, [('<i>',)], hint='a < b')")
    assert '<script>' not in red['text/html'] and '&lt;script&gt;' in red['text/html']
    assert '&lt;i&gt;' in red['text/html'] and 'a &lt; b' in red['text/html']


def test_seeded_inputs_change_with_the_grading_seed(monkeypatch):
    home = check.seeded('x').random()
    assert check.seeded('x').random() == home != check.seeded('y').random()
    monkeypatch.setenv('INTERNLM_COURSE_SEED', 'graded')
    assert check.seeded('x').random() != home


# --- budget and tally -------------------------------------------------------------------------------------------------
def test_budget_is_measured_and_judged(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv('INTERNLM_COURSE_RUNS', str(tmp_path))
    lab = check.Lab('none', minutes=1, gigabytes=100)
    first = lab.keep('x', lambda out: dict(made=1), a=1)
    again = lab.keep('x', lambda out: dict(made=2), a=1)
    assert not first.cached and again.cached and again.metrics == dict(made=1) and tmp_path in first.path.parents
    assert lab.expected('curve') is None
    lab.finish()
    lab.gigabytes = 1e-6
    lab.finish()
    budget, kept, _, over, _ = capsys.readouterr().out.splitlines()
    assert json.loads((tmp_path / 'none.json').read_text('utf-8'))['peak_memory_bytes'] > 0
    assert 'Budget' in budget and 'within the budget' in kept and 'over the budget' in over


def test_the_budget_counts_cells_that_run_and_not_the_time_between(shell, monkeypatch, tmp_path):
    monkeypatch.setenv('INTERNLM_COURSE_RUNS', str(tmp_path))
    now = [100.0]
    monkeypatch.setattr('internlm_course.lab.kernel.time.monotonic', lambda: now[0])

    def after(seconds):
        now[0] += seconds
    monkeypatch.setattr(kernel, 'after', after, raising=False)
    shell('kernel.after(5)\nlab = Lab("none", minutes=5)\nkernel.after(2)')
    after(3600)  # the student thinks
    shell('kernel.after(30)')
    with pytest.raises(ValueError):
        shell('kernel.after(10)\nraise ValueError')
    after(120)
    said, _ = shell('kernel.after(1)\nlab.finish()')
    record = json.loads((tmp_path / 'none.json').read_text('utf-8'))
    assert record['seconds'] == 43 and record['solving_seconds'] == 3763
    assert 'Measured · 实测: 43 s of 300 s' in said and 'within the budget' in said
    assert 'reading and solving included · 自第一个单元起，含阅读与作答: 63 min' in said


def test_the_tally_has_points_by_exercise_and_links_open_ones_to_their_cells(shell, monkeypatch, tmp_path):
    monkeypatch.setenv('INTERNLM_COURSE_RUNS', str(tmp_path))
    monkeypatch.setenv('JPY_SESSION_NAME', '/somewhere/my lab.ipynb')
    shell('lab = Lab("none", points=dict(double=2, half=1.5, last=1))')
    shell('lab.check("double", x=(own, own, [(1,)]))')
    shell('lab.check("half", x=(lambda x: 3, own, [(1,)]))')
    _, (tally,) = shell('lab.finish()')
    assert re.sub(' +', ' ', tally['text/plain']).splitlines() == [
        'Points on this computer · 本机得分: 2 of 4.5', ' 1. double 2 of 2', ' 2. half 0 of 1.5 open · 未完成',
        ' 3. last 0 of 1 open · 未完成']
    assert re.findall('href="([^"]*)"', tally['text/html']) == ['my%20lab.ipynb#cell-id=half',
                                                                'my%20lab.ipynb#cell-id=last']
    record = json.loads((tmp_path / 'none.json').read_text('utf-8'))
    assert record['points'] == dict(double=2, half=0, last=0) and record['possible'] == dict(double=2, half=1.5, last=1)
    shell('lab.check("double", x=(lambda x: 3, own, [(1,)]))')  # spoilt again
    assert '1. double 0 of 2' in re.sub(' +', ' ', shell('lab.finish()')[1][0]['text/plain'])


@pytest.mark.parametrize('folder', ['labs/solutions', 'work', 'work/solutions'])
def test_runs_lie_in_the_repository_of_the_notebook(tmp_path, monkeypatch, folder):
    monkeypatch.delenv('INTERNLM_COURSE_RUNS', raising=False)
    (tmp_path / 'internlm_course').mkdir()
    (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / folder)
    assert check.runs_folder() == tmp_path / 'runs'
