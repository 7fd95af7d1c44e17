"""The rescale units, each with its vectors and its golden twin, and the multiplication that they replace."""

from functools import partial

import numpy as np
from amla.model.fp.mul import mul
from amla.model.rescale import rescale
from amla.rtl.rescale import Rescale
from amla.tb.fp.table import Operator
from amla.tb.fp.vectors import words

__all__ = ["RESCALE_UNITS"]


def _vectors(rng: np.random.Generator, count: int, comp_bits: int) -> dict[str, np.ndarray]:
    """Row offsets of every size, small corrections of both signs, and any 32 bits."""
    x = words(rng, count)
    shape = (count, 1 << comp_bits)
    exponents = rng.integers(-255, 1, (count, 1)) * (rng.random((count, 1)) < 0.7)
    row = exponents * (1 << 23) + rng.integers(-(1 << 17), 1 << 17, shape) * (rng.random((count, 1)) < 0.8)
    anything = rng.integers(-(1 << 31), 1 << 31, shape)
    offsets = np.where(rng.random((count, 1)) < 0.8, row, anything)
    # To the very edges of the normal range, and one beside them.
    edge = rng.choice([1 << 23, 0x7F800000], count) + rng.integers(-1, 2, count)
    edge -= (x & 0x7FFFFFFF).astype(np.int64)
    at_edge = rng.random(count) < 0.2
    return {"x": x, "offsets": np.where(at_edge[:, None], edge[:, None], offsets).astype(np.int32)}


def _golden(x: np.ndarray, offsets: np.ndarray) -> dict[str, np.ndarray]:
    return {"y": rescale(x[:, None], offsets)[:, 0]}


def _powers(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Numbers, and offsets without a correction whose 2^Δ is a normal number."""
    x = words(rng, count)
    x = np.where((x & 0x7F800000) == 0x7F800000, x ^ np.uint32(1 << 30), x)
    return {"x": x, "offsets": (rng.integers(-126, 128, (count, 1)) << 23).astype(np.int32)}


def _product(x: np.ndarray, offsets: np.ndarray) -> dict[str, np.ndarray]:
    return {"y": mul(x, offsets[:, 0].view(np.uint32) + np.uint32(127 << 23))}


#: ``rescale`` by its ``comp_bits``. Without a correction it is the FP32 product with 2^Δ, flushed to zero: adding is
#: multiplying.
RESCALE_UNITS = {
    **{f"rescale_{comp_bits}": Operator(make=partial(Rescale, comp_bits=comp_bits),
                                        vectors=partial(_vectors, comp_bits=comp_bits), golden=_golden)
       for comp_bits in range(4)},
    "rescale_product": Operator(make=partial(Rescale, comp_bits=0), vectors=_powers, golden=_product),
}
