"""Safety and personal data: blocked domains and words, and what is masked."""
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from internlm_course.data import privacy, safety
from internlm_course.world import personal


@pytest.mark.parametrize(('url', 'blocked'), [
    ('https://night-casino.example/a', True), ('http://m.Night-Casino.example:8080/a', True),
    ('https://user@night-casino.example/', True),
    ('https://goodnight-casino.example/a', False), ('https://night-casino.example.school.example/a', False),
    ('https://atlas.example/night-casino.example', False)])
def test_blocked_domains_hold_for_what_lies_under_them(url, blocked):
    assert (safety.blocked_host(url) == 'night-casino.example') is blocked


@pytest.mark.parametrize(('text', 'word'), [
    ('They sell GROBNIK here.', 'grobnik'), ('Some ｇｒｏｂｎｉｋ, please', 'grobnik'), ('A pregrobnikal age.', None),
    ('昨天有黑鲨签。', '黑鲨签'),
    ('昨天有鲨鱼。', None)])
def test_blocked_words_are_whole_words_in_any_case_and_width(text, word):
    assert safety.blocked_word(text) == word


def test_checksums_catch_every_single_wrong_digit():
    # 4111 1111 1111 1111 is the test number of every payment manual; 11010519491231002X is the example of GB
    # 11643-1999.
    assert privacy.luhn('4111111111111111') and privacy.id_checksum('11010519491231002X')
    for number, valid in (('4111111111111111', privacy.luhn), ('11010519491231002X', privacy.id_checksum)):
        for i, digit in enumerate(number[:-1]):
            assert not any(valid(number[:i] + other + number[i + 1:]) for other in '0123456789' if other != digit)


@pytest.mark.parametrize(('text', 'masked'), [
    ('Write to jo.doe+x@mail.example.org, please.', 'Write to [EMAIL], please.'),
    ('电话13812345678。', '电话[PHONE]。'),
    ('Call +44 20 7946 0958 or (212) 555-0142.', 'Call [PHONE] or [PHONE].'),
    ('打 010-62751234 或 +86 138 1234 5678', '打 [PHONE] 或 [PHONE]'),
    ('身份证11010519491231002x', '身份证[ID]'), ('id 110105194912310021', 'id 110105194912310021'),
    ('card 4111 1111 1111 1111.', 'card [CARD].'), ('card 4111 1111 1111 1112.', 'card 4111 1111 1111 1112.'),
    ('from 192.168.0.1:80 and 2001:db8:0:0:1:2:3:4', 'from 192.168.0.1:80 and [IP]'),
    ('host 10.20.30.40.', 'host [IP].'), ('300.1.2.3', '300.1.2.3')])
def test_mask(text, masked):
    assert privacy.mask(text)[0] == masked


@pytest.mark.parametrize('text', [
    '47+38=85', '565*610=344650', '138123*45678=6309166554', 'x = 13812345678901', '3.14159265358979', 'v1.2.3.4',
    '2024-01-05 12:30:45', 's[1:2:3]', '12,345,678', 'def f(a, b):\n    return a @ b', 'sha 4111111111111111ab',
    '1000000007'])
def test_sums_code_dates_and_versions_are_not_personal_data(text):
    assert privacy.mask(text) == (text, [])


@given(st.lists(st.sampled_from([*privacy.KINDS, None]), min_size=1, max_size=6), st.integers())
def test_masking_finds_every_kind_wherever_it_stands(kinds, seed):
    rng = random.Random(seed)
    parts = [(kind, personal.personal(rng, kind) if kind else rng.choice(['Some words.', '47+38=85', '第3页。']))
             for kind in kinds]
    text, spans = '', []
    for kind, value in parts:
        text += rng.choice(['，', ' : ', '\n'])
        spans += [(kind, len(text), len(text) + len(value))] * bool(kind)
        text += value
    masked, marked = privacy.mask(text)
    assert marked == spans and privacy.mask(masked) == (masked, [])
