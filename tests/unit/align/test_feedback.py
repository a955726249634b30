"""What a model writes becomes pairs: its wrong replies, and what was right and is not any more."""
from aligned_models import SFT, actor

from internlm_course import jsonl
from internlm_course.align.feedback import fast_path, slow_path
from internlm_course.align.reward import ROUNDS, with_own
from internlm_course.model import load_tokenizer
from internlm_course.verify import is_verified
from internlm_course.world.preferences import write_questions


def test_the_fast_path_takes_what_was_right_and_is_not_any_more():
    cases = [dict(question=question, right=right) for question, right in zip('abcd', '1234')]

    def verify(case, reply):
        return reply == case['right']
    early, late = ['1', '2', 'wrong', '4'], ['hack', '2', 'hack', 'hack']
    pairs = fast_path(cases, early, late, verify, 'harmless')
    assert pairs == [dict(domain='harmless', question=question, chosen=chosen, rejected='hack', conflict=False)
                     for question, chosen in (('a', '1'), ('d', '4'))]
    assert fast_path(cases, early, late, verify, 'harmless', most=1) == pairs[:1]


def test_the_slow_path_takes_the_models_own_wrong_replies(tmp_path):
    write_questions(tmp_path, 0)
    items = {item['question']: item for item in list(jsonl.rows(tmp_path / 'train.jsonl'))[:60]}
    pairs = slow_path(actor(), load_tokenizer(SFT), list(items.values()), 'helpful', seed=0, longest=24)
    assert 0 < len(pairs) < 60 and all(set(pair) == {'domain', 'question', 'chosen', 'rejected', 'conflict'}
                                       for pair in pairs)
    for pair in pairs:
        item = items[pair['question']]
        assert pair['chosen'] == item['reply'] and is_verified(item, pair['chosen'])
        assert not is_verified(item, pair['rejected'])
    others = slow_path(actor(), load_tokenizer(SFT), list(items.values()), 'helpful', seed=1, longest=24)
    assert [pair['rejected'] for pair in others] != [pair['rejected'] for pair in pairs]
    more = slow_path(actor(), load_tokenizer(SFT), list(items.values()), 'helpful', seed=0, longest=24, rounds=3)
    assert len(pairs) < len({(pair['question'], pair['rejected']) for pair in more}) == len(more)


def test_own_replies_stand_among_the_later_pairs(tmp_path):
    write_questions(tmp_path, 0)
    items = list(jsonl.rows(tmp_path / 'train.jsonl'))[:60]
    given = [dict(domain='math', question=str(number), chosen='1', rejected='2', conflict=False)
             for number in range(10)]
    pairs = with_own(given, SFT, items, seed=0, longest=24)
    own = slow_path(actor(), load_tokenizer(SFT), items, 'helpful', seed=0, longest=24, rounds=ROUNDS)
    assert pairs[:5] == given[:5] and pairs[5:10] != given[5:10]
    assert sorted(map(str, pairs)) == sorted(map(str, given + own))
