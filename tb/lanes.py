"""The lanes of drain and vector, each with its vectors and the golden operations that it chains."""

from functools import partial

import numpy as np
from amla.model.add import add, sub
from amla.model.convert import to_bf16
from amla.model.exp2 import exp2
from amla.model.fixed import to_fixed
from amla.model.mul import mul, mul_bf16
from amla.model.rescale import rescale
from amla.rtl.config import MODES
from amla.rtl.lanes import AccumulateLane, VectorLane
from amla.tb.fp.table import Operator
from amla.tb.fp.vectors import bf16_words, fp32, pairs, words

__all__ = ["LANES"]

_COMP_BITS = 2
_QUIET_NAN = np.uint32(0x7FC00000)


def _accumulate_vectors(rng: np.random.Generator, count: int, mode: str) -> dict[str, np.ndarray]:
    o, pv = pairs(rng, count)
    # fdpa gives neither subnormals nor any NaN but one
    pv = np.where((pv & 0x7F800000) == 0, pv & np.uint32(1 << 31), pv)
    pv = np.where((pv & 0x7FFFFFFF) > 0x7F800000, _QUIET_NAN, pv)
    segments = 1 << _COMP_BITS
    if mode == "mul":
        offsets = rng.integers(-(1 << 31), 1 << 31, (count, segments)).astype(np.int32)
        factor = np.where(rng.random(count) < 0.8, fp32(rng.random(count)), words(rng, count))
        offsets[:, 0] = factor.view(np.int32)
    else:
        exponents = rng.integers(-40, 1, (count, 1)) * (rng.random((count, 1)) < 0.5)
        corrections = rng.integers(-(1 << 17), 1 << 17, (count, segments)) * (mode == "amla")
        offsets = (exponents * (1 << 23) + corrections).astype(np.int32)
    return {"o": o, "pv": pv, "offsets": offsets, "first": rng.random(count) < 0.25}


def _accumulate(o: np.ndarray, pv: np.ndarray, offsets: np.ndarray, first: np.ndarray, mode: str) -> dict:
    scaled = mul(o, offsets[:, 0].view(np.uint32)) if mode == "mul" else rescale(o[:, None], offsets)[:, 0]
    return {"y": np.where(first, pv, add(scaled, pv))}


def _element_vectors(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Scores below the row maximum as in a softmax, and words of any kind."""
    score, sigma = fp32(rng.normal(0, 40, count)), fp32(rng.uniform(0.01, 0.3, count))
    maximum = add(mul(score, sigma), fp32(rng.exponential(6, count)))
    factor = to_bf16(fp32(rng.uniform(0.7, 1.42, count)))
    usual = rng.random(count) < 0.75
    return {"s": np.where(usual, score, words(rng, count)), "scale": np.where(usual, sigma, words(rng, count)),
            "m": np.where(usual, maximum, words(rng, count)), "s16": np.where(usual, factor, bf16_words(rng, count))}


def _element(s: np.ndarray, scale: np.ndarray, m: np.ndarray, s16: np.ndarray, mode: str) -> dict[str, np.ndarray]:
    product = mul(s, scale)
    e = exp2(sub(product, m))
    p = mul_bf16(e, s16) if mode == "amla" else to_bf16(e)
    return {
        "product": product, "product_bf16": to_bf16(product),
        "p": p, "p_fixed": to_fixed(p.astype(np.uint32) << 16), "e_fixed": to_fixed(e),
        "nan": (e & 0x7FFFFFFF) > 0x7F800000,
    }


def _accumulate_lane(mode: str) -> Operator:
    return Operator(make=partial(AccumulateLane, mode=mode, comp_bits=_COMP_BITS),
                    vectors=partial(_accumulate_vectors, mode=mode), golden=partial(_accumulate, mode=mode))


def _vector_lane(mode: str) -> Operator:
    return Operator(make=partial(VectorLane, mode=mode), vectors=_element_vectors, golden=partial(_element, mode=mode),
                    latencies={"product": "product_latency", "product_bf16": "product_latency"})


#: The lanes of every mode by their leaf's name.
LANES = {
    **{f"accumulate_lane_{mode}_{_COMP_BITS}": _accumulate_lane(mode) for mode in MODES},
    **{f"vector_lane_{mode}": _vector_lane(mode) for mode in MODES},
}
