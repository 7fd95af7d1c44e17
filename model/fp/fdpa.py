"""fdpa: fused dot product and accumulate, and the matrix product that chains it.

One step aligns every exact product and c to the largest exponent, truncates the magnitudes below
2^(e_max − F), sums exactly and rounds once to FP32. :func:`fdpa_word` says so literally. :func:`matmul`
computes the same bits for whole matrices, vectorised over the columns:

* operands are split once into exponent and significand;
* a sum of aligned terms has fewer than 53 bits, so that float64 holds it exactly and the conversion to
  float32 is the one rounding;
* rows with a NaN or an infinity go through :func:`fdpa_word`. In c either needs no such care: beside finite
  products it stays what it is.

A :class:`Profile` has the numbers, so that a GPU's tensor core (`model/hopper/tensor_core.py`) is :func:`chain` too.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ..checks import as_integer, check_array
from .formats import BF16, FP16, POS_INF, QUIET_NAN, Format, bit_length, round_pack, unpack
from .jit import njit

__all__ = ["ACC_FRAC_BITS", "NEAREST", "TOWARD_ZERO", "Profile", "chain", "fdpa_fields", "fdpa_fp16_word", "fdpa_word",
           "matmul"]

#: Alignment bits F that :func:`matmul` takes: every core's, and enough below for studies of accuracy.
ACC_FRAC_BITS = range(8, 41)

#: Ways to round a magnitude: to nearest with ties to even, or cut off.
NEAREST, TOWARD_ZERO = "nearest", "toward zero"

#: Largest k: its sum of terms below 2^(F + 2) stays below 2^53.
_MAX_K = 1 << 10

#: Exponent that stands for a zero term: below every other, and far enough for any shift to saturate.
_NONE = -(1 << 13)

#: Columns computed together: their accumulators stay in the first-level cache.
_BLOCK = 256

#: Smallest magnitude that rounds to a normal FP32 number when the exponent range is unbounded.
_ROUNDS_TO_NORMAL = float.fromhex("0x1p-126") - float.fromhex("0x1p-151")

#: Multiply-accumulates below which a second thread costs more than it saves.
_PARALLEL_MACS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Numerics of a chain of fdpa steps; the defaults are this project's.

    Attributes
    ----------
    k:             length of one fused dot product, from 1 to 1024
    acc_frac_bits: alignment bits F, one of :data:`ACC_FRAC_BITS`
    align:         rounding of the aligned terms, :data:`NEAREST` or :data:`TOWARD_ZERO`
    round:         rounding of the sum; one that is cut off to zero is +0, while a flushed one keeps its sign
    fraction_bits: fraction bits of the result, from 1 to 23; its word is FP32's all the same
    subnormals:    of c and of the result: kept, not zero. A result that is too large is infinite in either rounding
    nan:           word of the only NaN

    Raises
    ------
    TypeError:  a number is not an int.
    ValueError: a value breaks its rule.
    """

    k: int = 16
    acc_frac_bits: int = 30
    align: str = TOWARD_ZERO
    round: str = NEAREST
    fraction_bits: int = 23
    subnormals: bool = False
    nan: int = int(QUIET_NAN)

    def __post_init__(self) -> None:
        limits = {"k": (1, _MAX_K), "acc_frac_bits": (ACC_FRAC_BITS[0], ACC_FRAC_BITS[-1]), "fraction_bits": (1, 23)}
        for name, (low, high) in limits.items():
            value = as_integer(name, getattr(self, name))
            object.__setattr__(self, name, value)
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low} to {high}, not {value!r}")
        for name in ("align", "round"):
            if getattr(self, name) not in (NEAREST, TOWARD_ZERO):
                raise ValueError(f"{name} must be {NEAREST!r} or {TOWARD_ZERO!r}, not {getattr(self, name)!r}")

    @property
    def fields(self) -> tuple[int, bool, bool, int, bool, np.uint32]:
        """The numerics of one step as arguments for compiled functions."""
        return (self.acc_frac_bits, self.align == NEAREST, self.round == NEAREST, self.fraction_bits,
                bool(self.subnormals), np.uint32(self.nan))


