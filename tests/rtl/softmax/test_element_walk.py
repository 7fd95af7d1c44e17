"""ElementWalk against three nested loops, in Amaranth's simulator."""

import random

import pytest
from amaranth.sim import Simulator
from amla.rtl.softmax.element_walk import ElementWalk

MAX_PARTS = 8


def walk(fields):
    """What stands at the outputs, lane group by lane group."""
    for row_group in range(fields["row_groups"]):
        for block in range(fields["blocks"]):
            for part in range(fields["parts"]):
                group = block * fields["parts"] + part
                row_target = row_group * (fields["blocks"] if fields["linear"] else fields["target_pitch"])
                block_end = part == fields["parts"] - 1
                row_end = block_end and block == fields["blocks"] - 1
                yield {
                    "source_word": fields["source"] + row_group * fields["pitch"] + (
                        group // 2 if fields["halves"] else group),
                    "target_word": fields["target"] + row_target + block,
                    "group": group, "part": part, "half": fields["halves"] and group % 2, "block_end": block_end,
                    "row_start": group == 0, "row_end": row_end,
                    "last": row_end and row_group == fields["row_groups"] - 1,
                }


@pytest.mark.smoke
def test_walks():
    """Random tiles, one abandoned on the way, with lane groups that wait."""
    dut, rng = ElementWalk(max_parts=MAX_PARTS, depth_bits=18), random.Random(7)
    compared = 0

    async def bench(ctx):
        nonlocal compared
        for tile in range(40):
            fields = {
                "row_groups": rng.randint(1, 3), "blocks": rng.randint(1, 4),
                "parts": rng.randint(1, MAX_PARTS),
                "source": rng.getrandbits(16), "pitch": rng.choice([0, rng.randint(0, 40), 65535]),
                "target": rng.getrandbits(24), "target_pitch": rng.getrandbits(16),
                "linear": rng.getrandbits(1), "halves": rng.getrandbits(1),
            }
            for name, value in fields.items():
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for expected in walk(fields):
                assert ctx.get(dut.active)
                while rng.random() < 0.3:
                    await ctx.tick()
                assert {name: ctx.get(getattr(dut, name)) for name in expected} == expected
                compared += 1
                ctx.set(dut.issue, 1)
                await ctx.tick()
                ctx.set(dut.issue, 0)
                if tile % 8 == 5 and expected["group"] == 2:
                    break
            else:
                assert not ctx.get(dut.active)

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert compared > 300
