"""Bench of the load engine: random commands against a model of its bursts and of its L1 writes.

Every burst address and every L1 write is compared in order; memory and L1 stall at random.
"""

import random
from dataclasses import dataclass
from itertools import product

import cocotb
import numpy as np
from amla.model.cache import fp8_cache, fp8_pages
from amla.rtl.config import CoreConfig
from amla.rtl.host.dequantizer import ROWS, Layout
from amla.rtl.isa import FLAGS, FP8_ROWS, LAYOUTS, Fault, Opcode
from amla.rtl.issue.dispatch import MAX_UNFINISHED
from amla.tb.engines.bursts import expected_bursts, longest_burst
from amla.tb.engines.configurations import bench_configuration
from amla.tb.engines.memory_bench import MemoryBench
from amla.tb.engines.wraps import wraps
from amla.tb.host.axi import AxiMemory
from amla.tb.host.gm import GlobalMemory, PlannedError, Response
from amla.tb.signals import Pin
from amla.tb.stream import Scoreboard, StreamDriver, start_clock
from cocotb.triggers import RisingEdge

CONFIG = bench_configuration()
GM_BYTES = 1 << 17

#: Beats that may be in flight, and of the longest burst.
IN_FLIGHT = CONFIG.axi_in_flight_bytes // CONFIG.axi_data_bytes
LONGEST = longest_burst(CONFIG.axi_data_bytes)


@dataclass(kw_only=True)
class Command:
    """One LOAD in numbers."""

    address: int
    pitch: int
    rows: int
    rows_padded: int
    cols: int
    l1: int = 0
    row0: int = 0
    a_side: bool = False
    fp8_656: bool = False
    fp8_584: bool = False

    @property
    def fp8(self) -> Layout | None:
        return Layout.FP8_656 if self.fp8_656 else Layout.FP8_584 if self.fp8_584 else None

    def encode(self) -> int:
        layout, flags = LAYOUTS[Opcode.LOAD], FLAGS[Opcode.LOAD]
        header = {"opcode": Opcode.LOAD, "flags": sum(getattr(self, name) << bit for name, bit in flags.items())}
        fields = {name: value for name, value in vars(self).items() if name not in flags}
        return layout.const({"header": header, **fields}).as_value().value


