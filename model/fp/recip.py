"""recip: 1/x of an FP32 word; faithful, monotonic, exact for powers of two.

The algorithm, which ``rtl/fp/recip.py`` repeats step by step (f: 23 fraction bits, E: exponent field):

1. i = f >> 15, u = f & (2¹⁵ − 1), V = 1/1.f from the table RECIP (`Table.evaluate`), unit 2⁻³²: 19 × 15 and
   26 × 15 bit multiplications, V in [2³¹, 2³²], and V = 2³² exactly when f = 0;
2. f = 0: the result is 2^(127 − E), exponent field 254 − E, fraction 0;
3. otherwise round V to nearest, ties to even, at its bit 8 (24 bits, never a carry): exponent field 253 − E;
4. an exponent field below 1 gives zero. The sign is x's.

Specials: NaN → NaN; inf → zero; zeros and subnormals → inf; each with x's sign.
"""

import numpy as np

from .formats import QUIET_NAN
from .jit import njit
from .operator import operator
from .tables import RECIP

__all__ = ["recip", "recip_word"]

_C0, _C1, _C2 = (np.array(column, dtype=np.int64) for column in (RECIP.c0, RECIP.c1, RECIP.c2))
_SHIFT1, _SHIFT2, _U_BITS = RECIP.shift1, RECIP.shift2, RECIP.u_bits


@njit()
def recip_word(x):
    """1/x of an FP32 word."""
    word = np.int64(x)
    sign = word & 0x80000000
    field = (word >> 23) & 0xFF
    fraction = word & 0x7FFFFF
    if field == 255:
        return QUIET_NAN if fraction else np.uint32(sign)
    if field == 0:
        return np.uint32(sign | 0x7F800000)
    if field + (fraction != 0) >= 254:
        return np.uint32(sign)
    index = fraction >> _U_BITS
    u = fraction & ((1 << _U_BITS) - 1)
    value = _C0[index] - (((_C1[index] - ((_C2[index] * u) >> _SHIFT2)) * u) >> _SHIFT1)
    rounded = (value + 127 + ((value >> 8) & 1)) >> 8  # 24 bits, or 2²⁴ when f = 0
    return np.uint32(sign | (((252 - field) << 23) + rounded))  # the hidden bit adds 1 to it, 2²⁴ adds 2


@operator("(uint32, uint32[:])")
def recip(x, out):
    """1/x of each FP32 word."""
    out[0] = recip_word(x)
