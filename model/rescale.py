"""The rescale word operation: multiply an FP32 word by 2^Δ·(1 + ε) with one guarded integer addition.

A row carries 2^k offsets; the top k fraction bits of the word choose one. Without the guards the bare
addition turns zeros into infinities or NaN and wraps small words into huge ones.
"""

import numpy as np

from .fp.jit import njit
from .fp.operator import operator

__all__ = ["rescale", "rescale_word"]


@njit()
def rescale_word(x, offsets):
    """x rescaled by a row's ``offsets`` (``int32``, 2^k of them, k ≤ 23)."""
    word = np.int64(x)
    sign = word & 0x80000000
    field = (word >> 23) & 0xFF
    if field == 255:
        return np.uint32(x)
    if field == 0:
        return np.uint32(sign)
    segment = ((word & 0x7FFFFF) * len(offsets)) >> 23  # the top k fraction bits
    total = (word & 0x7FFFFFFF) + np.int64(offsets[segment])
    if total < 0x800000:
        return np.uint32(sign)
    if total >= 0x7F800000:
        return np.uint32(sign | 0x7F800000)
    return np.uint32(sign | total)


@operator("(uint32[:], int32[:], uint32[:])", "(n),(s)->(n)")
def rescale(x, offsets, out):
    """Each row of words ``x[..., n]`` rescaled by its row of ``offsets[..., 2^k]``."""
    for i in range(len(x)):
        out[i] = rescale_word(x[i], offsets)
