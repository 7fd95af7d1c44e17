"""Table and polynomial: the common middle of exp2, log2 and recip.

Golden twin: ``amla.model.fp.tables.Table.evaluate``.
"""

from amaranth import C, Cat, Module, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amla.model.fp.tables import Table

from .nets import register
from .product import product

__all__ = ["Quadratic"]


class Quadratic(wiring.Component):
    """v = c0 ± (((c1 ± (c2·u >> shift2))·u) >> shift1) with the coefficients of segment ``index``.

    **Latency:** 5 cycles. **Throughput:** one result per cycle.

    Stages: read the coefficients; products, then sum of the inner bracket; products, then sum of the value.

    Parameters
    ----------
    table: coefficients, shifts and widths

    Members
    -------
    index : In(table.index_bits)
    u :     In(table.u_bits), offset within the segment
    v :     Out, wide enough for the largest c0
    """

    latency = 5

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

        bend = product(m, read.data.c2, u1, name="bend")
        c1 = register(m, read.data.c1, name="c1_1")
        bracket = register(m, self._step(c1, bend, table.shift2), shape=table.t_bits, name="bracket")
        slope = product(m, bracket, register(m, u1, name="u3", cycles=2), name="slope")
        c0 = register(m, read.data.c0, name="c0", cycles=3)
        m.d.comb += self.v.eq(register(m, self._step(c0, slope, table.shift1), shape=len(self.v), name="value"))
        return m

    def _step(self, c: Value, product: Value, shift: int) -> Value:
        """c ± (product >> shift), in one sum: c is first made larger by all that the shift drops, where it falls."""
        if self.table.falling:
            return (Cat(C(-1, shift), c) - product) >> shift
        return (Cat(C(0, shift), c) + product) >> shift
