"""Bench of the store engine: random commands against a model of its bursts, beats and memory.

Every burst address and every beat is compared in order, and all of GM with its guard bytes in the end;
all AXI channels stall at random.
"""

import random
from collections import deque
from dataclasses import dataclass

import cocotb
import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.isa import FLAGS, LAYOUTS, Fault, Opcode
from amla.rtl.issue.dispatch import MAX_UNFINISHED
from amla.tb.engines.configurations import bench_configuration
from amla.tb.engines.wraps import wraps
from amla.tb.host.axi import AxiMemory
from amla.tb.host.gm import GlobalMemory, PlannedError, Response
from amla.tb.memory import SyncMemory
from amla.tb.signals import Pin
from amla.tb.stream import Scoreboard, StreamDriver, reset, start_clock
from amla.tb.transfer.bursts import expected_bursts, longest_burst
from amla.tb.transfer.memory_bench import MemoryBench
from cocotb.triggers import RisingEdge

CONFIG = bench_configuration()
GM_BYTES = 1 << 16

#: Beats that may be in flight, and of the longest burst.
IN_FLIGHT = CONFIG.axi_in_flight_bytes // CONFIG.axi_data_bytes
LONGEST = longest_burst(CONFIG.axi_data_bytes)


@dataclass(kw_only=True)
class Command:
    """One STORE in numbers."""

    address: int
    pitch: int = 0
    rows: int
    cols: int = 0
    out: int = 0
    out_pitch: int = 0
    lse: bool = False

    def encode(self) -> int:
        layout = LAYOUTS[Opcode.STORE]
        header = {"opcode": Opcode.STORE, "flags": self.lse << FLAGS[Opcode.STORE]["lse"]}
        fields = {name: value for name, value in vars(self).items() if name != "lse"}
        return layout.const({"header": header, **fields}).as_value().value


