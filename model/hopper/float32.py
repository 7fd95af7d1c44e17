"""FP32 as a GPU's cores compute it with flush to zero: float32 in compiled code, each operation rounded once."""

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from ..fp.jit import njit

__all__ = ["add", "fma", "mul", "to_bf16"]

_MIN_NORMAL = np.float32(2.0**-126)
_ZERO = np.float32(0)


@intrinsic
def _fma(typingctx, x, y, z):
    """x·y + z of float32, rounded once: LLVM's ``fma``."""
    def codegen(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), codegen


@njit(inline="always")
def _flush(x):
    return x if not abs(x) < _MIN_NORMAL else x * _ZERO


@njit()
def add(x, y):
    """x + y."""
    return _flush(np.float32(_flush(x) + _flush(y)))


@njit()
def mul(x, y):
    """x·y."""
    return _flush(np.float32(_flush(x) * _flush(y)))


@njit()
def fma(x, y, z):
    """x·y + z, rounded once."""
    return _flush(_fma(_flush(x), _flush(y), _flush(z)))


@njit()
def to_bf16(word):
    """An FP32 word as a BF16 word, to nearest with ties to even; subnormals are kept, NaN is 0x7FFF."""
    if (word & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000):
        return np.uint16(0x7FFF)
    return np.uint16((np.int64(word) + 0x7FFF + ((np.int64(word) >> 16) & 1)) >> 16)
