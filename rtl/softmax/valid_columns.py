"""Causal limit of a row group: how many leading columns of each of its m rows are valid."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ValidColumns"]

#: Width of ``limit`` and of the counts.
LIMIT_BITS = 24


class ValidColumns(wiring.Component):
    """Count the valid columns of the m rows of the current row group.

    Row r of a command (r counts from the command's first row) has ``clamp(limit + t, 0, ...)`` valid
    columns, t = 0 if ``heads`` is 0, else ``min(3, (r + head0) div heads)``. There is no divider: a counter
    holds the position r + head0 of the group's first row, and every row's position is compared with one,
    two and three times ``heads``.

    **Latency**: ``columns`` belongs to row group 0 in the cycle after ``start``, to the next row group in the
    cycle after ``advance``, and follows ``limit`` combinationally.

    **Throughput**: a row group per cycle.

    Parameters
    ----------
    m: rows of a row group, a positive integer

    Members
    -------
    start:   strobe: the next cycle begins a command; samples ``head0``. Wins over ``advance``.
    advance: strobe: the next cycle is at the next row group of the command
    head0:   position of the command's first row inside its token, read with ``start``
    heads:   rows per query token, 0 for one limit in all rows, read with ``start``
    limit:   valid columns of the command's first token, signed; hold it while ``columns`` is in use
    columns: valid columns of row i of the current row group

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
        position = Signal(range((self.rows + 1) << 16))
        heads = Signal(16)
        heads3 = Signal(18)
        one_limit = Signal()
        with m.If(self.start):
            m.d.sync += [position.eq(self.head0), heads.eq(self.heads), heads3.eq(self.heads + (self.heads << 1)),
                         one_limit.eq(self.heads == 0)]
        with m.Elif(self.advance):
            m.d.sync += position.eq(position + self.rows)

        counts = []  # of tokens 0 to 3
        for token in range(4):
            count = Signal(signed(LIMIT_BITS + 1), name=f"count_{token}")
            m.d.comb += count.eq(self.limit + token)
            counts.append(Mux(count < 0, 0, count)[:LIMIT_BITS])
        for row, columns in enumerate(self.columns):
            here = Signal(len(position) + 1, name=f"position_{row}")
            m.d.comb += here.eq(position + row)
            after = [(here >= bound) & ~one_limit for bound in (heads, heads << 1, heads3)]
            m.d.comb += columns.eq(Mux(after[2], counts[3], Mux(after[1], counts[2],
                                                                Mux(after[0], counts[1], counts[0]))))
        return m
