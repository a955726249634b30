"""What the course does in lab 2 where a student has not yet, against definitions and oracles."""
import itertools
import math
import random

import pytest

from internlm_course.data import code, rules
from internlm_course.lab.answers import lab02 as corpus


def test_signatures_estimate_jaccard():
    """128 hashes, 60 pairs: the mean error is that of a binomial, and no error exceeds four and a half deviations
    (chance under 1e-3)."""
    rng, errors = random.Random(0), []
    hashes = corpus.hash_functions(rng)
    for _ in range(60):
        shared, rest = rng.randrange(5, 60), rng.randrange(2, 30)
        numbers = rng.sample(range(1 << 32), shared + 2 * rest)
        one, other = set(numbers[:shared + rest]), set(numbers[:shared] + numbers[shared + rest:])
        s = corpus.jaccard(one, other)
        assert s == shared / (shared + 2 * rest)
        estimate = corpus.resemblance(corpus.signature(one, hashes), corpus.signature(other, hashes))
        errors.append((estimate - s) / math.sqrt(s * (1 - s) / 128))
    assert max(map(abs, errors)) < 4.5 and 0.5 < sum(error * error for error in errors) / 60 < 1.6


def test_pieces_are_cut_from_the_units_of_the_pipeline():
    assert corpus.UNIT.pattern == rules.UNIT.pattern
    assert len(corpus.pieces('one two three four five six')) == 2 and len(corpus.pieces('法国的首都是巴黎。')) == 5
    assert len(corpus.pieces('a')) == 1


@pytest.mark.parametrize('hashes, similarity, wanted',
                         [(128, 0.8, 0.9), (128, 0.5, 0.9), (96, 0.7, 0.99), (60, 0.9, 0.8), (2, 0.1, 0.99)])
def test_a_cut_has_the_longest_bands_that_find_enough(hashes, similarity, wanted):
    good = [(b, r) for b, r in itertools.product(range(1, hashes + 1), repeat=2)
            if b * r == hashes and 1 - (1 - similarity**r) ** b >= wanted]
    assert corpus.cut(hashes, similarity, wanted) == max(good, key=lambda cut: cut[1], default=None)


def test_the_share_of_pairs_found_is_the_s_curve():
    """Signatures as coin flips: 4,000 pairs of similarity 0.7, so the share is within 4 deviations of 0.61."""
    rng = random.Random(1)
    hits = sum(any(all(rng.random() < 0.7 for _ in range(8)) for _ in range(16)) for _ in range(4000)) / 4000
    assert abs(hits - corpus.found(0.7, 16, 8)) < 4 * math.sqrt(0.61 * 0.39 / 4000)


def test_reading_order_puts_what_is_imported_first():
    """As the code track does, on random repositories without circles; with one, its files come last and none is
    lost."""
    rng = random.Random(2)
    for _ in range(100):
        names = rng.sample('abcdefghijklmnop', 10)
        graph = {name: rng.sample(names[:i], min(i, rng.randrange(4))) for i, name in enumerate(names)}
        for placed in (corpus.reading_order(graph),
                       code.topological({name: set(needs) for name, needs in graph.items()})):
            assert sorted(placed) == sorted(graph)
            assert all(placed.index(need) < placed.index(name) for name in graph for need in graph[name])
    assert corpus.reading_order(dict(b=['a'], a=['b'], z=[])) == ['z', 'a', 'b']


def test_no_lower_threshold_is_as_precise():
    rng = random.Random(3)
    for _ in range(100):
        bad = [rng.random() < 0.4 for _ in range(20)]
        scores, wanted = [round(rng.random(), 1) for _ in bad], rng.choice([0.5, 0.7, 0.9])
        precision = {}
        for threshold in scores:
            gone = [is_bad for score, is_bad in zip(scores, bad) if score >= threshold]
            precision[threshold] = sum(gone) / len(gone)
        precise = [threshold for threshold in scores if precision[threshold] >= wanted]
        assert corpus.lowest_threshold(scores, bad, wanted) == min(precise, default=None)


def test_overlap_sees_through_width_case_and_space():
    assert corpus.overlap('Ｗｈａｔ is 2 + 3?', 'so: WHAT\nIS 2+3 ?', 8) == 1
    assert corpus.overlap('abcdef', 'abcdxx', 3) == 0.5 and corpus.overlap('ab', 'xa', 9) == 0
