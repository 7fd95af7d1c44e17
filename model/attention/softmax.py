"""Online softmax of one KV block, on words: row update, elements, sums.

The block's raw scores become P (words of 16 bits, for the next matrix product) and the row state moves on by
one block. Besides P the block yields the row offsets that bring O of the earlier blocks into the new frame; what is
done to O with them is `model/attention/accumulate.py`. `docs/numerics.md` defines every operation.

Rows are independent. A row's valid columns are a prefix of the block.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..checks import check_array
from ..fp.add import add_word, sub_word
from ..fp.convert import ceil_word, narrow_word, rint_word, to_int_word, widen_word
from ..fp.exp2 import exp2_word
from ..fp.fixed import from_fixed_word, to_fixed_word
from ..fp.formats import BF16, Format
from ..fp.jit import njit
from ..fp.maximum import maximum_word
from ..fp.mul import mul_narrow_word, mul_word
from ..fp.recip import recip_word
from ..numerics import HARDWARE_MODES, check_mode
from ..rescale import rescale_word
from ..tensors import as_real

__all__ = ["RowState", "row_maximum", "softmax_scale_word", "softmax_tile", "valid_columns"]

_ONE = np.uint32(0x3F800000)
_NAN = np.uint32(0x7FC00000)
_INF = np.uint32(0x7F800000)
_MINUS_INF = np.uint32(0xFF800000)
#: The lowest finite number, where a row's maximum starts: never −inf, from which −inf would make NaN.
_LOWEST = np.uint32(0xFF7FFFFF)
_ZERO = np.uint32(0)

#: What the compiled functions know a mode by.
_AMLA, _MUL, _POW2 = (HARDWARE_MODES.index(mode) for mode in ("amla", "mul", "pow2"))

#: Rows of one command reach over at most this many query tokens beyond the first.
_LAST_TOKEN = 15


@dataclass(frozen=True, kw_only=True, eq=False)
class RowState:
    """Running state of the online softmax: four FP32 words per row, updated in place.

    Attributes
    ----------
    m: row maximum of the scaled scores (base-2 exponents), at least the lowest finite number; in mode `pow2` the
       next larger integer
    c: rounding that P's frame carries, S32 / S16 (1.0 in modes `mul` and `pow2`)
    l: sum of the rounded values P, in O's frame (stays +0 in mode `mul`)
    L: sum of the unrounded 2^(x - m), for the LSE
    """

    m: np.ndarray
    c: np.ndarray
    l: np.ndarray
    L: np.ndarray

    @classmethod
    def empty(cls, rows: int) -> "RowState":
        """State of `rows` rows that have seen no key."""
        return cls(
            m=np.full(rows, _LOWEST, np.uint32), c=np.full(rows, _ONE, np.uint32),
            l=np.zeros(rows, np.uint32), L=np.zeros(rows, np.uint32),
        )

    def __post_init__(self) -> None:
        check_array("m", self.m, np.uint32, (None,))
        for name in ("c", "l", "L"):
            check_array(name, getattr(self, name), np.uint32, (len(self.m),))

    def __len__(self) -> int:
        return len(self.m)


def softmax_scale_word(softmax_scale: float, *, mode: str = "amla") -> int:
    """FP32 word of `softmax_scale` * log2(e), the float64 product rounded once.

    In mode `paper`, whose scores are natural exponents, that of `softmax_scale` itself.

    Raises
    ------
    TypeError:  the scale is not a real number.
    ValueError: the scale is not positive, or the product is not a normal, finite FP32 number.
    """
    product = as_real("softmax_scale", softmax_scale) * (1.0 if mode == "paper" else math.log2(math.e))
    with np.errstate(over="ignore", under="ignore"):
        scale = np.float32(product)
    if not (np.isfinite(scale) and scale >= np.finfo(np.float32).tiny):
        factor = "" if mode == "paper" else ", times log2(e),"
        raise ValueError(f"softmax_scale must be positive and{factor} a normal finite float32, "
                         f"not {softmax_scale!r}")
    return int(scale.view(np.uint32))


def valid_columns(rows: int, limit: int, heads: int, head0: int) -> np.ndarray:
    """Valid columns of each row of a command, as the commands' mask fields give them.

    Parameters
    ----------
    rows:  rows of the command
    limit: valid columns of the first row's query token; may be negative or exceed the block
    heads: rows per query token; the limit grows by one at every token boundary (0: one limit for all)
    head0: position of the first row inside its token
    """
    token = np.zeros(rows, np.int64) if heads == 0 else (np.arange(rows, dtype=np.int64) + head0) // heads
    return np.maximum(limit + np.minimum(token, _LAST_TOKEN), 0)


def row_maximum(scores: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Maximum of each row's valid raw scores, uint32[R]; -inf for a row without valid column.

    Parameters
    ----------
    scores: uint32[R, C], FP32 words
    valid:  int64[R], valid columns of each row (those past C do not exist)
    """
    check_array("scores", scores, np.uint32, (None, None))
    check_array("valid", valid, np.int64, (len(scores),))
    result = np.empty(len(scores), np.uint32)
    _row_maximum(scores, valid, result)
    return result


