"""The online softmax of a mode as one object: what attention does with scores, P·V and O, tile by tile."""

from typing import Protocol

import numpy as np

from ..fp.formats import BF16, Format
from ..numerics import Numerics, check_mode
from .accumulate import accumulate, normalize, reciprocal_and_lse
from .log_domain import LogSoftmax
from .paper import PaperSoftmax
from .softmax import RowState, row_maximum, softmax_tile

__all__ = ["OnlineSoftmax", "online_softmax"]


class OnlineSoftmax(Protocol):
    """State of R rows; for each KV block :meth:`probabilities`, then :meth:`accumulate`; last :meth:`finish`.

    Attributes
    ----------
    format: format of P
    """

    format: Format

    def probabilities(self, scores: np.ndarray, valid: np.ndarray, *, first: bool) -> np.ndarray:
        """P of one block, uint16[R, C] words of the format, +0 where masked; the state moves on by the block.

        Parameters
        ----------
        scores: uint32[R, C], raw scores as FP32 words
        valid:  int64[R], valid columns of each row (a prefix)
        first:  first block of the rows
        """
        ...

    def accumulate(self, O: np.ndarray, PV: np.ndarray, *, first: bool) -> None:
        """Bring O (uint32[R, D], FP32 words) into the frame of the block and add its P·V, in place."""
        ...

    def finish(self, O: np.ndarray, sinks: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Output uint32[R, D] and natural-log LSE uint32[R], FP32 words; rows without key: +0 and +inf.

        Parameters
        ----------
        O:     uint32[R, D], FP32 words
        sinks: uint32[R], FP32 words, each row's sink (`model/attention/sink.py`), which the LSE does not count
        """
        ...


class _HardwareSoftmax:
    """A mode that the RTL has: the functions of `model/attention/softmax.py` and `model/attention/accumulate.py`."""

    def __init__(self, mode: str, rows: int, *, scale_word: int, comp_bits: int, format: Format):
        self._mode, self._scale_word, self._comp_bits, self.format = mode, scale_word, comp_bits, format
        self._state = RowState.empty(rows)
        self._offsets = np.zeros((rows, 1 << comp_bits), np.uint32)

    def probabilities(self, scores: np.ndarray, valid: np.ndarray, *, first: bool) -> np.ndarray:
        p, self._offsets = softmax_tile(
            scores, valid, row_maximum(scores, valid), self._state, scale_word=self._scale_word, first=first,
            mode=self._mode, comp_bits=self._comp_bits, format=self.format,
        )
        return p

    def accumulate(self, O: np.ndarray, PV: np.ndarray, *, first: bool) -> None:
        accumulate(O, PV, self._offsets, first=first, mode=self._mode, comp_bits=self._comp_bits)

    def finish(self, O: np.ndarray, sinks: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        r, lse = reciprocal_and_lse(self._state, mode=self._mode, sinks=sinks)
        return normalize(O, r), lse


def online_softmax(
    mode: str, rows: int, *, scale_word: int, numerics: Numerics, format: Format = BF16,
) -> OnlineSoftmax:
    """The online softmax of `rows` rows that have seen no key.

    Parameters
    ----------
    mode:       one of :data:`~amla.model.numerics.MODES`
    scale_word: word of :func:`~amla.model.attention.softmax.softmax_scale_word` for the mode
    numerics:   numeric parameters; `paper` has none of them
    format:     format of Q and KV, one of :data:`~amla.model.fp.formats.OPERANDS`

    Raises
    ------
    ValueError: the mode is unknown.
    """
    check_mode(mode)
    if mode == "paper":
        return PaperSoftmax(rows, scale_word=scale_word, format=format)
    weights = numerics.format_of_p(format)
    if mode == "log":
        return LogSoftmax(rows, scale_word=scale_word, format=weights)
    return _HardwareSoftmax(mode, rows, scale_word=scale_word, comp_bits=numerics.comp_bits, format=weights)