class Model:
    """What a correct engine issues for the contents of OUT and LSE."""

    def __init__(self, config: CoreConfig, out: list[int], lse: list[int]):
        self.config = config
        self.out = out
        self.lse = lse

    def bursts(self, command: Command) -> list[tuple[int, int]]:
        """(address, beats) of every burst, in order."""
        config = self.config
        size = config.axi_data_bytes
        if command.lse:
            return expected_bursts(address=command.address, pitch=size, rows=-(-command.rows // config.m),
                                   beats=1, size=size)
        return expected_bursts(address=command.address, pitch=command.pitch, rows=command.rows,
                               beats=command.cols // config.beat_elements, size=size)

    def beats(self, command: Command) -> list[tuple[int, int, int]]:
        """(address, data, strobes) of every beat, in order."""
        config, size = self.config, self.config.axi_data_bytes
        out = []
        if command.lse:
            for group in range(-(-command.rows // config.m)):
                valid = min(config.m, command.rows - group * config.m)
                data = self.lse[command.out + group] & (1 << 32 * valid) - 1
                out.append((command.address + group * size, data, (1 << 4 * valid) - 1))
            return out
        for row in range(command.rows):
            for beat in range(command.cols // config.beat_elements):
                word = self.out[command.out + row // config.m * command.out_pitch + beat]
                data = 0
                for element in range(config.beat_elements):
                    group, lane = divmod(element, config.lanes)
                    place = (group * config.m + row % config.m) * config.lanes + lane
                    data |= (word >> 16 * place & 0xFFFF) << 16 * element
                out.append((command.address + row * command.pitch + beat * size, data, (1 << size) - 1))
        return out


class Bench(MemoryBench):
    """The engine, its buffers, its memory, and a watcher of everything it does."""

    def __init__(self, dut, rng: random.Random, *, latency=(1, 1), stall=0.0, top=False):
        self.dut, self.rng, self.config = dut, rng, CONFIG
        self.size = CONFIG.axi_data_bytes
        places = (1 << CONFIG.axi_address_bits) // GM_BYTES  # the last one ends the address space
        self.base = (places - 1 if top else rng.randrange(1, places)) * GM_BYTES
        self.limit = self.base + GM_BYTES
        self.memory = GlobalMemory()
        content = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, GM_BYTES, np.uint8)
        self.region = self.memory.add(self.base, content, guard=4096)
        self.expected = content.copy()
        out_bits, lse_bits = CONFIG.m * CONFIG.beat_elements * 16, CONFIG.m * 32
        out = [rng.getrandbits(out_bits) for _ in range(CONFIG.out_words)]
        lse = [rng.getrandbits(lse_bits) for _ in range(CONFIG.state_words)]
        self.model = Model(CONFIG, out, lse)
        self.buffers = [
            SyncMemory(dut, "out", CONFIG.out_words, width=out_bits, storage=out),
            SyncMemory(dut, "lse", CONFIG.state_words, width=lse_bits, storage=lse),
        ]
        self.axi = AxiMemory(dut, self.memory, latency=latency, stall=stall, rng=rng)
        self.start = StreamDriver(dut, "start", dut.clk, rng=rng, stall=stall)
        self.bursts = Scoreboard("bursts")
        self.beats = Scoreboard("beats")
        self.cycle = self.answered = self.done = self.stalls = self.owed = self.blanks = 0
        self.unanswered: deque[int] = deque()  # beats of each burst without response
        self.done_after: list[int] = []  # responses that must have come before each done
        self.done_cycles: list[int] = []
        self.fault: int | None = None
        self.accepted = self.most_unfinished = 0
        self.halted = False
        self.pins = {name: Pin(dut, name) for name in (
            "start__valid", "start__ready", "done", "stall", "fault", "fault_code", "quiet", "halt",
            "sending", "window_base", "window_limit",
            "m_axi_awaddr", "m_axi_awlen", "m_axi_awvalid", "m_axi_awready",
            "m_axi_wdata", "m_axi_wstrb", "m_axi_wlast", "m_axi_wvalid", "m_axi_wready",
            "m_axi_bvalid", "m_axi_bready")}
        self.pins["halt"].set(0)
        self.pins["window_base"].set(self.base)
        self.pins["window_limit"].set(self.limit)

    def stop(self) -> None:
        """End this bench on the way to the next one."""
        self._watcher.cancel()
        self.axi.stop()
        for buffer in self.buffers:
            buffer.stop()

    def expect(self, command: Command) -> None:
        bursts = self.model.bursts(command)
        self.bursts.expect(*(address | beats << 64 for address, beats in bursts))
        for address, data, strobes in self.model.beats(command):
            self.beats.expect(data | strobes << 8 * self.size)
            words = data.to_bytes(self.size, "little")
            for byte in range(self.size):
                if strobes >> byte & 1:
                    self.expected[address - self.base + byte] = words[byte]
        self.done_after.append((self.done_after[-1] if self.done_after else 0) + len(bursts))

    def finish(self) -> None:
        """All that was expected has come, and memory holds it."""
        self.bursts.finish()
        self.beats.finish()
        changed = np.flatnonzero(self.region.data != self.expected)
        assert not len(changed), f"byte {self.base + changed[0]:#x} is wrong, {len(changed)} in all"
        self.memory.check_guards()
        assert self.axi.quiet and self.pins["quiet"].get()

    def random_command(self) -> Command:
        config, rng, size = self.config, self.rng, self.size
        if rng.random() < 0.3:
            rows = rng.choice([1, config.m, rng.randrange(1, min(config.state_rows, 200) + 1)])
            groups = -(-rows // config.m)
            address = self.base + rng.choice([0, GM_BYTES // size - groups,
                                              rng.randrange(GM_BYTES // size - groups + 1)]) * size
            room = config.state_words - groups
            # The fields that have no meaning hold anything.
            return Command(address=address, rows=rows, lse=True,
                           out=rng.choice([0, room, rng.randrange(room + 1)]), pitch=rng.getrandbits(32),
                           cols=rng.getrandbits(16), out_pitch=rng.getrandbits(16))
        beats = rng.choice([1, 1, 2, 3, rng.randrange(1, 20)])
        rows = rng.choice([1, 2, config.m, rng.randrange(1, 40)])
        furthest = (config.out_words - beats) // max((rows - 1) // config.m, 1)
        out_pitch = rng.choice([beats, beats, 0, 1, rng.randrange(2 * beats + 2), max(furthest, 0)])
        room = config.out_words - ((rows - 1) // config.m * out_pitch + beats)
        pitch = rng.choice([beats, beats, beats + 1, 2 * beats, max(beats, 4096 // size)]) * size
        slack = GM_BYTES - (rows - 1) * pitch - beats * size
        if room < 0 or slack < 0:
            return self.random_command()
        address = self.base + rng.choice([0, slack, rng.randrange(slack // size + 1) * size])
        return Command(address=address, pitch=pitch, rows=rows, cols=beats * config.beat_elements,
                       out=rng.choice([0, room, rng.randrange(room + 1)]), out_pitch=out_pitch)

    async def _watch(self) -> None:
        get = {name: pin.get for name, pin in self.pins.items()}
        waiting = False
        while True:
            await RisingEdge(self.dut.clk)
            self.cycle += 1
            stopped = self.fault is not None or self.halted
            if get["done"]():
                assert self.fault is None and not self.halted, "done after a fault or halt"
                assert self.answered >= self.done_after[self.done], \
                    f"done {self.done} after {self.answered} of {self.done_after[self.done]} responses"
                self.done += 1
                self.done_cycles.append(self.cycle)
            self.accepted += get["start__valid"]() and get["start__ready"]()
            self.most_unfinished = max(self.most_unfinished, self.accepted - self.done)
            assert self.most_unfinished <= MAX_UNFINISHED
            if get["fault"]():
                assert self.fault is None and not self.halted, "fault after a fault or halt"
                self.fault = get["fault_code"]()
            self.stalls += get["stall"]()
            valid, ready = get["m_axi_awvalid"](), get["m_axi_awready"]()
            assert waiting or not valid or not stopped, "new burst after a fault or halt"
            if valid and not waiting:
                self.unanswered.append(get["m_axi_awlen"]() + 1)
                self.owed += self.unanswered[-1]
                assert sum(self.unanswered) <= IN_FLIGHT, f"{sum(self.unanswered)} beats in flight"
            waiting = valid and not ready
            if valid and ready:
                self.bursts.observe(get["m_axi_awaddr"]() | (get["m_axi_awlen"]() + 1) << 64)
            assert get["quiet"]() == (not self.unanswered)
            self.owed -= get["m_axi_wvalid"]() and get["m_axi_wready"]()
            # Up to four beats are between the buffer and the bus.
            assert get["sending"]() or (not valid and self.owed <= 4), f"{self.owed} beats have not gone"
            assert not get["sending"]() or valid or self.owed, "all has gone"
            if get["m_axi_wvalid"]() and get["m_axi_wready"]():
                strobes = get["m_axi_wstrb"]()
                if not strobes:
                    assert stopped, "beat without strobes"
                    self.blanks += 1
                else:
                    assert not self.blanks, "beat with strobes after one without"
                    # Expected strobes are a prefix, and the strobes are compared too.
                    data = get["m_axi_wdata"]() & (1 << 8 * strobes.bit_length()) - 1
                    self.beats.observe(data | strobes << 8 * self.size)
            if get["m_axi_bvalid"]() and get["m_axi_bready"]():
                self.unanswered.popleft()
                self.answered += 1
            self.halted = self.halted or bool(get["halt"]())


async def bench(dut, **options) -> Bench:
    start_clock(dut)
    out = Bench(dut, random.Random(cocotb.RANDOM_SEED), **options)
    await out.reset()
    return out


@cocotb.test()
async def random_commands(dut):
    """Bursts, beats and memory of random commands match the model, for several stall patterns."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    for latency, stall, runs in (((1, 1), 0.0, 10), ((1, 30), 0.3, 10), ((1, 4), 0.1, 10), ((20, 60), 0.6, 10),
                                 ((1, 1000), 0.1, 4)):
        test = Bench(dut, rng, latency=latency, stall=stall)
        await test.reset()
        for _ in range(runs):
            await test.run([test.random_command() for _ in range(12)])
        test.finish()
        test.stop()


@cocotb.test()
async def buffers_may_change_after_done(dut):
    """OUT is free at ``done``: what is written into it then reaches only later commands."""
    test = await bench(dut, latency=(1, 10), stall=0.2)
    for _ in range(20):
        await test.run([test.random_command()])
        for buffer in test.buffers:
            for word in range(buffer.words):
                buffer.storage[word] = test.rng.getrandbits(buffer.width)
    test.finish()


def _throughput_command(test: Bench) -> Command:
    """Up to 64 rows of 16 beats, as many as OUT holds."""
    config = test.config
    beats = min(16, config.out_words)
    rows = min(64, config.out_words // beats * config.m, GM_BYTES // (beats * test.size))
    return Command(address=test.base, pitch=beats * test.size, rows=rows, cols=beats * config.beat_elements,
                   out_pitch=beats)


@cocotb.test(skip=IN_FLIGHT < 2 * LONGEST)  # then every long burst waits for the one before
async def one_beat_per_cycle(dut):
    """A tile to memory without latency takes its beats and 16 cycles."""
    test = await bench(dut)
    command = _throughput_command(test)
    before = test.cycle
    await test.run([command])
    beats = test.beats.compared
    taken = test.done_cycles[-1] - before
    dut._log.info("%d beats in %d cycles", beats, taken)
    assert beats == command.rows * command.cols // test.config.beat_elements
    assert beats <= taken <= beats + 16
    test.finish()


@cocotb.test(skip=IN_FLIGHT <= 2 * LONGEST + 16)  # then too few beats are in flight
async def latency_is_hidden(dut):
    """Commands in a row reach 95 % of a beat per cycle at the longest latency that what is in flight covers.

    Whatever the pitch, down to bursts of a single beat, and with sixteen commands in flight.
    """
    latency = IN_FLIGHT - 2 * LONGEST - 16  # a burst that is written, one that has to fit, the engine's own
    test = await bench(dut, latency=(latency, latency))
    config = test.config
    large = _throughput_command(test)
    short = Command(address=test.base, pitch=0, rows=-(-IN_FLIGHT // 15), cols=config.beat_elements)
    gaps = Command(**{**vars(large), "pitch": large.pitch + test.size, "rows": large.rows // 2})
    for command in (large, gaps, short):
        count = 2 + 6 * IN_FLIGHT // (command.rows * command.cols // config.beat_elements)
        before, beats = test.cycle, test.beats.compared
        await test.run([command] * count)
        beats = test.beats.compared - beats
        taken = test.done_cycles[-1] - before
        dut._log.info("pitch %d: %d beats in %d cycles", command.pitch, beats, taken)
        assert beats / (taken - latency) >= 0.95
    test.finish()


@cocotb.test()
async def data_do_not_wait_for_the_address(dut):
    """W beats come although AWREADY stays low, as AXI demands."""
    test = await bench(dut)
    test.axi.stop()
    test.pins["m_axi_awready"].set(0)
    test.pins["m_axi_wready"].set(1)
    test.pins["m_axi_bvalid"].set(0)
    command = Command(address=test.base, pitch=0, rows=1, cols=2 * test.config.beat_elements)
    test.expect(command)
    await test.start.send(command.encode())
    await test.until(lambda: test.beats.compared == 2, "two beats", cycles=30)
    assert test.bursts.compared == 0 and test.pins["m_axi_awvalid"].get()
    test.stop()
    await reset(dut)  # the burst is never answered


def _flood(test: Bench, beats: int) -> Command:
    """Twice as many bursts of ``beats`` beats, each at a page's start, as may be in flight."""
    rows = 2 * (IN_FLIGHT // beats)
    return Command(address=test.base, pitch=4096 if rows * 4096 <= GM_BYTES else 0, rows=rows,
                   cols=beats * test.config.beat_elements)


async def _fill(test: Bench, command: Command, beats: int) -> None:
    """Send a flood to memory that takes everything and does not answer, until nothing moves."""
    test.axi.hold = True
    await test.start.send(command.encode())
    for _ in range(IN_FLIGHT + 50):
        await RisingEdge(test.dut.clk)
    assert sum(test.unanswered) == IN_FLIGHT // beats * beats, f"{sum(test.unanswered)} beats in flight"


@cocotb.test()
async def as_many_beats_in_flight_as_may_be(dut):
    """Memory that does not answer sees ``axi_in_flight_bytes`` written in whole bursts, and no more until it does."""
    test = await bench(dut)
    for beats in sorted({1, 3, min(LONGEST, CONFIG.out_words) - 1, min(LONGEST, CONFIG.out_words)}):
        command = _flood(test, beats)
        test.expect(command)
        await _fill(test, command, beats)
        test.axi.hold, target = False, test.done + 1
        await test.until(lambda target=target: test.done == target, "the end of the flood")
    test.finish()


@cocotb.test()
async def stall_counts_waiting(dut):
    """``stall`` is high while a command waits for its response."""
    test = await bench(dut, latency=(200, 200))
    await test.run([Command(address=test.base, pitch=0, rows=1, cols=test.config.beat_elements)])
    assert 195 <= test.stalls <= 205
    test.finish()


@cocotb.test()
async def short_commands_overlap(dut):
    """Many commands of one beat are in progress at a time, but never more than the protocol allows."""
    test = await bench(dut, latency=(100, 100))
    await test.run([Command(address=test.base, pitch=0, rows=1, cols=test.config.beat_elements)] * 24)
    assert test.most_unfinished == MAX_UNFINISHED
    test.finish()


def _bad(test: Bench) -> list[tuple[Fault, Command]]:
    """Commands that are each at fault in one way, close to legal ones."""
    config, size = test.config, test.size
    good = Command(address=test.base, pitch=size, rows=4, cols=config.beat_elements)
    lse = Command(address=test.base, rows=config.m + 1, lse=True)

    def but(command: Command = good, **changes) -> Command:
        return Command(**{**vars(command), **changes})

    last = config.out_words - 1
    return [
        *((Fault.WRITE_WINDOW, but(address=test.base + offset)) for offset in wraps(GM_BYTES, 48)
          if test.base + offset < 1 << 48),
        (Fault.WRITE_WINDOW, but(pitch=1 << 31, rows=2)),
        (Fault.WRITE_WINDOW, but(pitch=1 << 31, rows=(1 << 15) + 1)),
        (Fault.WRITE_WINDOW, but(address=test.base - size)),
        (Fault.WRITE_WINDOW, but(address=test.limit - 3 * size)),
        (Fault.WRITE_WINDOW, but(address=test.limit)),
        (Fault.WRITE_WINDOW, but(pitch=GM_BYTES // 3 // size * size + size)),
        (Fault.WRITE_WINDOW, but(pitch=(1 << 32) - size, rows=2)),
        (Fault.WRITE_WINDOW, but(pitch=(1 << 32) - size, rows=65535)),
        (Fault.WRITE_WINDOW, but(address=(1 << 48) - 4 * size)),
        (Fault.WRITE_WINDOW, but(address=(1 << 48) - size, pitch=(1 << 32) - size, rows=65535)),
        (Fault.WRITE_WINDOW, but(address=test.base + (1 << config.axi_address_bits))),
        (Fault.WRITE_WINDOW, but(lse, address=test.base - size)),
        (Fault.WRITE_WINDOW, but(lse, address=test.limit - size)),
        (Fault.BAD_FIELD, but(rows=0)),
        (Fault.BAD_FIELD, but(cols=0)),
        (Fault.BAD_FIELD, but(cols=config.beat_elements + 1)),
        (Fault.BAD_FIELD, but(cols=config.beat_elements // 2)),
        (Fault.BAD_FIELD, but(address=test.base + size // 2)),
        (Fault.BAD_FIELD, but(pitch=size + 1)),
        (Fault.BAD_FIELD, but(lse, rows=0)),
        (Fault.BAD_FIELD, but(lse, address=test.base + 4)),
        (Fault.BUFFER_OVERRUN, but(out=config.out_words)),
        (Fault.BUFFER_OVERRUN, but(out=65535)),
        *((Fault.BUFFER_OVERRUN, but(out=out)) for out in wraps(config.out_words, 16)),
        *((Fault.BUFFER_OVERRUN, but(rows=config.m + 1, out=last, out_pitch=pitch))
          for pitch in wraps(config.out_words, 16, base=last)),
        (Fault.BUFFER_OVERRUN, but(rows=(1 << 15) + 1, out_pitch=1 << 15, pitch=0)),
        *((Fault.BUFFER_OVERRUN, but(lse, out=out)) for out in wraps(config.state_words, 16)),
        (Fault.BUFFER_OVERRUN, but(cols=2 * config.beat_elements, out=config.out_words - 1)),
        (Fault.BUFFER_OVERRUN, but(rows=config.m + 1, out_pitch=config.out_words)),
        (Fault.BUFFER_OVERRUN, but(rows=65535, out_pitch=65535, pitch=0)),
        (Fault.BUFFER_OVERRUN, but(lse, out=config.state_words - 1)),
        (Fault.BUFFER_OVERRUN, but(lse, out=65535)),
        (Fault.BUFFER_OVERRUN, but(lse, rows=config.state_rows + 1)),
    ]


async def _ends_in_fault(test: Bench, fault: Fault, commands: list[Command]) -> None:
    """Send ``commands``, of which one is at fault; await it, then check that all is over."""
    sender = cocotb.start_soon(test.start.send_all([command.encode() for command in commands]))
    await test.until(lambda: test.fault is not None, f"the fault {fault.name}")
    assert test.fault == fault, f"fault {Fault(test.fault).name}, expected {fault.name}"
    await test.until(test.pins["quiet"].get, "quiet")
    for _ in range(60):
        await RisingEdge(test.dut.clk)
        assert not test.start.ready.get()
    sender.cancel()
    assert test.axi.quiet
    test.memory.check_guards()


@cocotb.test()
async def commands_at_fault(dut):
    """A wrong command is named after those before it have finished; it and those after it touch nothing."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    number, total = 0, 1
    while number < total:
        test = Bench(dut, rng, latency=(1, 40), stall=0.2, top=number % 2)
        await test.reset()
        cases = _bad(test)
        total = len(cases)
        fault, wrong = cases[number]
        before = [test.random_command() for _ in range(rng.randrange(4))]
        for command in before:
            test.expect(command)
        await _ends_in_fault(test, fault, [*before, wrong, test.random_command(), test.random_command()])
        assert test.done == len(before) and not test.blanks
        assert len(test.axi.traffic.writes) == sum(len(test.model.bursts(command)) for command in before)
        if before:
            test.finish()
        test.stop()
        number += 1


@cocotb.test()
async def legal_edges(dut):
    """Commands one step short of a fault run, up to the end of the address space."""
    test = await bench(dut, latency=(1, 3), stall=0.1, top=True)
    config, size = test.config, test.size
    await test.run([
        Command(address=test.limit - 4 * size, pitch=size, rows=4, cols=config.beat_elements,
                out=config.out_words - (4 - 1) // config.m - 1, out_pitch=1),
        Command(address=test.base, pitch=(1 << 32) - size, rows=1, cols=config.beat_elements,
                out_pitch=65535),
        Command(address=test.limit - config.state_words * size, rows=config.state_rows, lse=True),
        Command(address=test.base, rows=1, lse=True, out=config.state_words - 1),
        Command(address=test.base, pitch=size, rows=GM_BYTES // size, cols=config.beat_elements),
    ])
    test.finish()


@cocotb.test()
async def error_responses(dut):
    """BRESP errors: earlier commands finish, the code is right, no burst is issued afterwards."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    blanks = 0
    for _ in range(30):
        test = Bench(dut, rng, latency=(1, 20), stall=rng.choice([0.0, 0.3]))
        await test.reset()
        response = rng.choice([Response.SLVERR, Response.DECERR])
        commands = [test.random_command() for _ in range(5)]
        bursts = [test.model.bursts(command) for command in commands]
        at_fault = rng.randrange(5)
        burst = rng.randrange(len(bursts[at_fault]))
        before = sum(map(len, bursts[:at_fault]))
        test.memory.write_errors.append(PlannedError(response, burst=before + burst))
        for command in commands:
            test.expect(command)
        await _ends_in_fault(test, Fault[f"WRITE_{response.name}"], commands)
        assert test.done == at_fault
        blanks += test.blanks
        test.stop()
    assert blanks


@cocotb.test()
async def errors_with_everything_in_flight(dut):
    """An error amid all that may be in flight: named once, with all bursts in memory's hands; the rest is answered."""
    start_clock(dut)
    rng = random.Random(cocotb.RANDOM_SEED)
    for response, beats in ((Response.SLVERR, 1), (Response.DECERR, min(LONGEST, CONFIG.out_words)),
                            (Response.SLVERR, 3)):
        test = Bench(dut, rng)
        await test.reset()
        command, burst = _flood(test, beats), rng.randrange(IN_FLIGHT // beats)
        test.memory.write_errors.append(PlannedError(response, burst=burst))
        test.expect(command)
        await _fill(test, command, beats)
        test.axi.hold = False
        await test.until(lambda test=test: test.fault is not None, "the fault")
        assert test.fault == Fault[f"WRITE_{response.name}"]
        assert burst < test.answered <= burst + 3, f"burst {burst} is at fault, told after {test.answered} responses"
        await test.until(test.pins["quiet"].get, "quiet")
        assert test.axi.quiet and not test.done and test.answered >= IN_FLIGHT // beats
        test.stop()


@cocotb.test()
async def halt_stops_for_good(dut):
    """After ``halt``: no new burst, issued ones get their beats, then quiet. A reset revives the engine."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    bursts = blanks = 0
    for _ in range(30):
        test = Bench(dut, rng, latency=(1, 50), stall=rng.choice([0.0, 0.3]))
        await test.reset()
        commands = [test.random_command() for _ in range(6)]
        for command in commands:
            test.expect(command)
        sender = cocotb.start_soon(test.start.send_all([command.encode() for command in commands]))
        for _ in range(rng.randrange(200)):
            await RisingEdge(dut.clk)
        test.pins["halt"].set(1)
        await RisingEdge(dut.clk)
        await test.until(test.pins["quiet"].get, "quiet")
        for _ in range(60):
            await RisingEdge(dut.clk)
        assert test.axi.quiet and test.fault is None
        test.memory.check_guards()
        bursts += test.bursts.compared
        blanks += test.blanks
        sender.cancel()
        test.stop()
    assert bursts and blanks
    test = Bench(dut, rng)
    await test.reset()
    await test.run([test.random_command() for _ in range(5)])
    test.finish()
