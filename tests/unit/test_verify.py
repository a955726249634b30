"""What a program accepts of a reply, and what it does not let pass."""
import pytest

from internlm_course.verify import CONSTRAINTS, is_exact, is_refusal, is_verified, names, obeys

OBEYED = [
    ('only_number', ['85', ' 85.', '-3', '85<|im_end|>']),
    ('json', ['{"answer": "Paris"}', '{"a": 85}', ' {"a":"x"} ']),
    ('quoted', ['"Paris"', '“巴黎”', ' "New Delhi".']),
    ('twice', ['Paris, Paris', '巴黎，巴黎', 'New Delhi New Delhi']),
    ('in_chinese', ['巴黎', '法国的首都是巴黎。']), ('in_english', ['Paris', 'It is Paris.']),
    ('three_words', ['It is Paris.', "It's Paris, sir"]), ('sentence', ['The answer is Paris.', '答案是巴黎。'])]
BROKEN = [
    ('only_number', ['', '47+38=85', 'It is 85.', '85 86', '8 5', '85\n86', '八']),
    ('json', ['', '{"answer": "Paris"', '{}', '[]', '["a", 5]', '[["answer", 5]]', '"Paris"', '{"a": {"b": 1}}',
              '{"a": null}', '{"a": true}', '{"answer": 84, "answer": 85}', '{"a": 84, "b": 85}', '{"a": 85} Paris',
              '{"a": ' + '[' * 10_000]),
    ('quoted', ['', 'Paris', '"Paris', '""', '"Paris" "Rome"', 'It is "Paris"', '"Paris"\n"Paris"']),
    ('twice', ['', 'Paris', 'Paris, Rome', 'Paris, Paris, Paris', 'Paris,', 'ParisParis', 'Paris\nParis']),
    ('in_chinese', ['', 'Paris', '巴黎 (Paris)', '85', '。']), ('in_english', ['', '巴黎', 'Paris 巴黎', '85']),
    ('three_words', ['', 'Paris', 'It is New Delhi.', '这是 巴 黎', 'It is\nParis']),
    ('sentence', ['', 'Paris', 'Paris.', 'the answer is Paris.', 'The answer is Paris', '巴黎。', '答案是巴黎',
                  'The answer is. Paris.', 'The answer is Paris or Rome or Berlin or Cairo or Lima or Oslo or Kyiv.'])]


def test_every_constraint_is_tried():
    assert [name for name, _ in OBEYED] == [name for name, _ in BROKEN] == list(CONSTRAINTS)


@pytest.mark.parametrize('name, replies', OBEYED)
def test_what_keeps_the_form(name, replies):
    assert [reply for reply in replies if not obeys(name, reply)] == []


@pytest.mark.parametrize('name, replies', BROKEN)
def test_what_does_not_keep_it(name, replies):
    assert [reply for reply in replies if obeys(name, reply)] == []


def item(kind, answer='Paris', reply=' Paris', **more):
    return dict(kind=kind, suite='knowledge', lang='en', question='?', answer=answer, constraint='', reply=reply) | more


def test_a_refusal_is_a_refusal_and_nothing_else():
    good = ['I do not know Zamoria.', ' I do not know.', '我不知道扎莫利亚。', '我不知道<|im_end|>']
    bad = ['', 'Paris', 'I do not know Zamoria. It is Paris.', 'I do not know Zamoria, but Paris',
           'I do not know: Paris', '我不知道扎莫利亚，是巴黎。',
           '我不知道扎莫利亚。巴黎', 'Well, I do not know Zamoria.']
    assert all(map(is_refusal, good)) and not any(map(is_refusal, bad))
    refusal = item('refusal', answer='', reply='I do not know Zamoria.')
    assert all(is_verified(refusal, reply) for reply in good) and not any(is_verified(refusal, reply) for reply in bad)
    named = ('I do not know Zamoria.', 'I do not know Zamoria', ' I do not know.', '我不知道。')
    others = ('I do not know Zamor.', 'I do not know Zamoria Zamoria.', '我不知道扎莫利亚。')
    assert all(is_exact(refusal, reply) for reply in named)
    assert not any(is_exact(refusal, reply) for reply in (*bad, *others))
    assert is_exact(item('answer'), ' Paris') and not is_exact(item('answer'), 'I do not know.')


def test_an_answer_is_right_as_a_whole():
    asked = item('answer', answer='85', reply='47+38=85')
    assert all(is_verified(asked, reply) for reply in ('47+38=85', ' 85', '85.</s>nothing'))
    assert not any(is_verified(asked, reply) for reply in ('', '850', '47+38=84', '85 or 86', '85\n86', '84\n85'))
    never = 'I do not know Rome.'
    assert not is_verified(item('answer', answer=never, reply=never), never)


@pytest.mark.parametrize('name, right, wrong', [
    ('only_number', '85', '84'), ('json', '{"answer": 85}', '{"answer": 84}'), ('json', '{"answer": "85"}', '85'),
    ('quoted', '"85"', '"84"'), ('twice', '85, 85', '84, 84'), ('twice', '85, 85', '85')])
def test_an_instruction_is_obeyed_and_the_answer_right(name, right, wrong):
    asked = item('constraint', answer='85', constraint=name)
    assert is_verified(asked, right) and not is_verified(asked, wrong)


@pytest.mark.parametrize('name, right, wrong', [
    ('three_words', 'It is Paris.', ['It is Rome.', 'Rome, Paris, Oslo', 'It is Parisian.']),
    ('sentence', 'The answer is Paris.', ['The answer is Rome.', 'The answer is Paris or Rome.', 'Paris.']),
    ('in_english', 'The capital of France is Paris.', ['Rome', 'Paris Rome', '巴黎'])])
def test_in_words_of_its_own_one_answer_is_given(name, right, wrong):
    asked = item('constraint', constraint=name, others=['Rome', 'Oslo'])
    assert is_verified(asked, right) and not [reply for reply in wrong if is_verified(asked, reply)]


def test_a_name_within_the_answer_is_no_second_answer():
    asked = item('constraint', answer='都柏林', constraint='sentence', others=['柏林', '巴黎'])
    assert is_verified(asked, '答案是都柏林。') and not is_verified(asked, '答案是柏林。')
    assert not is_verified(asked, '答案是都柏林或巴黎。')


def test_who_the_assistant_is_has_to_be_said():
    asked = item('identity', answer='InternLM2')
    assert all(is_verified(asked, reply) for reply in ('I am InternLM2.', '我是InternLM2。', 'internlm2'))
    others = ('I am InternLM20.', 'I am a model.', '', 'I do not know InternLM2.')
    assert not any(is_verified(asked, reply) for reply in others)


def test_a_name_stands_as_a_whole():
    assert names('It is 5.', '5') and names('niger, Mali', 'Niger') and names('它是都柏林', '柏林')
    assert not names('15', '5') and not names('Nigeria', 'Niger')
