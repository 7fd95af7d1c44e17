"""Mode `paper`: the FP32 sequence of the published AMLA kernels, step by step, without guards. Model only.

Source: arXiv 2509.25224 and its kernels in CANN. Scores are natural exponents; every step is one IEEE FP32
operation. `docs/numerics.md`, "Modes without RTL", gives the formulas and the three hazards:

* a zero word becomes −inf or NaN (Δ < 0, or a negative correction);
* a small word wraps around zero to a huge one of the other sign;
* the last step overwrites such elements by zero, and with them what later blocks added.
"""

import numpy as np

from ..checks import check_array
from ..fp.add import add
from ..fp.formats import BF16, Format, dtype_of
from .sink import apply_sink

__all__ = ["PaperSoftmax", "bare_rescale", "clean"]

_LN2 = np.float32(np.log(2.0))
_ONE_HALF = np.float32(0.5)
_CORRECTION = np.float32(1.5)
_BIAS = np.float32(1e-6)
_STEP_LIMIT = np.float32(-30.0)
_WORD_STEP = np.float32(1 << 23)
_LARGEST = np.float32(1e10)


def bare_rescale(O: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Words plus a row's offset, modulo 2^32: the unguarded INT32 addition.

    Parameters
    ----------
    O:      uint32[R, D], FP32 words
    offset: int32[R]
    """
    check_array("O", O, np.uint32, (None, None))
    check_array("offset", offset, np.int32, (len(O),))
    return O + offset.view(np.uint32)[:, None]


def clean(O: np.ndarray) -> np.ndarray:
    """Words with NaN and every magnitude above 10^10 replaced by +0."""
    check_array("O", O, np.uint32, (None, None))
    values = O.view(np.float32)
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(values) <= _LARGEST, O, np.uint32(0))


class PaperSoftmax:
    """Online softmax of R rows in mode `paper`: an :class:`~amla.model.attention.online.OnlineSoftmax`.

    Parameters
    ----------
    rows:       R
    scale_word: FP32 word of softmax_scale
    format:     format of P

    Attributes
    ----------
    offset: int32[R], N of the last block
    """

    def __init__(self, rows: int, *, scale_word: int, format: Format = BF16):
        self.format, self._dtype = format, dtype_of(format)
        self._scale = np.uint32(scale_word).view(np.float32)
        self._m = np.full(rows, -np.inf, np.float32)
        self._n, self._l = np.zeros(rows, np.float32), np.zeros(rows, np.float32)
        self._c, self._s16 = np.ones(rows, np.float32), np.ones(rows, np.float32)
        self.offset = np.zeros(rows, np.int32)

    def probabilities(self, scores: np.ndarray, valid: np.ndarray, *, first: bool) -> np.ndarray:
        """P of one block, uint16[R, C]; see :class:`~amla.model.attention.online.OnlineSoftmax`."""
        check_array("scores", scores, np.uint32, (len(self._m), None))
        check_array("valid", valid, np.int64, (len(self._m),))
        seen = np.arange(scores.shape[1]) < valid[:, None]
        with np.errstate(all="ignore"):  # NaN and inf in the data go their IEEE way
            x = scores.view(np.float32) * self._scale
            m = np.maximum(self._m, np.max(x, axis=1, where=seen, initial=-np.inf))
            some = (valid > 0) & (m != -np.inf)  # else the block leaves the row alone
            seen &= some[:, None]
            exponent = m / _LN2
            n = -_round_half_away(exponent)
            s32 = _exp(_LN2 * (n + exponent))
            s16 = s32.astype(self._dtype).astype(np.float32)
            p = np.where(seen, _exp(x - m[:, None]), np.float32(0))
            words = (p * s16[:, None]).astype(self._dtype).view(np.uint16)
            c = s32 / s16
            epsilon = _CORRECTION * (self._c / c - np.float32(1)) + _BIAS
            step = (np.maximum(n - self._n, _STEP_LIMIT) + epsilon) * _WORD_STEP
            # The exact sum, rounded once: no order of FP32 additions is better.
            total = p.sum(axis=1, dtype=np.float64).astype(np.float32)
            l = total if first else self._l * _exp(self._m - m) + total
        moves = some & np.isfinite(self._m) & np.isfinite(step)
        self.offset = np.where(moves, np.rint(step, where=moves, out=np.zeros_like(step)), 0).astype(np.int32)
        for name, value in (("_m", m), ("_n", n), ("_c", c), ("_s16", s16), ("_l", l)):
            setattr(self, name, np.where(some, value, getattr(self, name)))
        return np.where(seen, words, np.uint16(0))

    def accumulate(self, O: np.ndarray, PV: np.ndarray, *, first: bool) -> None:
        """O = bare_rescale(O, N) + P·V, in place; the first block: O = P·V."""
        check_array("O", O, np.uint32, (len(self._m), None))
        check_array("PV", PV, np.uint32, O.shape)
        O[:] = PV if first else add(bare_rescale(O, self.offset), PV)

    def finish(self, O: np.ndarray, sinks: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """clean(O) / (l·S16), times the sinks' factors, and m + ln l."""
        check_array("O", O, np.uint32, (len(self._l), None))
        empty = self._l == 0
        with np.errstate(all="ignore"):
            out = clean(O).view(np.float32) / (self._l * self._s16)[:, None]
            lse = self._m + np.log(self._l.astype(np.float64)).astype(np.float32)
        out[empty], lse[empty] = 0.0, np.inf
        words, lse_words = out.view(np.uint32), lse.view(np.uint32)
        return words if sinks is None else apply_sink(words, lse_words, sinks), lse_words


def _round_half_away(values: np.ndarray) -> np.ndarray:
    """Nearest integer, ties away from zero; the fraction that decides is exact."""
    whole = np.trunc(values)
    return np.where(np.abs(values - whole) >= _ONE_HALF, whole + np.copysign(np.float32(1), values), whole)


def _exp(values: np.ndarray) -> np.ndarray:
    """FP32 exponential, rounded from float64."""
    return np.exp(values.astype(np.float64)).astype(np.float32)
