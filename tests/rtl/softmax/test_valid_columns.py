# amaranth: UnusedElaboratable=no
"""ValidColumns against its definition, in Amaranth's simulator."""

import random

import pytest
from amaranth.sim import Simulator
from amla.rtl.softmax.valid_columns import ValidColumns


def expected(row: int, *, limit: int, heads: int, head0: int) -> int:
    tokens = min(15, (row + head0) // heads) if heads else 0
    return max(0, limit + tokens)


def cases(rng: random.Random):
    yield 2**23 - 1, 1, 65535, 3
    yield -2**23, 0, 65535, 3
    yield -2, 1, 0, 4
    yield 0, 0, 5, 2
    yield 7, 65535, 65535, 3
    for limit in (0, 5, -9, -16, 2**23 - 1):
        for heads in (1, 2, 3, 7):
            yield limit, heads, rng.randrange(heads), 20 * heads  # every token, and past the last one
    for _ in range(60):
        yield (rng.choice([rng.randrange(-8, 40), rng.randrange(-2**23, 2**23)]),
               rng.choice([rng.randrange(0, 12), rng.randrange(65536)]),
               rng.choice([rng.randrange(0, 12), rng.randrange(65536)]), rng.randrange(1, 12))


@pytest.mark.smoke
@pytest.mark.parametrize("m", [1, 2, 4, 8])
def test_matches_definition(m):
    dut = ValidColumns(m)

    rng = random.Random(m)

    async def bench(ctx):
        for limit, heads, head0, cycles in cases(rng):
            ctx.set(dut.start, 1)
            ctx.set(dut.advance, 1)
            ctx.set(dut.head0, head0)
            ctx.set(dut.heads, heads)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.head0, head0 ^ 0x55)
            ctx.set(dut.heads, heads ^ 0x55)
            ctx.set(dut.limit, limit)
            group = 0
            for _ in range(cycles):
                advance = rng.randrange(2)
                ctx.set(dut.advance, advance)
                await ctx.tick()
                rows = range(group * m, group * m + m)
                assert [ctx.get(columns) for columns in dut.columns] == [
                    expected(row, limit=limit, heads=heads, head0=head0) for row in rows]
                group += advance

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("m", [0, -1, 1.5, "4"])
def test_rejects_row_count(m):
    with pytest.raises(ValueError, match=r"positive integer, not"):
        ValidColumns(m)
