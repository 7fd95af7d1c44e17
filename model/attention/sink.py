"""The attention sink: one more key of a row, with logit `sink` and V = 0, which the LSE does not count.

Its factor of the output, exp(lse) / (exp(lse) + exp(sink)), in golden operators (`docs/numerics.md`):

    factor = recip(add(1, exp2(mul(sub(sink, lse), log2e))))     log2e = 0x3FB8AA3B

A sink of -inf has the factor 1, +inf 0, NaN NaN.
"""

from typing import Any

import numpy as np

from ..checks import check_array
from ..fp.add import add_word, sub_word
from ..fp.exp2 import exp2_word
from ..fp.jit import njit
from ..fp.mul import mul_word
from ..fp.recip import recip_word
from ..tensors import as_array

__all__ = ["apply_sink", "sink_factor_word", "sink_words"]

_LOG2E = np.uint32(0x3FB8AA3B)
_ONE = np.uint32(0x3F800000)
_INF = np.uint32(0x7F800000)


def sink_words(attn_sink: Any, heads: int) -> np.ndarray:
    """FP32 words, uint32[heads], of the argument `attn_sink`: an array or CPU tensor float32[heads].

    Raises
    ------
    TypeError, ValueError: it has another dtype or shape.
    """
    array = as_array("attn_sink", attn_sink)
    if array.dtype != np.float32:
        raise TypeError(f"attn_sink must be an array of float32, not of {array.dtype}")
    if array.shape != (heads,):
        raise ValueError(f"attn_sink must have shape [{heads}], one entry for each head of q, not {array.shape!r}")
    return np.ascontiguousarray(array).view(np.uint32)


def apply_sink(out: np.ndarray, lse: np.ndarray, sinks: np.ndarray) -> np.ndarray:
    """Scale the output rows by exp(lse) / (exp(lse) + exp(sink)); rows without key stay +0.

    Parameters
    ----------
    out:   uint32[R, D], FP32 words
    lse:   uint32[R], FP32 words, natural logarithm
    sinks: uint32[R], FP32 words; -inf changes nothing, +inf makes the row 0

    Returns
    -------
    uint32[R, D], FP32 words

    Raises
    ------
    TypeError, ValueError: an array has another dtype or shape.
    """
    check_array("out", out, np.uint32, (None, None))
    check_array("lse", lse, np.uint32, (len(out),))
    check_array("sinks", sinks, np.uint32, (len(out),))
    scaled = np.zeros_like(out)
    _apply_sink(out, lse, sinks, scaled)
    return scaled


@njit()
def sink_factor_word(lse, sink):
    """Factor of a row's output, on FP32 words, for use in other compiled functions."""
    ratio = exp2_word(np.uint32(mul_word(np.uint32(sub_word(sink, lse)), _LOG2E)))
    return recip_word(np.uint32(add_word(_ONE, np.uint32(ratio))))


@njit()
def _apply_sink(out, lse, sinks, scaled):
    for row in range(out.shape[0]):
        if lse[row] != _INF:
            factor = np.uint32(sink_factor_word(lse[row], sinks[row]))
            for column in range(out.shape[1]):
                scaled[row, column] = mul_word(out[row, column], factor)
