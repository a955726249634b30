"""Pairs of a model's own replies: the right one is preferred, whoever wrote it."""
from aligned_models import SFT, actor

from internlm_course.align.feedback import fast_path, own_pairs
from internlm_course.model import load_tokenizer
from internlm_course.verify import is_verified
from internlm_course.world.bootcamp import ABROAD, Instructions


def test_own_pairs_prefer_what_is_verified_and_come_again_with_the_seed():
    task = Instructions(0, names=ABROAD)
    cases = [task.case_generator() for _ in range(12)]
    by_question = {case['question']: case for case in cases}
    model, tokenizer = actor(), load_tokenizer(SFT)

    def drawn(seed: int) -> list[dict]:
        return own_pairs(model, tokenizer, cases, is_verified, 'helpful', seed, replies=3, longest=12)
    pairs = drawn(0)
    assert pairs == drawn(0) != drawn(1)
    assert len({(pair['question'], pair['rejected']) for pair in pairs}) == len(pairs)
    for pair in pairs:
        case = by_question[pair['question']]
        assert is_verified(case, pair['chosen']) and not is_verified(case, pair['rejected'])
        assert pair['own'] or pair['chosen'] == case['reply']


def test_the_fast_path_takes_what_was_right_and_is_not_any_more():
    cases = [dict(question=question, right=right) for question, right in zip('abcd', '1234')]

    def verify(case, reply):
        return reply == case['right']
    early, late = ['1', '2', 'wrong', '4'], ['hack', '2', 'hack', 'hack']
    pairs = fast_path(cases, early, late, verify, 'harmless')
    assert pairs == [dict(domain='harmless', question=question, chosen=chosen, rejected='hack', conflict=False)
                     for question, chosen in (('a', '1'), ('d', '4'))]
    assert fast_path(cases, early, late, verify, 'harmless', most=1) == pairs[:1]
