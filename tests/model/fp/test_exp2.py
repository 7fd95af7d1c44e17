"""exp2 against float64, at its special values, and as the steps that its RTL repeats."""

import numpy as np
import pytest
from amla.model.fp.corners import fp32_corners
from amla.model.fp.exp2 import exp2
from amla.model.fp.formats import MAX_FINITE, NEG_INF, ONE, POS_INF, QUIET_NAN, to_words
from amla.model.fp.tables import EXP2


def _stratified():
    """Numbers of every exponent with random and extreme fractions, ascending."""
    rng = np.random.default_rng(80)
    extremes = [0, 1, 2, (1 << 22) - 1, 1 << 22, (1 << 23) - 1]
    fractions = np.concatenate([rng.integers(0, 1 << 23, 500), extremes])
    words = (np.arange(1, 255)[:, None] << 23 | fractions).ravel().astype(np.uint32)
    corners = fp32_corners()
    words = np.concatenate([words, words | np.uint32(1 << 31), corners[corners & 0x7F800000 != 0x7F800000]])
    words = words[words & 0x7F800000 != 0]
    return words[np.argsort(words.view(np.float32), kind="stable")]


@pytest.mark.smoke
def test_faithful_and_monotonic():
    words = _stratified()
    values = words.view(np.float32).astype(np.float64)
    results = exp2(words).view(np.float32).astype(np.float64)
    assert (results[1:] >= results[:-1]).all()
    inside = (values >= -126) & (values < 128)
    reference = np.exp2(values[inside])
    ulp = np.ldexp(1.0, np.frexp(reference)[1] - 24)
    error = np.abs(results[inside] - reference) / ulp
    assert 0.5 < error.max() < 0.53
    assert (results[values < -126] == 0).all() and (results[values >= 128] == np.inf).all()


@pytest.mark.smoke
def test_exact_at_integers():
    integers = np.arange(-160, 140, dtype=np.float32)
    expected = np.where(integers < -126, 0.0, np.exp2(integers.astype(np.float64)))
    with np.errstate(over="ignore"):
        expected = expected.astype(np.float32)
    np.testing.assert_array_equal(exp2(to_words(integers)), expected.view(np.uint32))


@pytest.mark.smoke
def test_specials():
    words = [0, 1 << 31, 0x007FFFFF, 0x807FFFFF, POS_INF, NEG_INF, QUIET_NAN, 0xFF800001]
    expected = [ONE, ONE, ONE, ONE, POS_INF, 0, QUIET_NAN, QUIET_NAN]
    np.testing.assert_array_equal(exp2(np.array(words, dtype=np.uint32)), expected)
    ends = to_words(np.nextafter(np.float32([128, -126]), np.float32([0, -127])))
    assert exp2(ends[0]) < MAX_FINITE and exp2(ends[1]) == 0


@pytest.mark.smoke
def test_documented_steps():
    """The algorithm of the module's docstring in plain integers."""
    for word in _stratified()[::41].tolist():
        field, significand = word >> 23 & 0xFF, word & 0x7FFFFF | 1 << 23
        if field >= 134:
            continue
        fixed = significand * 2 ** max(field - 120, 0) >> max(120 - field, 0)
        n, fraction = divmod(-fixed if word >> 31 else fixed, 1 << 30)
        value = EXP2.evaluate(*divmod(fraction, 1 << 23))
        assert 1 << 31 <= value < 1 << 32
        rounded = round(value / 256)
        expected = 0 if n < -126 else (n + 126 << 23) + rounded
        assert exp2(np.uint32(word)) == expected
