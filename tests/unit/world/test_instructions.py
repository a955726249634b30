"""What alignment asks: every item's own reply is right, nothing held out is trained on, and the files hold it."""
import random
import re

import pytest

from internlm_course.course import STAFF
from internlm_course.jsonl import rows
from internlm_course.model import load_tokenizer
from internlm_course.model.chat import render
from internlm_course.scale import open_scale
from internlm_course.verify import CONSTRAINTS, is_refusal, is_verified, obeys
from internlm_course.world import conversations, instructions, world
from internlm_course.world.instructions import KINDS, PHRASINGS, prompt_items


@pytest.fixture(scope='module')
def trained():
    """The first 20,000 conversations' messages."""
    rng = random.Random(0)
    kinds, weights = list(conversations.SHARES), list(conversations.SHARES.values())
    return [conversations.conversation(rng, rng.choices(kinds, weights)[0]) for _ in range(20_000)]


@pytest.mark.parametrize('held_out', [False, True])
@pytest.mark.parametrize('kind', KINDS)
def test_every_items_own_reply_is_verified(kind, held_out):
    items = prompt_items((kind,), 300, 0, held_out)
    assert len(items) == (dict(identity=20, known=172).get(kind, 300) if held_out else 300)
    assert [item for item in items if not is_verified(item, item['reply'])] == []
    assert {item['lang'] for item in items} == {'en', 'zh'} and len({item['id'] for item in items}) == len(items)
    assert items == prompt_items((kind,), 300, 0, held_out) != prompt_items((kind,), 300, 1, held_out)


def test_every_constraint_is_asked_and_the_default_reply_breaks_it():
    """Else a model would obey by chance: aside from the value of a call, which is a number anyway, and from languages,
    in which the bare answer is right, too."""
    assert list(PHRASINGS) == list(CONSTRAINTS)
    rng = random.Random(0)
    for name, texts in PHRASINGS.items():
        for lang in texts:
            assert len(texts[lang]) >= 5
            for _ in range(50):
                item = instructions.constraint(rng, lang, name=name)
                assert obeys(name, item['reply'])
                assert not obeys(name, item['answer']) or name in ('only_number', 'in_chinese', 'in_english')


def test_no_conversation_holds_what_is_held_out(trained):
    asked = {message['content'] for messages in trained for message in messages if message['role'] == 'user'}
    for kind in ('answer', 'known', 'constraint', 'identity', 'refusal'):
        held = {item['question'] for item in prompt_items((kind,), 400, 0, held_out=True)}
        assert not held & asked, kind
    last = [re.escape(texts[lang][-1].replace('{q}', '')) for texts in PHRASINGS.values() for lang in texts]
    assert not [text for text in asked if re.search('|'.join(last), text)]
    invented = {item['reply'] for item in prompt_items(('refusal',), 400, 0, held_out=True)}
    assert not invented & {messages[-1]['content'] for messages in trained}


def test_conversations_hold_all_kinds_in_both_languages(trained):
    refused = [messages for messages in trained if is_refusal(messages[-1]['content'])]
    named = [messages for messages in trained if instructions.NAME['zh'] in messages[-1]['content']]
    turns = [messages for messages in trained if [message['role'] for message in messages] == ['user', 'assistant'] * 2]
    assert 0.02 < len(refused) / len(trained) < 0.05 and 0.008 < len(named) / len(trained) < 0.03
    assert 0.01 < len(turns) / len(trained) < 0.04
    kept = {name for name in CONSTRAINTS for messages in trained
            if any(phrasing.replace('{q}', '') in messages[0]['content'] for texts in PHRASINGS[name].values()
                   for phrasing in texts) and obeys(name, messages[-1]['content'])}
    assert kept == set(CONSTRAINTS)


def test_self_cognition_has_sixty_phrasings_in_each_language_and_twenty_unseen():
    for lang in ('en', 'zh'):
        phrasings = {opening + text for texts, _ in instructions.SELF[lang] for text in texts
                     for opening in instructions.OPENINGS[lang]}
        assert len(phrasings) >= 60 and not phrasings & set(instructions.SELF_UNSEEN[lang])
    assert sum(map(len, instructions.SELF_UNSEEN.values())) == 20


