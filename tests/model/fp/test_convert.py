"""Conversions against ml_dtypes and NumPy."""

import ml_dtypes
import numpy as np
import pytest
from amla.model.fp.convert import ceil, from_u6_10, rint, to_bf16, to_int, to_u6_10
from amla.model.fp.corners import fp32_corners, random_words
from amla.model.fp.formats import NEG_INF, NEG_ZERO, POS_INF, POS_ZERO, QUIET_NAN, SIGN, to_words


@pytest.mark.smoke
def test_to_bf16_against_ml_dtypes():
    """Every upper half with the lower halves around zero, the tie and the end."""
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    for lower in (0, 1, 0x1234, 0x7FFF, 0x8000, 0x8001, 0xABCD, 0xFFFF):
        words = upper | np.uint32(lower)
        subnormal = words & 0x7F800000 == 0
        flushed = np.where(subnormal, words & SIGN, words)
        with np.errstate(invalid="ignore"):
            expected = flushed.view(np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)
        expected = np.where(words & 0x7FFFFFFF > 0x7F800000, np.uint16(0x7FC0), expected)
        np.testing.assert_array_equal(to_bf16(words), expected)


@pytest.mark.smoke
@pytest.mark.parametrize(("function", "numpy_function"), [(rint, np.rint), (ceil, np.ceil)])
def test_integers_against_numpy(function, numpy_function):
    words = np.concatenate([fp32_corners(), random_words(np.random.default_rng(30), 1_000_000)])
    halves = np.arange(-2**21, 2**21, dtype=np.float32) / 4
    words = np.concatenate([words, halves.view(np.uint32)])
    flushed = np.where(words & 0x7F800000 == 0, words & SIGN, words)
    with np.errstate(invalid="ignore"):
        expected = numpy_function(flushed.view(np.float32)).view(np.uint32)
    expected = np.where(expected == NEG_ZERO, POS_ZERO, expected)
    expected = np.where(words & 0x7FFFFFFF > 0x7F800000, QUIET_NAN, expected)
    np.testing.assert_array_equal(function(words), expected)


@pytest.mark.smoke
def test_to_int_clamps():
    values = np.arange(-1000, 1000, dtype=np.float32)
    np.testing.assert_array_equal(to_int(to_words(values)), np.clip(values, -255, 0).astype(np.int32))
    specials = np.array([POS_INF, NEG_INF, QUIET_NAN, NEG_ZERO, 0x807FFFFF, 0xFF7FFFFF], dtype=np.uint32)
    np.testing.assert_array_equal(to_int(specials), [0, -255, 0, 0, 0, -255])
    assert to_int(specials).dtype == np.int32


@pytest.mark.smoke
def test_every_u6_10_word_is_what_it_says():
    """(1 + f/1024)·2^(e − 62) in FP32, and back; the sign is dropped."""
    words = np.arange(1 << 16, dtype=np.uint16)
    field, fraction = (words >> 10).astype(int), words & 1023
    wide = from_u6_10(words)
    finite = (field > 0) & (field < 63)
    expected = np.ldexp(1 + fraction[finite] / 1024, field[finite] - 62).astype(np.float32)
    np.testing.assert_array_equal(wide[finite].view(np.float32), expected)
    assert not wide[field == 0].any() and wide[63 << 10] == 0x7F800000
    assert (wide[(63 << 10) + 1:] == 0x7FC00000).all()
    for sign in (0, 1 << 31):
        back = to_u6_10(wide | np.uint32(sign))
        np.testing.assert_array_equal(back[finite], words[finite])
        assert not back[field == 0].any() and back[63 << 10] == 63 << 10 and (back[(63 << 10) + 1:] == 0xFE00).all()


@pytest.mark.smoke
def test_u6_10_at_the_ends_of_its_range():
    """Rounding comes before flushing: half an ulp below the smallest number is that number."""
    def rounded(value):
        return int(to_u6_10(np.float32(value).view(np.uint32)))

    least = 2.0**-61
    assert rounded(least) == 1 << 10 and rounded(least * (1 - 2**-12)) == 1 << 10 and rounded(least * (1 - 2**-11)) == 0
    assert rounded(2 - 2**-10) == (63 << 10) - 1 and rounded(2 - 2**-11) == 63 << 10
    assert rounded(2**0.5) == (62 << 10) + 424
