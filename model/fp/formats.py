"""Words and formats: how a value is stored, split into fields, rounded and packed.

A value is handled as its word, FP32 as ``uint32``, BF16 and FP16 as ``uint16``. :func:`unpack` and
:func:`round_pack` take the format as integers, so every format of :class:`Format` shares them. Both
compute in ``int64``: Numba turns a mix of signed and unsigned 64-bit integers into floating point.

Every operation of ``model/`` comes as ``<op>_word`` on single words, for other compiled functions, which check
nothing, and as ``<op>`` on arrays, which checks them (``operator.py``).
"""

from dataclasses import dataclass

import ml_dtypes
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .jit import njit

__all__ = [
    "BF16", "FP16", "FP32", "MAX_FINITE", "MIN_NORMAL", "NEG_INF", "NEG_ZERO", "ONE", "OPERANDS",
    "POS_INF", "POS_ZERO", "QUIET_NAN", "SIGN", "U6_10", "Format", "bf16_to_words", "bit_length", "dtype_of",
    "round_pack", "to_floats", "to_words", "unpack", "words_to_bf16",
]


@dataclass(frozen=True)
class Format:
    """An IEEE-like binary format: zero, normals, infinity and one quiet NaN; subnormals if the format keeps them.

    Where it does not, a subnormal word counts as zero, and a result below the normal range becomes zero. A word
    without a sign bit has a number's magnitude.
    """

    exponent_bits: int
    fraction_bits: int
    subnormals: bool = False
    signed: bool = True
    #: How far the exponents' bias is above IEEE's.
    excess: int = 0

    @property
    def fields(self) -> tuple[int, int, bool, int]:
        """The format as arguments for compiled functions: exponent bits, fraction bits, subnormals, excess."""
        return self.exponent_bits, self.fraction_bits, self.subnormals, self.excess

    @property
    def bits(self) -> int:
        """Width of a word."""
        return self.signed + self.exponent_bits + self.fraction_bits

    @property
    def bias(self) -> int:
        """Exponent field of 1.0."""
        return (1 << (self.exponent_bits - 1)) - 1 + self.excess

    @property
    def max_field(self) -> int:
        """Exponent field of infinity and NaN."""
        return (1 << self.exponent_bits) - 1

    @property
    def infinity(self) -> int:
        """Word of +inf."""
        return self.max_field << self.fraction_bits

    @property
    def quiet_nan(self) -> int:
        """Word of the only NaN that operations produce."""
        return self.infinity | 1 << (self.fraction_bits - 1)

    @property
    def one(self) -> int:
        """Word of 1.0."""
        return self.bias << self.fraction_bits

    @property
    def min_normal(self) -> int:
        """Word of the smallest positive normal value."""
        return 1 << self.fraction_bits

    @property
    def max_finite(self) -> int:
        """Word of the largest finite value."""
        return self.infinity - 1


BF16 = Format(8, 7)
#: Its subnormals reach from 2^-14 down to 2^-24, where a softmax has weights that matter.
FP16 = Format(5, 10, subnormals=True)
FP32 = Format(8, 23)
#: Format of P: from 2^-61 to below 2 in 11 significant bits. It is used inside the core only.
U6_10 = Format(6, 10, signed=False, excess=31)

#: Formats of the cube's operands (Q, KV, and P where it has none of its own) and of the output, by name.
OPERANDS = {"bf16": BF16, "fp16": FP16}

QUIET_NAN = np.uint32(FP32.quiet_nan)
POS_INF = np.uint32(FP32.infinity)
NEG_INF = np.uint32(FP32.infinity | 1 << 31)
POS_ZERO = np.uint32(0)
NEG_ZERO = np.uint32(1 << 31)
ONE = np.uint32(FP32.one)
MIN_NORMAL = np.uint32(FP32.min_normal)
MAX_FINITE = np.uint32(FP32.max_finite)
SIGN = np.uint32(1 << 31)


