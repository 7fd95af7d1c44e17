"""Bench of the AXI memory model: a copier exercises it, a mindless manager breaks every rule it checks."""

import os
import random
import time
from itertools import pairwise
from typing import Any

import cocotb
import numpy as np
from amla.sw.memory.preset import IDEAL, Memory
from amla.sw.memory.timing import Timing
from amla.tb.host.axi import AxiMemory
from amla.tb.host.gm import GlobalMemory, PlannedError, Response
from amla.tb.signals import Pin
from amla.tb.stream import reset, start_clock
from cocotb.triggers import ClockCycles, RisingEdge

BURST_BEATS = 16

PRESETS = {name: Memory.load(name) for name in ("ideal", "far", "hbm", "slow")}
HBM = PRESETS["hbm"]


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
    """Source and target agree for all kinds of memory and stalls, guard bytes survive."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    for latency, stall, preset in (((1, 1), 0.0, IDEAL), ((30, 30), 0.0, IDEAL), ((1, 40), 0.0, IDEAL),
                                   ((1, 5), 0.4, IDEAL), ((5, 60), 0.7, IDEAL), (None, 0.0, HBM), (None, 0.4, HBM),
                                   ((100, 400), 0.1, HBM)):
        axi, source, target = make(dut, 20, preset=preset, latency=latency, stall=stall, rng=rng)
        await reset(dut)
        await copy(dut, axi, source.base, target.base, 20)
        assert axi.quiet
        assert np.array_equal(source.data, target.data)
        assert axi.traffic.read_bytes == axi.traffic.written_bytes == len(source.data)
        axi.memory.check_guards()
        axi.stop()


async def watch(dut, cycles: int) -> dict[str, list[int]]:
    """Cycles of the next ``cycles`` in which each channel of the copier transferred something."""
    seen: dict[str, list[int]] = {name: [] for name in ("ar", "r", "aw", "w", "b")}
    pins = {name: (Pin(dut, f"m_axi_{name}valid"), Pin(dut, f"m_axi_{name}ready")) for name in seen}
    for cycle in range(cycles):
        await RisingEdge(dut.clk)
        for name, (valid, ready) in pins.items():
            if valid.get() and ready.get():
                seen[name].append(cycle)
    return seen


@cocotb.test(skip="COPIER" not in os.environ)
@cocotb.parametrize(name=[*PRESETS, "17"])
async def answers_in_its_cycles(dut, name):
    """A lone burst's first beat is sampled exactly ``latency`` cycles after its address; of a stream every beat and
    every response in the cycle that the timing model gives it."""
    start_clock(dut)
    preset = PRESETS.get(name) or Memory(name=name, latency=17)
    axi, source, target = make(dut, 12, preset=preset)
    beat, bursts = Pin(dut, "m_axi_rdata").width // 8, BURST_BEATS * Pin(dut, "m_axi_rdata").width // 8
    await reset(dut)
    axi.restart()
    task = cocotb.start_soon(copy(dut, axi, source.base, target.base, 1))
    seen = await watch(dut, 3 * preset.latency + 200)
    await task
    times = [seen["ar"][0] + preset.latency + index for index in range(BURST_BEATS)]
    if preset.bytes_per_cycle is None:
        assert seen["r"] == times and seen["b"] == [seen["w"][-1] + preset.latency]
    else:
        assert seen["r"][0] == times[0] and seen["r"][-1] - times[0] >= (bursts - beat) // preset.rate(beat)
        assert seen["b"][0] > seen["w"][-1] + preset.latency

    axi.restart()
    task = cocotb.start_soon(copy(dut, axi, source.base, target.base, 12))
    seen = await watch(dut, 12 * (3 * preset.latency + 200))
    await task
    timing = Timing(preset, beat, start=-1)  # the cycle before the first one watched
    events = sorted([(cycle, 0, number) for number, cycle in enumerate(seen["ar"])]
                    + [(cycle, 1, number) for number, cycle in enumerate(seen["w"][BURST_BEATS - 1::BURST_BEATS])])
    expected: dict[str, list[int]] = {"r": [], "b": []}
    for cycle, write, number in events:
        if write:
            expected["b"].append(timing.write(0, target.base + number * bursts, bursts, cycle))
        else:
            expected["r"] += timing.read(0, source.base + number * bursts, bursts, cycle)
    assert {name: seen[name] for name in expected} == expected
    assert len(expected["r"]) == 12 * BURST_BEATS and len(expected["b"]) == 12


@cocotb.test(skip="COPIER" not in os.environ)
async def begins_anew(dut):
    """What comes does not depend on what was: a copy takes the same cycles behind any with stalls."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    axi, source, target = make(dut, 3)
    await reset(dut)
    first = await copy(dut, axi, source.base, target.base, 3)
    for _ in range(10):
        axi.behave(latency=(1, 20), stall=0.5, rng=rng)
        await copy(dut, axi, source.base, target.base, 3)
        axi.behave()
        assert await copy(dut, axi, source.base, target.base, 3) == first


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
    await manager.cycles(2)
    turns = axi.traffic.reads  # one after the other, although the bursts are not
    assert all(a[1] < b[0] for a, b in pairwise(turns)) and axi.traffic.read_bytes == 64 * size


