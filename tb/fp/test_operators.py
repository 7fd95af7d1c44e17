"""Every small operator against its golden twin, bit for bit.

Design: ``side_by_side(OPERATORS)`` (``tb/fp/table.py``) of the table in ``tb/fp/operators.py``.
``tb/fp/compiled.py`` streams a million vectors of the same table.
"""

import cocotb
from amla.tb.fp.operators import OPERATORS
from amla.tb.fp.pipeline import stream

COUNT = 4000


@cocotb.test()
@cocotb.parametrize(name=[cocotb.Param(name, name) for name in OPERATORS])
async def matches(dut, name):
    await stream(dut, name, OPERATORS[name], COUNT)
