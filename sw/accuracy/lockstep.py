"""Several modes of the golden model over the same keys, tile by tile: what they share is computed once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from amla.model import Numerics
from amla.model.attention.online import online_softmax
from amla.model.attention.softmax import softmax_scale_word
from amla.model.fp.fdpa import matmul
from amla.model.fp.formats import Format

__all__ = ["Variant", "attend_all"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A mode of the golden model in one setting.

    Attributes
    ----------
    mode:      one of ``amla.model.MODES``
    comp_bits: index bits of the row offsets
    p_format:  format of P, one of ``amla.model.numerics.P_FORMATS``
    """

    mode: str
    comp_bits: int
    p_format: str


def attend_all(
    q: np.ndarray, keys: np.ndarray, variants: Mapping[str, Variant], *, head_dim_v: int, scale: float,
    numerics: Numerics,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Output and LSE of every variant, to the bits of ``amla.model.attention.attention.attend``.

    Every row sees every key.

    The scores are common to all; P·V is computed once for variants whose P has the same bits and format in a tile
    (`amla` at every `comp_bits`; `mul` and `log`).

    Parameters
    ----------
    q:          uint16[R, d], BF16 words
    keys:       uint16[n, d], BF16 words, whose first `head_dim_v` columns are V
    variants:   what to run, by name
    scale:      softmax scale
    numerics:   all parameters but those that each variant has

    Returns
    -------
    by name: uint32[R, head_dim_v], FP32 words before the rounding to BF16, and uint32[R], FP32 words
    """
    rows = len(q)
    online = {
        name: online_softmax(variant.mode, rows, scale_word=softmax_scale_word(scale, mode=variant.mode),
                             numerics=replace(numerics, comp_bits=variant.comp_bits, p_format=variant.p_format))
        for name, variant in variants.items()
    }
    outputs = {name: np.zeros((rows, head_dim_v), np.uint32) for name in variants}
    for start in range(0, len(keys), numerics.kv_block):
        block, first = keys[start:start + numerics.kv_block], start == 0
        valid = np.full(rows, len(block), np.int64)
        scores = matmul(q, block, k=numerics.k, acc_frac_bits=numerics.acc_frac_bits)
        values = np.ascontiguousarray(block[:, :head_dim_v].T)
        products: dict[tuple[Format, bytes], np.ndarray] = {}
        for name, softmax in online.items():
            p = softmax.probabilities(scores, valid, first=first)
            bits = softmax.format, p.tobytes()
            if bits not in products:
                products[bits] = matmul(p, values, k=numerics.k, acc_frac_bits=numerics.acc_frac_bits,
                                        a_format=softmax.format)
            softmax.accumulate(outputs[name], products[bits], first=first)
    return {name: softmax.finish(outputs[name]) for name, softmax in online.items()}
