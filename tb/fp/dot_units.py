"""The dot units, each with its vectors and its golden twin ``amla.model.fp.fdpa``."""

from functools import partial

import numba
import numpy as np
from amla.model.fp.fdpa import fdpa_fields
from amla.model.fp.formats import OPERANDS as FORMATS
from amla.model.fp.formats import Format
from amla.rtl.fp.fdpa import Fdpa
from amla.rtl.fp.word import OPERANDS
from amla.tb.fp.table import Operator
from amla.tb.fp.vectors import operands

__all__ = ["DOT_UNITS"]


@numba.njit
def _rows(a, b, c, acc_frac_bits, fields):
    """``fdpa`` of each row of a and b."""
    out = np.empty(len(c), dtype=np.uint32)
    for row in range(len(c)):
        out[row] = fdpa_fields(a[row], b[row], c[row], acc_frac_bits, *fields)
    return out


def _vectors(rng: np.random.Generator, count: int, k: int, format: Format) -> dict[str, np.ndarray]:
    a, b, c = operands(rng, count, k, format)
    return {"a": a, "b": b, "c": c}


def _golden(a: np.ndarray, b: np.ndarray, c: np.ndarray, acc_frac_bits: int, format: Format) -> dict[str, np.ndarray]:
    y = _rows(a, b, c, acc_frac_bits, format.fields)
    finite = (y & 0x7F800000) != 0x7F800000
    assert 0.5 < finite.mean() < 0.99 and (y[finite] != 0).mean() > 0.5, "vectors miss a class"
    return {"y": y}


def _unit(k: int, acc_frac_bits: int, format: str) -> Operator:
    return Operator(make=partial(Fdpa, k=k, acc_frac_bits=acc_frac_bits, format=OPERANDS[format]),
                    vectors=partial(_vectors, k=k, format=FORMATS[format]),
                    golden=partial(_golden, acc_frac_bits=acc_frac_bits, format=FORMATS[format]))


#: ``fdpa`` by its leaf's name: both k of the configurations, the ends of F, and a k that is no power of two.
DOT_UNITS = {f"fdpa_{format}_{k}_{acc_frac_bits}": _unit(k, acc_frac_bits, format) for k, acc_frac_bits, format in (
    (16, 30, "bf16"), (4, 30, "bf16"), (8, 24, "bf16"), (3, 40, "bf16"), (16, 30, "fp16"), (3, 24, "fp16"))}
