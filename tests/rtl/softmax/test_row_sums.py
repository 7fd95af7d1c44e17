# amaranth: UnusedElaboratable=no
"""RowSums against sums of integers, in Amaranth's simulator."""

import random

import pytest
from amaranth.sim import Simulator
from amla.rtl.softmax.row_sums import SUM_BITS, VALUE_BITS, RowSums


@pytest.mark.smoke
@pytest.mark.parametrize(("rows", "lanes"), [(1, 1), (2, 4), (4, 2), (8, 1), (2, 8)])
def test_sums(rows, lanes):
    """Row groups as close as allowed and with gaps; masked values, NaN, and sums of all 48 bits."""
    dut, rng = RowSums(rows, lanes), random.Random(rows * 16 + lanes)
    expected: list[tuple[int, int, int]] = []  # cycle, sum, NaN
    seen: list[tuple[int, int, int]] = []
    cycle = 0

    async def bench(ctx):
        async def step():
            nonlocal cycle
            if ctx.get(dut.sum_valid):
                seen.append((cycle, ctx.get(dut.sum), ctx.get(dut.sum_nan)))
            await ctx.tick()
            cycle += 1

        for group in range(30):
            length = max(rows, rng.choice([1, rows, rng.randint(1, 12)]))
            sums, nans = [0] * rows, [0] * rows
            for step_index in range(length):
                mask = rng.getrandbits(rows * lanes)
                nan = rng.getrandbits(rows * lanes) if rng.random() < 0.1 else 0
                for index in range(rows * lanes):
                    value = rng.choice([rng.getrandbits(VALUE_BITS), (1 << VALUE_BITS) - 1])
                    ctx.set(dut.value[index], value)
                    sums[index // lanes] += value * (mask >> index & 1)
                    nans[index // lanes] |= mask >> index & nan >> index & 1
                ctx.set(dut.valid, 1)
                ctx.set(dut.first, step_index == 0)
                ctx.set(dut.last, step_index == length - 1)
                ctx.set(dut.mask, mask)
                ctx.set(dut.nan, nan)
                if step_index == length - 1:
                    expected.extend((cycle + dut.latency + row, sums[row], nans[row]) for row in range(rows))
                await step()
            for _ in range(rng.choice([0, 0, 3]) if group < 29 else rows + 4):
                ctx.set(dut.valid, 0)
                await step()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(expected) == 30 * rows
    assert seen == expected


@pytest.mark.smoke
def test_the_longest_row_fits():
    assert (1 << VALUE_BITS) - 1 << 15 < 1 << SUM_BITS