@njit(inline="always")
def _shifted(magnitude, distance, nearest):
    """magnitude / 2^distance, 0 ≤ distance ≤ 62, as an integer: cut off, or to nearest with ties to even."""
    if nearest:
        magnitude += ((np.int64(1) << distance) >> 1) - (distance > 0) + ((magnitude >> distance) & (distance > 0))
    return magnitude >> distance


@njit()
def _aligned(significand, scale, frac_bits, distance, nearest):
    """significand · 2^(frac_bits − scale − distance) for a distance ≥ 0, as an integer."""
    shift = scale + distance - frac_bits
    return _shifted(significand, min(shift, 62), nearest) if shift >= 0 else significand << -shift


@njit()
def _round_pack(negative, magnitude, exponent, nearest, fraction_bits, subnormals):
    """The FP32 word (``int64``) of a sum of at most so many fraction bits; one that is cut off to zero is +0."""
    if not nearest and magnitude != 0:
        shift = bit_length(magnitude) - 1 - fraction_bits
        if subnormals:
            shift = max(shift, -126 - fraction_bits - exponent)
        if shift > 0:
            shift = min(shift, 62)
            magnitude = magnitude >> shift << shift
        if magnitude == 0:
            return np.int64(0)
    return round_pack(negative, magnitude, exponent, 8, fraction_bits, subnormals) << (23 - fraction_bits)


@njit()
def fdpa_fields(a, b, c, acc_frac_bits, format_a, format_b):
    """:func:`fdpa_word` for any :attr:`Format.fields` of a and b, for other compiled functions; nothing is checked."""
    return _step(a, b, c, format_a, format_b, acc_frac_bits, False, True, 23, False, QUIET_NAN)


@njit()
def _step(
    a, b, c, format_a, format_b, acc_frac_bits, align_nearest, round_nearest, result_bits, keep, nan,
):
    """One step in any :attr:`Profile.fields` (from ``acc_frac_bits`` to ``nan``); nothing is checked."""
    exponent_bits_a, fraction_bits_a, subnormals_a, excess_a = format_a
    exponent_bits_b, fraction_bits_b, subnormals_b, excess_b = format_b
    special_a, special_b = (1 << exponent_bits_a) - 1, (1 << exponent_bits_b) - 1
    hidden_a, hidden_b = 1 << fraction_bits_a, 1 << fraction_bits_b
    biases = (special_a >> 1) + excess_a + (special_b >> 1) + excess_b
    sign_c, field_c, significand_c = unpack(c, 8, 23, keep)
    if field_c == 255 and significand_c != 0x800000:
        return nan
    plus = field_c == 255 and sign_c == 0
    minus = field_c == 255 and sign_c == 1
    top = field_c - 127 if significand_c != 0 else np.int64(_NONE)
    for i in range(len(a)):
        sign_a, field_a, significand_a = unpack(a[i], exponent_bits_a, fraction_bits_a, subnormals_a)
        sign_b, field_b, significand_b = unpack(b[i], exponent_bits_b, fraction_bits_b, subnormals_b)
        if field_a == special_a or field_b == special_b:
            if field_a == special_a and significand_a != hidden_a:
                return nan
            if field_b == special_b and significand_b != hidden_b:
                return nan
            if significand_a == 0 or significand_b == 0:
                return nan
            if sign_a == sign_b:
                plus = True
            else:
                minus = True
        if significand_a != 0 and significand_b != 0:
            top = max(top, field_a + field_b - biases)
    if plus and minus:
        return nan
    if plus:
        return POS_INF
    if minus:
        return np.uint32(0xFF800000)
    total = np.int64(0)
    if significand_c != 0:
        term = _aligned(significand_c, 23, acc_frac_bits, top - field_c + 127, align_nearest)
        total = -term if sign_c else term
    for i in range(len(a)):
        sign_a, field_a, significand_a = unpack(a[i], exponent_bits_a, fraction_bits_a, subnormals_a)
        sign_b, field_b, significand_b = unpack(b[i], exponent_bits_b, fraction_bits_b, subnormals_b)
        if significand_a != 0 and significand_b != 0:
            distance = top - (field_a + field_b - biases)
            term = _aligned(significand_a * significand_b, fraction_bits_a + fraction_bits_b, acc_frac_bits, distance,
                            align_nearest)
            total += term if sign_a == sign_b else -term
    negative = np.int64(total < 0)
    if total == 0:
        return np.uint32(0)
    return np.uint32(_round_pack(negative, abs(total), top - acc_frac_bits, round_nearest, result_bits, keep))


