"""The small operators of ``rtl/fp``, each with its vectors and its golden twin."""

from functools import partial

import numpy as np
from amla.model.cache.fp8_cache import BF16_OF_CODE
from amla.model.fp.add import add
from amla.model.fp.convert import ceil, rint, to_bf16, to_fp16, to_int, to_u6_10, widen
from amla.model.fp.exp2 import exp2
from amla.model.fp.fixed import from_fixed, to_fixed
from amla.model.fp.formats import BF16, FP16, U6_10, Format
from amla.model.fp.log2 import log2
from amla.model.fp.maximum import maximum
from amla.model.fp.mul import mul, mul_bf16, mul_fp16, mul_u6_10
from amla.model.fp.recip import recip
from amla.rtl.fp import word
from amla.rtl.fp.add import Add
from amla.rtl.fp.convert import Ceil, Narrow, Rint, ToInt
from amla.rtl.fp.exp2 import Exp2
from amla.rtl.fp.fixed import FromFixed, ToFixed
from amla.rtl.fp.log2 import Log2
from amla.rtl.fp.maximum import Maximum
from amla.rtl.fp.mul import Dequantize, Mul, MulNarrow
from amla.rtl.fp.recip import Recip
from amla.rtl.fp.word import OPERANDS
from amla.tb.fp.table import Operator, single
from amla.tb.fp.vectors import fp32, narrow_words, pairs, words

__all__ = ["OPERATORS"]


