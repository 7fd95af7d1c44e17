"""The dot units against ``amla.model.fdpa``, bit for bit. Design: ``tb/fp/designs.py``, ``dot_units()``."""

import cocotb
import numba
import numpy as np
from amla.model.fdpa import fdpa_word
from amla.rtl.fp.fdpa import Fdpa
from amla.tb.fp.designs import DOT_UNITS
from amla.tb.fp.pipeline import Result, stream
from amla.tb.fp.vectors import operands

COUNT = 20_000


@numba.njit
def fdpa_rows(a, b, c, acc_frac_bits):
    """``fdpa_word`` of each row of a and b."""
    out = np.empty(len(c), dtype=np.uint32)
    for row in range(len(c)):
        out[row] = fdpa_word(a[row], b[row], c[row], acc_frac_bits)
    return out


def packed(rows: np.ndarray) -> list[int]:
    """Each row of BF16 words as one integer, element 0 in the low bits."""
    return [int.from_bytes(row.astype("<u2").tobytes(), "little") for row in rows]


@cocotb.test()
@cocotb.parametrize(unit=DOT_UNITS)
async def matches(dut, unit):
    k, acc_frac_bits = unit
    name, latency = f"fdpa_bf16_{k}_{acc_frac_bits}", Fdpa.latency
    a, b, c = operands(np.random.default_rng(cocotb.RANDOM_SEED), COUNT, k)
    expected = fdpa_rows(a, b, c, acc_frac_bits)
    finite = (expected & 0x7F800000) != 0x7F800000
    assert 0.5 < finite.mean() < 0.99 and (expected[finite] != 0).mean() > 0.5, "vectors miss a class"
    await stream(dut, {f"{name}_a": packed(a), f"{name}_b": packed(b), f"{name}_c": c},
                 [Result(f"{name}_y", expected, latency)])
