"""Causal limit of a row group: how many leading columns of each of its m rows are valid."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..fp.nets import register

__all__ = ["ValidColumns"]

#: Width of ``limit`` and of the counts.
LIMIT_BITS = 24


class ValidColumns(wiring.Component):
    """Count the valid columns of the m rows of the current row group.

    Row r of a command (r counts from the command's first row) has ``clamp(limit + t, 0, ...)`` valid
    columns, t = 0 if ``heads`` is 0, else ``min(3, (r + head0) div heads)``. There is no divider: a counter
    for each row holds its position r + head0, which is compared with one, two and three times ``heads``.

    **Latency**: ``columns`` belongs to row group 0 two cycles after ``start``, to the next row group two cycles
    after ``advance``.

    **Throughput**: a row group per cycle.

    Parameters
    ----------
    m: rows of a row group, a positive integer

    Members
    -------
    start:   strobe: the next cycle is at the first row group of a command; samples ``head0``. Wins over ``advance``.
    advance: strobe: the next cycle is at the next row group of the command
    head0:   position of the command's first row inside its token, read with ``start``
    heads:   rows per query token, 0 for one limit in all rows, read with ``start``
    limit:   valid columns of the command's first token, signed; hold it from the cycle after ``start`` on
    columns: valid columns of row i of the row group of the cycle before

    Raises
    ------
    ValueError: ``m`` is not a positive integer.
    """

    def __init__(self, m: int):
        if not isinstance(m, int) or m < 1:
            raise ValueError(f"rows of a row group must be a positive integer, not {m!r}")
        self.rows = m
        super().__init__({
            "start": In(1),
            "advance": In(1),
            "head0": In(16),
            "limit": In(signed(LIMIT_BITS)),
            "heads": In(16),
            "columns": Out(LIMIT_BITS).array(m),
        })

    def elaborate(self, platform):
        m = Module()
        # 2^16 row groups after the largest head0.
        positions = [Signal(range((self.rows + 1) << 16), name=f"position_{row}") for row in range(self.rows)]
        heads = Signal(16)
        heads3 = Signal(18)
        one_limit = Signal()
        with m.If(self.start):
            m.d.sync += [position.eq(self.head0 + row) for row, position in enumerate(positions)]
            m.d.sync += [heads.eq(self.heads), heads3.eq(self.heads + (self.heads << 1)), one_limit.eq(self.heads == 0)]
        with m.Elif(self.advance):
            m.d.sync += [position.eq(position + self.rows) for position in positions]

        counts = []  # of tokens 0 to 3
        for token in range(4):
            total = Signal(signed(LIMIT_BITS + 1), name=f"total_{token}")
            m.d.comb += total.eq(self.limit + token)
            counts.append(register(m, Mux(total < 0, 0, total)[:LIMIT_BITS], name=f"count_{token}"))
        for row, (columns, position) in enumerate(zip(self.columns, positions, strict=True)):
            after = [register(m, (position >= bound) & ~one_limit, name=f"after_{row}_{token}")
                     for token, bound in enumerate((heads, heads << 1, heads3), 1)]
            m.d.comb += columns.eq(Mux(after[2], counts[3], Mux(after[1], counts[2],
                                                                Mux(after[0], counts[1], counts[0]))))
        return m
