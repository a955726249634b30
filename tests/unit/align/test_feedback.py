"""A hack becomes pairs: what was right and is not any more."""
from internlm_course.align.feedback import fast_path


def test_the_fast_path_takes_what_was_right_and_is_not_any_more():
    cases = [dict(question=question, right=right) for question, right in zip('abcd', '1234')]

    def verify(case, reply):
        return reply == case['right']
    early, late = ['1', '2', 'wrong', '4'], ['hack', '2', 'hack', 'hack']
    pairs = fast_path(cases, early, late, verify, 'harmless')
    assert pairs == [dict(domain='harmless', question=question, chosen=chosen, rejected='hack', conflict=False)
                     for question, chosen in (('a', '1'), ('d', '4'))]
    assert fast_path(cases, early, late, verify, 'harmless', most=1) == pairs[:1]
