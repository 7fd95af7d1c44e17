"""Split-KV: partial results of one row, merged by their LSE. On FP32 words.

Every operation is a golden operator (`docs/numerics.md`), one rounding each. For a row, over its splits i in
order, leaving out those in which it sees no key, or none with a score above −inf (LSE = +inf):

    M   = maximum of lse_i                       (maximum, left to right)
    w_i = exp2(mul(sub(lse_i, M), log2e))        log2e = 0x3FB8AA3B
    W   = w_0 + w_1 + …                          (add, left to right)
    g_i = mul(w_i, recip(W))
    out = mul(out_0, g_0) + mul(out_1, g_1) + …  (mul, then add, left to right)
    lse = add(M, mul(ln2, log2(W)))              ln2 = 0x3F317218

A row that sees keys in one split only takes that split's words as they are, so a request in one split has the
bits of :func:`~amla.model.mla_decode`. A row that sees none keeps out = +0, lse = +inf.
"""

import numpy as np

from ..checks import check_array
from ..fp.add import add_word, sub_word
from ..fp.exp2 import exp2_word
from ..fp.jit import njit
from ..fp.log2 import log2_word
from ..fp.maximum import maximum_word
from ..fp.mul import mul_word
from ..fp.recip import recip_word

__all__ = ["merge_splits"]

_LN2 = np.uint32(0x3F317218)
_LOG2E = np.uint32(0x3FB8AA3B)
_INF = np.uint32(0x7F800000)


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
    out = np.zeros(outs.shape[1:], np.uint32)
    lse = np.full(outs.shape[1], _INF, np.uint32)
    _merge(outs, lses, out, lse)
    return out, lse


@njit()
def _merge(outs, lses, out, lse):
    splits, rows, columns = outs.shape
    for row in range(rows):
        seen, last, top = 0, 0, _INF
        for split in range(splits):
            word = lses[split, row]
            if word != _INF:
                top = word if seen == 0 else np.uint32(maximum_word(top, word))
                seen, last = seen + 1, split
        if seen == 1:
            lse[row] = lses[last, row]
            out[row] = outs[last, row]
        if seen < 2:
            continue
        weights = np.zeros(splits, np.uint32)
        total = np.uint32(0)
        for split in range(splits):
            word = lses[split, row]
            if word != _INF:
                exponent = np.uint32(mul_word(np.uint32(sub_word(word, top)), _LOG2E))
                weights[split] = exp2_word(exponent)
                total = np.uint32(add_word(total, weights[split]))
        factor = np.uint32(recip_word(total))
        first = True
        for split in range(splits):
            if lses[split, row] == _INF:
                continue
            weight = np.uint32(mul_word(weights[split], factor))
            for column in range(columns):
                part = np.uint32(mul_word(outs[split, row, column], weight))
                out[row, column] = part if first else np.uint32(add_word(out[row, column], part))
            first = False
        logarithm = np.uint32(mul_word(_LN2, np.uint32(log2_word(total))))
        lse[row] = add_word(top, logarithm)
