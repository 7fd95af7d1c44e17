"""Bench of the interconnect alone: random traffic of all managers; every beat arrives once, unchanged, in its turn."""

import itertools
import random
from collections import Counter, deque

import cocotb
import numpy as np
from amla.tb.host.axi import AxiMemory
from amla.tb.host.gm import GlobalMemory, PlannedError, Response
from amla.tb.signals import Pin, has_pin
from amla.tb.stream import Scoreboard, StreamDriver, StreamMonitor, reset, start_clock, until
from cocotb.triggers import RisingEdge

PAGE = 4096
#: Pages of memory that all read from, and pages of its own that each manager writes to.
READ_PAGES, WRITE_PAGES = 4, 2
READ_BASE, WRITE_BASE = 0x10_0000, 0x20_0000
UNMAPPED = 0x80_0000
#: Bursts that the arbiter has taken, or takes, when another manager's burst comes.
TAKEN = 2

Burst = tuple[int, int, int]  # address, beats, ID


class Manager:
    """Drives one manager's channels and checks what comes back, ID by ID."""

    def __init__(self, bench: "Bench", number: int, *, stall: float, pause: float):
        dut, rng = bench.dut, bench.rng
        self.bench, self.number = bench, number
        self.base = WRITE_BASE + number * WRITE_PAGES * PAGE
        self.requests, self.addresses, self.data = (
            StreamDriver(dut, f"managers__{number}__{name}", dut.clk, rng=rng, stall=pause)
            for name in ("read__ar", "write__aw", "write__w"))
        self.beats, self.answers = (
            [Scoreboard(f"{kind} of manager {number}, ID {ident}") for ident in range(2)] for kind in ("R", "B"))
        self.beat_bits = 8 * bench.size + 3
        self.monitors = [
            StreamMonitor(dut, f"managers__{number}__read__r", dut.clk, rng=rng, stall=stall,
                          callback=lambda item: self.beats[item >> self.beat_bits].observe(item)),
            StreamMonitor(dut, f"managers__{number}__write__b", dut.clk, rng=rng, stall=stall,
                          callback=lambda item: self.answers[item >> 2].observe(item)),
        ]

    async def read(self, bursts: list[Burst]) -> None:
        """Request ``bursts``, and expect their beats."""
        size = self.bench.size
        for address, beats, ident in bursts:
            for beat, (content, response) in enumerate(self.bench.content(address, beats)):
                self.beats[ident].expect(content | response << 8 * size | (beat == beats - 1) << 8 * size + 2
                                         | ident << self.beat_bits)
            await self.requests.send(self.bench.request(address, beats, ident))

    async def write(self, bursts: list[Burst]) -> None:
        """Send ``bursts`` of random bytes and strobes, addresses and beats each at their own pace; expect answers."""
        bench, size = self.bench, self.bench.size
        beats_to_send = []
        for address, beats, ident in bursts:
            response = bench.write_response(address)
            self.answers[ident].expect(response | ident << 2)
            for beat in range(beats):
                content = bench.rng.randbytes(size)
                strobe = bench.rng.choice(((1 << size) - 1, bench.rng.getrandbits(size), 0))
                beats_to_send.append(int.from_bytes(content, "little") | strobe << 8 * size
                                     | (beat == beats - 1) << 9 * size)
                if response == Response.OKAY:
                    bench.expected.write(address + beat * size, content, strobe)
        sender = cocotb.start_soon(self.data.send_all(beats_to_send))
        for burst in bursts:
            await self.addresses.send(bench.request(*burst))
        await sender

    def finished(self) -> bool:
        """All that was asked for has come."""
        return all(board.next is None for board in (*self.beats, *self.answers))


