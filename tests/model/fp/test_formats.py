"""Formats, views, and the shared rounding against exact rationals."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from amla.model.fp.formats import (
    BF16,
    FP16,
    FP32,
    QUIET_NAN,
    bf16_to_words,
    bit_length,
    round_pack,
    to_floats,
    to_words,
    unpack,
    words_to_bf16,
)


@pytest.mark.smoke
def test_constants_of_the_formats():
    bfloat16 = ml_dtypes.bfloat16
    dtypes = (FP32, np.uint32, np.float32), (FP16, np.uint16, np.float16), (BF16, np.uint16, bfloat16)
    for format, word, dtype in dtypes:
        info = ml_dtypes.finfo(dtype)
        assert format.bits == info.bits
        expected = [float(value) for value in (info.max, info.smallest_normal, 1.0, np.inf)]
        words = [format.max_finite, format.min_normal, format.one, format.infinity]
        assert [float(value) for value in np.array(words, dtype=word).view(dtype)] == expected
        assert np.isnan(np.array([format.quiet_nan], dtype=word).view(dtype)).all()
    assert QUIET_NAN == 0x7FC00000 and BF16.quiet_nan == 0x7FC0


@pytest.mark.smoke
def test_views_keep_bits_and_shape():
    words = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(bf16_to_words(words_to_bf16(words)), words)
    wide = np.random.default_rng(0).integers(0, 1 << 32, (3, 4, 5), dtype=np.uint32).swapaxes(0, 2)
    np.testing.assert_array_equal(to_words(to_floats(wide)), wide)
    assert to_words(np.float32(1.0)) == FP32.one
    with pytest.raises(TypeError, match="array must have dtype float32, not 'float64'"):
        to_words(np.zeros(3))
    with pytest.raises(TypeError, match="array must have dtype uint16, not 'uint32'"):
        words_to_bf16(wide)


@pytest.mark.smoke
def test_bit_length():
    for value in [1, 2, 3, 255, 256, 2**31, 2**32 - 1, 2**62, 2**63 - 1]:
        assert bit_length(value) == value.bit_length()


def _nearest(magnitude, exponent, format):
    """A positive rational rounded as the definition says: in an unbounded exponent range, then the range."""
    value = magnitude * Fraction(2) ** exponent
    top = magnitude.bit_length() - 1 + exponent
    integer = round(value / Fraction(2) ** (top - format.fraction_bits))
    carry = integer >> format.fraction_bits + 1
    field = top + format.bias + carry
    if field < 1:
        return 0
    return min((field - 1 << format.fraction_bits) + (integer >> carry), format.infinity)


@pytest.mark.smoke
@pytest.mark.parametrize("format", [BF16, FP16, FP32], ids=["bf16", "fp16", "fp32"])
def test_round_pack(format):
    rng = np.random.default_rng(format.bits + format.fraction_bits)
    reach = format.bias + 6
    for case in range(4000):
        length = int(rng.integers(1, 63))
        magnitude = 1 << length - 1 | int(rng.integers(0, 1 << length - 1)) if length > 1 else 1
        if case % 3 == 0 and length > format.fraction_bits + 2:  # a tie
            shift = length - format.fraction_bits - 1
            magnitude = magnitude >> shift << shift | 1 << shift - 1
        exponent = int(rng.integers(-reach, reach)) - length
        expected = _nearest(magnitude, exponent, format)
        fields = format.exponent_bits, format.fraction_bits
        assert round_pack(0, magnitude, exponent, *fields) == expected
        assert round_pack(1, magnitude, exponent, *fields) == expected | 1 << format.bits - 1
    assert round_pack(1, 0, 0, *fields) == 1 << format.bits - 1
    assert round_pack(0, 1 << 62, -62, *fields) == format.one


@pytest.mark.smoke
def test_unpack():
    assert unpack(np.uint16(0x8000 | BF16.one | 3), 8, 7) == (1, 127, 0x83)
    assert unpack(np.uint32(0x007FFFFF), 8, 23) == (0, 0, 0)
    assert unpack(np.uint32(0xFF800000), 8, 23) == (1, 255, 1 << 23)
    assert unpack(np.uint16(FP16.one), 5, 10) == (0, 15, 1 << 10)
