"""Bench of the bench: stream driver, monitor, scoreboard and memory model around a design that uses them all.

The design (``tb/designs.py``) is a lookup: it takes an address, reads a table through a read port and
gives the word; a second stream writes grains of the table.
"""

import os
import random

import cocotb
from amla.tb.memory import SyncMemory
from amla.tb.stream import Scoreboard, StreamDriver, StreamMonitor, reset, start_clock
from cocotb.triggers import RisingEdge

WORDS, WIDTH, GRAINS = 24, 40, 5


@cocotb.test()
async def lookup_matches_its_table(dut):
    """Random writes, then random lookups, in order, for several pause patterns."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    memory = SyncMemory(dut, "table_read", WORDS, width=WIDTH, writes="table_write")
    for stall in (0.0, 0.3, 0.8):
        await reset(dut)
        table = [rng.getrandbits(WIDTH) for _ in range(WORDS)]
        memory.storage[:] = table
        writes = StreamDriver(dut, "write", dut.clk, rng=rng, stall=stall)
        for _ in range(50):
            address, mask, data = rng.randrange(WORDS), rng.getrandbits(GRAINS), rng.getrandbits(WIDTH)
            await writes.send(address | mask << 5 | data << 10)
            for grain in range(GRAINS):
                if mask >> grain & 1:
                    ones = 0xFF << 8 * grain
                    table[address] = table[address] & ~ones | data & ones
        await RisingEdge(dut.clk)
        await RisingEdge(dut.clk)
        assert memory.storage == table
        board = Scoreboard("lookup")
        monitor = StreamMonitor(dut, "result", dut.clk, rng=rng, stall=stall, callback=board.observe)
        driver = StreamDriver(dut, "request", dut.clk, rng=rng, stall=stall)
        addresses = [rng.randrange(WORDS) for _ in range(200)]
        board.expect(*(table[address] for address in addresses))
        await driver.send_all(addresses)
        await monitor.wait(len(addresses))
        monitor.stop()
        board.finish()
        assert monitor.items == [table[address] for address in addresses]
    assert memory.writes_done <= 150 and memory.reads_done >= 600


@cocotb.test()
async def sustained_throughput(dut):
    """Without pauses driver, design and monitor move one transfer per cycle."""
    start_clock(dut)
    SyncMemory(dut, "table_read", WORDS, width=WIDTH, writes="table_write", storage=list(range(WORDS)))
    await reset(dut)
    monitor = StreamMonitor(dut, "result", dut.clk)
    driver = StreamDriver(dut, "request", dut.clk)
    start = cocotb.utils.get_sim_time("ns")
    await driver.send_all([index % WORDS for index in range(100)])
    await monitor.wait(100)
    assert (cocotb.utils.get_sim_time("ns") - start) / 2 <= 103
    assert monitor.items == [index % WORDS for index in range(100)]


@cocotb.test()
async def read_sees_the_old_word(dut):
    """A lookup in the cycle of a write to the same word gives the old word, the next one the new."""
    start_clock(dut)
    memory = SyncMemory(dut, "table_read", WORDS, width=WIDTH, writes="table_write")
    await reset(dut)
    memory.storage[3] = 0xAA
    monitor = StreamMonitor(dut, "result", dut.clk)
    lookups = StreamDriver(dut, "request", dut.clk)
    writes = StreamDriver(dut, "write", dut.clk)
    task = cocotb.start_soon(lookups.send_all([3, 3]))
    await writes.send(3 | 0b11111 << 5 | 0x55 << 10)
    await task
    await monitor.wait(2)
    assert monitor.items == [0xAA, 0x55]


@cocotb.test()
async def scoreboard_names_the_mismatch(dut):
    """A wrong value fails at once, with its index and both values."""
    board = Scoreboard("values")
    board.expect(1, 2, 3)
    board.observe(1)
    try:
        board.observe(7)
    except AssertionError as error:
        assert str(error).startswith("values: transaction 1 is 0x7, expected 0x2")
    else:
        raise AssertionError("the scoreboard accepted 7 for 2")


@cocotb.test()
async def scoreboard_fails_on_leftovers_and_on_nothing(dut):
    """``finish`` bites for a missing, an unexpected and no transaction."""
    for expect, observe, text in (
        ([1], [], "never came"),
        ([], [1], "unexpected"),
        ([], [], "no transaction seen"),
    ):
        board = Scoreboard("values")
        board.expect(*expect)
        for value in observe:
            board.observe(value)
        try:
            board.finish()
        except AssertionError as error:
            assert text in str(error)
        else:
            raise AssertionError(f"finish accepted {expect} against {observe}")


@cocotb.test(skip="HANGS" not in os.environ)
async def waits_for_ever(dut):
    """What never comes: the limit that came with the clock ends it."""
    start_clock(dut, cycles=1000)
    await StreamMonitor(dut, "result", dut.clk).wait(1)
