# amaranth: UnusedElaboratable=no
"""Operand alignment of Pipeline, in Amaranth's simulator."""

import random

import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from amla.rtl.pipeline import Pipeline


class Slow(wiring.Component):
    """y = a - b, ``latency`` cycles later."""

    def __init__(self, latency: int):
        self.latency = latency
        super().__init__({"a": In(16), "b": In(16), "y": Out(16)})

    def elaborate(self, platform):
        m = Module()
        value = self.a - self.b
        for _ in range(self.latency):
            register = Signal(16)
            m.d.sync += register.eq(value)
            value = register
        m.d.comb += self.y.eq(value)
        return m


class Example(wiring.Component):
    """difference = (a - b) - c over operators of unequal latency, echo = b, ready = the strobe."""

    def __init__(self):
        super().__init__({"a": In(16), "b": In(16), "c": In(16), "strobe": In(1),
                          "difference": Out(16), "echo": Out(16), "ready": Out(1)})
        self._pipe = pipe = Pipeline()
        a, b, late = pipe.data(self.a, "a"), pipe.data(self.b, "b"), pipe.data(self.c, "c", stage=1)
        first = pipe.register(pipe.unit("first", Slow(3), a=a, b=b))
        self.latency = pipe.finish({
            "difference": pipe.comb("again", lambda x: x, pipe.unit("second", Slow(2), a=first, b=late)),
            "echo": b,
            "ready": pipe.strobe(self.strobe, "strobe"),
        }, self)

    def elaborate(self, platform):
        m = Module()
        self._pipe.add_to(m)
        return m


@pytest.mark.smoke
def test_operands_are_aligned():
    """A new set every cycle; c belongs to the set of the cycle before."""
    dut, rng = Example(), random.Random(1)
    assert dut.latency == 6
    sets = [tuple(rng.getrandbits(16) for _ in range(3)) + (rng.getrandbits(1),) for _ in range(40)]
    seen = []

    async def bench(ctx):
        for index in range(len(sets) + dut.latency):
            a, b, _, strobe = sets[index] if index < len(sets) else (0, 0, 0, 0)
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            ctx.set(dut.strobe, strobe)
            ctx.set(dut.c, sets[index - 1][2] if 0 < index <= len(sets) else 0)
            seen.append((ctx.get(dut.difference), ctx.get(dut.echo), ctx.get(dut.ready)))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen[dut.latency:] == [((a - b - c) % 2**16, b, strobe) for a, b, c, strobe in sets]
    assert not any(ready for _, _, ready in seen[:dut.latency])


@pytest.mark.smoke
def test_an_operand_is_not_there_before_its_stage():
    pipe = Pipeline()
    late = pipe.data(Signal(4), "late", stage=3)
    with pytest.raises(ValueError, match=r"stage of late must be at least 3, not 2"):
        pipe.at(late, 2)
