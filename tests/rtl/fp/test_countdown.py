"""Loops counted down against nested loops of Python, in Amaranth's simulator."""

import itertools
import random

import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from amla.rtl.fp.countdown import countdown


class Nest(wiring.Component):
    """Two loops, one inside the other."""

    def __init__(self):
        super().__init__({"start": In(1), "step": In(1), "outer": In(4), "inner": In(4),
                          "last_inner": Out(1), "last": Out(1)})

    def elaborate(self, platform):
        m = Module()
        inner_last, step = Signal(), Signal()
        inner = countdown(m, self.inner, start=self.start, step=self.step, name="inner")
        outer = countdown(m, self.outer, start=self.start, step=step, name="outer")
        m.d.comb += [inner_last.eq(inner), step.eq(self.step & inner_last), self.last_inner.eq(inner_last),
                     self.last.eq(inner_last & outer)]
        return m


@pytest.mark.smoke
def test_nested_loops():
    """Every last turn and no other is marked, whatever the pauses; a start in the last step begins anew."""
    rng, dut = random.Random(0), Nest()
    sizes = [*itertools.product((1, 2, 3), repeat=2), (15, 1), (1, 15), (15, 15), (4, 7)]
    rng.shuffle(sizes)

    async def bench(ctx):
        ctx.set(dut.start, 1)
        for outer, inner in sizes:
            ctx.set(dut.outer, outer)
            ctx.set(dut.inner, inner)
            await ctx.tick()
            ctx.set(dut.outer, 5)
            ctx.set(dut.inner, 1)
            for o, i in itertools.product(range(outer), range(inner)):
                ctx.set(dut.start, 0)
                ctx.set(dut.step, 0)
                for _ in range(rng.randrange(3)):
                    await ctx.tick()
                assert ctx.get(dut.last_inner) == (i == inner - 1)
                assert ctx.get(dut.last) == ((o, i) == (outer - 1, inner - 1))
                ctx.set(dut.step, 1)
                if ctx.get(dut.last):
                    ctx.set(dut.start, 1)
                else:
                    await ctx.tick()

    run(dut, bench)


def test_no_turn_is_never_the_last():
    dut = Nest()

    async def bench(ctx):
        ctx.set(dut.start, 1)
        ctx.set(dut.outer, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        ctx.set(dut.step, 1)
        for _ in range(10):
            assert not ctx.get(dut.last)
            await ctx.tick()

    run(dut, bench)


def run(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