class Model:
    """What a correct engine requests and writes."""

    def __init__(self, config: CoreConfig, memory: GlobalMemory):
        self.config = config
        self.memory = memory

    def bursts(self, command: Command) -> list[tuple[int, int]]:
        """(address, beats) of every burst, in order."""
        rows, size = min(command.rows, command.rows_padded), self.config.axi_data_bytes
        if command.fp8 is None or not rows:
            return expected_bursts(address=command.address, pitch=command.pitch, rows=rows,
                                   beats=command.cols // self.config.beat_elements, size=size)
        runs = [(command.address, rows * ROWS[command.fp8].bytes)]
        if command.fp8_584:
            runs.insert(0, (command.address + command.pitch, 8 * rows))
        return [burst for address, count in runs for burst in expected_bursts(
            address=address // size * size, pitch=0, rows=1, beats=-(-(address % size + count) // size), size=size)]

    def writes(self, command: Command) -> list[int]:
        """L1 writes in order, each packed by :func:`pack`."""
        config = self.config
        group = config.m if command.a_side else config.n
        beats = command.cols // config.beat_elements
        data = np.zeros((command.rows_padded, beats, config.axi_data_bytes), np.uint8)
        rows = min(command.rows, command.rows_padded)
        data[:rows] = self._content(command, rows).view(np.uint8).reshape(rows, *data.shape[1:])
        out = []
        for row in range(command.rows_padded):
            place = command.row0 + row
            word = command.l1 + place // group * (command.cols // config.k)
            for beat in range(beats):
                value = int.from_bytes(data[row, beat].tobytes(), "little")
                out.append(pack(word // config.l1_banks + beat, place % group, value))
        return out

    def _content(self, command: Command, rows: int) -> np.ndarray:
        """What the rows become in L1."""
        if not rows:
            return np.zeros((0, 2 * command.cols), np.uint8)
        if command.fp8 is None:
            return np.stack([self.memory.read(command.address + row * command.pitch, 2 * command.cols)
                             for row in range(rows)])
        values = self.memory.read(command.address, rows * ROWS[command.fp8].bytes)
        if command.fp8_656:
            return fp8_cache.dequantize_fp8(values.reshape(rows, -1))
        page = np.concatenate([values, self.memory.read(command.address + command.pitch, 8 * rows)])
        return fp8_pages.dequantize_fp8_pages(page.reshape(1, rows, fp8_pages.BYTES), np.arange(rows))

    def needs(self, command: Command) -> list[set[int]]:
        """The beats, by their number in the command, that each L1 write of a row from memory is made from."""
        rows, size = min(command.rows, command.rows_padded), self.config.axi_data_bytes
        beats, elements = command.cols // self.config.beat_elements, self.config.beat_elements
        if command.fp8 is None:
            return [{index} for index in range(rows * beats)]
        row = ROWS[command.fp8]
        scales = (command.address + command.pitch) % size
        origin = command.address % size
        if command.fp8_584:
            origin += -(-(scales + 8 * rows) // size) * size
        out = []
        for number in range(rows):
            start = origin + number * row.bytes
            scale = start + row.values if command.fp8_656 else scales + 8 * number
            rope = start + row.bytes - 128
            for beat in range(beats):
                place, count = ((start + beat * elements, elements) if beat * elements < row.values
                                else (rope + (beat * elements - row.values) * 2, size))
                out.append({place // size, (place + count - 1) // size, scale // size})
        return out


def pack(address: int, row: int, value: int) -> int:
    """One L1 write: bank address, row and beat."""
    return address | row << 24 | value << 32


class Bench(MemoryBench):
    """The engine, its memory, and a watcher of everything it does."""

    def __init__(self, dut, rng: random.Random, *, latency=(1, 1), stall=0.0, l1_stall=0.0, top=False):
        self.dut, self.rng = dut, rng
        self.config = CONFIG
        self.size = self.config.axi_data_bytes
        places = (1 << self.config.axi_address_bits) // GM_BYTES  # the last one ends the address space
        self.base = (places - 1 if top else rng.randrange(1, places)) * GM_BYTES
        self.limit = self.base + GM_BYTES
        self.memory = GlobalMemory()
        content = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, GM_BYTES, np.uint8)
        self.memory.add(self.base, content)
        self.model = Model(self.config, self.memory)
        self.axi = AxiMemory(dut, self.memory, latency=latency, stall=stall, rng=rng)
        self.start = StreamDriver(dut, "start", dut.clk, rng=rng, stall=stall)
        self.bursts = Scoreboard("bursts")
        self.writes = Scoreboard("L1 writes")
        self.l1_stall = l1_stall
        self.cycle = self.unanswered = self.done = self.stalls = self.written = 0
        self.done_after: list[int] = []  # L1 writes that must have landed before each done
        self.done_cycles: list[int] = []
        self.fault: int | None = None
        self.accepted = self.most_unfinished = self.beside = 0
        self.halted = False
        banks = self.config.l1_banks
        self.pins = {name: Pin(dut, name) for name in (
            "start__valid", "start__ready", "done", "stall", "fault", "fault_code", "quiet",
            "halt", "l1_ready", "writing", "window_base", "window_limit",
            "m_axi_araddr", "m_axi_arlen", "m_axi_arvalid", "m_axi_arready",
            "m_axi_rvalid", "m_axi_rready", "m_axi_rlast")}
        self._l1 = [{name: Pin(dut, f"l1__{bank}__{name}") for name in ("addr", "en", "data")}
                    for bank in range(banks)]
        self.pins["halt"].set(0)
        self.pins["l1_ready"].set(1)
        self.pins["writing"].set(0)
        self.set_window(self.base, self.limit)

    def set_window(self, base: int, limit: int) -> None:
        self.pins["window_base"].set(base)
        self.pins["window_limit"].set(limit)

    def halt(self) -> None:
        """Raise ``halt``; from the next edge on it counts."""
        self.pins["halt"].set(1)

    def stop(self) -> None:
        self._watcher.cancel()
        self.axi.stop()

    def expect(self, command: Command) -> None:
        self.bursts.expect(*(address | beats << 64 for address, beats in self.model.bursts(command)))
        writes = self.model.writes(command)
        self.writes.expect(*writes)
        self.done_after.append((self.done_after[-1] if self.done_after else 0) + len(writes))

    def random_command(self) -> Command:
        if self.config.reads_fp8 and self.rng.random() < 0.3:
            return self.random_fp8_command()
        config, rng, size = self.config, self.rng, self.size
        a_side = rng.random() < 0.5
        group = config.m if a_side else config.n
        beats = rng.choice([1, 1, 2, 3, rng.randrange(1, 20)])
        rows_padded = rng.choice([1, 2, group, rng.randrange(1, 40)])
        rows = rng.choice([0, rows_padded, rows_padded, rng.randrange(rows_padded + 3)])
        pitch = rng.choice([0, beats, beats, beats + 1, rng.randrange(2 * beats + 2), 4096 // size]) * size
        span = max(rows_padded - 1, 0) * pitch + beats * size
        row0 = rng.choice([0, rng.randrange(group), rng.randrange(256) if rng.random() < 0.1 else 0])
        groups = (row0 + rows_padded - 1) // group + 1
        room = config.l1_words // config.l1_banks - groups * beats
        if room < 0 or span > GM_BYTES:
            return self.random_command()
        l1 = rng.choice([0, room, rng.randrange(room + 1)]) * config.l1_banks
        if rng.random() < 0.2:  # up to the last byte of the window
            address = self.limit - (max(min(rows, rows_padded) - 1, 0) * pitch + beats * size)
        else:
            address = self.base + rng.randrange((GM_BYTES - span) // size + 1) * size
        return Command(address=address, pitch=pitch, rows=rows, rows_padded=rows_padded,
                       cols=beats * config.beat_elements, l1=l1, row0=row0, a_side=a_side)

    def random_fp8_command(self) -> Command:
        """Of either layout, wherever its bytes and its scales may begin."""
        config, rng = self.config, self.rng
        layout = rng.choice(list(Layout))
        row, a_side = ROWS[layout], rng.random() < 0.3
        group = config.m if a_side else config.n
        rows_padded = rng.choice([1, 2, group, rng.randrange(1, 24)])
        rows = rng.choice([0, rows_padded, rows_padded, rng.randrange(rows_padded + 3)])
        read = min(rows, rows_padded)
        row0 = rng.choice([0, rng.randrange(group)])
        groups = (row0 + rows_padded - 1) // group + 1
        room = config.l1_words // config.l1_banks - groups * (row.columns // config.beat_elements)
        span = read * row.bytes
        if room < 0:
            return self.random_fp8_command()
        address = self.base + rng.choice([0, GM_BYTES - span, rng.randrange(GM_BYTES - span)]) // 16 * 16
        scales = self.base + rng.choice([0, GM_BYTES - 8 * read, rng.randrange(GM_BYTES - 8 * read)]) // 8 * 8
        if layout == Layout.FP8_584 and scales < address:
            return self.random_fp8_command()
        return Command(
            address=address, pitch=scales - address if layout == Layout.FP8_584 else 8 * rng.randrange(1 << 20),
            rows=rows, rows_padded=rows_padded, cols=row.columns, l1=rng.choice([0, room]) * config.l1_banks,
            row0=row0, a_side=a_side, fp8_656=layout == Layout.FP8_656, fp8_584=layout == Layout.FP8_584)

    async def _watch(self) -> None:
        get = {name: pin.get for name, pin in self.pins.items()}
        bank0 = self._l1[0]
        bank_bits = self.config.k * 16
        mask = (1 << bank_bits) - 1
        waiting = writing = False
        while True:
            await RisingEdge(self.dut.clk)
            self.cycle += 1
            if get["done"]():
                assert self.fault is None and not self.halted, "done after a fault or halt"
                assert self.written >= self.done_after[self.done], \
                    f"done {self.done} after {self.written} of {self.done_after[self.done]} writes"
                self.done += 1
                self.done_cycles.append(self.cycle)
            self.accepted += get["start__valid"]() and get["start__ready"]()
            self.most_unfinished = max(self.most_unfinished, self.accepted - self.done)
            assert self.most_unfinished <= MAX_UNFINISHED
            if get["fault"]():
                assert self.fault is None and not self.halted, "fault after a fault or halt"
                self.fault = get["fault_code"]()
            self.stalls += get["stall"]()
            valid, ready = get["m_axi_arvalid"](), get["m_axi_arready"]()
            if valid and (self.halted or self.fault is not None):
                assert waiting, "new burst after a fault or halt"
            if valid and not waiting and writing:
                ahead = self.unanswered + get["m_axi_arlen"]() + 1
                assert ahead <= IN_FLIGHT // 2, f"{ahead} beats requested beside a STORE"
                self.beside += 1
            writing = get["writing"]()
            waiting = valid and not ready
            if valid and ready:
                beats = get["m_axi_arlen"]() + 1
                self.bursts.observe(get["m_axi_araddr"]() | beats << 64)
                self.unanswered += beats
                assert self.unanswered <= IN_FLIGHT, f"{self.unanswered} beats in flight"
            assert get["quiet"]() == (not self.unanswered and not valid)
            if get["m_axi_rvalid"]() and get["m_axi_rready"]():
                self.unanswered -= 1
            enable = bank0["en"].get()
            for bank in self._l1[1:]:
                assert bank["en"].get() == enable, "banks written in different rows"
            if enable:
                assert get["l1_ready"](), "write while L1 is taken"
                assert self.fault is None and not get["halt"](), "write after a fault or during halt"
                assert enable & (enable - 1) == 0, f"rows {enable:#b} written at once"
                row = enable.bit_length() - 1
                value = 0
                for number, bank in enumerate(self._l1):
                    assert bank["addr"].get() == bank0["addr"].get(), "banks written at different addresses"
                    value |= (bank["data"].get() >> row * bank_bits & mask) << number * bank_bits
                self.writes.observe(pack(bank0["addr"].get(), row, value))
                self.written += 1
            self.halted = self.halted or bool(get["halt"]())
            if self.l1_stall:
                self.pins["l1_ready"].set(int(self.rng.random() >= self.l1_stall))
                if self.rng.random() < 0.02:
                    self.pins["writing"].set(int(self.rng.random() < 0.5))


async def bench(dut, **options) -> Bench:
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    out = Bench(dut, rng, **options)
    await out.reset()
    return out


@cocotb.test()
async def random_commands(dut):
    """Bursts and L1 writes of random commands match the model, for several stall patterns."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    for latency, stall, l1_stall, runs in (((1, 1), 0.0, 0.0, 12), ((1, 30), 0.3, 0.0, 12), ((1, 4), 0.1, 0.4, 12),
                                           ((20, 60), 0.6, 0.6, 12), ((1, 1000), 0.1, 0.1, 4)):
        test = Bench(dut, rng, latency=latency, stall=stall, l1_stall=l1_stall)
        await test.reset()
        for _ in range(runs):
            await test.run([test.random_command() for _ in range(12)])
        assert test.axi.quiet and test.pins["quiet"].get()
        test.bursts.finish()
        test.writes.finish()
        test.stop()


@cocotb.test()
async def zero_rows_need_no_memory(dut):
    """A command without rows writes zeros, one beat per cycle, and requests nothing."""
    test = await bench(dut)
    beats = 8
    command = Command(address=0, pitch=0, rows=0, rows_padded=16, cols=beats * test.config.beat_elements)
    await test.run([command] * 3)
    assert test.bursts.compared == 0 and not test.axi.traffic.reads
    assert test.done_cycles[2] - test.done_cycles[0] == 2 * 16 * beats
    assert test.stalls == 0
    test.writes.finish()


def _throughput_command(test: Bench) -> Command:
    """64 rows of 576 columns, or as much of it as L1 and GM hold."""
    config = test.config
    cols = 576 if config.name == "small" else 16 * config.beat_elements
    rows = min(64, config.l1_words * config.k * config.n // cols)
    return Command(address=test.base, pitch=2 * cols, rows=rows, rows_padded=rows, cols=cols)


@cocotb.test(skip=IN_FLIGHT < 2 * LONGEST)  # then every long burst waits for the one before
async def one_beat_per_cycle(dut):
    """A tile from memory without latency takes its beats and 16 cycles."""
    test = await bench(dut)
    command = _throughput_command(test)
    before = test.cycle
    await test.run([command])
    beats = command.rows * command.cols // test.config.beat_elements
    taken = test.done_cycles[-1] - before
    dut._log.info("%d beats in %d cycles", beats, taken)
    assert beats <= taken <= beats + 16


@cocotb.test(skip=not CONFIG.reads_fp8 or IN_FLIGHT < 2 * LONGEST)
async def fp8_rows_stream(dut):
    """Commands of FP8 rows, one after the other, fill L1 at 97 % of a beat a cycle, wherever they begin."""
    test = await bench(dut, latency=(100, 100))
    config = test.config
    for layout, row in ROWS.items():
        most = config.l1_words * config.k * config.n // row.columns
        rows = min(64, most // config.n * config.n)
        for address in (test.base, test.base + 16):
            command = Command(address=address, pitch=GM_BYTES // 2, rows=rows, rows_padded=rows, cols=row.columns,
                              fp8_656=layout == Layout.FP8_656, fp8_584=layout == Layout.FP8_584)
            beats = rows * row.columns // config.beat_elements
            await test.run([command] * (2 + 4096 // beats))
            steady = test.done_cycles[-1] - test.done_cycles[-1 - 4096 // beats]
            dut._log.info("%s, %d rows: %d beats in %d cycles", layout.name, rows, 4096 // beats * beats, steady)
            assert 4096 // beats * beats / steady >= 0.97
    test.writes.finish()


@cocotb.test(skip=IN_FLIGHT < 2 * LONGEST)  # then too few beats are in flight
async def latency_is_hidden(dut):
    """Commands in a row reach 95 % of a beat per cycle at the longest latency that what is in flight covers.

    Whatever the pitch, down to bursts of a single beat, and with eleven commands in flight.
    """
    latency = IN_FLIGHT - LONGEST - 8  # from the request to its answer, a burst that has to fit, the engine's own
    test = await bench(dut, latency=(latency, latency))
    config, size = test.config, test.size
    large = _throughput_command(test)
    short = Command(address=test.base, pitch=0, rows=-(-IN_FLIGHT // 11), rows_padded=-(-IN_FLIGHT // 11),
                    cols=config.beat_elements)
    for command in (large, Command(**{**vars(large), "pitch": large.pitch + size}), short):
        beats = command.rows * command.cols // config.beat_elements
        commands = [command] * (2 + 6 * IN_FLIGHT // beats)
        before = test.cycle
        await test.run(commands)
        taken = test.done_cycles[-1] - before
        dut._log.info("pitch %d: %d beats in %d cycles", command.pitch, beats * len(commands), taken)
        assert beats * len(commands) / (taken - latency) >= 0.95
        assert test.done_cycles[-1] - test.done_cycles[-2] <= beats + 2


def _flood(test: Bench, beats: int) -> Command:
    """Twice as many bursts of ``beats`` beats, each at a page's start, as may be in flight."""
    rows = 2 * (IN_FLIGHT // beats)
    return Command(address=test.base, pitch=4096 if rows * 4096 <= GM_BYTES else 0, rows=rows, rows_padded=rows,
                   cols=beats * test.config.beat_elements)


async def _fill(test: Bench, beats: int) -> None:
    """Send a flood to memory that does not answer, until nothing moves."""
    test.axi.hold = True
    await test.start.send(_flood(test, beats).encode())
    for _ in range(2 * IN_FLIGHT // beats + 50):
        await RisingEdge(test.dut.clk)
    limit = IN_FLIGHT // 2 if test.pins["writing"].get() else IN_FLIGHT
    assert test.unanswered == limit // beats * beats, f"{test.unanswered} beats in flight"


@cocotb.test()
async def as_many_beats_in_flight_as_may_be(dut):
    """Memory that does not answer sees ``axi_in_flight_bytes`` requested in whole bursts, and no more until it does;
    beside a STORE that sends half of them."""
    test = await bench(dut, latency=(1, 1))
    for beats, writing in product(sorted({1, 3, LONGEST - 1, LONGEST}), (0, 1)):
        test.expect(_flood(test, beats))
        test.pins["writing"].set(writing)
        await _fill(test, beats)
        test.pins["writing"].set(0)
        test.axi.hold, target = False, test.done + 1
        await test.until(lambda target=target: test.done == target, "the end of the flood")
    test.bursts.finish()
    test.writes.finish()


@cocotb.test()
async def stall_counts_waiting(dut):
    """``stall`` is high in the cycles in which memory or L1 makes a command wait, and only then."""
    test = await bench(dut, latency=(200, 200))
    command = Command(address=test.base, pitch=0, rows=1, rows_padded=1, cols=test.config.beat_elements)
    await test.run([command])
    assert 195 <= test.stalls <= 205
    before = test.stalls
    await test.run([Command(address=0, pitch=0, rows=0, rows_padded=9, cols=test.config.beat_elements)])
    assert test.stalls == before
    test.pins["l1_ready"].set(0)
    task = cocotb.start_soon(test.run([Command(address=0, pitch=0, rows=0, rows_padded=1,
                                               cols=test.config.beat_elements)]))
    await test.until(lambda: test.stalls == before + 50, "50 cycles of stall", cycles=100)
    assert test.done == 2
    test.pins["l1_ready"].set(1)
    await task


@cocotb.test()
async def short_commands_overlap(dut):
    """Many commands of one beat are in progress at a time, but never more than the protocol allows."""
    test = await bench(dut, latency=(100, 100))
    command = Command(address=test.base, pitch=0, rows=1, rows_padded=1, cols=test.config.beat_elements)
    await test.run([command] * 24)
    assert MAX_UNFINISHED - 2 <= test.most_unfinished <= MAX_UNFINISHED
    test.writes.finish()


def _bad(test: Bench) -> list[tuple[Fault, Command]]:
    """Commands that are each at fault in one way, close to legal ones."""
    config, size = test.config, test.size
    good = Command(address=test.base, pitch=size, rows=4, rows_padded=4, cols=config.beat_elements)
    all_rows = min(65535, config.l1_words // config.l1_banks * config.n)  # as many as L1 holds

    most = 1 << (all_rows - 1).bit_length() - 1  # steps between rows, a power of two

    def but(**changes) -> Command:
        return Command(**{**vars(good), **changes})

    window = [
        but(address=test.base - size), but(address=test.limit - 3 * size), but(address=test.limit),
        but(pitch=GM_BYTES // 3 // size * size + size), but(pitch=(1 << 32) - size, rows=2),
        but(address=(1 << 48) - 4 * size), but(address=test.base + (1 << config.axi_address_bits)),
        *(but(address=address, pitch=(1 << 32) - size, rows=all_rows, rows_padded=all_rows)
          for address in (test.base, (1 << 48) - size)),
        *(but(address=test.base + offset) for offset in wraps(GM_BYTES, 48) if test.base + offset < 1 << 48),
        but(pitch=1 << 31, rows=2),
        but(pitch=1 << 31, rows=most + 1, rows_padded=most + 1),
    ]
    fp8 = []
    if config.reads_fp8:
        for name, cols, row in (("fp8_656", 576, 656), ("fp8_584", 512, 576)):
            change = {name: True, "cols": cols, "rows": 1, "rows_padded": 1}
            last = test.limit - row
            fp8 += [
                *((Fault.READ_WINDOW, but(address=address, **change)) for address in (
                    test.base - 16, last + 16, test.limit, test.base + (1 << config.axi_address_bits), (1 << 48) - 16)),
                (Fault.READ_WINDOW, but(**change | {"address": last - row, "rows": 3, "rows_padded": 3})),
                (Fault.BAD_FIELD, but(**change | {"address": test.base + 8})),
                (Fault.BAD_FIELD, but(**change | {"pitch": 4})),
                (Fault.BAD_FIELD, but(**change | {"cols": cols - config.beat_elements})),
                (Fault.BAD_FIELD, but(**change | {"cols": cols + 64})),
                (Fault.BAD_FIELD, but(**change | {"rows": FP8_ROWS + 1, "rows_padded": FP8_ROWS + 1})),
                (Fault.BUFFER_OVERRUN, but(**change | {"l1": config.l1_words - config.l1_banks})),
            ]
        scales = {"fp8_584": True, "cols": 512, "rows": 2, "rows_padded": 2}
        fp8 += [(Fault.READ_WINDOW, but(**scales | {"address": address, "pitch": pitch})) for address, pitch in (
            (test.base, GM_BYTES), (test.base, GM_BYTES - 8), (test.base + 16, (1 << 32) - 8),
            (test.base, (1 << 32) - 32))]
        fp8.append((Fault.BAD_FIELD, but(fp8_656=True, fp8_584=True, cols=512, rows=1)))
    else:
        fp8 += [(Fault.BAD_FIELD, but(**{name: True})) for name in ("fp8_656", "fp8_584")]
    # Row groups of padding and beats of a row, each the largest power of two.
    groups, beats = (1 << (65535 // unit).bit_length() - 1 for unit in (config.n, config.beat_elements))
    return [
        *fp8,
        *((Fault.READ_WINDOW, command) for command in window),
        (Fault.BAD_FIELD, but(rows_padded=0)),
        (Fault.BAD_FIELD, but(cols=0)),
        (Fault.BAD_FIELD, but(cols=config.beat_elements + 1)),
        (Fault.BAD_FIELD, but(cols=config.beat_elements // 2)),
        (Fault.BAD_FIELD, but(address=test.base + size // 2)),
        (Fault.BAD_FIELD, but(pitch=size + 1)),
        *([(Fault.BAD_FIELD, but(l1=config.l1_banks // 2))] if config.l1_banks > 1 else []),
        (Fault.BUFFER_OVERRUN, but(l1=config.l1_words)),
        *((Fault.BUFFER_OVERRUN, but(l1=l1)) for l1 in wraps(config.l1_words, 24)),
        (Fault.BUFFER_OVERRUN, but(rows=0, rows_padded=groups * config.n, cols=beats * config.beat_elements)),
        (Fault.BUFFER_OVERRUN, but(l1=(1 << 24) - config.l1_banks)),
        (Fault.BUFFER_OVERRUN, but(l1=config.l1_words - config.l1_banks, row0=config.n - 1)),
        (Fault.BUFFER_OVERRUN, but(l1=config.l1_words - config.l1_banks, rows=0, rows_padded=config.n + 1)),
        (Fault.BUFFER_OVERRUN, but(rows=1, rows_padded=65535, pitch=0, cols=65536 - config.beat_elements)),
    ]


async def _ends_in_fault(test: Bench, fault: Fault, commands: list[Command]) -> None:
    """Send ``commands``, of which one is at fault; await it, then check that all is over."""
    sender = cocotb.start_soon(test.start.send_all([command.encode() for command in commands]))
    await test.until(lambda: test.fault is not None, f"the fault {fault.name}")
    assert test.fault == fault, f"fault {Fault(test.fault).name}, expected {fault.name}"
    await test.until(test.pins["quiet"].get, "quiet")
    for _ in range(100):
        await RisingEdge(test.dut.clk)
        assert not test.start.ready.get()
    sender.cancel()
    assert test.axi.quiet and test.done == len(test.done_after)


@cocotb.test()
async def commands_at_fault(dut):
    """A wrong command is named after those before it have finished; it and those after it touch nothing."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    number, total = 0, 1
    while number < total:
        test = Bench(dut, rng, latency=(1, 40), stall=0.2, l1_stall=0.2, top=number % 2)
        await test.reset()
        cases = _bad(test)
        total = len(cases)
        fault, wrong = cases[number]
        before = [test.random_command() for _ in range(rng.randrange(4))]
        for command in before:
            test.expect(command)
        await _ends_in_fault(test, fault, [*before, wrong, test.random_command(), test.random_command()])
        assert len(test.axi.traffic.reads) == sum(len(test.model.bursts(command)) for command in before)
        if before:
            test.writes.finish()
        test.stop()
        number += 1


@cocotb.test()
async def legal_edges(dut):
    """Commands one step short of a fault run, up to the end of the address space."""
    test = await bench(dut, top=True)
    config, size = test.config, test.size
    depth = config.l1_words // config.l1_banks
    last = Command(address=test.limit - 4 * size, pitch=size, rows=4, rows_padded=4,
                   cols=config.beat_elements, l1=(depth - (4 - 1) // config.n - 1) * config.l1_banks)
    await test.run([
        last,
        Command(address=0, pitch=0, rows=0, rows_padded=1, cols=config.beat_elements),
        Command(address=test.base, pitch=(1 << 32) - size, rows=1, rows_padded=4, cols=config.beat_elements),
        Command(address=test.base, pitch=0, rows=65535, rows_padded=3, cols=config.beat_elements),
        Command(address=test.base, pitch=0, rows=2, rows_padded=min(config.n * depth, 16384),
                cols=config.beat_elements),
    ])
    test.writes.finish()
    test.bursts.finish()


@cocotb.test()
async def error_responses(dut):
    """RRESP errors: earlier commands finish, the beats before the error are written, nothing after."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    for _ in range(30):
        test = Bench(dut, rng, latency=(1, 20), stall=rng.choice([0.0, 0.3]),
                     l1_stall=rng.choice([0.0, 0.4]))
        await test.reset()
        response = rng.choice([Response.SLVERR, Response.DECERR])
        fault = Fault[f"READ_{response.name}"]
        commands = [test.random_command() for _ in range(5)]
        bursts = [test.model.bursts(command) for command in commands]
        at_fault = rng.choice([index for index in range(5) if bursts[index]] or [None])
        if at_fault is None:
            test.stop()
            continue
        burst = rng.randrange(len(bursts[at_fault]))
        beat = rng.randrange(bursts[at_fault][burst][1])
        test.memory.read_errors.append(
            PlannedError(response, burst=sum(map(len, bursts[:at_fault])) + burst, beat=beat))
        for index, command in enumerate(commands):
            test.bursts.expect(*(address | beats << 64 for address, beats in bursts[index]))
            writes = test.model.writes(command)
            if index < at_fault:
                test.writes.expect(*writes)
                test.done_after.append(len(writes) + (test.done_after[-1] if test.done_after else 0))
            elif index == at_fault:
                bad = sum(beats for _, beats in bursts[index][:burst]) + beat
                needs = test.model.needs(commands[index])
                test.writes.expect(*writes[:next(place for place, beats in enumerate(needs) if bad in beats)])
        await _ends_in_fault(test, fault, commands)
        assert test.done == at_fault
        if test.written:
            test.writes.finish()
        test.stop()


@cocotb.test()
async def errors_with_everything_in_flight(dut):
    """An error amid all that may be in flight: the beats before it are written, the rest arrives and is dropped."""
    start_clock(dut)
    rng = random.Random(cocotb.RANDOM_SEED)
    for response, beats in ((Response.SLVERR, 1), (Response.DECERR, LONGEST), (Response.SLVERR, 3)):
        test = Bench(dut, rng)
        await test.reset()
        flood = _flood(test, beats)
        burst, beat = rng.randrange(IN_FLIGHT // beats), rng.randrange(beats)
        test.memory.read_errors.append(PlannedError(response, burst=burst, beat=beat))
        test.bursts.expect(*(address | count << 64 for address, count in test.model.bursts(flood)))
        test.writes.expect(*test.model.writes(flood)[:burst * beats + beat])
        await _fill(test, beats)
        test.axi.hold = False
        await test.until(lambda test=test: test.fault is not None, "the fault")
        assert test.fault == Fault[f"READ_{response.name}"]
        assert test.unanswered >= IN_FLIGHT - 2 * LONGEST - 8, "too few beats left to arrive"
        await test.until(test.pins["quiet"].get, "quiet")
        assert test.axi.quiet and not test.done
        if burst * beats + beat:
            test.writes.finish()
        test.stop()


@cocotb.test()
async def halt_stops_for_good(dut):
    """After ``halt``: no new burst, no write, beats in flight are dropped, then quiet. A reset revives it."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    written_before_halt = 0
    for _ in range(25):
        test = Bench(dut, rng, latency=(1, 50), stall=rng.choice([0.0, 0.3]),
                     l1_stall=rng.choice([0.0, 0.4]))
        await test.reset()
        commands = [test.random_command() for _ in range(6)]
        for command in commands:
            test.expect(command)
        sender = cocotb.start_soon(test.start.send_all([command.encode() for command in commands]))
        for _ in range(rng.randrange(300)):
            await RisingEdge(dut.clk)
        test.halt()
        await RisingEdge(dut.clk)
        written_before_halt += test.written
        await test.until(test.pins["quiet"].get, "quiet")
        for _ in range(60):
            await RisingEdge(dut.clk)
        assert test.axi.quiet and test.fault is None
        sender.cancel()
        test.stop()
    assert written_before_halt
    test = Bench(dut, rng)
    await test.reset()
    await test.run([test.random_command() for _ in range(5)])
    test.writes.finish()
    test.stop()