def _pairs(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    a, b = pairs(rng, count)
    return {"a": a, "b": b}


def _beside(rng: np.random.Generator, count: int, *parts: np.ndarray) -> np.ndarray:
    """``count`` FP32 words: any, and those of ``parts``."""
    return np.concatenate([words(rng, count - sum(map(len, parts))), *parts])


def _to_round(rng: np.random.Generator, count: int, format: Format) -> dict[str, np.ndarray]:
    """A quarter at the rounding position or one unit beside it; a quarter in or around the range of a small format."""
    a, dropped = words(rng, count), 23 - format.fraction_bits
    if format != BF16:
        a = np.where(rng.random(count) < 0.25, _small(rng, a, format.bias + format.fraction_bits + 2), a)
    if format.subnormals:
        dropped = dropped + rng.integers(0, format.fraction_bits + 1, count)  # of a subnormal, more
    unit = np.left_shift(np.uint32(1), np.asarray(dropped, np.uint32))
    halfway = (unit >> 1) + rng.integers(-1, 2, count).astype(np.uint32)
    return {"a": np.where(rng.random(count) < 0.25, a & ~(unit - 1) | halfway, a)}


def _small(rng: np.random.Generator, a: np.ndarray, spread: int) -> np.ndarray:
    """FP32 words with exponents of at most ``spread``."""
    return a & np.uint32(0x807FFFFF) | (127 + rng.integers(-spread, spread + 1, len(a))).astype(np.uint32) << 23


def _to_multiply(rng: np.random.Generator, count: int, format: Format) -> dict[str, np.ndarray]:
    """Also products that end at or beside a rounding position, and results around the smallest normal number."""
    a, b = words(rng, count), narrow_words(rng, count, format)
    a = np.where(rng.random(count) < 0.25, a & np.uint32(0xFFFF8000), a)
    size = (widen(b, format) >> 23 & 0xFF).astype(np.int64)
    field = np.clip(255 - format.bias - size + rng.integers(-2 - 12 * format.subnormals, 3, count), 0, 254)
    small = a & np.uint32(0x807FFFFF) | field.astype(np.uint32) << 23
    return {"a": np.where(rng.random(count) < 0.1, small, a), "b": b}


def _to_dequantize(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Every code with every power of two, as they fit; codes with any scale; results around the smallest and largest.

    A power of two is a scale of e8m0: 2^-127 is half of 2^-126.
    """
    powers = min(count // 2, 1 << 16)
    chosen = rng.permutation(1 << 16)[:powers]
    code, power = (chosen & 0xFF).astype(np.uint8), chosen >> 8
    scale = np.where(power == 255, np.uint32(0x7FC00000), np.maximum(power, 1).astype(np.uint32) << 23)
    others = _beside(rng, count - powers, fp32(np.exp2(rng.uniform(-136, -117, (count - powers) // 8))),
                     fp32(np.exp2(rng.uniform(118, 128, (count - powers) // 8))))
    return {
        "scale": np.concatenate([scale, others]),
        "halve": np.concatenate([power == 0, rng.random(len(others)) < 0.1]),
        "code": np.concatenate([code, rng.integers(0, 256, len(others), dtype=np.uint8)]),
    }


def _dequantized(scale: np.ndarray, halve: np.ndarray, code: np.ndarray) -> np.ndarray:
    value = BF16_OF_CODE[code]
    number = (value & 0x7FFF != 0) & (value & 0x7F80 != 0x7F80)
    return mul_bf16(scale, value - np.uint16(0x80) * (halve & number))


def _halves(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """A quarter are halves of every size."""
    part = count // 4
    return {"a": _beside(rng, count, fp32((rng.integers(-(1 << 24), 1 << 24, part) >> rng.integers(0, 24, part)) / 2))}


def _integers(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """A third are integers around the range of ``to_int``."""
    return {"a": _beside(rng, count, fp32(rng.integers(-300, 20, count // 3)))}


def _below_two(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    return {"a": _beside(rng, count, fp32(rng.uniform(0, 2, count // 4)))}


def _to_fixed(a: np.ndarray) -> dict[str, np.ndarray]:
    return {"y": to_fixed(a), "nan": (a & 0x7FFFFFFF) > 0x7F800000}


def _fixed(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Integers of every length, and ones that end at or beside the rounding position."""
    ties = rng.integers(0, 1 << 25, count // 6) << rng.integers(0, 23, count // 6)
    edges = np.array([0, 1, (1 << 48) - 1])
    rest = count - 2 * len(ties) - len(edges)
    lengths = rng.integers(0, 1 << 48, rest) >> rng.integers(0, 49, rest)
    return {"a": np.concatenate([lengths, ties, ties + 1, edges]).astype(np.uint64)}


def _exponents(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Also arguments over the whole range of finite results, and just around every integer."""
    integers = fp32(rng.integers(-151, 130, count // 8))
    spread = fp32(rng.uniform(-151, 130, count // 4))
    return {"x": _beside(rng, count, spread, integers, integers + np.uint32(1))}


def _logarithms(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Mostly positive; a sixth close to 1, where the logarithm vanishes."""
    x = words(rng, count) & np.where(rng.random(count) < 0.8, np.uint32(0x7FFFFFFF), np.uint32(0xFFFFFFFF))
    near = 0x3F800000 + (rng.integers(-128, 128, count) << rng.integers(0, 16, count))
    return {"x": np.where(rng.random(count) < 1 / 6, near.astype(np.uint32), x)}


#: Every small operator by the name it has in the model.
OPERATORS = {
    "add": Operator(make=Add, vectors=_pairs, golden=single(add)),
    "mul": Operator(make=Mul, vectors=_pairs, golden=single(mul)),
    "mul_bf16": Operator(make=MulNarrow, vectors=partial(_to_multiply, format=BF16), golden=single(mul_bf16)),
    "dequantize": Operator(make=Dequantize, vectors=_to_dequantize, golden=single(_dequantized)),
    "mul_fp16": Operator(make=partial(MulNarrow, format=OPERANDS["fp16"]),
                         vectors=partial(_to_multiply, format=FP16), golden=single(mul_fp16)),
    "mul_u6_10": Operator(make=partial(MulNarrow, format=word.U6_10),
                          vectors=partial(_to_multiply, format=U6_10), golden=single(mul_u6_10)),
    "maximum": Operator(make=Maximum, vectors=_pairs, golden=single(maximum)),
    "to_bf16": Operator(make=Narrow, vectors=partial(_to_round, format=BF16), golden=single(to_bf16)),
    "to_fp16": Operator(make=partial(Narrow, format=OPERANDS["fp16"]), vectors=partial(_to_round, format=FP16),
                        golden=single(to_fp16)),
    "to_u6_10": Operator(make=partial(Narrow, format=word.U6_10), vectors=partial(_to_round, format=U6_10),
                         golden=single(to_u6_10)),
    "rint": Operator(make=Rint, vectors=_halves, golden=single(rint)),
    "ceil": Operator(make=Ceil, vectors=_halves, golden=single(ceil)),
    "to_int": Operator(make=ToInt, vectors=_integers, golden=single(lambda a: to_int(a).astype(np.int16) & 0x1FF)),
    "to_fixed": Operator(make=ToFixed, vectors=_below_two, golden=_to_fixed),
    "from_fixed": Operator(make=FromFixed, vectors=_fixed, golden=single(from_fixed)),
    "exp2": Operator(make=Exp2, vectors=_exponents, golden=single(exp2)),
    "log2": Operator(make=Log2, vectors=_logarithms, golden=single(log2)),
    "recip": Operator(make=Recip, vectors=lambda rng, count: {"x": words(rng, count)}, golden=single(recip)),
}