def fdpa_word(
    a: np.ndarray, b: np.ndarray, c: int | np.integer, acc_frac_bits: int, *, format: Format = BF16,
    a_format: Format | None = None,
) -> np.uint32:
    """c + Σ a[i]·b[i] of words a, b (``uint16`` arrays of one length) and an FP32 word c; one rounding.

    ``format`` is that of b, and of a unless it has another one, ``a_format``.

    ``acc_frac_bits`` is the F of the definition, with F + log2(len(a) + 1) at most 59. The result differs from the
    exact sum by at most (len(a) + 1)·2^(e_max − F) + ½ ulp of the result; a flushed one, by 2^-126 in place of
    ½ ulp. ``docs/numerics.md`` has the whole statement.

    Raises
    ------
    TypeError, ValueError: an array has another dtype or shape, or c is no word.
    """
    check_array("a", a, np.uint16, (None,))
    check_array("b", b, np.uint16, a.shape)
    return fdpa_fields(a, b, np.uint32(as_integer("c", c)), as_integer("acc_frac_bits", acc_frac_bits),
                       (a_format or format).fields, format.fields)


def fdpa_fp16_word(a: np.ndarray, b: np.ndarray, c: int | np.integer, acc_frac_bits: int) -> np.uint32:
    """:func:`fdpa_word` of FP16 words a, b, subnormal ones among them."""
    return fdpa_word(a, b, c, acc_frac_bits, format=FP16)


@njit(nogil=True)
def _split(words, exponents, significands, exponent_bits, fraction_bits, subnormals, excess):
    """Split ``words[rows, length]`` of a format into unbiased exponents and signed significands (both ``int16``).

    Zeros get the exponent of a zero term. Returns which rows hold a NaN or an infinity.
    """
    hidden, bias = np.uint16(1 << fraction_bits), np.int16((1 << (exponent_bits - 1)) - 1 + excess)
    signed = exponent_bits + fraction_bits < 16
    magnitudes = np.uint16(0x7FFF if signed else 0xFFFF)
    infinity = np.uint16(((1 << exponent_bits) - 1) << fraction_bits)
    shift, fraction = np.uint16(fraction_bits), np.uint16(hidden - 1)
    special = np.zeros(words.shape[0], dtype=np.bool_)
    for row in range(words.shape[0]):
        largest = np.uint16(0)
        for i in range(words.shape[1]):
            word = words[row, i]
            magnitude = word & magnitudes
            largest = max(largest, magnitude)
            field = np.int16(magnitude >> shift)
            significand = np.int16(magnitude & fraction)
            if field != 0:
                significand |= np.int16(hidden)
            elif subnormals:
                field = np.int16(1)
            else:
                significand = np.int16(0)
            exponents[row, i] = np.int16(_NONE) if significand == 0 else np.int16(field - bias)
            significands[row, i] = np.int16(-significand) if signed and word >> 15 else significand
        special[row] = largest >= infinity
    return special


