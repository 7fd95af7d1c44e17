"""FlashMLA's dense decode on Hopper, operation by operation: its order of sums, its roundings, its functions.

What the kernel does is in `docs/flashmla_twin.md`; the formulas below are the kernel's facts, not its code. Every FP32
operation rounds once and flushes to zero (`float32.py`); W is a chain of tensor-core instructions onto an
accumulator (`tensor_core.py`), ex2, lg2 and rcp are the special-function unit's (`special_functions.py`).
"""

import math
from collections.abc import Callable, Iterable

import numpy as np

from ..checks import check_array
from ..fp.fdpa import chain
from ..fp.formats import BF16, Format, dtype_of
from ..fp.jit import njit
from .float32 import add, fma, mul, to_bf16
from .special_functions import ex2_word, lg2_word, rcp_word
from .tensor_core import BF16_SUBNORMAL, PROFILES

__all__ = ["attend", "check_call", "scale_of", "to_bf16_words"]

#: Columns of a key and of a value, keys of a block and of a page, rows that are computed together.
D, D_V, KEY_BLOCK, ROW_BLOCK = 576, 512, 64, 64

_HALF = D_V // 2
#: Order of a key's columns in the scores of a step's second block.
_SECOND = np.r_[_HALF:D, 0:_HALF]

_LANES = 32
_MASKED, _LOWEST = np.float32(-1e33), np.float32(-1e30)
_INF, _ZERO, _ONE = np.float32(np.inf), np.float32(0), np.float32(1)
_LN2 = np.float32(math.log(2))


def check_call(*, format: Format, width: int, head_dim_v: int, page: int, others: Iterable[str]) -> None:
    """Raise ValueError unless the kernel takes such a call; `others` names what it has beyond dense attention."""
    has = [f"{dtype_of(format)} of {width}/{head_dim_v} columns", f"pages of {page}", *others]
    if (format, width, head_dim_v, page) != (BF16, D, D_V, KEY_BLOCK) or len(has) > 2:
        raise ValueError(f"mode flashmla must have bfloat16 of {D}/{D_V} columns, pages of {KEY_BLOCK} and nothing "
                         f"beyond dense attention, not {', '.join(has)}")


def scale_of(softmax_scale: float) -> np.float32:
    """σ, the factor of the scores: the float64 product of float32(softmax_scale) and log₂e, rounded once."""
    return np.float32(float(np.float32(softmax_scale)) * math.log2(math.e))


