"""Table and polynomial: the common middle of exp2, log2 and recip.

Golden twin: ``amla.model.fp.tables.Table.evaluate``.
"""

from amaranth import Module
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amla.model.fp.tables import Table

from .nets import net, register

__all__ = ["Quadratic"]


class Quadratic(wiring.Component):
    """v = c0 ± (((c1 ± (c2·u >> shift2))·u) >> shift1) with the coefficients of segment ``index``.

    **Latency:** 3 cycles. **Throughput:** one result per cycle.

    Stages: read the coefficients; inner bracket; value.

    Parameters
    ----------
    table: coefficients, shifts and widths

    Members
    -------
    index : In(table.index_bits)
    u :     In(table.u_bits), offset within the segment
    v :     Out, wide enough for the largest c0
    """

    latency = 3

    def __init__(self, *, table: Table):
        self.table = table
        super().__init__({"index": In(table.index_bits), "u": In(table.u_bits), "v": Out(table.widths[0])})

    def elaborate(self, platform):
        m = Module()
        table = self.table
        layout = data.StructLayout(dict(zip(("c0", "c1", "c2"), table.widths, strict=True)))
        rows = [dict(zip(layout.members, row, strict=True))
                for row in zip(table.c0, table.c1, table.c2, strict=True)]
        m.submodules.rom = rom = memory.Memory(shape=layout, depth=1 << table.index_bits, init=rows)
        read = rom.read_port()
        m.d.comb += read.addr.eq(self.index)
        u1 = register(m, self.u, name="u1")

        bend = net(m, (read.data.c2 * u1) >> table.shift2, name="bend")
        bracket = read.data.c1 - bend if table.falling else read.data.c1 + bend
        bracket = register(m, bracket, shape=table.t_bits, name="bracket")
        c0 = register(m, read.data.c0, name="c0")
        u2 = register(m, u1, name="u2")

        slope = net(m, (bracket * u2) >> table.shift1, name="slope")
        value = c0 - slope if table.falling else c0 + slope
        m.d.comb += self.v.eq(register(m, value, shape=len(self.v), name="value"))
        return m
