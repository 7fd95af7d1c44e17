"""log2: log2(x) of an FP32 word; faithful, monotonic, exact for powers of two.

With x = 2^e·m and m in [0.75, 1.5), t = m − 1 is exact and log2 x = e + t·g(t), where g(t) = log2(1 + t)/t is
smooth; the product keeps its relative accuracy near x = 1, where log2 x vanishes. The algorithm, which
``rtl/fp/log2.py`` repeats step by step (f: the 23 fraction bits, E: the exponent field):

1. half = f >> 22 (1.f ≥ 1.5); e = E − 127 + half; T = f − 2²³ if half else 2·f  (signed, 24 bits, unit 2⁻²⁴);
2. i = f >> 16, u = f & (2¹⁶ − 1), g from the table LOG2 (`Table.evaluate`), unit 2⁻³¹, 32 bits: 19 × 16 and
   26 × 16 bit multiplications;
3. R = (e << 55) + T·g  (signed, unit 2⁻⁵⁵, |R| ≤ 2⁶²): one 24 × 32 bit multiplication, exact;
4. |R| is normalised and rounded once to FP32, to nearest, ties to even. R = 0 (only x = 1) gives +0.

Specials: NaN → NaN; zeros and subnormals of either sign → −inf; x < 0 → NaN; +inf → +inf.
"""

import numpy as np

from .formats import NEG_INF, POS_INF, QUIET_NAN, round_pack
from .jit import njit
from .operator import operator
from .tables import LOG2

__all__ = ["log2", "log2_word"]

_C0, _C1, _C2 = (np.array(column, dtype=np.int64) for column in (LOG2.c0, LOG2.c1, LOG2.c2))
_SHIFT1, _SHIFT2, _U_BITS = LOG2.shift1, LOG2.shift2, LOG2.u_bits
_POINT = 24 + LOG2.value_bits  # R is in units of 2^−_POINT


@njit()
def log2_word(x):
    """log2(x) of an FP32 word."""
    word = np.int64(x)
    field = (word >> 23) & 0xFF
    fraction = word & 0x7FFFFF
    if field == 255 and fraction:
        return QUIET_NAN
    if field == 0:
        return NEG_INF
    if word >> 31:
        return QUIET_NAN
    if field == 255:
        return POS_INF
    half = fraction >> 22
    t = fraction - 0x800000 if half else fraction << 1
    index = fraction >> _U_BITS
    u = fraction & ((1 << _U_BITS) - 1)
    g = _C0[index] - (((_C1[index] - ((_C2[index] * u) >> _SHIFT2)) * u) >> _SHIFT1)
    result = ((field - 127 + half) << _POINT) + t * g
    negative = np.int64(result < 0)
    return np.uint32(round_pack(negative, -result if negative else result, -_POINT, 8, 23))


@operator("(uint32, uint32[:])")
def log2(x, out):
    """log2(x) of each FP32 word."""
    out[0] = log2_word(x)
