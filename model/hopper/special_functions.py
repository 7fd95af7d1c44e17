"""ex2, rcp and lg2 of Hopper's special-function unit on FP32 words: 2^x, 1/x and log2(x), approximate, flush to zero.

All three are one quadratic interpolator: the argument's leading bits choose a segment and its coefficients
(`special_tables.py`), u is the rest, 17 bits (rcp: 16), and

    T = C0 · 2^s + C1 · u + C2 · square(u) + bias           s = 13 (ex2, rcp) or 12 (lg2)

where square(u) is u² (rcp: (2u)²) in units of 2^19: the sum of its partial products from there on, without a carry from
below.

* ex2: |x| is cut off after 23 fraction bits, and a negative one with a fraction complemented bit by bit (one unit
  below −|x|): integer part I, fraction of 23 bits. Significand T · 2^-15, exponent I.
* rcp: significand T · 2^-15 of the fraction's reciprocal in (1/2, 1].
* lg2: E · 2^38 + T is log2(x) in units of 2^-38, a negative one complemented bit by bit; cut off to a unit of 2^-36 and
  to FP32. lg2(1) is +0, though T is not.

Subnormals count as zeros with their sign, results below the normal range are zeros. NaN is 0x7FFFFFFF.
"""

import numpy as np

from ..fp.formats import bit_length
from ..fp.jit import njit
from ..fp.operator import operator
from .special_tables import EX2, LG2, RCP

__all__ = ["ex2_hopper", "ex2_word", "lg2_hopper", "lg2_word", "rcp_hopper", "rcp_word"]

_EX2, _RCP, _LG2 = (np.array(table, dtype=np.int64) for table in (EX2, RCP, LG2))
_EX2_BIAS, _RCP_BIAS, _LG2_BIAS = 6114, 2023, 837

_NAN, _INF, _MINUS_INF = np.uint32(0x7FFFFFFF), np.uint32(0x7F800000), np.uint32(0xFF800000)
_ONE, _ZERO = np.uint32(0x3F800000), np.uint32(0)


@njit()
def _square(u):
    """u² of 17 bits in units of 2^19, the sum of the partial products from there on."""
    dropped = np.int64(0)
    for i in range(10):  # bit i with itself, and with each bit j > i of i + j + 1 < 19
        if (u >> i) & 1:
            above = (u & ((1 << (18 - i)) - 1)) >> (i + 1) << (i + 1)
            dropped += (np.int64(1) << (2 * i)) + (above << (i + 1))
    return (u * u - dropped) >> 19


@njit()
def _interpolate(coefficients, u, shift, square):
    """T without its bias."""
    return (coefficients[0] << shift) + coefficients[1] * u + coefficients[2] * square


@njit()
def ex2_word(x):
    """2^x of an FP32 word."""
    word = np.int64(x)
    negative, field = word >> 31, (word >> 23) & 0xFF
    significand = (word & 0x7FFFFF) | 0x800000
    if field == 255 and significand != 0x800000:
        return _NAN
    if field >= 135:  # |x| ≥ 256
        return _ZERO if negative else _INF
    fixed = np.int64(0)
    if field >= 127:
        fixed = significand << (field - 127)
    elif field >= 104:
        fixed = significand >> (127 - field)
    integer, fraction = fixed >> 23, fixed & 0x7FFFFF
    if negative:
        integer = -integer
        if fraction:
            integer -= 1
            fraction ^= 0x7FFFFF
    if integer < -126:
        return _ZERO
    if integer > 127:
        return _INF
    u = fraction & 0x1FFFF
    value = (_interpolate(_EX2[fraction >> 17], u, 13, _square(u)) + _EX2_BIAS) >> 15
    return np.uint32(((integer + 126) << 23) + value)


@njit()
def rcp_word(x):
    """1/x of an FP32 word."""
    word = np.int64(x)
    sign, field, fraction = word & 0x80000000, (word >> 23) & 0xFF, word & 0x7FFFFF
    if field == 255:
        return _NAN if fraction else np.uint32(sign)
    if field == 0:
        return np.uint32(sign | 0x7F800000)
    u = fraction & 0xFFFF
    value = (_interpolate(_RCP[fraction >> 16], u, 13, _square(2 * u)) + _RCP_BIAS) >> 15
    result = ((252 - field) << 23) + value
    return np.uint32(sign | result) if result >= 0x800000 else np.uint32(sign)


@njit()
def lg2_word(x):
    """log2(x) of an FP32 word."""
    word = np.int64(x)
    negative, field, fraction = word >> 31, (word >> 23) & 0xFF, word & 0x7FFFFF
    if field == 255 and fraction:
        return _NAN
    if field == 0:
        return _MINUS_INF
    if negative:
        return _NAN
    if field == 255:
        return _INF
    if word == 0x3F800000:
        return _ZERO
    u = fraction & 0x1FFFF
    total = ((field - 127) << 38) + _interpolate(_LG2[fraction >> 17], u, 12, _square(u)) + _LG2_BIAS
    sign = np.int64(total < 0)
    magnitude = (~total if sign else total) >> 2  # in units of 2^-36, never zero
    length = bit_length(magnitude)
    significand = magnitude >> (length - 24) if length > 24 else magnitude << (24 - length)
    return np.uint32((sign << 31) | ((length + 89) << 23) + significand)  # the hidden bit adds 1 to the field


@operator("(uint32, uint32[:])")
def ex2_hopper(x, out):
    """2^x of each FP32 word."""
    out[0] = ex2_word(x)


@operator("(uint32, uint32[:])")
def rcp_hopper(x, out):
    """1/x of each FP32 word."""
    out[0] = rcp_word(x)


@operator("(uint32, uint32[:])")
def lg2_hopper(x, out):
    """log2(x) of each FP32 word."""
    out[0] = lg2_word(x)