def dtype_of(format: Format) -> np.dtype:
    """NumPy's type of a format's values: ``ml_dtypes.bfloat16``, ``float16`` or ``float32``."""
    return np.dtype({BF16: ml_dtypes.bfloat16, FP16: np.float16, FP32: np.float32}[format])


def _view(array, source, target) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype != source:
        raise TypeError(f"array must have dtype {np.dtype(source).name}, not {array.dtype.name!r}")
    return np.ascontiguousarray(array).view(target).reshape(array.shape)


def to_words(values) -> np.ndarray:
    """FP32 words (``uint32``) of a ``float32`` array; the same bits."""
    return _view(values, np.float32, np.uint32)


def to_floats(words) -> np.ndarray:
    """``float32`` values of an array of FP32 words; the same bits."""
    return _view(words, np.uint32, np.float32)


def bf16_to_words(values) -> np.ndarray:
    """BF16 words (``uint16``) of an ``ml_dtypes.bfloat16`` array; the same bits."""
    return _view(values, ml_dtypes.bfloat16, np.uint16)


def words_to_bf16(words) -> np.ndarray:
    """``ml_dtypes.bfloat16`` values of an array of BF16 words; the same bits."""
    return _view(words, np.uint16, ml_dtypes.bfloat16)


@intrinsic
def _leading_zeros(typingctx, value):
    """Leading zeros of a non-zero 64-bit integer: LLVM's ``ctlz``."""
    def codegen(context, builder, signature, arguments):
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


@njit(inline="always")
def bit_length(value):
    """Bits of ``value`` > 0 without leading zeros, e.g. 3 for 5; ``int64``."""
    return 64 - _leading_zeros(np.int64(value))


@njit()
def unpack(word, exponent_bits, fraction_bits, subnormals=False):
    """Split a word into (sign, exponent field, significand), all ``int64``.

    The significand carries its hidden bit, and is 0 for zeros; for field = max it is the fraction with the
    hidden bit set, so that infinity has exactly ``1 << fraction_bits``. A subnormal word is a zero or, with
    ``subnormals``, a significand without hidden bit in field 1.
    """
    word = np.int64(word)
    field = (word >> fraction_bits) & ((1 << exponent_bits) - 1)
    significand = np.int64(0)
    if field != 0:
        significand = (word & ((1 << fraction_bits) - 1)) | (1 << fraction_bits)
    elif subnormals:
        significand = word & ((1 << fraction_bits) - 1)
        field = np.int64(significand != 0)
    return word >> (exponent_bits + fraction_bits), field, significand


@njit()
def round_pack(sign, magnitude, exponent, exponent_bits, fraction_bits, subnormals=False):
    """The word (``int64``) of (−1)^sign · magnitude · 2^exponent: one rounding, to nearest, ties to even.

    ``magnitude`` is an ``int64`` in [0, 2⁶²]. The exponent range is unbounded while rounding; then a
    magnitude above the largest finite becomes infinity and one below the smallest normal signed zero. With
    ``subnormals`` it is rounded at the last place of the subnormals instead.
    """
    top = np.int64(sign) << (exponent_bits + fraction_bits)
    if magnitude == 0:
        return top
    bias = (1 << (exponent_bits - 1)) - 1
    shift = bit_length(magnitude) - 1 - fraction_bits
    if subnormals:
        shift = max(shift, 1 - bias - fraction_bits - exponent)
        if shift > 62:
            return top
    if shift > 0:
        odd = (magnitude >> shift) & 1
        kept = (magnitude + (np.int64(1) << (shift - 1)) - 1 + odd) >> shift
        carry = kept >> (fraction_bits + 1)  # rounded up to the next power of two
        kept >>= carry
    else:
        carry = np.int64(0)
        kept = magnitude << -shift
    field = exponent + shift + carry + fraction_bits + bias
    if field <= 0:
        return top
    if field >= (1 << exponent_bits) - 1:
        return top | (((1 << exponent_bits) - 1) << fraction_bits)
    return top | ((field - 1) << fraction_bits) + kept  # the hidden bit, if there is one, adds 1 to the field
