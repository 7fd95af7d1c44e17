"""The lanes of drain and vector against the golden operations that they chain.

Design: ``side_by_side(LANES)`` (``tb/fp/table.py``) of the table in ``tb/softmax/lanes.py``.
``tb/fp/compiled.py`` streams a million vectors of the same table.
"""

import cocotb
from amla.tb.fp.pipeline import stream
from amla.tb.softmax.lanes import LANES

COUNT = 4000


@cocotb.test()
@cocotb.parametrize(name=[cocotb.Param(name, name) for name in LANES])
async def matches(dut, name):
    await stream(dut, name, LANES[name], COUNT)
