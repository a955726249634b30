"""Marking, intervals, chance lines, dimensions; the OpenCompass config; arguments that cannot work are refused at
once."""
import json

import pytest

from internlm_course.errors import CourseError
from internlm_course.evaluate.opencompass import EvalModel, _collect, config_text, score
from internlm_course.evaluate.suites import chance, dimensions, read_items
from internlm_course.marking import is_correct, trim, wilson


@pytest.mark.parametrize('prediction, answer, verdict', [
    (' Paris.\nQuestion: next', 'Paris', True), ('巴黎。', '巴黎', True), ('Paris</s>x', 'Paris.', True),
    ('42<|im_end|>\n', '42', True),
    ('paris', 'Paris', False), ('Paris and Rome', 'Paris', False), ('', 'Paris', False), ('\nParis', 'Paris', False),
    ('.', '.', False)])
def test_marking(prediction, answer, verdict):
    assert is_correct(prediction, answer) is verdict


def test_trim_is_idempotent():
    for text in (' a. ', '42。', 'x\ny', '<|im_end|>'):
        assert trim(trim(text)) == trim(text)


@pytest.mark.parametrize('n', [1, 7, 120])
def test_wilson_is_the_inversion_of_the_score_test(n):
    """Both ends solve |share - p| = z sqrt(p(1-p)/n), which defines the interval."""
    for correct in range(n + 1):
        for p in wilson(correct, n):
            assert 0 <= p <= 1
            assert (correct / n - p) ** 2 == pytest.approx(1.959964 ** 2 * p * (1 - p) / n, abs=1e-12)
        assert wilson(correct, n)[0] <= correct / n <= wilson(correct, n)[1]


def test_wilson_published_value():
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I, method 3


def item(suite, index, answer, **more):
    return dict(dict(id=f'{suite}-{index}', dimension='knowledge', suite=suite, lang='en', prompt=f'p{index}',
                     question=f'q{index}', answer=answer), **more)


def test_chance_is_the_best_constant_answer_or_a_guess_among_choices():
    assert chance([item('s', i, a) for i, a in enumerate(['x', 'y.', 'y', 'z'])]) == 0.5
    assert chance([item('s', i, str(i), choices=['0', '1', '2', '3']) for i in range(4)]) == 0.25
    assert chance([item('s', i, str(i)) for i in range(4)]) == 0.25


def test_what_opencompass_scored_stands_beside_a_guess_among_the_items_own_choices(tmp_path):
    """Four different answers among two, two, four and four names: a guess is right in (1/2 + 1/2 + 1/4 + 1/4) / 4 of
    them, a constant answer in 1/4."""
    names = ['Paris', 'Rome', 'Oslo', 'Lima']
    (tmp_path / 'items').mkdir()
    rows = [item('reading', i, answer, choices=[answer, '?'] if i < 2 else names) for i, answer in enumerate(names)]
    (tmp_path / 'items' / 'reading.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows), 'utf-8')
    said = {'predictions': {str(i): dict(prediction=names[i] if i < 3 else 'Cairo') for i in range(4)},
            'results': dict(accuracy=75.0)}
    for kind, content in said.items():
        path = tmp_path / 'logs' / 'opencompass' / 'now' / kind / 'base' / 'reading.json'
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content), 'utf-8')
    row = _collect(EvalModel('base', tmp_path), 'reading', read_items(tmp_path / 'items')['reading'], tmp_path / 'logs',
                   tmp_path / 'out')
    assert (row['score'], row['n'], row['chance'], row['dimension']) == (0.75, 4, 0.375, 'knowledge')


def test_dimensions_come_in_the_order_of_their_names():
    rows = {name: dict(score=1.0, n=1, chance=0.0, dimension=name) for name in ('other', 'tools', 'knowledge', 'long')}
    assert list(dimensions(rows)) == ['knowledge', 'long', 'tools', 'other']


