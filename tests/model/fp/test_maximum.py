"""The maximum against NumPy's, and its zeros."""

import numpy as np
import pytest
from amla.model.fp.corners import fp32_corners, random_pairs
from amla.model.fp.formats import NEG_ZERO, POS_ZERO, QUIET_NAN, SIGN
from amla.model.fp.maximum import maximum


def _flush(words):
    return np.where(words & 0x7F800000 == 0, words & SIGN, words)


def _expected(a, b):
    a, b = _flush(a), _flush(b)
    x, y = a.view(np.float32), b.view(np.float32)
    with np.errstate(invalid="ignore"):
        both = np.where(x > y, a, np.where(y > x, b, a & b))  # equal: the same word, or +0 beside −0
    return np.where(np.isnan(x) | np.isnan(y), QUIET_NAN, both)


@pytest.mark.smoke
def test_all_pairs_of_corners():
    a, b = (side.ravel() for side in np.meshgrid(fp32_corners(), fp32_corners()))
    np.testing.assert_array_equal(maximum(a, b), _expected(a, b))


@pytest.mark.smoke
def test_random_pairs():
    a, b = random_pairs(np.random.default_rng(50), 1_000_000)
    np.testing.assert_array_equal(maximum(a, b), _expected(a, b))


@pytest.mark.smoke
def test_zeros():
    assert maximum(NEG_ZERO, POS_ZERO) == POS_ZERO
    assert maximum(POS_ZERO, NEG_ZERO) == POS_ZERO
    assert maximum(NEG_ZERO, np.uint32(0x807FFFFF)) == NEG_ZERO
    assert maximum(NEG_ZERO, np.uint32(0x007FFFFF)) == POS_ZERO
