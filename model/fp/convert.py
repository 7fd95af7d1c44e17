"""Conversions of FP32 words: to and from formats of 16 bits, to the nearest or next larger integer, to an integer."""

import numpy as np

from .formats import BF16, FP16, QUIET_NAN, U6_10, Format, round_pack, unpack
from .jit import njit
from .operator import operator

__all__ = [
    "ceil", "ceil_word", "from_bf16", "from_fp16", "from_u6_10", "narrow", "narrow_word", "rint", "rint_word",
    "to_bf16", "to_fp16", "to_int", "to_int_word", "to_u6_10", "widen", "widen_word",
]

_BF16, _FP16, _U6_10 = BF16.fields, FP16.fields, U6_10.fields


@njit()
def narrow_word(a, exponent_bits, fraction_bits, subnormals, excess):
    """The word (``uint16``) of a narrower format nearest to an FP32 word, ties to even; NaN becomes its quiet NaN.

    A format of 16 bits without a sign drops it.
    """
    sign, field, significand = unpack(a, 8, 23)
    if field == 255:
        infinity = ((np.int64(1) << exponent_bits) - 1) << fraction_bits
        if significand != 0x800000:
            return np.uint16(infinity | 1 << (fraction_bits - 1))
        return np.uint16(sign << (exponent_bits + fraction_bits) | infinity)
    return np.uint16(round_pack(sign, significand, field - 150 + excess, exponent_bits, fraction_bits, subnormals))


@njit()
def widen_word(a, exponent_bits, fraction_bits, subnormals, excess):
    """The FP32 word of the value of a narrower format's word; exact. NaN becomes 0x7FC00000."""
    sign, field, significand = unpack(a, exponent_bits, fraction_bits, subnormals)
    if field == (1 << exponent_bits) - 1:
        if significand != 1 << fraction_bits:
            return QUIET_NAN
        return np.uint32(sign << 31 | 0x7F800000)
    bias = (1 << (exponent_bits - 1)) - 1 + excess
    return np.uint32(round_pack(sign, significand, field - bias - fraction_bits, 8, 23))


@njit()
def rint_word(a):
    """The integer nearest to an FP32 word, ties to even, as an FP32 word.

    A zero result is +0 whatever the sign; infinities pass, NaN becomes 0x7FC00000.
    """
    sign, field, significand = unpack(a, 8, 23)
    if field >= 150:  # no fraction bits: an integer, inf or NaN
        if field == 255 and significand != 0x800000:
            return QUIET_NAN
        return np.uint32(a)
    if field < 126:  # |a| < ½
        return np.uint32(0)
    shift = 150 - field
    odd = (significand >> shift) & 1
    integer = (significand + (np.int64(1) << (shift - 1)) - 1 + odd) >> shift
    if integer == 0:  # ½ itself ties to 0
        return np.uint32(0)
    return np.uint32(round_pack(sign, integer, 0, 8, 23))


@njit()
def ceil_word(a):
    """The smallest integer not below an FP32 word, as an FP32 word.

    A zero result is +0 whatever the sign; infinities pass, NaN becomes 0x7FC00000.
    """
    sign, field, significand = unpack(a, 8, 23)
    if field >= 150:  # no fraction bits: an integer, inf or NaN
        if field == 255 and significand != 0x800000:
            return QUIET_NAN
        return np.uint32(a)
    if field == 0:  # a subnormal is zero too
        return np.uint32(0)
    shift = min(150 - field, 24)
    integer = significand >> shift
    if sign == 0 and significand & ((np.int64(1) << shift) - 1):
        integer += 1
    if integer == 0:
        return np.uint32(0)
    return np.uint32(round_pack(sign, integer, 0, 8, 23))


@njit()
def to_int_word(a):
    """An integer-valued FP32 word as an integer (``int32``), clamped to [−255, 0]; NaN gives 0.

    Fraction bits, which the operands of the softmax never have, are dropped.
    """
    sign, field, significand = unpack(a, 8, 23)
    if sign == 0 or field < 127 or (field == 255 and significand != 0x800000):
        return np.int32(0)
    if field >= 135:  # |a| ≥ 256
        return np.int32(-255)
    return np.int32(-(significand >> (150 - field)))


@operator("(uint32, uint16[:])")
def to_bf16(a, out):
    """The BF16 word nearest to each FP32 word."""
    out[0] = narrow_word(a, *_BF16)


@operator("(uint32, uint16[:])")
def to_fp16(a, out):
    """The FP16 word nearest to each FP32 word; below 2^-14 a subnormal."""
    out[0] = narrow_word(a, *_FP16)


@operator("(uint32, uint16[:])")
def to_u6_10(a, out):
    """The U6.10 word nearest to the magnitude of each FP32 word; below 2^-61 it is zero."""
    out[0] = narrow_word(a, *_U6_10)


@operator("(uint16, uint32[:])")
def from_bf16(a, out):
    """The FP32 word of each BF16 word."""
    out[0] = widen_word(a, *_BF16)


@operator("(uint16, uint32[:])")
def from_fp16(a, out):
    """The FP32 word of each FP16 word."""
    out[0] = widen_word(a, *_FP16)


@operator("(uint16, uint32[:])")
def from_u6_10(a, out):
    """The FP32 word of each U6.10 word."""
    out[0] = widen_word(a, *_U6_10)


def narrow(words: np.ndarray, format: Format) -> np.ndarray:
    """FP32 words as words of a format of 16 bits (``uint16``), rounded to nearest."""
    return {BF16: to_bf16, FP16: to_fp16, U6_10: to_u6_10}[format](words)


def widen(words: np.ndarray, format: Format) -> np.ndarray:
    """Words of a format of 16 bits as FP32 words; exact."""
    return {BF16: from_bf16, FP16: from_fp16, U6_10: from_u6_10}[format](words)


@operator("(uint32, uint32[:])")
def rint(a, out):
    """The integer nearest to each FP32 word, as an FP32 word."""
    out[0] = rint_word(a)


@operator("(uint32, uint32[:])")
def ceil(a, out):
    """The smallest integer not below each FP32 word, as an FP32 word."""
    out[0] = ceil_word(a)


@operator("(uint32, int32[:])")
def to_int(a, out):
    """Each integer-valued FP32 word as an integer, clamped to [−255, 0]."""
    out[0] = to_int_word(a)
