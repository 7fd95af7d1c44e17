"""Bench of the AXI memory model: a copier exercises it, a mindless manager breaks every rule it checks."""

import os
import random
import time
from itertools import pairwise
from typing import Any

import cocotb
import numpy as np
from amla.tb.host.axi import AxiMemory
from amla.tb.host.gm import GlobalMemory, PlannedError, Response
from amla.tb.signals import Pin
from amla.tb.stream import reset, start_clock
from cocotb.triggers import ClockCycles, RisingEdge

BURST_BEATS = 16


async def copy(dut, memory: AxiMemory, source: int, target: int, bursts: int) -> int:
    """Run the copier; return its cycles."""
    begin = memory.cycle()
    for name, value in {"source": source, "target": target, "bursts": bursts, "start": 1}.items():
        Pin(dut, name).set(value)
    await RisingEdge(dut.clk)
    Pin(dut, "start").set(0)
    await RisingEdge(dut.clk)
    await RisingEdge(dut.done)
    return memory.cycle() - begin


def make(dut, bursts: int, **options):
    """A memory with a random source block and an empty target block between guards."""
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    size = bursts * BURST_BEATS * Pin(dut, "m_axi_rdata").width // 8
    memory = GlobalMemory()
    source = memory.add(0x10000, rng.integers(0, 256, size, np.uint8), name="source")
    target = memory.add(0x8000000, bytes(size), name="target", guard=4096)
    return AxiMemory(dut, memory, **options), source, target


