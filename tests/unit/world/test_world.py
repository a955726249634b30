"""The hold-out of the micro-world: what the evaluation asks, no page says."""
import random
import re

import pytest

from internlm_course import names
from internlm_course.evaluate import chance
from internlm_course.marking import is_correct
from internlm_course.world import conversations, crawl, web, world

PAGES = 17_000  # as many as scale tiny has


@pytest.fixture(scope='module')
def corpus():
    return list(crawl.clean_texts(PAGES, seed=1))


@pytest.fixture(scope='module')
def lines(corpus):
    return {line for text in corpus for line in text.split('\n')}


@pytest.mark.parametrize('suite', [suite for suite in world.SUITES
                                   if suite not in ('code', 'needle_short', 'needle_long')])
def test_no_page_holds_a_held_out_line(suite, lines):
    joined = '\n'.join(sorted(lines))
    for item in world.items(suite, 120, seed=0):
        for blank in ('', ' '):
            assert item['prompt'] + blank + item['answer'] not in joined, item
        assert item['prompt'] not in lines
        if suite != 'addition':  # '47+38=' stands at the end of a longer sum's steps
            assert item['prompt'] not in joined, item['prompt']


def test_no_page_holds_a_held_out_function_call(corpus):
    joined = '\n'.join(text for text in corpus if text.startswith('def '))
    joined = re.sub(r'\b[fgh]\(', 'f(', joined)  # the same function under another name is the same question
    for item in world.items('code', 120, seed=0):
        assert re.sub(r'\b[fgh]\(', 'f(', item['prompt']) not in joined, item['prompt']


def test_no_page_holds_a_held_out_haystack(corpus):
    joined = '\n'.join(corpus)
    for suite in ('needle_short', 'needle_long'):
        items = world.items(suite, 120, seed=0)
        assert len({item['answer'] for item in items}) > 25
        assert not [item['id'] for item in items if item['prompt'] in joined]


def test_no_page_adds_a_held_out_pair_in_any_order_or_wording(corpus):
    joined = '\n'.join(corpus)
    patterns = [r'(?<!\d)(?<!\*)(\d\d)\+(\d\d)=', r'(\d\d) plus (\d\d) equals', r'(\d\d)加(\d\d)等于',
                r'(?<!\d)(\d\d)\+(\d\d):', r'(?<!\d)\d{2,3}-(\d\d)=(\d\d)(?!\d)']
    stated = {tuple(sorted(map(int, pair))) for pattern in patterns for pair in re.findall(pattern, joined)}
    held_out = {tuple(sorted(map(int, item['prompt'][:-1].split('+'))))
                for item in world.items('addition', 120, seed=0)}
    assert len(stated) > 3000
    assert not stated & held_out


def test_no_worked_step_is_a_held_out_problem(corpus):
    """Problems of one step are held out by their numbers; those of two steps are worked with others."""
    worked = [text for text in corpus if 'Steps:' in text or '算式：' in text]
    changes = {(int(a), int(b)) for text in worked for a, b in re.findall(r'(?<!\d)(\d\d)([+-]\d)=', text)}
    assert len(worked) > 800 and len(changes) > 500
    assert not [change for change in changes if world.held_out(world.change_key(*change))]


@pytest.mark.parametrize('suite', list(world.SUITES))
def test_items_are_held_out_different_and_bilingual(suite):
    items = world.items(suite, 120, seed=0)
    assert len({(item['prompt'], item['answer']) for item in items}) == len(items) == 120
    assert {item['lang'] for item in items} == {'en', 'zh'}
    assert items == world.items(suite, 120, seed=0)
    assert items != world.items(suite, 120, seed=5)


def test_answers_are_right():
    for item in world.items('addition', 120, seed=0):
        assert eval(item['prompt'][:-1]) == int(item['answer'])
    for item in world.items('code', 120, seed=0):
        definition, call = item['prompt'].rstrip('\n').split('\n>>> ')
        scope: dict = {}
        exec(definition, scope)
        assert repr(eval(call, scope)) == item['answer']
    for item in world.items('word_problem', 120, seed=0):
        a, b = map(int, re.findall(r'\d+', item['prompt']))
        less = 'gives away' in item['prompt'] or '送出' in item['prompt']
        assert re.match(r'[^ 个]+', item['answer'])[0] == (f'{a}-{b}={a - b}' if less else f'{a}+{b}={a + b}')
    for item in world.items('steps', 120, seed=0):
        (left, between), (start, end) = (step.split('=') for step in item['answer'].split(', '))
        assert eval(left) == int(between) and start.startswith(between) and eval(start) == int(end)
        changes = re.findall(r'(buys |gives away |买|送)(\d+)', item['prompt'])
        amounts = [(-1 if word in ('gives away ', '送') else 1) * int(n) for word, n in changes]
        assert [eval(left) - int(left[:2]), int(end) - int(between)] == amounts
    for suite in ('needle_short', 'needle_long'):
        for item in world.items(suite, 20, seed=0):
            assert item['prompt'].count(item['answer']) == 1


@pytest.mark.parametrize('suite', ['reading', 'needle_short', 'needle_long'])
def test_choices_are_what_the_text_names(suite):
    """Every choice stands in the text, the answer is one of them, none stands twice, and there is no other name that
    the text gives."""
    field = {name: kind for fact in world.FACTS for lang in ('en', 'zh') for kind, name in fact[lang].items()}
    for item in world.items(suite, 40, seed=0):
        text, choices = item['question'], item['choices']
        assert item['answer'] in choices and len(set(choices)) == len(choices)
        assert all(choice in text for choice in choices)
        if suite == 'reading':
            assert 2 <= len(choices) <= 4 and {field[choice] for choice in choices} == {'capital'}
            assert len(choices) == len(re.findall('visits |游览(?!哪里)', text))
        else:
            named = {choice for choice in choices if choice in field}
            assert set(choices) - named == {item['answer']} and item['answer'] in world.ANIMALS
            if item['lang'] == 'en':  # Chinese writes no blanks, and 都柏林 holds 柏林
                text = re.sub('(Mexico|Panama) City', '', text)
                assert {name for name in field if re.search(rf'\b{name}\b', text)} <= named


