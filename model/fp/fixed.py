"""Fixed point with 32 fraction bits, the exact accumulator of a row's sums within a tile."""

import numpy as np

from .formats import round_pack, unpack
from .jit import njit
from .operator import operator

__all__ = ["from_fixed", "from_fixed_word", "to_fixed", "to_fixed_word"]


@njit()
def to_fixed_word(a):
    """floor(|a|·2³²) of an FP32 word in [0, 2), as ``uint64`` (33 bits); the sign is ignored.

    Words of magnitude 2 and above, which no probability reaches, saturate at 2³³ − 1, infinities and NaN too.
    """
    _, field, significand = unpack(a, 8, 23)
    if field >= 128:
        return np.uint64((1 << 33) - 1)
    if field >= 118:
        return np.uint64(significand << (field - 118))
    return np.uint64(significand >> min(118 - field, 63))


@njit()
def from_fixed_word(s):
    """s·2⁻³² of an unsigned integer of up to 48 bits, as an FP32 word; one rounding (RNE)."""
    return np.uint32(round_pack(0, np.int64(s), -32, 8, 23))


@operator("(uint32, uint64[:])")
def to_fixed(a, out):
    """floor(|a|·2³²) of each FP32 word in [0, 2)."""
    out[0] = to_fixed_word(a)


@operator("(uint64, uint32[:])")
def from_fixed(s, out):
    """s·2⁻³² of each unsigned integer, as FP32 words."""
    out[0] = from_fixed_word(s)
