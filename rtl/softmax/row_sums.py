"""Exact fixed-point sums of the rows of a stream of lane groups."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..fp.nets import register

__all__ = ["SUM_BITS", "VALUE_BITS", "RowSums"]

#: A value in [0, 2) with 32 fraction bits, and the sum of up to 2**15 of them.
VALUE_BITS = 33
SUM_BITS = 48


class RowSums(wiring.Component):
    """Sum one value per row and lane over all lane groups of a row group; hand the sums out row by row.

    **Latency**: the sum of row r leaves ``latency`` + r cycles after the row group's last lane group; ``latency`` is 3,
    with more than two lanes, whose sums of two are registered, 4.

    **Throughput**: one lane group per cycle; the last lane groups of two row groups must be at least ``rows``
    cycles apart.

    Parameters
    ----------
    rows, lanes: size of a lane group

    Members
    -------
    valid: a lane group enters
    first, last: it is the first (last) of its row group
    value: fixed-point values, row-major
    mask:  values that count, row-major
    nan:   values that are NaN
    sum_valid, sum, sum_nan: a row's sum, and whether a NaN is in it
    """

    def __init__(self, rows: int, lanes: int):
        self.rows = rows
        self.lanes = lanes
        self.latency = 3 + (lanes > 2)
        super().__init__({
            "valid": In(1), "first": In(1), "last": In(1),
            "value": In(VALUE_BITS).array(rows * lanes), "mask": In(rows * lanes), "nan": In(rows * lanes),
            "sum_valid": Out(1), "sum": Out(SUM_BITS), "sum_nan": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        rows, lanes = self.rows, self.lanes
        added = Signal()  # the lane group's own sums are in `part`
        first, last, complete = Signal(), Signal(), Signal()
        cycles = self.latency - 3  # of the sums of two
        valid = self.valid
        for _ in range(cycles):
            begun = Signal()
            m.d.sync += begun.eq(valid)
            valid = begun
        m.d.sync += [
            added.eq(valid), first.eq(register(m, self.first, name="first_0", cycles=cycles)),
            last.eq(valid & register(m, self.last, name="last_0", cycles=cycles)), complete.eq(last),
        ]
        # A row's sum and its NaN flag travel together: flag above sum.
        totals = [Signal(SUM_BITS + 1, name=f"total_{row}", reset_less=True) for row in range(rows)]
        waiting = [Signal(SUM_BITS + 1, name=f"waiting_{row}", reset_less=True) for row in range(rows)]
        for row, total in enumerate(totals):
            here = slice(row * lanes, (row + 1) * lanes)
            part = Signal(range(lanes * ((1 << VALUE_BITS) - 1) + 1), name=f"part_{row}", reset_less=True)
            nan = Signal(name=f"nan_{row}", reset_less=True)
            masked = [Mux(self.mask[lane], self.value[lane], 0) for lane in range(rows * lanes)[here]]
            m.d.sync += [
                part.eq(sum(register(m, sum(masked[lane:lane + 2]), name=f"pair_{row}_{lane}", cycles=cycles)
                            for lane in range(0, lanes, 2))),
                nan.eq(register(m, (self.mask[here] & self.nan[here]).any(), name=f"nan_{row}_0", cycles=cycles)),
            ]
            with m.If(added):
                m.d.sync += [
                    total[:SUM_BITS].eq(Mux(first, 0, total[:SUM_BITS]) + part),
                    total[SUM_BITS].eq((~first & total[SUM_BITS]) | nan),
                ]
            with m.If(complete):
                m.d.sync += waiting[row].eq(total)
            with m.Elif(row < rows - 1):
                m.d.sync += waiting[row].eq(waiting[(row + 1) % rows])

        left = Signal(range(rows + 1))
        with m.If(complete):
            m.d.sync += left.eq(rows)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.comb += [
            self.sum_valid.eq(left != 0),
            self.sum.eq(waiting[0][:SUM_BITS]),
            self.sum_nan.eq(waiting[0][SUM_BITS]),
        ]
        return m