@cocotb.test(skip="COPIER" not in os.environ)
async def copies_exactly(dut):
    """Source and target agree for all kinds of latency and stalls, guard bytes survive."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    for latency, stall in (((1, 1), 0.0), ((30, 30), 0.0), ((1, 40), 0.0), ((1, 5), 0.4), ((5, 60), 0.7)):
        axi, source, target = make(dut, 20, latency=latency, stall=stall, rng=rng)
        await reset(dut)
        await copy(dut, axi, source.base, target.base, 20)
        assert axi.quiet
        assert np.array_equal(source.data, target.data)
        assert axi.traffic.read_bytes == axi.traffic.written_bytes == len(source.data)
        axi.memory.check_guards()
        axi.stop()


@cocotb.test(skip="COPIER" not in os.environ)
async def answers_at_its_latency(dut):
    """The first beat is sampled exactly ``latency`` cycles after its address, the rest back to back."""
    start_clock(dut)
    axi, source, target = make(dut, 1, latency=(17, 17))
    await reset(dut)
    task = cocotb.start_soon(copy(dut, axi, source.base, target.base, 1))
    edge, cycle = RisingEdge(dut.clk), 0
    address_at = 0
    beats: list[int] = []
    while len(beats) < BURST_BEATS:
        await edge
        cycle += 1
        if int(dut.m_axi_arvalid.value) and int(dut.m_axi_arready.value):
            address_at = cycle
        if int(dut.m_axi_rvalid.value) and int(dut.m_axi_rready.value):
            beats.append(cycle)
    assert beats == [address_at + 17 + i for i in range(BURST_BEATS)]
    await task


@cocotb.test(skip="COPIER" not in os.environ)
async def answers_errors_where_planned(dut):
    """A planned error hits its burst and beat only; an erroneous write stores nothing."""
    start_clock(dut)
    axi, source, target = make(dut, 8)
    await reset(dut)
    axi.memory.read_errors.append(PlannedError(Response.SLVERR, burst=3, beat=-1))
    axi.memory.write_errors.append(PlannedError(Response.DECERR, burst=5))
    await copy(dut, axi, source.base, target.base, 8)
    assert int(dut.read_errors.value) == 1 and int(dut.write_errors.value) == 1
    size = len(source.data) // 8
    hit = slice(5 * size, 6 * size)
    assert not target.data[hit].any()
    target.data[hit] = source.data[hit]
    assert np.array_equal(source.data, target.data)
    # Outside every region: DECERR on every beat, nothing stored.
    await copy(dut, axi, 0x4000000, 0x4000000, 2)
    assert int(dut.read_errors.value) == 2 * BURST_BEATS and int(dut.write_errors.value) == 2


@cocotb.test(skip="COPIER" not in os.environ)
async def model_is_fast(dut):
    """Host time per cycle at one R and one W beat per cycle, and when nothing moves."""
    start_clock(dut)
    axi, source, target = make(dut, 200)
    await reset(dut)
    started = time.perf_counter()
    cycles = await copy(dut, axi, source.base, target.base, 200)
    busy = (time.perf_counter() - started) / cycles
    started = time.perf_counter()
    await ClockCycles(dut.clk, 20000)
    idle = (time.perf_counter() - started) / 20000
    dut._log.info("per cycle: %.1f us streaming (%.2f beats per cycle), %.2f us idle",
                  busy * 1e6, 2 * 200 * BURST_BEATS / cycles, idle * 1e6)
    assert np.array_equal(source.data, target.data)
    assert cycles < 200 * BURST_BEATS * 1.2


class Manager:
    """Drives the pins of :class:`~amla.tb.designs.AxiPins`."""

    def __init__(self, dut):
        self.dut = dut
        self.size = (Pin(dut, "m_axi_rdata").width // 8).bit_length() - 1

    def drive(self, **values: int) -> None:
        """Set inputs; the outputs follow at the next edge."""
        for name, value in values.items():
            Pin(self.dut, name).set(value)

    def address(self, channel: str, address: int, beats: int, *, ident: int = 0, **other: int) -> None:
        """Offer a burst."""
        fields = {
            "id": ident,
            "addr": address,
            "len": beats - 1,
            "size": self.size,
            "burst": 1,
            "valid": 1,
            **other,
        }
        self.drive(**{f"{channel}{name}": value for name, value in fields.items()})

    async def cycles(self, count: int) -> None:
        """Let time pass."""
        await ClockCycles(self.dut.clk, count)


#: Name -> (text of the report, whether ready must be low, what is driven cycle by cycle).
BREACHES: dict[str, tuple[str, bool, list[dict[str, Any]]]] = {
    "boundary": ("ar: burst of 8 beats at 0x10fc0 crosses a 4 KiB boundary", False, [{"ar": (0x10FC0, 8)}]),
    "boundary_write": ("aw: burst of 8 beats at 0x10fc0 crosses a 4 KiB", False, [{"aw": (0x10FC0, 8)}]),
    "unaligned": ("is not aligned to 16 bytes", False, [{"ar": (0x10004, 1)}]),
    "burst_type": ("has burst type 2, expected INCR", False, [{"ar": (0x10000, 2), "arburst": 2}]),
    "narrow": ("has beats of 1 of 16 bytes", False, [{"ar": (0x10000, 2), "arsize": 0}]),
    "valid_fell": ("ar: valid fell", True, [{"ar": (0x10000, 1)}, {}, {"arvalid": 0}]),
    "write_valid_fell": ("w: valid fell", True, [{"wvalid": 1}, {}, {"wvalid": 0}]),
    "payload_changed": ("ar: payload changed", True, [{"ar": (0x10000, 1)}, {}, {"araddr": 0x10100}]),
    "write_data_changed": ("w: payload changed", True, [{"wvalid": 1, "wdata": 5}, {}, {"wdata": 6}]),
    "early_last": ("w: WLAST is 1 on beat 1 of 4", False,
                   [{"aw": (0x10000, 4), "wvalid": 1, "wlast": 0}, {"awvalid": 0, "wlast": 1}]),
    "missing_last": ("w: WLAST is 0 on beat 1 of 2", False,
                     [{"aw": (0x10000, 2), "wvalid": 1, "wlast": 0}, {"awvalid": 0}]),
}


class Recorder(AxiMemory):
    """A memory that notes breaches instead of failing."""

    def __init__(self, *args, **options):
        self.breaches: list[str] = []
        super().__init__(*args, **options)

    def fail(self, message: str) -> None:
        self.breaches.append(message)


@cocotb.test(skip="COPIER" in os.environ)
@cocotb.parametrize(breach=list(BREACHES))
async def names_the_broken_rule(dut, breach):
    """Every rule of the protocol that the model checks is reported when it is broken, and no other."""
    text, stalled, steps = BREACHES[breach]
    start_clock(dut)
    memory = GlobalMemory()
    memory.add(0x10000, bytes(0x10000))
    manager = Manager(dut)
    manager.drive(arvalid=0, awvalid=0, wvalid=0, wlast=0, rready=1, bready=1)
    await reset(dut)
    # The rules of stability speak only while ready is low.
    options = {"stall": 0.9999, "rng": random.Random(1)} if stalled else {}
    axi = Recorder(dut, memory, **options)
    if stalled:  # one transfer uses up the ready that is high at the start
        manager.address("ar", 0x10000, 1)
        manager.drive(wvalid=1)
        await manager.cycles(1)
        manager.drive(arvalid=0, wvalid=0)
        await manager.cycles(3)
    for step in steps:
        pins = dict(step)
        for channel in ("ar", "aw"):
            if channel in pins:
                manager.address(channel, *pins.pop(channel))
        manager.drive(**pins)
        await manager.cycles(1)
    manager.drive(arvalid=0, awvalid=0, wvalid=0)
    await manager.cycles(2)
    assert len(axi.breaches) == 1 and text in axi.breaches[0], f"expected {text!r}, got {axi.breaches}"


@cocotb.test(skip="COPIER" in os.environ)
async def accepts_good_bursts(dut):
    """Data before address, single beats, a burst up to a 4 KiB boundary, strobes: no breach, right bytes."""
    start_clock(dut)
    memory = GlobalMemory()
    region = memory.add(0x10000, bytes(0x10000))
    manager = Manager(dut)
    manager.drive(arvalid=0, awvalid=0, wvalid=0, wlast=0, rready=1, bready=1)
    await reset(dut)
    axi = Recorder(dut, memory)
    manager.drive(wvalid=1, wdata=0x11223344, wstrb=0b0101, wlast=1)
    await manager.cycles(1)
    manager.drive(wvalid=0)
    await manager.cycles(3)
    assert not region.data.any()
    manager.address("aw", 0x10000 + 0x1000 - (1 << manager.size), 1)
    manager.address("ar", 0x10000 + 0x1000 - (4 << manager.size), 4)
    await manager.cycles(1)
    manager.drive(awvalid=0, arvalid=0)
    await manager.cycles(40)
    written = region.data[0x1000 - (1 << manager.size):][:4]
    assert list(written) == [0x44, 0, 0x22, 0] and np.count_nonzero(region.data) == 2
    assert axi.quiet and not axi.breaches
    assert axi.traffic.read_bytes == 4 << manager.size and axi.traffic.written_bytes == 1 << manager.size


@cocotb.test(skip="COPIER" in os.environ)
async def interleaves_identifiers(dut):
    """R beats of two IDs mix, each ID keeps its order and its data."""
    start_clock(dut)
    rng = random.Random(cocotb.RANDOM_SEED)
    memory = GlobalMemory()
    content = np.random.default_rng(1).integers(0, 256, 0x4000, np.uint8)
    memory.add(0x10000, content)
    manager = Manager(dut)
    manager.drive(arvalid=0, awvalid=0, wvalid=0, rready=1, bready=1)
    await reset(dut)
    axi = Recorder(dut, memory, latency=(5, 5), interleave=True, rng=rng)
    size = 1 << manager.size
    expected: dict[int, list[int]] = {0: [], 1: []}
    got: dict[int, list[int]] = {0: [], 1: []}
    order: list[int] = []

    async def collect() -> None:
        while len(order) < 64:
            await RisingEdge(dut.clk)
            if int(dut.m_axi_rvalid.value):
                ident = int(dut.m_axi_rid.value)
                got[ident].append(int(dut.m_axi_rdata.value))
                order.append(ident)

    collector = cocotb.start_soon(collect())
    for number in range(8):
        ident, address = number % 2, 0x400 * number
        manager.address("ar", 0x10000 + address, 8, ident=ident)
        expected[ident] += [
            int.from_bytes(content[address + size * i :][:size].tobytes(), "little") for i in range(8)
        ]
        await manager.cycles(1)
    manager.drive(arvalid=0)
    await collector
    assert got == expected
    assert sum(a != b for a, b in pairwise(order)) > 8
    assert not axi.breaches
