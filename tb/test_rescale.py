"""The rescale word operation against its golden twin, and against the multiplication that it replaces.

Design: ``side_by_side(RESCALE_UNITS)`` (``tb/fp/table.py``) of the table in ``tb/rescale.py``.
``tb/fp/compiled.py`` streams a million vectors of the same table.
"""

import cocotb
from amla.tb.fp.pipeline import stream
from amla.tb.rescale import RESCALE_UNITS

COUNT = 4000


@cocotb.test()
@cocotb.parametrize(name=[cocotb.Param(name, name) for name in RESCALE_UNITS])
async def matches(dut, name):
    await stream(dut, name, RESCALE_UNITS[name], COUNT)
