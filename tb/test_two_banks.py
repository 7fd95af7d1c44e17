"""Bench of the two banks: random writes and reads of both readers against a list of words."""

import os
import random

import cocotb
from amla.tb.signals import Pin
from amla.tb.stream import reset, start_clock
from cocotb.triggers import ReadOnly, RisingEdge

DEPTH = int(os.environ["BENCH_DEPTH"])


@cocotb.test()
async def like_a_memory_of_two_read_ports(dut):
    """Words come in the cycle after, as before a write of the same cycle; the other reader waits for its bank only."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    pin = {f"{port}_{name}": Pin(dut, f"{port}__{name}") for port in ("write", "read", "other")
           for name in ("addr", "en", "data")}
    ready = Pin(dut, "other_ready")
    for port in ("write", "read", "other"):
        pin[f"{port}_en"].set(0)
    await reset(dut)
    words: list[int | None] = [None] * DEPTH  # None: never written
    due: dict[str, int | None] = {"read": None, "other": None}
    waited = compared = 0
    for _ in range(4000):
        write = rng.random() < 0.5
        address, data = rng.randrange(DEPTH), rng.getrandbits(24)
        pin["write_en"].set(int(write))
        pin["write_addr"].set(address)
        pin["write_data"].set(data)
        reads = {"read": rng.random() < 0.7, "other": False}
        places = {port: rng.randrange(DEPTH) for port in reads}
        pin["read_en"].set(int(reads["read"]))
        for port, place in places.items():
            pin[f"{port}_addr"].set(place)
        free = not reads["read"] or places["read"] % 2 != places["other"] % 2
        reads["other"] = free and rng.random() < 0.8
        pin["other_en"].set(int(reads["other"]))
        waited += not free
        await ReadOnly()
        assert ready.get() == free
        for port, word in due.items():
            if word is not None:
                assert pin[f"{port}_data"].get() == word, port
                compared += 1
        due = {port: words[places[port]] if reads[port] else None for port in reads}
        if write:
            words[address] = data
        await RisingEdge(dut.clk)
    assert compared > 2000 and waited > 500
