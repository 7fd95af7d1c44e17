"""The rescale word operation against its definition, and against the IEEE product."""

import numpy as np
import pytest
from amla.model.fp.corners import fp32_corners, random_words
from amla.model.fp.formats import NEG_INF, POS_INF
from amla.model.rescale import rescale, rescale_word


def _definition(x, offsets):
    """The definition of docs/numerics.md in plain integers."""
    sign, magnitude = x & 0x80000000, x & 0x7FFFFFFF
    if magnitude >> 23 == 255:
        return x
    if magnitude >> 23 == 0:
        return sign
    comp_bits = len(offsets).bit_length() - 1
    total = magnitude + offsets[(magnitude & 0x7FFFFF) >> (23 - comp_bits)]
    if total < 1 << 23:
        return sign
    return sign | 0x7F800000 if total >= 0x7F800000 else sign | total


@pytest.mark.smoke
@pytest.mark.parametrize("comp_bits", range(4))
def test_definition(comp_bits):
    rng = np.random.default_rng(70 + comp_bits)
    words = np.concatenate([fp32_corners(), random_words(rng, 1000)])
    for case in range(40):
        delta = int(rng.integers(-255, 1)) if case % 4 else (0, -1, -254, -255, 3)[case // 4 % 5]
        offsets = (delta * 2**23 + rng.integers(-2**17, 2**17, 1 << comp_bits)).astype(np.int32)
        expected = [_definition(word, offsets.tolist()) for word in words.tolist()]
        np.testing.assert_array_equal(rescale(words, offsets), np.array(expected, dtype=np.uint32))


@pytest.mark.smoke
def test_equals_the_product_when_epsilon_is_zero():
    """With offsets Δ·2^23 the operation is x·2^Δ flushed to zero, for every Δ; NaN keeps its word."""
    words = np.concatenate([fp32_corners(), random_words(np.random.default_rng(75), 50_000)])
    words = words[(words & 0x7FFFFFFF) <= 0x7F800000]
    values = np.where(words & 0x7F800000 == 0, words & 0x80000000, words).astype(np.uint32).view(np.float32)
    for delta in range(-255, 1):
        product = np.ldexp(values.astype(np.float64), delta)
        flushed = np.where(np.abs(product) < 2.0**-126, np.copysign(0.0, product), product)
        got = rescale(words, np.full(4, delta * 2**23, dtype=np.int32))
        np.testing.assert_array_equal(got, flushed.astype(np.float32).view(np.uint32))


@pytest.mark.smoke
def test_cases_the_bare_addition_gets_wrong():
    minus_one, minus_thirty = (np.full(4, delta * 2**23, dtype=np.int32) for delta in (-1, -30))
    negative, positive = np.full(4, -5000, dtype=np.int32), np.full(4, 5000, dtype=np.int32)
    assert rescale_word(np.uint32(0), minus_one) == 0
    assert rescale_word(np.uint32(0x80000000), negative) == 0x80000000
    assert rescale_word(np.uint32(7 << 23), minus_thirty) == 0
    assert rescale_word(np.uint32(0x00800000), negative) == 0
    assert rescale_word(np.uint32(0x7F7FFFFF), positive) == POS_INF
    assert rescale_word(np.uint32(0xFF7FFFFF), positive) == NEG_INF
    assert rescale_word(np.uint32(0x7F800001), negative) == 0x7F800001


@pytest.mark.smoke
def test_rows_have_their_own_offsets():
    words = np.full((2, 3), 0x3FC00000, dtype=np.uint32)
    offsets = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], dtype=np.int32)
    np.testing.assert_array_equal(rescale(words, offsets) - words, [[3] * 3, [7] * 3])
