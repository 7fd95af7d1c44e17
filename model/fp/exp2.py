"""exp2: 2^x of an FP32 word; faithful, monotonic, exact for integers.

The algorithm, which ``rtl/fp/exp2.py`` repeats step by step (M: 24-bit significand, E: exponent field):

1. fixed point, unit 2⁻³⁰, truncated towards zero:  X = M << (E − 120) if E ≥ 120 else M >> (120 − E)
   (37 bits; the right shift saturates: M >> 24 = 0); X = −X if x < 0;
2. n = X >> 30 (floor, −128 … 127), f = X & (2³⁰ − 1);
3. i = f >> 23, u = f & (2²³ − 1), V = 2^f from the table EXP2 (`Table.evaluate`): 19 × 23 and 27 × 23 bit
   multiplications, V in [2³¹, 2³²);
4. round V to nearest, ties to even, at its bit 8: significand = 24 bits; a carry out gives 1.0 · 2^(n+1).

Specials: NaN → NaN; E ≥ 134 (|x| ≥ 128): +inf or +0 by sign; n < −126 → +0; zeros and subnormals → 1.0
(X = 0). Step 4 never reaches 2^128, as 128 − x is at least 2⁻¹⁷, nor does n = −127 ever round up to 2⁻¹²⁶.
"""

import numpy as np

from .formats import ONE, POS_INF, QUIET_NAN
from .jit import njit
from .operator import operator
from .tables import EXP2

__all__ = ["exp2", "exp2_word"]

_C0, _C1, _C2 = (np.array(column, dtype=np.int64) for column in (EXP2.c0, EXP2.c1, EXP2.c2))
_SHIFT1, _SHIFT2, _U_BITS = EXP2.shift1, EXP2.shift2, EXP2.u_bits


@njit()
def exp2_word(x):
    """2^x of an FP32 word."""
    word = np.int64(x)
    negative = word >> 31
    field = (word >> 23) & 0xFF
    if field == 255 and word & 0x7FFFFF:
        return QUIET_NAN
    if field >= 134:
        return np.uint32(0) if negative else POS_INF
    if field < 97:  # |x| < 2⁻³⁰
        return ONE
    significand = (word & 0x7FFFFF) | 0x800000
    fixed = significand << (field - 120) if field >= 120 else significand >> (120 - field)
    if negative:
        fixed = -fixed
    n = fixed >> 30
    if n < -126:
        return np.uint32(0)
    index = (fixed >> _U_BITS) & 0x7F
    u = fixed & ((1 << _U_BITS) - 1)
    value = _C0[index] + (((_C1[index] + ((_C2[index] * u) >> _SHIFT2)) * u) >> _SHIFT1)
    rounded = (value + 127 + ((value >> 8) & 1)) >> 8  # 24 bits, or 2²⁴ after a carry
    return np.uint32(((n + 126) << 23) + rounded)  # the hidden bit adds the missing 1 to the exponent field


@operator("(uint32, uint32[:])")
def exp2(x, out):
    """2^x of each FP32 word."""
    out[0] = exp2_word(x)