def softmax_tile(
    scores: np.ndarray, valid: np.ndarray, rowmax: np.ndarray, state: RowState, *,
    scale_word: int, first: bool, mode: str, comp_bits: int, format: Format = BF16,
) -> tuple[np.ndarray, np.ndarray]:
    """Run the online softmax over one block of scores.

    Parameters
    ----------
    scores:     uint32[R, C], raw scores as FP32 words
    valid:      int64[R], valid columns of each row (a prefix; those past C do not exist)
    rowmax:     uint32[R], maximum of the row's valid raw scores (see :func:`row_maximum`)
    state:      state of the R rows, updated in place
    scale_word: FP32 word of softmax_scale * log2(e)
    first:      first block of the rows: nothing is read from `state`
    mode:       "amla", "mul" or "pow2"
    comp_bits:  index bits of the row offsets
    format:     format of P, as :meth:`~amla.model.numerics.Numerics.format_of_p` gives it

    Returns
    -------
    P:       uint16[R, C], words of the format, +0 where masked
    offsets: uint32[R, 2**comp_bits], two's complement; in mode `mul` word 0 is the FP32 factor of O

    Raises
    ------
    TypeError, ValueError: an array has another dtype or shape, or the mode is unknown.
    """
    check_mode(mode, HARDWARE_MODES)
    rows = len(state)
    check_array("scores", scores, np.uint32, (rows, None))
    check_array("valid", valid, np.int64, (rows,))
    check_array("rowmax", rowmax, np.uint32, (rows,))
    p = np.zeros(scores.shape, np.uint16)
    offsets = np.zeros((rows, 1 << comp_bits), np.uint32)
    _softmax_rows(
        scores, valid, rowmax, state.m, state.c, state.l, state.L, p, offsets, offsets.view(np.int32),
        np.uint32(scale_word), bool(first), HARDWARE_MODES.index(mode), comp_bits, np.uint16(format.one),
        *format.fields,
    )
    return p, offsets


@njit()
def _row_maximum(scores, valid, result):
    for row in range(scores.shape[0]):
        best = _MINUS_INF
        for col in range(min(valid[row], scores.shape[1])):
            best = np.uint32(maximum_word(best, scores[row, col]))
        result[row] = best


@njit()
def _is_finite(word):
    return (word & np.uint32(0x7F800000)) != np.uint32(0x7F800000)


@njit()
def _ratio_excess(q):
    """(q - 1) * 2**24 of an FP32 word near 1.0: exact, clamped to [-2**17, 2**17)."""
    word = np.int64(q)
    exponent, significand = word >> 23, (word & 0x7FFFFF) | 0x800000
    if exponent > 127:  # 2.0 or more, a sign or a NaN (whose rows use no ratio)
        excess = np.int64(1 << 24)
    elif exponent == 127:
        excess = 2 * (significand - 0x800000)
    elif exponent == 126:
        excess = significand - 0x1000000
    else:
        excess = np.int64(-(1 << 24))
    return min(max(excess, -(1 << 17)), (1 << 17) - 1)


@njit()
def _row_offset(delta, excess, segment, comp_bits):
    """Offset of one fraction segment: delta*2**23 + excess*weight/2, rounded to nearest, ties to even."""
    shift = comp_bits + 2
    product = excess * ((2 << comp_bits) + 2 * segment + 1)
    quotient = product >> shift
    remainder = product - (quotient << shift)
    half = np.int64(1) << (shift - 1)
    if remainder > half or (remainder == half and quotient & 1):
        quotient += 1
    return np.int32(delta * (1 << 23) + quotient)


