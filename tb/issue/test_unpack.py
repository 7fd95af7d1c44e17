"""Bench of the expander: random halfwords against :func:`amla.sw.compiler.packing.unpack`."""

import random

import cocotb
from amla.rtl.isa import GIVEN, Opcode
from amla.sw.compiler.packing import unpack
from amla.tb.stream import StreamDriver, StreamMonitor, reset, start_clock
from cocotb.triggers import RisingEdge


def _commands(rng, count):
    """Commands as lists of halfwords: all heads, masks from nothing to everything, few references in a row."""
    heads = [opcode | flags << 8 for opcode in Opcode for flags in (0, 1)]
    commands = []
    for _ in range(count):
        head = rng.choice(heads[:4] if rng.random() < 0.5 else heads) if rng.random() < 0.9 else rng.getrandbits(16)
        mask = rng.choice((0, rng.getrandbits(16), rng.getrandbits(16) & rng.getrandbits(16), 0xFFFF))
        given = (mask & (1 << GIVEN) - 1).bit_count()
        commands.append([head, mask, *(rng.getrandbits(16) for _ in range(given))])
    return commands


@cocotb.test()
async def expands_like_the_model(dut):
    """Back to back and with random pauses on both sides; after a reset nothing is remembered."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    for stalls in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.3, 0.3)):
        driver = StreamDriver(dut, "halfword", dut.clk, rng=rng, stall=stalls[0])
        monitor = StreamMonitor(dut, "command", dut.clk, rng=rng, stall=stalls[1])
        await reset(dut)
        halfwords = [halfword for command in _commands(rng, 600) for halfword in command]
        expected = list(unpack(halfwords))
        await driver.send_all(halfwords)
        await monitor.wait(len(expected))
        assert monitor.items == expected
        monitor.stop()


@cocotb.test()
async def takes_two_cycles_and_one_for_each_halfword(dut):
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    driver, monitor = StreamDriver(dut, "halfword", dut.clk), StreamMonitor(dut, "command", dut.clk)
    await reset(dut)
    commands = _commands(rng, 300)
    sender = cocotb.start_soon(driver.send_all(halfword for command in commands for halfword in command))
    cycles = 0
    while len(monitor.items) < len(commands):
        await RisingEdge(dut.clk)
        cycles += 1
    await sender
    expected = sum(2 + max(1, len(command) - 2) for command in commands)
    assert 0 <= cycles - expected <= 3, f"{cycles} cycles, expected {expected}"