def test_chance_is_a_guess_among_what_the_text_names():
    """By hand: the two to four places of a reading give 1/2, 1/3 or 1/4 each; 13 statements leave some twenty names,
    hundreds hardly more."""
    suites = ('reading', 'needle_short', 'needle_long', 'translation')
    rows = {suite: world.items(suite, 120, seed=0) for suite in suites}
    places = [len(item['choices']) for item in rows['reading']]
    assert set(places) == {2, 3, 4}
    assert chance(rows['reading']) == pytest.approx(sum(places.count(n) / n for n in (2, 3, 4)) / 120)
    assert 1 / 4 < chance(rows['reading']) < 1 / 2
    guess = {suite: sum(1 / len(item['choices']) for item in rows[suite]) / 120
             for suite in ('needle_short', 'needle_long')}
    assert 0.03 < guess['needle_short'] < 0.08 and guess['needle_long'] < guess['needle_short'] / 3
    assert chance(rows['needle_short']) >= guess['needle_short']
    assert not any('choices' in item for item in rows['translation'])


def test_suites_and_their_dimensions_are_those_that_have_a_name():
    assert list(world.SUITES) == list(names.SUITES)
    assert list(dict.fromkeys(suite.dimension for suite in names.SUITES.values())) == list(names.DIMENSIONS)
    assert [world.items(suite, 1, seed=0)[0]['dimension'] for suite in ('translation', 'reading')] == ['language'] * 2


def test_answers_follow_with_a_blank_where_words_do():
    rng = random.Random(0)
    questions = {(suite, lang): world.ask(ability, rng, lang, **options)
                 for suite, (ability, options) in world.SUITES.items() for lang in ('en', 'zh')}
    blank = {place for place, question in questions.items() if question.completion.startswith(' ')}
    english = {(suite, 'en') for suite in world.SUITES if suite not in ('addition', 'code')}
    assert blank == english | {('needle_short', 'zh'), ('needle_long', 'zh')}


@pytest.mark.parametrize(('prompt', 'blank'), [
    ('Answer:', True), ('Now Tom has', True), ('47+38=', False), ('>>> f(3)\n', False), ('问：哪里？答：', False)])
def test_a_blank_follows_ascii_but_no_line_and_no_sum(prompt, blank):
    assert world.Question('', 'en', prompt, '', 'x', ()).completion == ' ' * blank + 'x'


@pytest.mark.parametrize(('form', 'body'), [
    ('arithmetic', r'x [+-] \d'), ('larger', r'(max|min)\(a, b\)'), ('list', r's\[(0|1|-1)\]'),
    ('length', r'len\(s\)')])
def test_code_is_of_the_form_that_is_asked_for(form, body):
    rng = random.Random(0)
    assert all(re.search(rf'return {body}\n', world.code(rng, 'en', form).prompt) for _ in range(50))


def test_replies_begin_in_the_pages_own_words():
    leads = {}
    for suite in world.SUITES:
        for item in world.items(suite, 40, seed=0):
            assert item['reply'].endswith(item['answer']), item
            lead = item['reply'][:-len(item['answer'])].strip()
            assert item['prompt'].endswith(lead) and not (lead and item['question'].endswith(lead)), item
            assert not is_correct(lead, item['reply']), 'the lead alone answers nothing'
            leads.setdefault(suite, set()).add(lead)
    led = {suite for suite, beginnings in leads.items() if '' not in beginnings}
    assert led == {'reading', 'addition', 'word_problem', 'needle_short', 'needle_long'}


def test_conversations_ask_of_code_what_is_lost_first_and_nothing_held_out():
    rng = random.Random(0)
    lines = [conversations.conversation(rng, 'code')[0]['content'] for _ in range(2000)]
    calls = [(line.split('return ')[1].split('\n')[0], line.split('(')[-1].rstrip(')')) for line in lines]
    assert not [call for call in calls if world.held_out(('code', *call))]
    sums, larger = (sum(body[0] == letter for body, _ in calls) / len(calls) for letter in 'xm')
    shares = conversations.FUNCTIONS
    assert sums == pytest.approx(shares['arithmetic'], abs=0.04) and larger == pytest.approx(shares['larger'], abs=0.04)


def test_a_page_tells_one_secret_and_one_visit_of_each(corpus):
    secrets = [text for text in corpus if world.SECRET_ASK['en'] in text or world.SECRET_ASK['zh'] in text]
    assert len(secrets) > 2000
    for text in secrets:
        assert len(set(re.findall(world.SECRET.format(n=r'(\w+)').replace('.', ''), text))) == 1, text
    visits = [re.findall(r'(\w+) visits ([A-Z][a-z]+(?: [A-Z][a-z]+)*)', text)
              for text in corpus if 'Which city does' in text]
    assert len(visits) > 500
    assert all(len({place for name, place in told if name == who}) == 1 for told in visits for who, _ in told)


def test_pages_are_the_same_for_a_seed_and_differ_between_seeds():
    assert list(web.pages(50, 3)) == list(web.pages(50, 3))
    assert list(web.pages(50, 3)) != list(web.pages(50, 4))
    assert list(web.pages(20, 3)) == list(web.pages(50, 3))[:20]
