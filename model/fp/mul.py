"""Multiplication on words: FP32 × FP32 → FP32, FP32 × a narrower format → that format; one rounding each."""

import numpy as np

from .formats import BF16, FP16, U6_10, round_pack, unpack
from .jit import njit
from .operator import operator

__all__ = ["mul", "mul_bf16", "mul_bf16_word", "mul_fp16", "mul_narrow_word", "mul_u6_10", "mul_word"]

_BF16, _FP16, _U6_10 = BF16.fields, FP16.fields, U6_10.fields


@njit()
def _multiply(a, b, exponent_bits, fraction_bits, subnormals):
    """Product of an FP32 word and a word of a format, as a word of that format; ``int64``. A subnormal b is zero.

    The format's excess is in b and in the product alike.
    """
    sign_a, field_a, significand_a = unpack(a, 8, 23)
    sign_b, field_b, significand_b = unpack(b, exponent_bits, fraction_bits)
    sign = sign_a ^ sign_b
    special_b = (1 << exponent_bits) - 1
    if field_a == 255 or field_b == special_b:
        infinity = np.int64(special_b) << fraction_bits
        nan = infinity | (1 << (fraction_bits - 1))
        if field_a == 255 and significand_a != 0x800000:
            return nan
        if field_b == special_b and significand_b != 1 << fraction_bits:
            return nan
        if significand_a == 0 or significand_b == 0:
            return nan
        return (sign << (exponent_bits + fraction_bits)) | infinity
    exponent = field_a + field_b - 127 - (special_b >> 1) - 23 - fraction_bits
    return round_pack(sign, significand_a * significand_b, exponent, exponent_bits, fraction_bits, subnormals)


@njit()
def mul_word(a, b):
    """a · b of two FP32 words."""
    return np.uint32(_multiply(a, b, 8, 23, False))


@njit()
def mul_narrow_word(a, b, exponent_bits, fraction_bits, subnormals, excess):
    """a · b of an FP32 word and a word of a narrower format, as a word of that format (``uint16``).

    A format of 16 bits without a sign drops it. A subnormal b counts as zero in every format: the rows' factors,
    near 1, never are one.
    """
    return np.uint16(_multiply(a, b, exponent_bits, fraction_bits, subnormals))


@njit()
def mul_bf16_word(a, b):
    """a · b of an FP32 and a BF16 word, as a BF16 word."""
    return mul_narrow_word(a, b, *_BF16)


@operator("(uint32, uint32, uint32[:])", "(),()->()")
def mul(a, b, out):
    """a · b of each pair of FP32 words."""
    out[0] = mul_word(a, b)


@operator("(uint32, uint16, uint16[:])", "(),()->()")
def mul_bf16(a, b, out):
    """a · b of each pair of an FP32 and a BF16 word, as BF16 words."""
    out[0] = mul_bf16_word(a, b)


@operator("(uint32, uint16, uint16[:])", "(),()->()")
def mul_fp16(a, b, out):
    """a · b of each pair of an FP32 and an FP16 word, as FP16 words; a subnormal b counts as zero."""
    out[0] = mul_narrow_word(a, b, *_FP16)


@operator("(uint32, uint16, uint16[:])", "(),()->()")
def mul_u6_10(a, b, out):
    """|a| · b of each pair of an FP32 and a U6.10 word, as U6.10 words."""
    out[0] = mul_narrow_word(a, b, *_U6_10)
