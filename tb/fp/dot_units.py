"""The dot units, each with its vectors and its golden twin ``amla.model.fp.fdpa``."""

from functools import partial

import numba
import numpy as np
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amla.model.fp.fdpa import fdpa_fields
from amla.model.fp.formats import OPERANDS as FORMATS
from amla.model.fp.formats import U6_10 as P_FORMAT
from amla.model.fp.formats import Format
from amla.rtl.fp.fdpa import Fdpa, decode_row
from amla.rtl.fp.word import OPERANDS, U6_10
from amla.tb.fp.table import Operator
from amla.tb.fp.vectors import operands, with_weights

__all__ = ["DOT_UNITS", "DecodedFdpa"]


class DecodedFdpa(wiring.Component):
    """A dot unit behind the decoders of its row, as in the cube: a is words, of P with ``weights``."""

    latency = Fdpa.latency

    def __init__(self, *, k: int, acc_frac_bits: int, format: str, p_format: str):
        self._formats = {"format": OPERANDS[format], "p_format": {**OPERANDS, "u6_10": U6_10}[p_format]}
        self._size = {"k": k, "acc_frac_bits": acc_frac_bits}
        super().__init__({"weights": In(1), "a": In(16 * k), "b": In(16 * k), "c": In(32), "y": Out(32)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = Fdpa(**self._size, **self._formats)
        m.d.comb += [
            unit.a.eq(decode_row(self.a, self.weights, **self._formats)), unit.b.eq(self.b), unit.c.eq(self.c),
            self.y.eq(unit.y),
        ]
        return m


@numba.njit
def _rows(weights, a, b, c, acc_frac_bits, format, p_format):
    """``fdpa`` of each row of a and b."""
    out = np.empty(len(c), dtype=np.uint32)
    for row in range(len(c)):
        if weights[row]:
            out[row] = fdpa_fields(a[row], b[row], c[row], acc_frac_bits, p_format, format)
        else:
            out[row] = fdpa_fields(a[row], b[row], c[row], acc_frac_bits, format, format)
    return out


def _vectors(rng: np.random.Generator, count: int, k: int, format: Format, p_format: Format) -> dict[str, np.ndarray]:
    a, b, c = operands(rng, count, k, format)
    weights = rng.random(count) < 0.5
    if p_format != format:
        weights, a, b = with_weights(rng, a, b, format)
    return {"weights": weights, "a": a, "b": b, "c": c}


def _golden(
    weights: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray, acc_frac_bits: int, format: Format,
    p_format: Format,
) -> dict[str, np.ndarray]:
    y = _rows(weights, a, b, c, acc_frac_bits, format.fields, p_format.fields)
    finite = (y & 0x7F800000) != 0x7F800000
    assert 0.5 < finite.mean() < 0.99 and (y[finite] != 0).mean() > 0.5, "vectors miss a class"
    return {"y": y}


def _unit(k: int, acc_frac_bits: int, format: str, p_format: str) -> Operator:
    formats = {"format": FORMATS[format], "p_format": {**FORMATS, "u6_10": P_FORMAT}[p_format]}
    return Operator(make=partial(DecodedFdpa, k=k, acc_frac_bits=acc_frac_bits, format=format, p_format=p_format),
                    vectors=partial(_vectors, k=k, **formats),
                    golden=partial(_golden, acc_frac_bits=acc_frac_bits, **formats))


#: ``fdpa`` by format, P's format, k and F: the k of the configurations, the ends of F, and a k that is no power of two.
DOT_UNITS = {f"fdpa_{format}_{p_format}_{k}_{acc_frac_bits}": _unit(k, acc_frac_bits, format, p_format)
             for k, acc_frac_bits, format, p_format in (
                 (16, 30, "bf16", "u6_10"), (4, 30, "bf16", "u6_10"), (8, 24, "bf16", "u6_10"),
                 (3, 40, "bf16", "u6_10"), (16, 30, "fp16", "u6_10"), (3, 24, "fp16", "u6_10"),
                 (8, 30, "bf16", "bf16"), (4, 24, "fp16", "fp16"))}