class Bench:
    """All managers, the memory, what it must hold in the end, and what passed on both sides of the interconnect."""

    def __init__(self, dut, rng: random.Random, *, stall=0.0, pause=0.0, **memory):
        self.dut, self.rng = dut, rng
        self.count = next(n for n in range(1, 99) if not has_pin(dut, f"managers__{n}__read__ar__valid"))
        self.address_bits = Pin(dut, "m_axi_araddr").width
        self.size = Pin(dut, "m_axi_rdata").width // 8
        self.memory, self.expected = GlobalMemory(), GlobalMemory()
        generator = np.random.default_rng(rng.getrandbits(32))
        for base, pages in ((READ_BASE, READ_PAGES), (WRITE_BASE, WRITE_PAGES * self.count)):
            content = generator.integers(0, 256, pages * PAGE, np.uint8)
            self.memory.add(base, content)
            self.expected.add(base, content)
        # Bad: the first beat of a burst at the second page's begin, the third page, each manager's last 16 beats.
        self.bad_beat, self.bad_page = READ_BASE + PAGE, range(READ_BASE + 2 * PAGE, READ_BASE + 3 * PAGE)
        self.memory.read_errors += [
            PlannedError(Response.DECERR, addresses=range(self.bad_beat, self.bad_beat + 1), beat=0),
            PlannedError(Response.SLVERR, addresses=self.bad_page)]
        self.bad_ends = [range(end - 16 * self.size, end) for end in (
            WRITE_BASE + (number + 1) * WRITE_PAGES * PAGE for number in range(self.count))]
        self.memory.write_errors += [PlannedError(Response.SLVERR, addresses=end) for end in self.bad_ends]
        self.axi = AxiMemory(dut, self.memory, stall=stall, rng=rng, **memory)
        self.managers = [Manager(self, number, stall=stall, pause=pause) for number in range(self.count)]
        #: Channel -> managers of the bursts on the bus, with their cycles; per manager, cycles at its port.
        self.bus: dict[str, list[tuple[int, int]]] = {"ar": [], "aw": []}
        self.ports: dict[str, list[list[int]]] = {channel: [[] for _ in self.managers] for channel in self.bus}
        self.ids: dict[str, list[int]] = {"aw": [], "r": [], "b": []}  # of each transfer on the bus
        self._tasks = [cocotb.start_soon(self._watch())]

    def request(self, address: int, beats: int, ident: int) -> int:
        """Payload of AR and AW."""
        return address | beats - 1 << self.address_bits | ident << self.address_bits + 8

    def content(self, address: int, beats: int) -> list[tuple[int, int]]:
        """Word and response of each beat of a read burst."""
        if self.memory.find(address, beats * self.size) is None:
            return [(0, Response.DECERR)] * beats
        end = address + beats * self.size
        data = self.memory.read(address, beats * self.size).tobytes()
        answers = []
        for beat in range(beats):
            response = Response.OKAY
            if address <= self.bad_beat < end and beat == 0:
                response = Response.DECERR
            if address < self.bad_page.stop and end > self.bad_page.start:
                response = Response.SLVERR
            answers.append((int.from_bytes(data[beat * self.size:(beat + 1) * self.size], "little"), response))
        return answers

    def write_response(self, address: int) -> int:
        """Response to a write burst, which lies in or outside of the bad ends as a whole."""
        if self.memory.find(address, self.size) is None:
            return Response.DECERR
        return Response.SLVERR if any(address in end for end in self.bad_ends) else Response.OKAY

    def burst(self, base: int, pages: int, *, step: int = 1) -> Burst:
        """A random burst in one of the pages, now and then elsewhere; address and length are multiples of ``step``."""
        beats = self.rng.choice((1, 2, self.rng.randint(1, 17)))
        slots = PAGE // self.size
        if step > 1:
            beats, slots = min(beats, step), slots // step
            page, slot = self.rng.randrange(pages) * PAGE, self.rng.randrange(slots) * step
        else:
            page, slot = self.rng.randrange(pages) * PAGE, self.rng.randrange(slots - beats + 1)
        if self.rng.random() < 0.05:
            base = UNMAPPED
        return base + page + slot * self.size, beats, self.rng.getrandbits(1)

    async def run(self, reads: list[list[Burst]], writes: list[list[Burst]]) -> None:
        """All managers at once, until all that they asked for has come."""
        tasks = [cocotb.start_soon(work) for manager, mine, others in zip(self.managers, reads, writes, strict=True)
                 for work in (manager.read(mine), manager.write(others))]
        for task in tasks:
            await task
        await until(self.dut, lambda: all(manager.finished() for manager in self.managers), "all answers")

    def finish(self) -> None:
        """Nothing is left, nothing else was written, and every turn was fair."""
        assert self.axi.quiet
        for region, wanted in zip(self.memory.regions, self.expected.regions, strict=True):
            different = np.flatnonzero(region.data != wanted.data)
            assert not len(different), \
                f"{len(different)} bytes of memory are wrong, the first is {region.base + different[0]:#x}"
        self.check_turns()

    def check_turns(self) -> Counter:
        """Each burst waits for one of every other manager at most, and for those that had been taken before it came.

        Returns how many bursts waited for how many.
        """
        waits: Counter = Counter()
        for channel, bus in self.bus.items():
            arrivals = [deque(cycles) for cycles in self.ports[channel]]
            last = [-1] * self.count
            for position, (cycle, number) in enumerate(bus):
                came = max(arrivals[number].popleft(), last[number])  # to the arbiter
                before = [other for at, other in bus[:position] if at > came]
                waits[len(before)] += 1
                assert len(before) <= self.count - 1 + TAKEN, \
                    f"{channel}: manager {number} waited for bursts of {before} from cycle {came} to {cycle}"
                last[number] = cycle
            assert not any(arrivals), f"{channel}: bursts that never reached the bus"
        return waits

    def stop(self) -> None:
        """Stop everything."""
        self.axi.stop()
        for task in self._tasks:
            task.cancel()
        for manager in self.managers:
            for monitor in manager.monitors:
                monitor.stop()

    async def _watch(self) -> None:
        def pins(prefix: str, *names: str) -> list:
            return [Pin(self.dut, f"{prefix}{name}").get for name in names]

        bus = {channel: pins(f"m_axi_{channel}", "valid", "ready", "id") for channel in self.bus}
        ports = {channel: [pins(f"managers__{number}__{path}__", "valid", "ready") for number in range(self.count)]
                 for channel, path in (("ar", "read__ar"), ("aw", "write__aw"))}
        channels = {channel: pins(f"m_axi_{channel}", "valid", "ready", "id") for channel in self.ids}
        while True:
            await RisingEdge(self.dut.clk)
            now = self.axi.cycle()
            for channel, (has, takes, name) in bus.items():
                if has() and takes():
                    self.bus[channel].append((now, name() >> 1))
                for number, (offers, accepts) in enumerate(ports[channel]):
                    if offers() and accepts():
                        self.ports[channel][number].append(now)
            for channel, (valid, ready, ident) in channels.items():
                if valid() and ready():
                    self.ids[channel].append(ident())