@njit(nogil=True, error_model="numpy")
def _finite_rows(
    exponents_a, significands_a, exponents_b, significands_b, scale_bits, k, frac_bits, align_nearest, round_nearest,
    fraction_bits, subnormals, nan, rows, out,
):
    """Chain of fdpa steps into ``out[row, :]`` (FP32 words, on entry c) for finite operands.

    ``a`` is [M, K], ``b`` is [K, N]; a product of significands is scaled by 2^-``scale_bits``; the numbers from
    ``frac_bits`` to ``nan`` are those of :attr:`Profile.fields`; ``rows`` lists the rows to compute.
    """
    length, columns = exponents_b.shape
    top = np.empty(_BLOCK, dtype=np.int32)
    total = np.empty(_BLOCK, dtype=np.int64)
    scale = np.empty(_BLOCK, dtype=np.int64)  # bits of the float64 2^(top − F)
    factor = scale.view(np.float64)
    rounded = np.empty(_BLOCK, dtype=np.float32)
    words = rounded.view(np.uint32)
    left, right = max(frac_bits - scale_bits, 0), max(scale_bits - frac_bits, 0)
    left_c, right_c = max(frac_bits - 23, 0), max(23 - frac_bits, 0)
    by_float = round_nearest and fraction_bits == 23 and not subnormals
    for row in rows:
        for first in range(0, columns, _BLOCK):
            count = min(_BLOCK, columns - first)
            c = out[row, first:first + count]
            for start in range(0, length, k):
                for j in range(count):
                    exponent = np.int32((c[j] >> 23) & 0xFF) - 127
                    if exponent == -127:  # zero, unless subnormals are kept
                        exponent = np.int32(-126 if c[j] & 0x7FFFFF else 2 * _NONE)
                    top[j] = exponent
                for i in range(start, start + k):
                    exponent_a = np.int32(exponents_a[row, i])
                    line = exponents_b[i, first:first + count]
                    for j in range(count):
                        top[j] = max(top[j], exponent_a + np.int32(line[j]))
                for j in range(count):
                    field = np.int64((c[j] >> 23) & 0xFF)
                    significand = np.int64(c[j] & 0x7FFFFF)
                    if field != 0:
                        significand |= 0x800000
                    else:
                        field = np.int64(1)
                    distance = min(np.int64(top[j]) - (field - 127) + right_c, np.int64(62))
                    term = _shifted(significand << left_c, max(distance, np.int64(0)), align_nearest)
                    total[j] = -term if c[j] >> 31 else term
                for i in range(start, start + k):
                    exponent_a = np.int32(exponents_a[row, i])
                    significand_a = np.int32(significands_a[row, i])
                    if significand_a == 0:
                        continue
                    exponent_line = exponents_b[i, first:first + count]
                    significand_line = significands_b[i, first:first + count]
                    for j in range(count):
                        product = significand_a * np.int32(significand_line[j])
                        distance = min(top[j] - exponent_a - np.int32(exponent_line[j]) + right, 62)
                        term = _shifted(np.int64(abs(product)) << left, np.int64(distance), align_nearest)
                        total[j] += -term if product < 0 else term
                if not by_float:
                    for j in range(count):
                        if (c[j] >> 23) & 0xFF != 255:
                            c[j] = _round_pack(np.int64(total[j] < 0), abs(total[j]), np.int64(top[j]) - frac_bits,
                                               round_nearest, fraction_bits, subnormals)
                    continue
                for j in range(count):
                    scale[j] = (max(np.int64(top[j]), np.int64(-512)) - frac_bits + 1023) << 52
                for j in range(count):
                    value = np.float64(total[j]) * factor[j]
                    flushed = abs(value) < _ROUNDS_TO_NORMAL
                    rounded[j] = np.float32(math.copysign(0.0, value) if flushed else value)
                for j in range(count):
                    if (c[j] >> 23) & 0xFF != 255:
                        c[j] = words[j]


@njit(nogil=True)
def _special_rows(
    a, b, k, format_a, format_b, frac_bits, align_nearest, round_nearest, result_bits, keep, nan, rows, columns, out,
):
    """Chain of :func:`fdpa_word` steps into ``out[rows, columns]``; ``a`` is [M, K], ``b`` is [N, K]."""
    for row in rows:
        for column in columns:
            c = out[row, column]
            for start in range(0, a.shape[1], k):
                c = _step(a[row, start:start + k], b[column, start:start + k], c, format_a, format_b, frac_bits,
                          align_nearest, round_nearest, result_bits, keep, nan)
            out[row, column] = c


@njit()
def _canonical(c, out, subnormals, nan):
    """Copy FP32 words to ``out``, NaN as the only one and subnormals, unless they are kept, as zero."""
    for row in range(c.shape[0]):
        for column in range(c.shape[1]):
            word = c[row, column]
            if (word & 0x7F800000) == 0 and not subnormals:
                word &= np.uint32(0x80000000)
            out[row, column] = nan if (word & 0x7FFFFFFF) > 0x7F800000 else word


