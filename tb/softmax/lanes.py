"""The lanes of drain and vector, each with its vectors and the golden operations that it chains."""

from functools import partial

import numpy as np
from amla.model.fp.add import add, sub
from amla.model.fp.convert import narrow, widen
from amla.model.fp.exp2 import exp2
from amla.model.fp.fixed import to_fixed
from amla.model.fp.formats import OPERANDS, U6_10, Format
from amla.model.fp.mul import mul, mul_bf16, mul_fp16, mul_u6_10
from amla.model.rescale import rescale
from amla.rtl.config import MODES
from amla.rtl.fp import word
from amla.rtl.softmax.lanes import AccumulateLane, VectorLane
from amla.tb.fp.table import Operator
from amla.tb.fp.vectors import fp32, narrow_words, pairs, words

__all__ = ["LANES"]

_COMP_BITS = 2
_MULTIPLY = {**dict(zip(OPERANDS.values(), (mul_bf16, mul_fp16), strict=True)), U6_10: mul_u6_10}
_QUIET_NAN, _MINUS_INF, _LOWEST = np.uint32(0x7FC00000), np.uint32(0xFF800000), np.uint32(0xFF7FFFFF)
_MINUS_ZERO = np.uint32(1 << 31)


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
    first = rng.random(count) < 0.25
    offsets[first] = np.float32(1).view(np.int32) if mode == "mul" else 0
    return {"o": np.where(first, np.uint32(1 << 31), o), "pv": pv, "offsets": offsets}


def _accumulate(o: np.ndarray, pv: np.ndarray, offsets: np.ndarray, mode: str) -> dict:
    scaled = mul(o, offsets[:, 0].view(np.uint32)) if mode == "mul" else rescale(o[:, None], offsets)[:, 0]
    return {"y": add(scaled, pv)}


def _element_vectors(rng: np.random.Generator, count: int, p_format: Format) -> dict[str, np.ndarray]:
    """Scores below the row maximum as in a softmax, those of a row that has none above -inf, and words of any kind."""
    score, sigma = fp32(rng.normal(0, 40, count)), fp32(rng.uniform(0.01, 0.3, count))
    maximum = add(mul(score, sigma), fp32(rng.exponential(6, count)))
    factor = narrow(fp32(rng.uniform(0.7, 1.42, count)), p_format)
    lost = rng.random(count) < 0.02
    score, maximum = np.where(lost, _MINUS_INF, score), np.where(lost, _LOWEST, maximum)
    usual = rng.random(count) < 0.75
    return {"s": np.where(usual, score, words(rng, count)), "scale": np.where(usual, sigma, words(rng, count)),
            "m": np.where(usual, maximum, words(rng, count)),
            "s16": np.where(usual, factor, narrow_words(rng, count, p_format)),
            # Scores, and columns that are merged, for many cycles each; the first sums of a lane are unknown.
            "merge": np.arange(count) // 40 % 2, "fresh": np.arange(count) // VectorLane.turn % 4 == 0}


def _element(
    s: np.ndarray, scale: np.ndarray, m: np.ndarray, s16: np.ndarray, merge: np.ndarray, fresh: np.ndarray, mode: str,
    format: Format, p_format: Format,
) -> dict[str, np.ndarray]:
    product = mul(s, scale)
    total, before = sub(product, m), np.full(VectorLane.turn, _MINUS_ZERO)
    for start in range(0, len(s), VectorLane.turn):
        here = slice(start, start + VectorLane.turn)
        added = np.where(fresh[here], _MINUS_ZERO, before[:len(s[here])])
        before = total[here] = np.where(merge[here], add(product[here], added), total[here])
    e = exp2(total)
    p = _MULTIPLY[p_format](e, s16) if mode == "amla" else narrow(e, p_format)
    return {
        "product": product, "sum": total, "product_16": narrow(product, format),
        "p": p, "p_fixed": to_fixed(widen(p, p_format)), "e_fixed": to_fixed(e),
        "nan": (e & 0x7FFFFFFF) > 0x7F800000,
    }


def _accumulate_lane(mode: str) -> Operator:
    return Operator(make=partial(AccumulateLane, mode=mode, comp_bits=_COMP_BITS),
                    vectors=partial(_accumulate_vectors, mode=mode), golden=partial(_accumulate, mode=mode))


def _vector_lane(mode: str, format: str, p_format: str) -> Operator:
    ours, golden = {**word.OPERANDS, "u6_10": word.U6_10}, {**OPERANDS, "u6_10": U6_10}
    return Operator(make=partial(VectorLane, mode=mode, format=ours[format], p_format=ours[p_format]),
                    vectors=partial(_element_vectors, p_format=golden[p_format]),
                    golden=partial(_element, mode=mode, format=golden[format], p_format=golden[p_format]),
                    latencies={"product": "product_latency", "product_16": "product_latency", "sum": "sum_latency"})


#: The lanes of every mode and of P's formats by their leaf's name.
LANES = {
    **{f"accumulate_lane_{mode}_{_COMP_BITS}": _accumulate_lane(mode) for mode in MODES},
    **{f"vector_lane_{format}_{p_format}_{mode}": _vector_lane(mode, format, p_format) for mode in MODES
       for format, p_format in (("bf16", "u6_10"), ("fp16", "u6_10"), ("bf16", "bf16"), ("fp16", "fp16"))},
}
