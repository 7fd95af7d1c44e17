"""FP32 addition and subtraction on words, with one rounding.

x + (−x) = +0 and (−0) + (−0) = −0; subnormal inputs count as signed zero and a result below 2⁻¹²⁶ is
flushed with its sign (such a sum is exact, so nothing is ever rounded on the way there).
"""

import numpy as np

from .formats import QUIET_NAN, round_pack, unpack
from .jit import njit
from .operator import operator

__all__ = ["add", "add_word", "sub", "sub_word"]

#: Bits kept below the larger significand; what is shifted out further is folded into the lowest one (sticky).
_GUARD = 32


@njit()
def add_word(a, b):
    """a + b of two FP32 words."""
    if (a & 0x7FFFFFFF) < (b & 0x7FFFFFFF):
        a, b = b, a
    sign_a, field_a, significand_a = unpack(a, 8, 23)
    sign_b, field_b, significand_b = unpack(b, 8, 23)
    if field_a == 255:
        if significand_a != 0x800000 or (field_b == 255 and sign_a != sign_b):
            return QUIET_NAN
        return np.uint32(a)
    if significand_a == 0:
        return np.uint32((sign_a & sign_b) << 31)
    large = significand_a << _GUARD
    small = significand_b << _GUARD
    distance = min(field_a - field_b, 63)
    aligned = small >> distance
    if aligned << distance != small:
        aligned |= 1
    total = large - aligned if sign_a != sign_b else large + aligned
    if total == 0:
        return np.uint32(0)
    return np.uint32(round_pack(sign_a, total, field_a - 150 - _GUARD, 8, 23))


@njit()
def sub_word(a, b):
    """a − b of two FP32 words: the sum with b's sign inverted."""
    return add_word(a, np.uint32(b ^ np.uint32(0x80000000)))


@operator("(uint32, uint32, uint32[:])", "(),()->()")
def add(a, b, out):
    """a + b of each pair of FP32 words."""
    out[0] = add_word(a, b)


@operator("(uint32, uint32, uint32[:])", "(),()->()")
def sub(a, b, out):
    """a − b of each pair of FP32 words."""
    out[0] = sub_word(a, b)
