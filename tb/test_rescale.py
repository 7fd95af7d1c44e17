"""The rescale word operation against its golden twin, and against the multiplication that it replaces.

Design: ``Rescale`` of every ``comp_bits`` side by side, ``rescale_<comp_bits>_<port>``.
"""

import cocotb
import numpy as np
from amla.model.mul import mul
from amla.model.rescale import rescale
from amla.tb.fp.pipeline import Result, stream
from amla.tb.fp.vectors import words

COUNT = 20_000


def packed(offsets: np.ndarray) -> list[int]:
    """Each row of offsets as one integer, segment 0 in the low bits."""
    return [int.from_bytes(row.astype("<i4").tobytes(), "little") for row in offsets]


@cocotb.test()
@cocotb.parametrize(comp_bits=range(4))
async def matches(dut, comp_bits):
    """Row offsets of every size, small corrections of both signs, and any 32 bits."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    x = words(rng, COUNT)
    shape = (COUNT, 1 << comp_bits)
    exponents = rng.integers(-255, 1, (COUNT, 1)) * (rng.random((COUNT, 1)) < 0.7)
    row = exponents * (1 << 23) + rng.integers(-(1 << 17), 1 << 17, shape) * (rng.random((COUNT, 1)) < 0.8)
    anything = rng.integers(-(1 << 31), 1 << 31, shape)
    offsets = np.where(rng.random((COUNT, 1)) < 0.8, row, anything).astype(np.int32)
    # To the very edges of the normal range, and one beside them.
    edge = rng.choice([1 << 23, 0x7F800000], COUNT) + rng.integers(-1, 2, COUNT)
    edge -= (x & 0x7FFFFFFF).astype(np.int64)
    at_edge = rng.random(COUNT) < 0.2
    offsets = np.where(at_edge[:, None], edge[:, None], offsets).astype(np.int32)
    expected = rescale(x[:, None], offsets)[:, 0]
    name = f"rescale_{comp_bits}"
    await stream(dut, {f"{name}_x": x, f"{name}_offsets": packed(offsets)},
                 [Result(f"{name}_y", expected, 0)])


@cocotb.test()
async def equals_multiplication(dut):
    """Without a correction it is the FP32 product with 2^Δ, flushed to zero: adding is multiplying."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    x = words(rng, COUNT)
    x = x[(x & 0x7F800000) != 0x7F800000]
    exponents = rng.integers(-126, 128, len(x))
    expected = mul(x, (exponents + 127 << 23).astype(np.uint32))
    offsets = (exponents * (1 << 23)).astype(np.int32)
    await stream(dut, {"rescale_0_x": x, "rescale_0_offsets": packed(offsets[:, None])},
                 [Result("rescale_0_y", expected, 0)])
