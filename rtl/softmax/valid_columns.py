"""Causal limit of a row group: how many leading columns of each of its m rows are valid."""

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..fp.nets import net, register

__all__ = ["ValidColumns"]

#: Width of ``limit`` and of the counts.
LIMIT_BITS = 24

#: Query tokens that the rows of a command may belong to; rows past the last one are counted among its rows.
TOKENS = 16


class ValidColumns(wiring.Component):
    """Count the valid columns of the m rows of the current row group.

    Row r of a command (r counts from the command's first row) has ``clamp(limit + t, 0, ...)`` valid
    columns, t = 0 if ``heads`` is 0, else ``min(15, (r + head0) div heads)``. There is no divider: a counter holds
    the position r + head0 of the group's first row; what it lacks to 1 ... 15 times ``heads`` tells each row its t.

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
        position = Signal(range((self.rows + 1) << 16))  # 2^16 row groups after the largest head0
        h = self.heads
        odd = {1: h, 3: h + (h << 1), 5: h + (h << 2), 7: (h << 3) - h, 9: h + (h << 3), 11: h + (h << 1) + (h << 3),
               13: h + (h << 2) + (h << 3), 15: (h << 4) - h}  # as few terms as can be
        multiples = {factor: Signal(range(factor << 16), name=f"heads_{factor}") for factor in odd}
        one_limit = Signal()
        with m.If(self.start):
            m.d.sync += [position.eq(self.head0), one_limit.eq(self.heads == 0)]
            m.d.sync += [multiples[factor].eq(value) for factor, value in odd.items()]
        with m.Elif(self.advance):
            m.d.sync += position.eq(position + self.rows)

        # Limit + t: the low bits and their carry of each token, and the high bits without and with a carry.
        low_bits = exact_log2(TOKENS)
        low, high = self.limit[:low_bits], self.limit[low_bits:].as_signed()
        highs = [register(m, Mux(value < 0, 0, value)[:LIMIT_BITS - low_bits], name=f"high_{carry}")
                 for carry, value in enumerate((high, high + 1))]
        sums = [net(m, low + token, shape=low_bits + 1, name=f"sum_{token}") for token in range(TOKENS)]
        lows = [register(m, Mux(Mux(total[low_bits], high < -1, high < 0), 0, total), name=f"low_{token}")
                for token, total in enumerate(sums)]

        after: list[dict[int, Value]] = [{} for _ in self.columns]  # by row: is the row the token's first, or behind it
        for token in range(1, TOKENS):
            twos = (token & -token).bit_length() - 1
            missing = net(m, (multiples[token >> twos] << twos) - position, name=f"missing_{token}")
            reached = missing[-1]
            for row, tokens in enumerate(after):
                reached |= missing == row
                tokens[token] = register(m, reached & ~one_limit, name=f"after_{row}_{token}")
        for row, (columns, tokens) in enumerate(zip(self.columns, after, strict=True)):
            values, step = lows, 1
            while len(values) > 1:  # a row that is behind a token is behind those before it: any may be asked first
                values = [Mux(tokens[step * (2 * pair + 1)], values[2 * pair + 1], values[2 * pair])
                          for pair in range(len(values) // 2)]
                step *= 2
            total = net(m, values[0], name=f"low_of_{row}")
            m.d.comb += columns.eq(Cat(total[:low_bits], Mux(total[low_bits], highs[1], highs[0])))
        return m
