"""recip against float64, at its special values, and as the steps that its RTL repeats."""

import numpy as np
import pytest
from amla.model.fp.corners import fp32_corners
from amla.model.fp.formats import NEG_INF, NEG_ZERO, POS_INF, QUIET_NAN, SIGN
from amla.model.fp.recip import recip
from amla.model.fp.tables import RECIP


def _stratified():
    """Positive normal words of every exponent with random and extreme fractions, ascending."""
    rng = np.random.default_rng(82)
    extremes = [0, 1, 2, (1 << 22) - 1, 1 << 22, (1 << 23) - 1]
    fractions = np.concatenate([rng.integers(0, 1 << 23, 500), extremes])
    words = (np.arange(1, 255)[:, None] << 23 | fractions).ravel()
    corners = fp32_corners()
    corners = corners[(corners >= 0x00800000) & (corners < 0x7F800000)]
    return np.unique(np.concatenate([words, corners])).astype(np.uint32)


@pytest.mark.smoke
def test_faithful_monotonic_and_odd():
    words = _stratified()
    got = recip(words)
    np.testing.assert_array_equal(recip(words | SIGN), got | SIGN)
    results = got.view(np.float32).astype(np.float64)
    assert (np.diff(results) <= 0).all()
    reference = 1 / words.view(np.float32).astype(np.float64)
    normal = reference >= 2.0**-126
    assert (results[~normal] == 0).all() and not normal.all()
    ulp = np.ldexp(1.0, np.frexp(reference)[1] - 24)
    error = (np.abs(results - reference) / ulp)[normal]
    assert 0.5 < error.max() < 0.56


@pytest.mark.smoke
def test_every_significand():
    """All 2^23 significands, which decide every result: faithful and monotonic."""
    words = np.arange(0x3F800000, 0x40000001, dtype=np.uint32)
    results = recip(words).view(np.float32).astype(np.float64)
    error = np.abs(results - 1 / words.view(np.float32).astype(np.float64)) / 2.0**-24
    assert error.max() < 0.56 and (np.diff(results) <= 0).all()


@pytest.mark.smoke
def test_exact_at_powers_of_two():
    fields = np.arange(1, 255)
    got = recip((fields << 23).astype(np.uint32))
    np.testing.assert_array_equal(got, np.where(fields == 254, 0, (254 - fields) << 23))


@pytest.mark.smoke
def test_specials():
    words = np.array([0, NEG_ZERO, 1, 0x807FFFFF, POS_INF, NEG_INF, QUIET_NAN, 0xFF800001], dtype=np.uint32)
    expected = [POS_INF, NEG_INF, POS_INF, NEG_INF, 0, NEG_ZERO, QUIET_NAN, QUIET_NAN]
    np.testing.assert_array_equal(recip(words), np.array(expected, dtype=np.uint32))


@pytest.mark.smoke
def test_documented_steps():
    """The algorithm of the module's docstring in plain integers."""
    for word in _stratified()[::41].tolist():
        field, fraction = word >> 23, word & 0x7FFFFF
        value = RECIP.evaluate(*divmod(fraction, 1 << 15))
        assert 1 << 31 <= value <= 1 << 32 and (value == 1 << 32) == (fraction == 0)
        rounded = round(value / 256)
        field, mantissa = (254 - field, 0) if fraction == 0 else (253 - field, rounded - (1 << 23))
        assert recip(np.uint32(word)) == (0 if field < 1 else field << 23 | mantissa)
