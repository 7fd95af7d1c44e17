"""Attention of a set of query rows over the keys of one request, KV block by KV block, on words."""

from collections.abc import Callable

import numpy as np

from ..checks import check_array
from ..fp.fdpa import matmul
from ..fp.formats import BF16, Format
from ..numerics import Numerics
from .online import online_softmax

__all__ = ["attend"]


def attend(
    q: np.ndarray, keys: Callable[[int, int], np.ndarray], length: int, limits: np.ndarray, *,
    head_dim_v: int, scale_word: int, mode: str, numerics: Numerics, format: Format = BF16,
    sinks: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Attention output and LSE of R query rows that share one sequence of keys.

    Every row passes through every KV block, whatever its own limit; memory is O(R · kv_block).

    Parameters
    ----------
    q:          uint16[R, d], words of the format
    keys:       ``keys(start, stop)`` gives uint16[stop - start, d], whose first `head_dim_v` columns are V
    length:     keys of the request
    limits:     int64[R], keys that each row may see (a prefix; negative counts as 0)
    head_dim_v: columns of the output
    scale_word: word of :func:`~amla.model.attention.softmax.softmax_scale_word` for the mode
    mode:       one of :data:`~amla.model.numerics.MODES`
    numerics:   numeric parameters
    format:     format of Q and keys, one of :data:`~amla.model.fp.formats.OPERANDS`
    sinks:      uint32[R], FP32 words, each row's attention sink (`model/attention/sink.py`); None: no sinks

    Returns
    -------
    out: uint32[R, head_dim_v], FP32 words before the last rounding
    lse: uint32[R], FP32 words

    Raises
    ------
    TypeError, ValueError: an array has another dtype or shape, or the mode is unknown.
    """
    check_array("q", q, np.uint16, (None, None))
    check_array("limits", limits, np.int64, (len(q),))
    online = online_softmax(mode, len(q), scale_word=scale_word, numerics=numerics, format=format)
    output = np.zeros((len(q), head_dim_v), np.uint32)
    for start in range(0, length, numerics.kv_block):
        stop, first = min(start + numerics.kv_block, length), start == 0
        block = keys(start, stop)
        valid = np.clip(limits - start, 0, stop - start)
        scores = matmul(q, block, k=numerics.k, acc_frac_bits=numerics.acc_frac_bits, format=format)
        p = online.probabilities(scores, valid, first=first)
        values = np.ascontiguousarray(block[:, :head_dim_v].T)
        pv = matmul(p, values, k=numerics.k, acc_frac_bits=numerics.acc_frac_bits, format=format,
                    a_format=online.format)
        online.accumulate(output, pv, first=first)
    return online.finish(output, sinks)
