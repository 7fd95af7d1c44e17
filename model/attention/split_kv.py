"""Split-KV: attention over splits of the keys, and the merge of their partial results by their LSE. On FP32 words.

Every operation of the merge is a golden operator (`docs/numerics.md`), one rounding each. For a row, over its splits i
in order, leaving out those in which it sees no key, or none with a score above −inf (LSE = +inf):

    M   = maximum of lse_i                       (maximum, left to right)
    w_i = exp2(mul(sub(lse_i, M), log2e))        log2e = 0x3FB8AA3B
    W   = w_0 + w_1 + …                          (add, left to right)
    g_i = mul(w_i, recip(W))
    out = mul(out_0, g_0) + mul(out_1, g_1) + …  (mul, then add, left to right)
    lse = add(M, mul(ln2, log2(W)))              ln2 = 0x3F317218

A row that sees keys in one split only keeps that split's LSE word, and its factor is 1: the output of a row is never
subnormal, so it keeps its words, and a request in one split has the bits of :func:`~amla.model.mla_decode`. A row that
sees none has out = +0, lse = +inf.

Sinks count once: those of more than one split multiply the merged output (`model/attention/sink.py`), those of one
split are in its rows' factor R, as on a core.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..checks import check_array
from ..fp.add import add_word, sub_word
from ..fp.exp2 import exp2_word
from ..fp.jit import njit
from ..fp.log2 import log2_word
from ..fp.maximum import maximum_word
from ..fp.mul import mul_word
from ..fp.recip import recip_word
from .attention import attend
from .sink import apply_sink

__all__ = ["UNSEEN", "attend_splits", "end_factors", "key_splits", "merge_factors", "merge_splits", "weighted_sum"]

_LN2 = np.uint32(0x3F317218)
_LOG2E = np.uint32(0x3FB8AA3B)
_INF = np.uint32(0x7F800000)
_ONE = np.uint32(0x3F800000)
_MINUS_ZERO = np.uint32(0x80000000)

#: Factor of a split that counts for nothing; no other one is negative.
UNSEEN = np.uint32(0xBF800000)


def key_splits(cuts: Sequence[int], length: int) -> list[tuple[int, int]]:
    """First key, and first key past, of the splits of a request of so many keys, from cuts in rising order."""
    edges = [0, *(cut for cut in cuts if cut < length), length]
    return [*pairwise(edges)] if length else []


def attend_splits(
    q: np.ndarray, keys: Callable[[int, int], np.ndarray], limits: np.ndarray, splits: Sequence[tuple[int, int]], *,
    head_dim_v: int, sinks: np.ndarray | None = None, **options: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Attention of query rows that share their keys, split by split, and merged; of one split with no merge.

    Parameters
    ----------
    splits: first key, and first key past, of each; none is empty
    The others are those of :func:`~amla.model.attention.attention.attend`, which computes each split by itself.

    Returns
    -------
    out: uint32[R, head_dim_v], FP32 words before the last rounding
    lse: uint32[R], FP32 words
    """
    check_array("q", q, np.uint16, (None, None))
    check_array("limits", limits, np.int64, (len(q),))

    def part(start: int, stop: int, sinks: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        return attend(q, lambda first, last: keys(start + first, start + last), stop - start, limits - start,
                      head_dim_v=head_dim_v, sinks=sinks, **options)

    if len(splits) == 1:
        return part(*splits[0], sinks)
    outs = np.empty((len(splits), len(q), head_dim_v), np.uint32)
    lses = np.empty((len(splits), len(q)), np.uint32)
    for index, (start, stop) in enumerate(splits):
        outs[index], lses[index] = part(start, stop, None)
    out, lse = merge_splits(outs, lses)
    return out if sinks is None else apply_sink(out, lse, sinks), lse


def merge_splits(outs: np.ndarray, lses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge the partial results of R rows over S splits of their keys.

    Parameters
    ----------
    outs: uint32[S, R, D], FP32 words, normalised within each split
    lses: uint32[S, R], FP32 words, natural logarithm; +inf where the row sees no key of the split
          with a score above −inf

    Returns
    -------
    out: uint32[R, D], FP32 words
    lse: uint32[R], FP32 words

    Raises
    ------
    TypeError, ValueError: an array has another dtype or shape.
    """
    check_array("outs", outs, np.uint32, (None, None, None))
    check_array("lses", lses, np.uint32, outs.shape[:2])
    factors, lse = merge_factors(lses)
    return weighted_sum(outs, factors), lse


def merge_factors(lses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factor g_i of every split, and the LSE, of each row: all of the merge but the outputs.

    Parameters
    ----------
    lses: uint32[S, R] of :func:`merge_splits`

    Returns
    -------
    factors: uint32[S, R], FP32 words; :data:`UNSEEN` where the LSE is +inf
    lse:     uint32[R], FP32 words
    """
    check_array("lses", lses, np.uint32, (None, None))
    factors, lse = np.full(lses.shape, UNSEEN, np.uint32), np.full(lses.shape[1], _INF, np.uint32)
    _factors(lses, factors, lse)
    return factors, lse


def end_factors(lse: np.ndarray, sinks: np.ndarray | None = None) -> np.ndarray:
    """What the merged output of each row is multiplied by at last, uint32[R]: 1, or the factor of its sink; as R of
    :func:`~amla.model.attention.accumulate.normalize` +inf in rows without key.

    Parameters
    ----------
    lse:   uint32[R] of :func:`merge_factors`
    sinks: uint32[R], FP32 words, or None
    """
    check_array("lse", lse, np.uint32, (None,))
    ones = np.full((len(lse), 1), _ONE)
    return np.where(lse == _INF, _INF, (ones if sinks is None else apply_sink(ones, lse, sinks))[:, 0])


def weighted_sum(outs: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """The merged output, uint32[R, D]; +0 in rows without a factor.

    Parameters
    ----------
    outs:    uint32[S, R, D] of :func:`merge_splits`
    factors: uint32[S, R] of :func:`merge_factors`
    """
    check_array("outs", outs, np.uint32, (None, None, None))
    check_array("factors", factors, np.uint32, outs.shape[:2])
    out = np.zeros(outs.shape[1:], np.uint32)
    _weigh(outs, factors, out)
    return out


@njit()
def _factors(lses, factors, lse):
    splits, rows = lses.shape
    for row in range(rows):
        seen, last, top = 0, 0, _INF
        for split in range(splits):
            word = lses[split, row]
            if word != _INF:
                top = word if seen == 0 else np.uint32(maximum_word(top, word))
                seen, last = seen + 1, split
        if seen == 1:
            factors[last, row], lse[row] = _ONE, top
        if seen < 2:
            continue
        total = _MINUS_ZERO
        for split in range(splits):
            word = lses[split, row]
            if word != _INF:
                exponent = np.uint32(mul_word(np.uint32(sub_word(word, top)), _LOG2E))
                factors[split, row] = exp2_word(exponent)
                total = np.uint32(add_word(total, factors[split, row]))
        factor = np.uint32(recip_word(total))
        for split in range(splits):
            if factors[split, row] != UNSEEN:
                factors[split, row] = mul_word(factors[split, row], factor)
        lse[row] = add_word(top, np.uint32(mul_word(_LN2, np.uint32(log2_word(total)))))


@njit()
def _weigh(outs, factors, out):
    splits, rows, columns = outs.shape
    for row in range(rows):
        first = True
        for split in range(splits):
            factor = factors[split, row]
            if factor == UNSEEN:
                continue
            for column in range(columns):
                part = np.uint32(mul_word(outs[split, row, column], factor))
                out[row, column] = part if first else np.uint32(add_word(out[row, column], part))
            first = False