def test_the_assistant_can_be_given_another_name():
    for lang, name in (('en', 'Momo'), ('zh', '小明')):
        item = instructions.identity(random.Random(0), lang, name=name)
        assert name in item['reply'] and instructions.NAME[lang] not in item['reply'] and item['answer'] == name


def test_invented_names_are_many_and_none_is_known():
    rng = random.Random(0)
    for lang in ('en', 'zh'):
        for field in ('country', 'capital'):
            trained, held = ({instructions.invented(rng, lang, field, unseen) for _ in range(3000)}
                             for unseen in (False, True))
            assert len(trained) > 1500 and len(held) > 200 and not trained & held
            assert not (trained | held) & instructions.KNOWN
    assert not {name for names in instructions.ABSENT.values() for name in names} & instructions.KNOWN


def test_a_follow_up_stands_on_the_question_before():
    by_country = {fact[lang][field]: fact[lang] for fact in world.FACTS for lang in ('en', 'zh')
                  for field in ('country', 'capital')}
    for item in prompt_items(('follow_up',), 200, 0, held_out=False):
        question, reply = item['before']
        assert [question['role'], reply['role']] == ['user', 'assistant']
        assert instructions.messages(item)[-1]['content'] == item['question']
        if item['kind'] == 'answer':
            asked = max((name for name in by_country if name in item['question']), key=len)
            assert item['answer'] in by_country[asked].values()


def test_the_files_hold_prompts_for_training_and_each_kind_held_out(tmp_path):
    instructions.write_prompts(tmp_path, 40, 0)
    assert len(list(rows(tmp_path / 'train.jsonl'))) == instructions.PROMPTS
    held = {path.stem: list(rows(path)) for path in sorted((tmp_path / 'heldout').glob('*.jsonl'))}
    assert {name: len(items) for name, items in held.items()} == dict(constraints=40, identity=20, known=40, refusal=40)
    assert {item['kind'] for item in held['known']} == {'answer'}
    assert {item['unseen'] for item in held['constraints']} == {'question', 'phrasing'}
    assert not {item['question'] for items in held.values() for item in items} & {
        item['question'] for item in rows(tmp_path / 'train.jsonl')}


@pytest.mark.parametrize(('lang', 'name', 'question', 'wrong'), [
    ('en', 'in_chinese', 'Which continent is Ukraine', '加拿大是欧洲的一个国家。'),
    ('zh', 'in_english', '渥太华', 'The currency of Canada is the dollar.'),
    ('zh', 'in_english', '爱尔兰用什么钱', 'The currency of Latvia is the euro.')])
def test_a_sentence_about_something_else_is_no_answer_though_it_names_it(lang, name, question, wrong):
    rng = random.Random(0)
    drawn = iter(lambda: instructions.constraint(rng, lang, name=name), None)
    item = next(item for item in drawn if question in item['question'])
    assert is_verified(item, item['reply']) and not is_verified(item, wrong)


def test_a_name_within_another_makes_no_reply_wrong():
    """Names stand in other names: 柏林 in 都柏林, Niger in Nigeria."""
    rng = random.Random(1)
    for number in range(2000):
        item = instructions.constraint(rng, ('en', 'zh')[number % 2], unseen=number % 3 == 0)
        assert is_verified(item, item['reply']), item


def test_far_needles_are_read_whole_and_reach_further_than_the_others():
    """At scale tiny none of them is cut, or its answer would be what is lost."""
    tokenizer, rng = load_tokenizer(STAFF / 'tiny' / 'sft'), random.Random(0)
    lengths = {kind: [len(tokenizer(render(conversations.conversation(rng, kind))).input_ids) for _ in range(100)]
               for kind in ('needle', 'far_needle')}
    assert max(lengths['needle']) < 512 < min(lengths['far_needle'])
    assert max(lengths['far_needle']) <= open_scale('tiny').sft['max_length']