@cocotb.test(skip="COPIER" in os.environ, timeout_time=200, timeout_unit="us")
async def identifiers_pass_each_other(dut):
    """Answers of two IDs: in order within each, one before the other where memory has it sooner, none before its cycle,
    and none later unless the bus was busy from then on."""
    start_clock(dut)
    rng = random.Random(cocotb.RANDOM_SEED)
    memory = GlobalMemory()
    memory.add(0, bytes(1 << 20))
    manager = Manager(dut)
    manager.drive(arvalid=0, awvalid=0, wvalid=0, rready=1, bready=1)
    await reset(dut)
    axi = Recorder(dut, memory, preset=HBM)
    valid, ident = Pin(dut, "m_axi_rvalid"), Pin(dut, "m_axi_rid")
    got: dict[int, list[int]] = {0: [], 1: []}

    async def collect() -> None:
        while True:
            await RisingEdge(dut.clk)
            if valid.get():
                got[ident.get()].append(axi.cycle())

    cocotb.start_soon(collect())
    timing = Timing(HBM, 1 << manager.size, start=axi.cycle())
    expected: dict[int, list[int]] = {0: [], 1: []}
    # Row 31 lies in the bank of row 0, which has to be closed first: memory waits for it, and meanwhile the next ID's
    # row is asked for and open sooner.
    requests = [(0, 0, 1), (0, 497 * 256, 1), (1, 4096, 4)]
    pauses = [600, 4, 600] + [rng.choice((0, 0, 0, 5, 300)) for _ in range(100)]
    requests += [(rng.randrange(2), rng.randrange(256) * 4096, rng.choice((1, 2, 8, 64))) for _ in range(100)]
    for number, ((name, address, beats), pause) in enumerate(zip(requests, pauses, strict=True)):
        manager.address("ar", address, beats, ident=name)
        await manager.cycles(1)
        manager.drive(arvalid=0)
        # Taken at the edge after the one that passed it on.
        expected[name] += timing.read(name, address, beats << manager.size, axi.cycle() + 1)
        await manager.cycles(pause)
        if number == 2:
            assert got == expected and expected[0][1] > expected[1][-1]
    await manager.cycles(2000)
    assert {name: len(times) for name, times in got.items()} == {name: len(times) for name, times in expected.items()}
    busy = {*got[0], *got[1]}
    for name, times in got.items():
        for mine, earliest in zip(times, expected[name], strict=True):
            assert mine >= earliest and busy.issuperset(range(earliest, mine))
    assert axi.quiet and not axi.breaches