@njit()
def _row_frame(m, exponent_bits, fraction_bits, subnormals, excess):
    """Frame of P for row maximum m: S16, 2**(m - rint(m)) in P's format, and the rounding c that S16 costs."""
    s32 = np.uint32(exp2_word(np.uint32(sub_word(m, np.uint32(rint_word(m))))))
    s16 = narrow_word(s32, exponent_bits, fraction_bits, subnormals, excess)
    wide = widen_word(s16, exponent_bits, fraction_bits, subnormals, excess)
    return s16, np.uint32(mul_word(s32, np.uint32(recip_word(wide))))


@njit()
def _fill_offsets(m_prev, c_prev, m, c, offsets, comp_bits):
    if not (_is_finite(m) and _is_finite(m_prev)):
        return  # they are zero already
    step = np.uint32(sub_word(np.uint32(rint_word(m_prev)), np.uint32(rint_word(m))))
    delta = np.int64(to_int_word(step))
    excess = _ratio_excess(np.uint32(mul_word(c_prev, np.uint32(recip_word(c)))))
    for segment in range(offsets.shape[0]):
        offsets[segment] = _row_offset(delta, excess, segment, comp_bits)


@njit()
def _elements(scores, m, s16, scale, p_row, exponent_bits, fraction_bits, subnormals, excess):
    """P of one row's valid scores; the fixed-point sums of P and of the unrounded p, as FP32 words."""
    sum_rounded, sum_exact = np.uint64(0), np.uint64(0)
    any_nan = False
    for col in range(scores.shape[0]):
        p = np.uint32(exp2_word(np.uint32(sub_word(np.uint32(mul_word(scores[col], scale)), m))))
        word = mul_narrow_word(p, s16, exponent_bits, fraction_bits, subnormals, excess)
        p_row[col] = word
        if p & np.uint32(0x7FFFFFFF) > _INF:
            any_nan = True
        else:
            wide = widen_word(word, exponent_bits, fraction_bits, subnormals, excess)
            sum_rounded += np.uint64(to_fixed_word(wide))
            sum_exact += np.uint64(to_fixed_word(p))
    if any_nan:
        return _NAN, _NAN
    return np.uint32(from_fixed_word(sum_rounded)), np.uint32(from_fixed_word(sum_exact))


@njit()
def _softmax_rows(scores, valid, rowmax, m, c, l, L, p, offsets, signed, scale, first, mode, comp_bits, one,
                  exponent_bits, fraction_bits, subnormals, excess):
    for row in range(scores.shape[0]):
        columns = min(valid[row], scores.shape[1])
        if columns <= 0:
            if mode == _MUL:
                offsets[row, 0] = _ONE
            if first:
                m[row], c[row], l[row], L[row] = _LOWEST, _ONE, _ZERO, _ZERO
            continue

        m_prev, c_prev = m[row], c[row]
        m_new = np.uint32(mul_word(rowmax[row], scale))
        if mode == _POW2:
            m_new = np.uint32(ceil_word(m_new))
            c_prev = _ONE
        m_new = np.uint32(maximum_word(_LOWEST if first else m_prev, m_new))
        s16, c_new = one, _ONE
        if mode == _AMLA:
            s16, c_new = _row_frame(m_new, exponent_bits, fraction_bits, subnormals, excess)
        sum_rounded, sum_exact = _elements(scores[row, :columns], m_new, s16, scale, p[row],
                                           exponent_bits, fraction_bits, subnormals, excess)
        m[row], c[row] = m_new, c_new

        if first:
            if mode == _MUL:
                offsets[row, 0] = _ONE
            l[row] = _ZERO if mode == _MUL else sum_rounded
            L[row] = sum_exact
            continue
        alpha = np.uint32(exp2_word(np.uint32(sub_word(m_prev, m_new))))
        if mode == _MUL:
            offsets[row, 0] = alpha
        else:
            _fill_offsets(m_prev, c_prev, m_new, c_new, signed[row], comp_bits)
            l[row] = add_word(np.uint32(rescale_word(l[row], signed[row])), sum_rounded)
        if mode == _POW2:  # the frame moves by whole powers of two: the word operation is exact for L, too
            scaled = np.uint32(rescale_word(L[row], signed[row]))
        else:
            scaled = np.uint32(mul_word(L[row], alpha))
        L[row] = add_word(scaled, sum_exact)
