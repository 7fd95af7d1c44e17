"""The larger of two FP32 words, NaN if either is; subnormals count as signed zero and −0 lies below +0."""

import numpy as np

from .formats import QUIET_NAN
from .jit import njit
from .operator import operator

__all__ = ["maximum", "maximum_word"]


@njit()
def _flush(word):
    """The word with a subnormal replaced by the zero of its sign; ``int64``."""
    return word & 0x80000000 if word & 0x7F800000 == 0 else word


@njit()
def _key(word):
    """An integer that orders the words of numbers as the numbers, −0 below +0."""
    return -(word & 0x7FFFFFFF) - 1 if word >> 31 else word


@njit()
def maximum_word(a, b):
    """max(a, b) of two FP32 words."""
    x, y = _flush(np.int64(a)), _flush(np.int64(b))
    if (x & 0x7FFFFFFF) > 0x7F800000 or (y & 0x7FFFFFFF) > 0x7F800000:
        return QUIET_NAN
    return np.uint32(x if _key(x) >= _key(y) else y)


@operator("(uint32, uint32, uint32[:])", "(),()->()")
def maximum(a, b, out):
    """max(a, b) of each pair of FP32 words."""
    out[0] = maximum_word(a, b)
