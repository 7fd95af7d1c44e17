"""The lanes of drain and vector against the golden operations that they chain.

Design: lanes side by side, each under its leaf's name (``tests/rtl/test_lanes.py``).
"""

import cocotb
import numpy as np
from amla.model.add import add, sub
from amla.model.convert import to_bf16
from amla.model.exp2 import exp2
from amla.model.fixed import to_fixed
from amla.model.mul import mul, mul_bf16
from amla.model.rescale import rescale
from amla.rtl.config import MODES
from amla.rtl.lanes import AccumulateLane, VectorLane
from amla.tb.fp.pipeline import Result, stream
from amla.tb.fp.vectors import bf16_words, pairs, words

COUNT = 20_000
COMP_BITS = 2
QUIET_NAN = 0x7FC00000


def fp32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32).view(np.uint32)


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def accumulate_matches(dut, mode):
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    lane = AccumulateLane(mode=mode, comp_bits=COMP_BITS)
    o, pv = pairs(rng, COUNT)
    # fdpa gives neither subnormals nor any NaN but one
    pv = np.where((pv & 0x7F800000) == 0, pv & np.uint32(1 << 31), pv)
    pv = np.where((pv & 0x7FFFFFFF) > 0x7F800000, np.uint32(QUIET_NAN), pv)
    first = rng.random(COUNT) < 0.25
    if mode == "mul":
        offsets = rng.integers(-(1 << 31), 1 << 31, (COUNT, 1 << COMP_BITS)).astype(np.int32)
        factor = np.where(rng.random(COUNT) < 0.8, fp32(rng.random(COUNT)), words(rng, COUNT))
        offsets[:, 0] = factor.view(np.int32)
        scaled = mul(o, offsets[:, 0].view(np.uint32))
    else:
        exponents = rng.integers(-40, 1, (COUNT, 1)) * (rng.random((COUNT, 1)) < 0.5)
        corrections = rng.integers(-(1 << 17), 1 << 17, (COUNT, 1 << COMP_BITS)) * (mode == "amla")
        offsets = (exponents * (1 << 23) + corrections).astype(np.int32)
        scaled = rescale(o[:, None], offsets)[:, 0]
    expected = np.where(first, pv, add(scaled, pv))
    name = lane.leaf_name
    packed = [int.from_bytes(row.astype("<i4").tobytes(), "little") for row in offsets]
    await stream(dut, {f"{name}_o": o, f"{name}_pv": pv, f"{name}_offsets": packed,
                       f"{name}_first": first.astype(np.uint8)},
                 [Result(f"{name}_y", expected, lane.latency)])


@cocotb.test()
@cocotb.parametrize(mode=MODES)
async def vector_matches(dut, mode):
    """Scores below the row maximum as in a softmax, and words of any kind."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    lane = VectorLane(mode=mode)
    usual = rng.random(COUNT) < 0.75
    score, sigma = fp32(rng.normal(0, 40, COUNT)), fp32(rng.uniform(0.01, 0.3, COUNT))
    maximum = add(mul(score, sigma), fp32(rng.exponential(6, COUNT)))
    s = np.where(usual, score, words(rng, COUNT))
    scale = np.where(usual, sigma, words(rng, COUNT))
    m = np.where(usual, maximum, words(rng, COUNT))
    s16 = np.where(usual, to_bf16(fp32(rng.uniform(0.7, 1.42, COUNT))), bf16_words(rng, COUNT))
    product = mul(s, scale)
    e = exp2(sub(product, m))
    p = mul_bf16(e, s16) if mode == "amla" else to_bf16(e)
    name = lane.leaf_name
    await stream(dut, {f"{name}_s": s, f"{name}_scale": scale, f"{name}_m": m, f"{name}_s16": s16}, [
        Result(f"{name}_product", product, lane.product_latency),
        Result(f"{name}_product_16", to_bf16(product), lane.product_latency),
        Result(f"{name}_p", p, lane.latency),
        Result(f"{name}_p_fixed", to_fixed(p.astype(np.uint32) << 16), lane.latency),
        Result(f"{name}_e_fixed", to_fixed(e), lane.latency),
        Result(f"{name}_nan", ((e & 0x7FFFFFFF) > 0x7F800000).astype(np.uint8), lane.latency),
    ])
