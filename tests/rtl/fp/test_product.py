"""Long multiplications by digits, in simulation: every pair of narrow operands, random and corner ones of wide."""

import random
from itertools import product as pairs

import pytest
from amaranth import Module, Signal
from amaranth.sim import Simulator
from amla.rtl.fp.product import DIGIT_BITS, product

pytestmark = pytest.mark.smoke


def _vectors(widths):
    """Operands and what is added to their product."""
    if sum(widths) <= 9:
        return [(a, b, a ^ b) for a, b in pairs(*(range(1 << width) for width in widths))]
    rng = random.Random(sum(widths))
    corners = pairs(*((0, 1, (1 << width) - 1, 1 << (width - 1)) for width in widths))
    return [(a, b, rng.getrandbits(70)) for a, b in (
        *corners, *(tuple(rng.getrandbits(width) for width in widths) for _ in range(500)))]


@pytest.mark.parametrize("widths", [
    (1, 1), (4, 5), (DIGIT_BITS, DIGIT_BITS), (3, 6), (24, 24), (24, 11), (19, 23), (27, 23), (33, 9)],
    ids=lambda widths: "x".join(map(str, widths)))
def test_a_product_and_what_is_added_to_it(widths):
    """One pair a cycle, the result with what is added in the next one."""
    m = Module()
    a, b, added, total = Signal(widths[0]), Signal(widths[1]), Signal(70), Signal(72)
    m.d.comb += total.eq(product(m, a, b, name="digit") + added)

    async def bench(ctx):
        before = None
        for x, y, z in (*_vectors(widths), (0, 0, 0)):
            if before is not None:
                ctx.set(added, before[2])
                assert ctx.get(total) == before[0] * before[1] + before[2]
            ctx.set(a, x)
            ctx.set(b, y)
            await ctx.tick()
            before = x, y, z

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
