"""log2 against float64, at its special values, and as the steps that its RTL repeats."""

import numpy as np
import pytest
from amla.model.fp.corners import fp32_corners
from amla.model.fp.formats import NEG_INF, NEG_ZERO, POS_INF, QUIET_NAN
from amla.model.fp.log2 import log2
from amla.model.fp.tables import LOG2


def _stratified():
    """Positive normal words of every exponent with random and extreme fractions, all near 1; ascending."""
    rng = np.random.default_rng(84)
    extremes = [0, 1, 2, (1 << 22) - 1, 1 << 22, (1 << 23) - 1]
    fractions = np.concatenate([rng.integers(0, 1 << 23, 500), extremes])
    words = (np.arange(1, 255)[:, None] << 23 | fractions).ravel()
    corners = fp32_corners()
    corners = corners[(corners >= 0x00800000) & (corners < 0x7F800000)]
    near_one = 0x3F800000 + np.arange(-100_000, 100_000)
    return np.unique(np.concatenate([words, corners, near_one])).astype(np.uint32)


@pytest.mark.smoke
def test_faithful_and_monotonic():
    words = _stratified()
    results = log2(words).view(np.float32).astype(np.float64)
    assert (np.diff(results) >= 0).all()
    reference = np.log2(words.view(np.float32).astype(np.float64))
    ulp = np.ldexp(1.0, np.frexp(reference)[1] - 24)
    error = np.abs(results - reference) / ulp
    assert 0.5 < error.max() < 0.56


@pytest.mark.smoke
def test_exact_at_powers_of_two():
    fields = np.arange(1, 255)
    expected = (fields - 127).astype(np.float32).view(np.uint32)
    np.testing.assert_array_equal(log2((fields << 23).astype(np.uint32)), expected)


@pytest.mark.smoke
def test_specials():
    words = np.array(
        [0, NEG_ZERO, 0x007FFFFF, 0x807FFFFF, POS_INF,
         NEG_INF, QUIET_NAN, 0xFFC00001, 0x80800000, 0xBF800000], dtype=np.uint32,
    )
    expected = [NEG_INF] * 4 + [POS_INF] + [QUIET_NAN] * 5
    np.testing.assert_array_equal(log2(words), np.array(expected, dtype=np.uint32))


def _round(value, exponent):
    """FP32 word of the integer ``value`` times 2^exponent, ties to even."""
    sign, value = value < 0, abs(value)
    if value == 0:
        return 0
    shift = value.bit_length() - 24
    kept, rest = value >> shift, value & (1 << shift) - 1
    kept += rest > 1 << shift - 1 or (rest == 1 << shift - 1 and kept & 1)
    return (sign << 31) + (shift + exponent + 149 << 23) + kept


@pytest.mark.smoke
def test_documented_steps():
    """The algorithm of the module's docstring in plain integers."""
    for word in _stratified()[::67].tolist():
        field, fraction = word >> 23, word & 0x7FFFFF
        half = fraction >> 22
        t = fraction - (1 << 23) if half else 2 * fraction
        g = LOG2.evaluate(*divmod(fraction, 1 << 16))
        assert 1 << 31 < g < 1 << 32
        assert log2(np.uint32(word)) == _round((field - 127 + half << 55) + t * g, -55)