def _padded(words: np.ndarray, length: int) -> np.ndarray:
    """``words`` with zero columns appended up to ``length``; the array itself if there is nothing to do."""
    if words.shape[1] == length:
        return words
    out = np.zeros((words.shape[0], length), dtype=np.uint16)
    out[:, :words.shape[1]] = words
    return out


def _check(name: str, words: np.ndarray) -> None:
    if not isinstance(words, np.ndarray) or words.dtype != np.uint16:
        kind = getattr(words, "dtype", words)
        raise TypeError(f"{name} must be an array of words (uint16), not {kind!r}")
    if words.ndim != 2:
        raise ValueError(f"{name} must have two dimensions, not {words.ndim!r}")


def matmul(
    a: np.ndarray, b: np.ndarray, *, k: int, acc_frac_bits: int, c: np.ndarray | None = None, format: Format = BF16,
    a_format: Format | None = None,
) -> np.ndarray:
    """:func:`chain` in this project's own numerics: c + a·bᵀ by chunks of ``k``, aligned to ``acc_frac_bits``."""
    return chain(a, b, profile=Profile(k=k, acc_frac_bits=acc_frac_bits), c=c, format=format, a_format=a_format)


def chain(
    a: np.ndarray, b: np.ndarray, *, profile: Profile, c: np.ndarray | None = None, format: Format = BF16,
    a_format: Format | None = None,
) -> np.ndarray:
    """c + a·bᵀ as FP32 words [M, N], each element the chain of :func:`fdpa_word` over chunks of ``profile.k``.

    Parameters
    ----------
    a, b:    words, ``uint16`` [M, K] and [N, K]; K is padded with zeros to a multiple of k
    profile: the numerics
    c:       FP32 words, ``uint32`` [M, N], the start of the chain; default +0
    format:  format of b, and of a by default
    a_format: format of a, where it is another one

    Raises
    ------
    TypeError, ValueError: an operand has the wrong type, shape or range.
    """
    _check("a", a)
    _check("b", b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"a and b must have rows of one length, not {(a.shape[1], b.shape[1])!r}")
    shape = (a.shape[0], b.shape[0])
    out = np.zeros(shape, dtype=np.uint32)
    if c is not None:
        if not isinstance(c, np.ndarray) or c.dtype != np.uint32:
            raise TypeError(f"c must be an array of FP32 words (uint32), not {getattr(c, 'dtype', c)!r}")
        if c.shape != shape:
            raise ValueError(f"c must have the shape {shape}, not {c.shape!r}")
        _canonical(np.ascontiguousarray(c), out, profile.subnormals, np.uint32(profile.nan))
    length = -(-a.shape[1] // profile.k) * profile.k
    a, b = (np.ascontiguousarray(_padded(words, length)) for words in (a, b))
    exponents_a, significands_a = np.empty(a.shape, dtype=np.int16), np.empty(a.shape, dtype=np.int16)
    exponents_b, significands_b = np.empty(b.shape, dtype=np.int16), np.empty(b.shape, dtype=np.int16)
    a_format = a_format or format
    special_a = _split(a, exponents_a, significands_a, *a_format.fields)
    special_b = _split(b, exponents_b, significands_b, *format.fields)
    start = out[:, special_b]
    exponents_b, significands_b = np.ascontiguousarray(exponents_b.T), np.ascontiguousarray(significands_b.T)

    def finite(rows: np.ndarray) -> None:
        _finite_rows(exponents_a, significands_a, exponents_b, significands_b,
                     a_format.fraction_bits + format.fraction_bits, profile.k, *profile.fields, rows, out)

    def special(rows: np.ndarray, columns: np.ndarray) -> None:
        _special_rows(a, b, profile.k, a_format.fields, format.fields, *profile.fields, rows, columns, out)

    finite_rows = np.flatnonzero(~special_a)
    workers = min(os.cpu_count() or 1, len(finite_rows)) if out.size * length >= _PARALLEL_MACS else 1
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(finite, np.array_split(finite_rows, workers)))
    elif len(finite_rows):
        finite(finite_rows)
    columns = np.flatnonzero(special_b)
    if len(columns):  # the columns of those rows are computed twice: start over where b has specials
        out[:, columns] = start
        special(finite_rows, columns)
    special(np.flatnonzero(special_a), np.arange(shape[1]))
    return out
