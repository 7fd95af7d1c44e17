"""The dot units against ``amla.model.fp.fdpa``, bit for bit.

Design: ``side_by_side(DOT_UNITS)`` (``tb/fp/table.py``) of the table in ``tb/fp/dot_units.py``.
``tb/fp/compiled.py`` streams a million vectors of the same table.
"""

import cocotb
from amla.tb.fp.dot_units import DOT_UNITS
from amla.tb.fp.pipeline import stream

COUNT = 4000


@cocotb.test()
@cocotb.parametrize(name=[cocotb.Param(name, name) for name in DOT_UNITS])
async def matches(dut, name):
    await stream(dut, name, DOT_UNITS[name], COUNT)