async def begin(dut, **options) -> Bench:
    bench = Bench(dut, random.Random(cocotb.RANDOM_SEED), **options)
    start_clock(dut)
    await reset(dut)
    return bench


@cocotb.test()
async def everything_arrives(dut):
    """Random reads and writes of all managers with stalls on every handshake, errors, answers out of order."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    for options in ({}, {"latency": (1, 20), "stall": 0.3, "interleave": True, "pause": 0.2},
                    {"latency": (1, 60), "stall": 0.6, "interleave": True, "pause": 0.6},
                    {"latency": (5, 40), "stall": 0.1, "pause": 0.8}):
        bench = Bench(dut, rng, **options)
        await reset(dut)
        await bench.run([[bench.burst(READ_BASE, READ_PAGES) for _ in range(40)] for _ in bench.managers],
                        [[bench.burst(manager.base, WRITE_PAGES, step=16) for _ in range(40)]
                         for manager in bench.managers])
        bench.finish()
        for manager in bench.managers:
            for board in (*manager.beats, *manager.answers):
                board.finish()
        if "interleave" in options:
            changes = sum(a != b for a, b in itertools.pairwise(bench.ids["r"]))
            assert changes > len(bench.bus["ar"]), "the beats of different IDs never interleaved"
            assert bench.ids["b"] != bench.ids["aw"], "no response overtook another's"
        bench.stop()


@cocotb.test()
async def turns_are_fair(dut):
    """Managers that always request alternate strictly, on both channels."""
    bench = await begin(dut)
    rounds = 40
    await bench.run([[(READ_BASE, bench.rng.randint(1, 8), 0) for _ in range(rounds)] for _ in bench.managers],
                    [[(manager.base, bench.rng.randint(1, 8), 0) for _ in range(rounds)] for manager in bench.managers])
    for channel, bus in bench.bus.items():
        steady = [number for _, number in bus][2 * bench.count:(rounds - 1) * bench.count]
        for position in range(len(steady) - bench.count + 1):
            window = steady[position:position + bench.count]
            assert len(set(window)) == bench.count, f"{channel}: turns {steady}"
    bench.finish()
    dut._log.info("bursts by how many others went before them: %s", dict(sorted(bench.check_turns().items())))
    bench.stop()


@cocotb.test()
async def a_late_manager_waits_one_turn(dut):
    """Beside one that requests without pause, a burst comes after at most one of its bursts and those taken before."""
    bench = await begin(dut, latency=(3, 3))
    late = bench.managers[-1]
    first = bench.managers[0]
    busy = [cocotb.start_soon(work) for work in (first.read([(READ_BASE, 4, 0)] * 80),
                                                 first.write([(first.base, 4, 0)] * 80))]
    for _ in range(5):
        for _ in range(bench.rng.randint(5, 25)):
            await RisingEdge(dut.clk)
        await late.read([(READ_BASE, 1, 1)])
        await late.write([(late.base, 1, 1)])
    for task in busy:
        await task
    await until(dut, lambda: all(manager.finished() for manager in bench.managers), "all answers")
    bench.finish()
    waits = bench.check_turns()
    assert waits[1] + waits[2] + waits[3] >= 5, f"nobody waited: {waits}"
    bench.stop()


@cocotb.test()
async def a_transfer_per_cycle(dut):
    """One manager, and all of them: an AR, an AW, an R beat, a W beat and a B in every cycle, whatever the bursts."""
    bench = await begin(dut)
    for beats, active in ((1, 1), (1, bench.count), (16, 1), (16, bench.count)):
        number = 240 // beats // active
        before = bench.axi.cycle()
        reads: list[list[Burst]] = [[] for _ in bench.managers]
        writes: list[list[Burst]] = [[] for _ in bench.managers]
        for manager in bench.managers[:active]:
            reads[manager.number] = [(READ_BASE, beats, 0)] * number
            writes[manager.number] = [(manager.base, beats, 0)] * number
        await bench.run(reads, writes)
        cycles, transfers = bench.axi.cycle() - before, number * beats * active
        assert cycles <= transfers + 32, f"{cycles} cycles for {transfers} beats, bursts of {beats}, {active} active"
    bench.finish()
    bench.stop()


@cocotb.test()
async def latency_is_as_stated(dut):
    """Two cycles on each channel: a lone burst's first beat comes four cycles later than from memory beside."""
    bench = await begin(dut, latency=(7, 7))
    manager = bench.managers[-1]
    for _ in range(3):
        await manager.read([(READ_BASE, 1, 0)])
        sent = bench.axi.cycle()
        count = len(manager.monitors[0].items)
        await manager.monitors[0].wait(count + 1)
        assert bench.axi.cycle() - sent == 7 + 4
        await manager.write([(manager.base, 1, 0)])
        sent = bench.axi.cycle()
        count = len(manager.monitors[1].items)
        await manager.monitors[1].wait(count + 1)
        assert bench.axi.cycle() - sent == 7 + 5
    bench.stop()


@cocotb.test()
async def strange_answers_are_dropped(dut):
    """Beats and responses of an ID whose upper bits are no manager's are taken and shown to nobody."""
    bench = await begin(dut)
    bench.axi.stop()
    for channel in "rb":
        ident, valid, ready = (Pin(dut, f"m_axi_{channel}{name}") for name in ("id", "valid", "ready"))
        strange = range(2 * bench.count, 1 << ident.width)
        for name in strange:
            ident.set(name)
            valid.set(1)
            for _ in range(20):
                await RisingEdge(dut.clk)
                assert ready.get()
        valid.set(0)
        for _ in range(10):
            await RisingEdge(dut.clk)
    assert not any(monitor.items for manager in bench.managers for monitor in manager.monitors)
    bench.stop()
