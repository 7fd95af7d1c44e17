"""Mode `log`: the row sum as its logarithm, merged by logsumexp, subtracted at the end. Model only.

Source: the log-domain reading of AMLA in second-hand summaries; a different method from the published one.
`docs/numerics.md`, "Modes without RTL", gives the formulas.
"""

import numpy as np

from ..fp.add import add, sub
from ..fp.exp2 import exp2
from ..fp.formats import BF16, Format
from ..fp.log2 import log2
from ..fp.maximum import maximum
from ..fp.mul import mul
from .accumulate import accumulate, normalize
from .sink import apply_sink
from .softmax import RowState, row_maximum, softmax_tile

__all__ = ["LogSoftmax"]

_LN2 = np.uint32(0x3F317218)
_INF = np.uint32(0x7F800000)
_MINUS_INF = np.uint32(0xFF800000)
_LOWEST = np.uint32(0xFF7FFFFF)
_SIGN = np.uint32(0x80000000)


class LogSoftmax:
    """Online softmax of R rows in mode `log`: an :class:`~amla.model.attention.online.OnlineSoftmax`.

    P and the factor of O are those of mode `mul`; of the sum only ℒ = log2 Σ 2^(x − m) is kept.

    Parameters
    ----------
    rows:       R
    scale_word: FP32 word of softmax_scale * log2(e)
    format:     format of P
    """

    def __init__(self, rows: int, *, scale_word: int, format: Format = BF16):
        self._scale_word, self.format = scale_word, format
        self._state = RowState.empty(rows)
        self._log_sum = np.full(rows, _MINUS_INF, np.uint32)
        self._factor = np.zeros((rows, 1), np.uint32)

    def probabilities(self, scores: np.ndarray, valid: np.ndarray, *, first: bool) -> np.ndarray:
        """P of one block, uint16[R, C]; see :class:`~amla.model.attention.online.OnlineSoftmax`."""
        state = self._state
        m_prev = state.m.copy()
        state.L[:] = 0  # what it holds afterwards is this block's own sum
        p, self._factor = softmax_tile(
            scores, valid, row_maximum(scores, valid), state, scale_word=self._scale_word, first=first,
            mode="mul", comp_bits=0, format=self.format,
        )
        block = log2(state.L)
        if first:
            self._log_sum = block
        else:
            earlier = add(self._log_sum, sub(m_prev, state.m))
            larger = maximum(_LOWEST, maximum(earlier, block))
            merged = add(larger, log2(add(exp2(sub(earlier, larger)), exp2(sub(block, larger)))))
            self._log_sum = np.where(valid > 0, merged, self._log_sum)
        return p

    def accumulate(self, O: np.ndarray, PV: np.ndarray, *, first: bool) -> None:
        """O = O·2^(m_prev − m) + P·V, in place."""
        accumulate(O, PV, self._factor, first=first, mode="mul", comp_bits=0)

    def finish(self, O: np.ndarray, sinks: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """O·2^−ℒ, times the sinks' factors, and ln2·(m + ℒ)."""
        empty = self._log_sum == _MINUS_INF
        out = normalize(O, exp2(self._log_sum ^ _SIGN))
        lse = np.where(empty, _INF, mul(_LN2, add(self._state.m, self._log_sum)))
        return out if sinks is None else apply_sink(out, lse, sinks), lse