def attend(
    q: np.ndarray, keys: Callable[[int, int], np.ndarray], length: int, limits: np.ndarray, scale: np.float32,
    splits: list[tuple[int, int]],
) -> tuple[np.ndarray, np.ndarray]:
    """Attention of the rows of a request and a KV head.

    Parameters
    ----------
    q:      uint16[R, 576], BF16 words, row = token · heads + head
    keys:   ``keys(start, stop)`` gives uint16[stop - start, 576], never asked for an empty range
    length: keys of the request
    limits: int64[R], keys that each row may see; below 1 where it sees none
    scale:  σ
    splits: (start, stop) of each split, at least one, in keys; each starts with a block of 64, unless it is empty

    Returns
    -------
    out: float32[R, 512], before the last rounding; 0 for a row without key
    lse: float32[R], natural logarithm; +inf for such a row

    Raises
    ------
    TypeError, ValueError: an array has another dtype or shape.
    """
    check_array("q", q, np.uint16, (None, D))
    check_array("limits", limits, np.int64, (len(q),))
    blocks = [(start // KEY_BLOCK, -(-stop // KEY_BLOCK) if stop > start else 0) for start, stop in splits]
    parts = [_attend_split(q, keys, length, limits, scale, part, split=len(splits) > 1) for part in blocks]
    if len(parts) == 1:
        return parts[0]
    outs, lses = (np.stack(arrays) for arrays in zip(*parts, strict=True))
    out, lse = np.zeros(outs.shape[1:], np.float32), np.empty(outs.shape[1], np.float32)
    _merge(outs, lses, out, lse)
    return out, lse


def _attend_split(
    q: np.ndarray, keys: Callable[[int, int], np.ndarray], length: int, limits: np.ndarray, scale: np.float32,
    blocks: tuple[int, int], *, split: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Output and LSE of one split; where there are several, the LSE to the base 2, −inf for a row without key."""
    out, lse = np.zeros((len(q), D_V), np.float32), np.empty(len(q), np.float32)
    for first in range(0, len(q), ROW_BLOCK):
        rows = slice(first, first + ROW_BLOCK)
        # What no row of the block sees is left out; rows past the last one would see everything.
        seen = length if first + ROW_BLOCK > len(q) else int(limits[rows].max())
        end = min(blocks[1], -(-min(seen, length) // KEY_BLOCK))
        m, sums = np.full(len(q[rows]), _LOWEST), np.zeros((2, len(q[rows]), 4), np.float32)
        _attend(q[rows], keys, length, limits[rows], scale, (blocks[0], end), out[rows], m, sums)
        _finish(out[rows], m, sums, split, lse[rows])
    return out, lse


def to_bf16_words(values: np.ndarray) -> np.ndarray:
    """BF16 words of float32 values."""
    words = np.empty(values.shape, np.uint16)
    _narrow(values.reshape(-1).view(np.uint32), words.reshape(-1))
    return words


def _attend(q, keys, length, limits, scale, blocks, out, m, sums) -> None:
    """All steps of a row block: O, not normalised, m and the row sums, from what the arguments hold on entry."""
    start, end = blocks
    p0, p1 = np.empty((2, len(q), KEY_BLOCK), np.float32)
    words = np.empty((3, len(q), KEY_BLOCK), np.uint16)  # of P⁰, P¹ and P⁰ in the frame of m1
    s0, s1, both = np.empty((3, len(q)), np.float32)
    second = np.ascontiguousarray(q[:, _SECOND])
    left, right = np.ascontiguousarray(out[:, :_HALF]), np.ascontiguousarray(out[:, _HALF:])
    for block in range(start, end, 2):
        have = block + 1 < end
        kv = np.zeros((KEY_BLOCK * (1 + have), D), np.uint16)  # as zeros where the request ends
        stop = min(block * KEY_BLOCK + len(kv), length)
        kv[: stop - block * KEY_BLOCK] = keys(block * KEY_BLOCK, stop)
        k0, k1 = kv[:KEY_BLOCK], kv[KEY_BLOCK:]
        _probabilities(_scores(q, k0), limits - block * KEY_BLOCK, scale, m, p0, s0)
        _add_sums(sums[0], s0, p0)
        if have:
            _probabilities(_scores(second, k1[:, _SECOND]), limits - (block + 1) * KEY_BLOCK, scale, m, p1, s1)
            _products(s1, s0, both)
            _add_sums(sums[1], both, p1)
        else:
            s1[:], both[:] = _ONE, s0
            _scale_rows(sums[1], s0)
        _narrow_scaled(p0, None, words[0])
        _scale_rows(left, s0)
        left = _accumulate(left, words[0], k0[:, :_HALF])
        _scale_rows(right, both)
        if have:
            _scale_rows(left, s1)
            _scale_rows(sums[0], s1)
            _narrow_scaled(p1, None, words[1])
            left = _accumulate(left, words[1], k1[:, :_HALF])
            right = _accumulate(right, words[1], k1[:, _HALF:D_V])
        _narrow_scaled(p0, s1, words[2])
        right = _accumulate(right, words[2], k0[:, _HALF:D_V])
    out[:, :_HALF], out[:, _HALF:] = left, right


def _scores(q: np.ndarray, keys: np.ndarray) -> np.ndarray:
    return chain(q, keys, profile=PROFILES["hopper"], format=BF16_SUBNORMAL).view(np.float32)


def _accumulate(out: np.ndarray, p: np.ndarray, values: np.ndarray) -> np.ndarray:
    return chain(p, np.ascontiguousarray(values.T), profile=PROFILES["hopper"], format=BF16_SUBNORMAL,
                 c=out.view(np.uint32)).view(np.float32)


@njit(inline="always")
def _word(x):
    return np.float32(x).view(np.uint32)


@njit(inline="always")
def _float(word):
    return np.uint32(word).view(np.float32)


@njit(inline="always")
def _larger(x, y):
    """The larger number; a number beside NaN."""
    return y if y > x or x != x else x


@njit()
def _probabilities(scores, limits, scale, m, p, factor):
    """p = 2^(σ·S − m) of a block with the new m, and the factor that brings the earlier ones into its frame."""
    for row in range(scores.shape[0]):
        largest = _MASKED
        for j in range(scores.shape[1]):
            if j >= limits[row]:
                scores[row, j] = _MASKED
            largest = _larger(largest, scores[row, j])
        new = _larger(m[row], mul(largest, scale))
        factor[row] = _float(ex2_word(_word(add(m[row], -new))))
        m[row] = new
        for j in range(scores.shape[1]):
            p[row, j] = _float(ex2_word(_word(fma(scores[row, j], scale, -new))))


@njit()
def _add_sums(sums, factor, p):
    """The four partial sums of each row: those so far times a factor, plus those of p."""
    for row in range(p.shape[0]):
        for part in range(4):
            total = _ZERO
            for j in range(2 * part, p.shape[1], 8):
                total = add(total, add(p[row, j], p[row, j + 1]))
            sums[row, part] = fma(sums[row, part], factor[row], total)


@njit()
def _products(x, y, out):
    for row in range(len(x)):
        out[row] = mul(x[row], y[row])


@njit()
def _scale_rows(array, factor):
    for row in range(array.shape[0]):
        for j in range(array.shape[1]):
            array[row, j] = mul(array[row, j], factor[row])


@njit()
def _narrow_scaled(p, factor, words):
    """BF16 words of p, or of p times a factor per row."""
    for row in range(p.shape[0]):
        for j in range(p.shape[1]):
            x = p[row, j] if factor is None else mul(p[row, j], factor[row])
            words[row, j] = to_bf16(_word(x))


@njit()
def _narrow(values, words):
    for i in range(len(values)):
        words[i] = to_bf16(values[i])


@njit()
def _finish(out, m, sums, split, lse):
    for row in range(out.shape[0]):
        total = add(
            add(add(sums[0, row, 0], sums[0, row, 1]), add(sums[0, row, 2], sums[0, row, 3])),
            add(add(sums[1, row, 0], sums[1, row, 1]), add(sums[1, row, 2], sums[1, row, 3])),
        )
        if total == _ZERO or total != total:
            lse[row] = -_INF if split else _INF
            total = _ONE
        else:
            logarithm = _float(lg2_word(_word(total)))
            lse[row] = add(logarithm, m[row]) if split else fma(logarithm, _LN2, mul(m[row], _LN2))
        factor = _float(rcp_word(_word(total)))
        for j in range(out.shape[1]):
            out[row, j] = mul(out[row, j], factor)


@njit()
def _merge(outs, lses, out, lse):
    splits, rows, columns = outs.shape
    lanes = np.empty(_LANES, np.float32)
    for row in range(rows):
        top = -_INF
        for split in range(splits):
            top = _larger(top, lses[split, row])
        if top == -_INF:
            top = _ZERO
        lanes[:] = _ZERO
        for split in range(splits):
            weight = _float(ex2_word(_word(add(lses[split, row], -top))))
            lanes[split % _LANES] = add(lanes[split % _LANES], weight)
        half = _LANES // 2
        while half:
            for lane in range(half):
                lanes[lane] = add(lanes[lane], lanes[lane + half])
            half //= 2
        total = _INF if lanes[0] == _ZERO else add(_float(lg2_word(_word(lanes[0]))), top)
        lse[row] = mul(total, _LN2)
        for split in range(splits):
            weight = _float(ex2_word(_word(add(lses[split, row], -total))))
            for j in range(columns):
                out[row, j] = fma(weight, outs[split, row, j], out[row, j])