def test_dimensions_pool_items_not_suites():
    scores = dict(a=dict(score=0.9, n=100, chance=0.1, dimension='reasoning'),
                  b=dict(score=0.5, n=20, chance=0.4, dimension='reasoning'),
                  c=dict(score=1.0, n=10, chance=0.0, dimension='code'))
    pooled = dimensions(scores)
    assert pooled['reasoning']['score'] == pytest.approx(100 / 120) and pooled['reasoning']['n'] == 120
    assert pooled['reasoning']['chance'] == pytest.approx(0.15) and pooled['code']['score'] == 1
    assert (pooled['reasoning']['low'], pooled['reasoning']['high']) == wilson(100, 120)


@pytest.fixture
def items(tmp_path):
    folder = tmp_path / 'items'
    folder.mkdir()
    for suite in ('one', 'two'):
        rows = [item(suite, i, '巴黎', dimension=suite) for i in range(5)]
        (folder / f'{suite}.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows), 'utf-8')
    return folder


@pytest.mark.parametrize('fields', [dict(answer='1\n2'), dict(answer='2', reply='>>> f(1)\n2')])
def test_what_would_be_marked_by_its_first_line_alone_is_refused(tmp_path, fields):
    """A reply that began with the call's own line was once marked by that line: whoever echoed the call was right."""
    (tmp_path / 'code.jsonl').write_text(json.dumps(item('code', 0, **fields)) + '\n', 'utf-8')
    with pytest.raises(CourseError, match="'code-0' goes on after its first line"):
        read_items(tmp_path)


def test_read_items(items):
    assert {suite: len(rows) for suite, rows in read_items(items).items()} == dict(one=5, two=5)
    assert {suite: len(rows) for suite, rows in read_items(items, ['two'], 3).items()} == dict(two=3)


@pytest.mark.parametrize('text, message',
                         [('', 'no items'), ('{"id": 1}\n', 'without dimension'), ('{', 'not a jsonl')])
def test_broken_suites_are_named(items, text, message):
    (items / 'bad.jsonl').write_text(text, 'utf-8')
    with pytest.raises(CourseError, match=message):
        read_items(items)


def test_missing_suite_lists_those_there(items, tmp_path):
    with pytest.raises(CourseError, match="'three'.*one, two"):
        read_items(items, ['three'])
    with pytest.raises(CourseError, match='There is no suite'):
        read_items(tmp_path / 'nowhere')


def test_config_is_python_and_gives_each_model_its_prompt(items, tmp_path):
    rows = read_items(items)
    models = [EvalModel('base', tmp_path), EvalModel('chat', None, 'http://127.0.0.1:1/v1', 'internlm2-tiny')]
    text = config_text(models, rows, items)
    body = text[text.index('model_dataset_combinations'):]
    names = {word: word for word in (
        'HuggingFaceBaseModel', 'ServedChat', 'CustomDataset', 'GenInferencer', 'Field', 'ZeroRetriever',
        'NaivePartitioner',
        'LocalRunner', 'SideBySide', 'OpenICLEvalTask', 'OpenICLInferTask', 'ExactAnswer')}
    exec(body, names)
    base, chat = names['model_dataset_combinations']
    assert [entry['models'][0]['abbr'] for entry in (base, chat)] == ['base', 'chat']
    assert base['datasets'][0]['infer_cfg']['prompt_template']['template'] == '{prompt}'
    assert chat['datasets'][0]['infer_cfg']['prompt_template']['template'] == '{question}'
    assert [entry['datasets'][0]['reader_cfg']['output_column'] for entry in (base, chat)] == ['answer', 'reply']
    assert base['datasets'][0]['infer_cfg']['inferencer']['max_out_len'] == len('巴黎'.encode()) + 2


def test_arguments_that_cannot_work_are_refused_at_once(items, tmp_path):
    checkpoint = tmp_path / 'checkpoint'
    checkpoint.mkdir()
    (checkpoint / 'config.json').write_text('{}')
    served = dict(url='http://127.0.0.1:9/v1', served_name='internlm2-tiny')
    for models, message in (([], 'No model'), ([EvalModel('a', checkpoint)] * 2, "'a'"),
                            ([EvalModel('a/b', checkpoint)], "'a/b'"),
                            ([EvalModel('a', tmp_path)], 'no checkpoint'),
                            ([EvalModel('a', **served)], 'does not answer')):
        with pytest.raises(CourseError, match=message):
            score(models, items, tmp_path / 'out', tmp_path / 'home')
