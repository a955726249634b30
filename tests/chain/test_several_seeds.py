"""Several seeds in processes of their own: each trains another model on the same data, and its scores are there."""
import pytest

from internlm_course.names import SUITES
from internlm_course.staff.seeds import run_seeds

pytestmark = pytest.mark.chain


def test_seeds_train_side_by_side(tmp_path):
    records = run_seeds([0, 1], tmp_path, 'base', jobs=2, scale='smoke')
    assert [record['seed'] for record in records] == [0, 1]
    assert all(list(record['models']) == ['base'] and set(record['models']['base']) == set(SUITES)
               for record in records)
    first, second = (record['bits_per_byte']['base'] for record in records)
    assert first != second
    assert len(list((tmp_path / 'store').glob('tokens-*'))) == 1 and len(list((tmp_path / 'store').glob('base-*'))) == 2
