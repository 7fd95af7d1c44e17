"""A register in a stream, for its payload and for its ready."""

from amaranth.hdl import Module, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RegisterSlice"]


class RegisterSlice(wiring.Component):
    """Two places of a queue: no path leads through it, forwards or backwards.

    **Latency**: one cycle. **Throughput**: one transfer a cycle.

    Parameters
    ----------
    shape: of the payload

    Members
    -------
    i: ``In(stream)``; its ready comes from a register
    o: ``Out(stream)``; its valid and its payload do
    """

    def __init__(self, shape: ShapeLike):
        self._shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        first, second = (Signal(self._shape, name=name, reset_less=True) for name in ("first", "second"))
        waits = Signal()  # the second place is taken
        m.d.comb += [self.i.ready.eq(~waits), self.o.payload.eq(first)]
        with m.If(~waits):
            m.d.sync += second.eq(self.i.payload)
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += [self.o.valid.eq(self.i.valid | waits), waits.eq(0)]
            with m.If(waits):
                m.d.sync += first.eq(second)
            with m.Else():
                m.d.sync += first.eq(self.i.payload)
        with m.Elif(self.i.valid):
            m.d.sync += waits.eq(1)
        return m
