"""O of the online softmax: accumulation from KV block to KV block, and the last division."""

from typing import TYPE_CHECKING

import numpy as np

from ..checks import check_array
from ..fp.add import add_word
from ..fp.jit import njit
from ..fp.log2 import log2_word
from ..fp.mul import mul_word
from ..fp.recip import recip_word
from ..numerics import HARDWARE_MODES, check_mode
from ..rescale import rescale_word
from .sink import sink_factor_word

if TYPE_CHECKING:
    from .softmax import RowState

__all__ = ["accumulate", "normalize", "reciprocal_and_lse"]

_LN2 = np.uint32(0x3F317218)
_INF = np.uint32(0x7F800000)
_MAGNITUDE = np.uint32(0x7FFFFFFF)


def accumulate(
    O: np.ndarray, PV: np.ndarray, offsets: np.ndarray, *, first: bool, mode: str, comp_bits: int,
) -> None:
    """Bring O into the frame of the current KV block and add the block's P·V, in place.

    Parameters
    ----------
    O:         uint32[R, D], FP32 words; not read if `first`
    PV:        uint32[R, D], FP32 words
    offsets:   uint32[R, 2**comp_bits] of :func:`~amla.model.attention.softmax.softmax_tile`
    first:     first block of the rows: O = PV
    mode:      "amla", "pow2" (the rescale word operation) or "mul" (FP32 multiplication by word 0)
    comp_bits: index bits of the row offsets

    Raises
    ------
    TypeError, ValueError: an array has another dtype or shape, or the mode is unknown.
    """
    check_mode(mode, HARDWARE_MODES)
    check_array("O", O, np.uint32, (None, None))
    check_array("PV", PV, np.uint32, O.shape)
    check_array("offsets", offsets, np.uint32, (len(O), 1 << comp_bits))
    if first:
        O[:] = PV
    else:
        _accumulate(O, PV, offsets, offsets.view(np.int32), mode != "mul")


def reciprocal_and_lse(
    state: "RowState", *, mode: str, sinks: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Factor R of O and natural-log LSE of each row at its end.

    Parameters
    ----------
    state: state of the R rows
    mode:  "amla", "mul" or "pow2"
    sinks: uint32[R], FP32 words: each row's factor of `model/attention/sink.py` is multiplied into R; the LSE has none

    Returns
    -------
    R:   uint32[R], recip(l) (mode `mul`: recip(L)). +inf marks a row without key, or with no score above
         −inf; no other row has an infinite one, as its largest P alone makes l and L at least 1/2.
    lse: uint32[R], FP32 words, +inf for such a row

    Raises
    ------
    TypeError, ValueError: `sinks` have another dtype or shape, or the mode is unknown.
    """
    check_mode(mode, HARDWARE_MODES)
    if sinks is not None:
        check_array("sinks", sinks, np.uint32, (len(state),))
    r, lse = np.empty(len(state), np.uint32), np.empty(len(state), np.uint32)
    _reciprocal_and_lse(state.m, state.L if mode == "mul" else state.l, state.L, r, lse)
    if sinks is not None:
        _weigh_sinks(r, lse, sinks)
    return r, lse


def normalize(O: np.ndarray, R: np.ndarray) -> np.ndarray:
    """O·R per row as FP32 words (the output before its last rounding), +0 in rows without key.

    Parameters
    ----------
    O: uint32[R, D], FP32 words
    R: uint32[R] of :func:`reciprocal_and_lse`
    """
    check_array("O", O, np.uint32, (None, None))
    check_array("R", R, np.uint32, (len(O),))
    out = np.zeros(O.shape, np.uint32)
    _normalize(O, R, out)
    return out


@njit()
def _accumulate(O, PV, offsets, signed, word_operation):
    for row in range(O.shape[0]):
        row_offsets, factor = signed[row], offsets[row, 0]
        for col in range(O.shape[1]):
            word = O[row, col]
            if word_operation:
                word = np.uint32(rescale_word(word, row_offsets))
            else:
                word = np.uint32(mul_word(word, factor))
            O[row, col] = add_word(word, PV[row, col])


@njit()
def _reciprocal_and_lse(m, divisor, L, r, lse):
    for row in range(m.shape[0]):
        if L[row] & _MAGNITUDE == 0:
            r[row] = lse[row] = _INF
        else:
            r[row] = recip_word(divisor[row])
            lse[row] = mul_word(_LN2, np.uint32(add_word(m[row], np.uint32(log2_word(L[row])))))


@njit()
def _weigh_sinks(r, lse, sinks):
    for row in range(r.shape[0]):
        if r[row] != _INF:
            r[row] = mul_word(r[row], np.uint32(sink_factor_word(lse[row], sinks[row])))


@njit()
def _normalize(O, R, out):
    for row in range(O.shape[0]):
        if R[row] != _INF:
            for col in range(O.shape[1]):
                out[row, col] = mul_word(O[row, col], R[row])
