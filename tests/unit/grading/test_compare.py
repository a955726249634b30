"""Values that left a kernel as JSON against the reference's, numbers within a tolerance."""
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from internlm_course.grading.compare import count, printed, same

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
                    | st.text(),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
                    max_leaves=12)


@given(JSON)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
def test_what_is_printed_comes_back_and_agrees_with_itself(value):
    text = json.dumps(dict(check='x', values=value), ensure_ascii=False)
    # Splitlines knows more ends of line than JSON escapes
    if '\u2028' not in text and '\u2029' not in text and '\x85' not in text:
        assert same(printed(f'noise\n{text}\n')['x'], json.loads(json.dumps(value)))


@pytest.mark.parametrize('value, reference', [
    (1.0000005, 1.0), (2, 2.0), (2.0, 2), (1e-12, 0.0), ([1, {'a': 0.1 + 0.2}], [1, {'a': 0.3}]), (None, None),
    (True, True)])
def test_agrees(value, reference):
    assert same(value, reference)


@pytest.mark.parametrize('value, reference', [
    (1.00001, 1.0), (2.0000001, 2), (True, 1), (1, True), ('1', 1), (1, '1'), (None, 0), ([1], [1, 2]), ([1, 2], [1]),
    ({'a': 1}, {'a': 1, 'b': 2}),
    ({'a': 1, 'b': 2}, {'a': 1}), ({'error': 'x'}, 1.0), (float('nan'), 1.0), ('a ', 'a'), ([], {}), ({}, [])])
def test_differs(value, reference):
    assert not same(value, reference)


def test_count_and_lines_that_are_no_checks():
    assert count({'a': [1, 2, {'b': 3}], 'c': None}) == 4 and count([]) == 0
    assert printed(
        '{"check": "a", "values": [1]}\n{"check": 3, "values": 1}\n{"values": 1}\n[1]\nNaN?\n{"check": "b"}') == {
            'a': [1]}
