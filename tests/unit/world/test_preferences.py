"""Preference pairs: which reply is the better one, held-out questions, conflicts."""
import re

import pytest

from internlm_course import verify
from internlm_course.verify import is_refusal, obeys
from internlm_course.world import preferences
from internlm_course.world.wording import FACTS


@pytest.mark.parametrize('domain', preferences.DOMAINS)
def test_pairs_differ_and_are_the_same_again(domain: str):
    found = preferences.pairs(domain, 300, seed=0, unseen=False)
    assert all(pair['chosen'] != pair['rejected'] for pair in found)
    assert found == preferences.pairs(domain, 300, seed=0, unseen=False)
    assert found != preferences.pairs(domain, 300, seed=1, unseen=False)


@pytest.mark.parametrize('domain', preferences.DOMAINS)
def test_held_out_questions_are_asked_nowhere_else(domain: str):
    asked = {pair['question'] for pair in preferences.pairs(domain, 2000, seed=0, unseen=False)}
    held = {pair['question'] for pair in preferences.pairs(domain, 200, seed=0, unseen=True)}
    assert len(held & asked) <= 0.01 * len(held)


def test_conflicts_change_places_between_domains():
    """What helpful chooses of the unknown, harmless rejects; what math chooses of a sum, code rejects."""
    conflicts = {domain: [pair for pair in preferences.pairs(domain, 300, seed=0, unseen=False) if pair['conflict']]
                 for domain in preferences.DOMAINS}
    assert all(is_refusal(pair['rejected']) and not is_refusal(pair['chosen']) for pair in conflicts['helpful'])
    assert all(is_refusal(pair['chosen']) and not is_refusal(pair['rejected']) for pair in conflicts['harmless'])
    assert all('=' in pair['chosen'] and '=' not in pair['rejected'] for pair in conflicts['math'])
    assert all('=' in pair['rejected'] and '=' not in pair['chosen'] for pair in conflicts['code'])


def test_what_is_true_comes_first():
    """Thousands of pairs whose replies differ in truth, a name or a result alone, then all domains."""
    found = preferences.curriculum(seed=0)
    first = sum(count for makers in preferences.TRUE_FIRST.values() for count in makers.values())
    assert {pair['domain'] for pair in found[:first]} == {'helpful', 'harmless', 'code'}
    assert not any(pair['conflict'] for pair in found[:first])
    assert {pair['domain'] for pair in found[first:first + 200]} == set(preferences.DOMAINS)
    assert len(found) == first + preferences.PAIRS and found != preferences.curriculum(seed=1)


def abroad(text: str, lang: str) -> set[str]:
    """The countries that a text in the other language names."""
    countries = [fact[dict(en='zh', zh='en')[lang]]['country'] for fact in FACTS]
    return {country for country in countries if verify.names(text, country)}


@pytest.mark.parametrize('lang', ['en', 'zh'])
def test_a_sentence_beside_the_question_is_about_the_same_country(lang: str):
    import random
    rng, form = random.Random(0), dict(en='in_chinese', zh='in_english')[lang]
    for _ in range(20):
        pair = preferences.beside(rng, lang, unseen=False)
        assert obeys(form, pair['chosen']) and obeys(form, pair['rejected'])
        assert abroad(pair['chosen'], lang) & abroad(pair['rejected'], lang) and pair['chosen'] != pair['rejected']


@pytest.mark.parametrize('lang', ['en', 'zh'])
def test_an_answer_elsewhere_differs_in_names_alone(lang: str):
    import random
    rng, form = random.Random(0), dict(en='in_chinese', zh='in_english')[lang]
    for _ in range(20):
        pair = preferences.elsewhere(rng, lang, unseen=False)
        assert obeys(form, pair['chosen']) and obeys(form, pair['rejected'])
        told = [abroad(pair[side], lang) for side in ('chosen', 'rejected')]
        assert all(told) and not told[0] & told[1]


@pytest.mark.parametrize('lang', ['en', 'zh'])
def test_an_answer_in_the_wrong_language_is_right_otherwise(lang: str):
    import random
    rng, form = random.Random(0), dict(en='in_chinese', zh='in_english')[lang]
    for _ in range(20):
        pair = preferences.translated(rng, lang, unseen=False)
        assert obeys(form, pair['chosen']) and not obeys(form, pair['rejected'])
        assert any(verify.names(pair['rejected'], name) for fact in FACTS for name in fact[lang].values())


def test_a_slip_changes_the_last_number_alone():
    import random
    rng = random.Random(0)
    for text in ('47+38=85', 'Now Tom has 34+8=42 apples.', '9+1=10个书。'):
        wrong = preferences.slipped(rng, text)
        *same, last = re.findall(r'\d+', text)
        *kept, changed = re.findall(r'\d+', wrong)
        assert same == kept and abs(int(last) - int(changed)) in (1, 10)
