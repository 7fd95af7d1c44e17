"""Every small operator against its golden twin, bit for bit.

Design: ``operators()`` of ``tb/fp/designs.py``.
"""

import cocotb
import numpy as np
from amla.model.add import add
from amla.model.convert import ceil, rint, to_bf16, to_int
from amla.model.exp2 import exp2
from amla.model.fixed import from_fixed, to_fixed
from amla.model.log2 import log2
from amla.model.maximum import maximum
from amla.model.mul import mul, mul_bf16
from amla.model.recip import recip
from amla.tb.fp.designs import OPERATORS
from amla.tb.fp.pipeline import Result, stream
from amla.tb.fp.vectors import bf16_words, pairs, words

COUNT = 40_000


async def check(dut, name: str, inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> None:
    """Stream ``inputs`` through operator ``name`` and compare its outputs, at the promised latency."""
    latency = OPERATORS[name].latency
    await stream(dut, {f"{name}_{port}": vectors for port, vectors in inputs.items()},
                 [Result(f"{name}_{port}", expected, latency) for port, expected in outputs.items()])


def generator() -> np.random.Generator:
    return np.random.default_rng(cocotb.RANDOM_SEED)


def value_words(rng: np.random.Generator, low: float, high: float, count: int) -> np.ndarray:
    """FP32 words of values uniform in [low, high)."""
    return rng.uniform(low, high, count).astype(np.float32).view(np.uint32)


@cocotb.test()
async def add_matches(dut):
    a, b = pairs(generator(), COUNT)
    await check(dut, "add", {"a": a, "b": b}, {"y": add(a, b)})


@cocotb.test()
async def mul_matches(dut):
    a, b = pairs(generator(), COUNT)
    await check(dut, "mul", {"a": a, "b": b}, {"y": mul(a, b)})


@cocotb.test()
async def mul_bf16_matches(dut):
    """Also products that end at or beside a BF16 rounding position, and results around 2^-126."""
    rng = generator()
    a, b = words(rng, COUNT), bf16_words(rng, COUNT)
    ties = rng.random(COUNT) < 0.25
    a = np.where(ties, a & np.uint32(0xFFFF8000), a)
    small = rng.random(COUNT) < 0.1
    field = np.clip(127 - (b >> 7 & 0xFF).astype(np.int64) + rng.integers(-2, 3, COUNT), 0, 254)
    a = np.where(small, a & np.uint32(0x807FFFFF) | field.astype(np.uint32) << 23, a)
    await check(dut, "mul_bf16", {"a": a, "b": b}, {"y": mul_bf16(a, b)})


@cocotb.test()
async def to_bf16_matches(dut):
    rng = generator()
    a = words(rng, COUNT)
    halfway = np.uint32(0x8000) + rng.integers(-1, 2, COUNT).astype(np.uint32)
    a = np.where(rng.random(COUNT) < 0.25, a & np.uint32(0xFFFF0000) | halfway, a)
    await check(dut, "to_bf16", {"a": a}, {"y": to_bf16(a)})


@cocotb.test()
async def integers_match(dut):
    """Also halves of every size."""
    rng = generator()
    halves = (rng.integers(-(1 << 24), 1 << 24, COUNT // 4) >> rng.integers(0, 24, COUNT // 4)) / 2
    a = np.concatenate([words(rng, COUNT), halves.astype(np.float32).view(np.uint32)])
    await check(dut, "rint", {"a": a}, {"y": rint(a)})
    await check(dut, "ceil", {"a": a}, {"y": ceil(a)})


@cocotb.test()
async def to_int_matches(dut):
    rng = generator()
    integers = rng.integers(-300, 20, COUNT // 2).astype(np.float32).view(np.uint32)
    a = np.concatenate([words(rng, COUNT), integers])
    await check(dut, "to_int", {"a": a}, {"y": to_int(a).astype(np.int64) & 0x1FF})


@cocotb.test()
async def to_fixed_matches(dut):
    rng = generator()
    a = np.concatenate([words(rng, COUNT), value_words(rng, 0, 2, COUNT // 4)])
    nan = (a & 0x7FFFFFFF) > 0x7F800000
    await check(dut, "to_fixed", {"a": a}, {"y": to_fixed(a), "nan": nan.astype(np.uint8)})


@cocotb.test()
async def from_fixed_matches(dut):
    """Integers of every length, and ones that end at or beside the rounding position."""
    rng = generator()
    a = rng.integers(0, 1 << 48, COUNT) >> rng.integers(0, 49, COUNT)
    ties = rng.integers(0, 1 << 25, COUNT // 4) << rng.integers(0, 23, COUNT // 4)
    a = np.concatenate([a, ties, ties + 1, [0, 1, (1 << 48) - 1]]).astype(np.uint64)
    await check(dut, "from_fixed", {"a": a}, {"y": from_fixed(a)})


@cocotb.test()
async def maximum_matches(dut):
    a, b = pairs(generator(), COUNT)
    await check(dut, "maximum", {"a": a, "b": b}, {"y": maximum(a, b)})


@cocotb.test()
async def exp2_matches(dut):
    """Also arguments over the whole range of finite results, and just around every integer."""
    rng = generator()
    integers = rng.integers(-151, 130, COUNT // 4).astype(np.float32).view(np.uint32)
    spread = value_words(rng, -151, 130, COUNT // 2)
    x = np.concatenate([words(rng, COUNT), spread, integers, integers + np.uint32(1)])
    await check(dut, "exp2", {"x": x}, {"y": exp2(x)})


@cocotb.test()
async def log2_matches(dut):
    """Also arguments close to 1, where the logarithm vanishes."""
    rng = generator()
    steps = rng.integers(-128, 128, COUNT // 4) << rng.integers(0, 16, COUNT // 4)
    near = (0x3F800000 + steps).astype(np.uint32)
    x = np.concatenate([words(rng, COUNT) & np.uint32(0x7FFFFFFF), words(rng, COUNT // 4), near])
    await check(dut, "log2", {"x": x}, {"y": log2(x)})


@cocotb.test()
async def recip_matches(dut):
    x = words(generator(), COUNT)
    await check(dut, "recip", {"x": x}, {"y": recip(x)})
