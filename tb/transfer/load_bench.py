"""What the benches of the load engine share: its commands in numbers, a model of them, and a watcher of the engine."""

import random
from collections import deque
from dataclasses import dataclass

import cocotb
import numpy as np
from amla.model.cache import fp8_cache, fp8_pages
from amla.rtl.config import CoreConfig
from amla.rtl.host.dequantizer import ROWS, Layout
from amla.rtl.isa import FLAGS, LAYOUTS, Fault, Opcode
from amla.rtl.issue.dispatch import MAX_UNFINISHED
from amla.tb.engines.configurations import bench_configuration
from amla.tb.host.axi import AxiMemory
from amla.tb.host.gm import GlobalMemory
from amla.tb.signals import Pin
from amla.tb.stream import Scoreboard, StreamDriver, start_clock
from amla.tb.transfer.bursts import expected_bursts, longest_burst
from amla.tb.transfer.memory_bench import MemoryBench
from cocotb.triggers import RisingEdge

__all__ = ["CONFIG", "GM_BYTES", "IN_FLIGHT", "LONGEST", "Bench", "Command", "Gather", "bench", "ends_in_fault"]

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
    sinks: bool = False

    @property
    def fp8(self) -> Layout | None:
        return Layout.FP8_656 if self.fp8_656 else Layout.FP8_584 if self.fp8_584 else None

    def encode(self) -> int:
        layout, flags = LAYOUTS[Opcode.LOAD], FLAGS[Opcode.LOAD]
        header = {"opcode": Opcode.LOAD, "flags": sum(getattr(self, name) << bit for name, bit in flags.items())}
        fields = {name: value for name, value in vars(self).items() if name not in flags}
        return layout.const({"header": header, **fields}).as_value().value


@dataclass(kw_only=True)
class Gather:
    """One GATHER in numbers, and the entries of its list."""

    address: int
    page_bytes: int
    page_size: int
    entries: np.ndarray
    list: int
    rows_padded: int
    cols: int
    l1: int = 0
    row0: int = 0
    a_side: bool = False
    fp8_656: bool = False
    fp8_584: bool = False

    @property
    def rows(self) -> int:
        return min(len(self.entries), self.rows_padded)

    @property
    def fp8(self) -> Layout | None:
        return Layout.FP8_656 if self.fp8_656 else Layout.FP8_584 if self.fp8_584 else None

    def row(self, index: int) -> Command | None:
        """The LOAD of a row; None for zeros."""
        entry = int(self.entries[index])
        if entry < 0:
            return None
        page, offset = divmod(entry, 1 << (self.page_size - 1).bit_length())
        size = 2 * self.cols if self.fp8 is None else ROWS[self.fp8].bytes
        start = self.address + page * self.page_bytes
        scales = start + self.page_size * size + 8 * offset if self.fp8_584 else 0
        address = start + offset * size
        return Command(address=address, pitch=max(scales - address, 0), rows=1, rows_padded=1, cols=self.cols,
                       fp8_656=self.fp8_656, fp8_584=self.fp8_584)

    def encode(self) -> int:
        layout, flags = LAYOUTS[Opcode.GATHER], FLAGS[Opcode.GATHER]
        header = {"opcode": Opcode.GATHER, "flags": sum(getattr(self, name) << bit for name, bit in flags.items())}
        fields = {name: value for name, value in vars(self).items() if name not in flags and name != "entries"}
        return layout.const({"header": header, "rows": len(self.entries), **fields}).as_value().value


class Model:
    """What a correct engine requests and writes."""

    def __init__(self, config: CoreConfig, memory: GlobalMemory):
        self.config = config
        self.memory = memory

    def list_bursts(self, command: Command | Gather) -> list[tuple[int, int]]:
        """(address, beats) of every burst of its list, in order."""
        if isinstance(command, Command) or not command.rows:
            return []
        size = self.config.axi_data_bytes
        return expected_bursts(address=command.list, pitch=0, rows=1, beats=-(-4 * command.rows // size), size=size)

    def bursts(self, command: Command | Gather) -> list[tuple[int, int]]:
        """(address, beats) of every burst of its rows, in order."""
        if isinstance(command, Gather):
            found = (command.row(index) for index in range(command.rows))
            return [burst for row in found if row is not None for burst in self.bursts(row)]
        rows, size = min(command.rows, command.rows_padded), self.config.axi_data_bytes
        if command.fp8 is None or not rows:
            return expected_bursts(address=command.address, pitch=command.pitch, rows=rows,
                                   beats=command.cols // self.config.beat_elements, size=size)
        runs = [(command.address, rows * ROWS[command.fp8].bytes)]
        if command.fp8_584:
            runs.insert(0, (command.address + command.pitch, 8 * rows))
        return [burst for address, count in runs for burst in expected_bursts(
            address=address // size * size, pitch=0, rows=1, beats=-(-(address % size + count) // size), size=size)]

    def writes(self, command: Command | Gather) -> list[int]:
        """Writes of L1, or of SINK, in order, each packed by :func:`pack` or :func:`pack_sink`."""
        config = self.config
        if isinstance(command, Command) and command.sinks:
            return self._sinks(command)
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

    def _sinks(self, command: Command) -> list[int]:
        rows = min(command.rows, command.rows_padded)
        words = [int.from_bytes(self.memory.read(command.address + row * command.pitch, 4 * self.config.m).tobytes(),
                                "little") for row in range(rows)]
        return [pack_sink(command.l1 + row, word)
                for row, word in enumerate(words + [0] * (command.rows_padded - rows))]

    def _content(self, command: Command | Gather, rows: int) -> np.ndarray:
        """What the rows become in L1."""
        if not rows:
            return np.zeros((0, 2 * command.cols), np.uint8)
        if isinstance(command, Gather):
            found = [command.row(index) for index in range(rows)]
            return np.concatenate([np.zeros((1, 2 * command.cols), np.uint8) if row is None
                                   else self._content(row, 1).view(np.uint8) for row in found])
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


def pack_sink(address: int, value: int) -> int:
    """One write of SINK."""
    return address | 0xFF << 24 | value << 32


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
        self.lists: deque[int] = deque()  # bursts of lists to come: they may pass those of rows before them
        self._alike: int | None = None  # the burst before, if it was the next of both
        self.writes = Scoreboard("L1 writes")
        self._list_end = rng.randrange(GM_BYTES // self.size)  # beat behind the last list
        self.l1_stall = l1_stall
        self.cycle = self.unanswered = self.done = self.stalls = self.written = 0
        self.done_after: list[int] = []  # L1 writes that must have landed before each done
        self.done_cycles: list[int] = []
        self.fault: int | None = None
        self.fault_row = 0
        self.accepted = self.most_unfinished = self.beside = 0
        self.halted = False
        banks = self.config.l1_banks
        self.pins = {name: Pin(dut, name) for name in (
            "start__valid", "start__ready", "done", "stall", "fault", "fault_code",
            "fault_row", "quiet", "sink__addr", "sink__en", "sink__data",
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

    def expect(self, command: Command | Gather) -> None:
        self.lists += [address | beats << 64 for address, beats in self.model.list_bursts(command)]
        self.bursts.expect(*(address | beats << 64 for address, beats in self.model.bursts(command)))
        writes = self.model.writes(command)
        self.writes.expect(*writes)
        self.done_after.append((self.done_after[-1] if self.done_after else 0) + len(writes))

    def _observe(self, burst: int) -> None:
        """A burst of a list, or of a row; where the next of both is alike, what follows tells which it was."""
        listed = bool(self.lists) and burst == self.lists[0]
        alike, self._alike = self._alike, None
        if alike == burst:
            return
        if alike is not None and listed:
            self.bursts.put_back(alike)
        elif alike is not None:
            self.lists.appendleft(alike)
        elif listed and burst == self.bursts.next:
            self._alike = burst
            self.bursts.observe(burst)
        if listed:
            self.lists.popleft()
        else:
            self.bursts.observe(burst)

    def random_command(self) -> Command:
        if self.rng.random() < 0.1:
            return self.random_sinks()
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

    def random_sinks(self) -> Command:
        """Sinks of a few row groups."""
        config, rng, size = self.config, self.rng, self.size
        rows_padded = rng.randrange(1, min(config.state_words, 40) + 1)
        rows = rng.choice([0, rows_padded, rows_padded, rng.randrange(rows_padded + 1)])
        address = self.base + rng.randrange(GM_BYTES // size - rows_padded) * size
        return Command(address=address, pitch=rng.choice([0, size]), rows=rows, rows_padded=rows_padded,
                       cols=config.beat_elements, l1=rng.choice([0, config.state_words - rows_padded]), sinks=True)

    def random_gather(self, *, holes: float = 0.2, longest: int = 24) -> Gather:
        """A list of slots of a cache somewhere in memory, of any layout and page; its list is written to memory."""
        config, rng, size = self.config, self.rng, self.size
        layout = rng.choice([None, *Layout]) if config.reads_fp8 else None
        beats = rng.choice([1, 2, 3, rng.randrange(1, 20)])
        cols = ROWS[layout].columns if layout is not None else beats * config.beat_elements
        row_bytes = ROWS[layout].bytes if layout is not None else 2 * cols
        unit = 16 if layout is not None else size
        page_size = rng.choice([1, 2, 16, 48, 64, rng.randrange(1, 100)])
        needed = page_size * (row_bytes + 8 * (layout == Layout.FP8_584))
        page_bytes = -(-needed // unit) * unit + unit * rng.choice([0, 0, 1, 5])
        pages = (GM_BYTES - unit) // page_bytes
        rows_padded = rng.choice([1, 2, config.n, rng.randrange(1, longest)])
        rows = rng.choice([0, rows_padded, rows_padded, rng.randrange(rows_padded + 3)])
        a_side = rng.random() < 0.3
        group = config.m if a_side else config.n
        row0 = rng.choice([0, rng.randrange(group)])
        room = config.l1_words // config.l1_banks - ((row0 + rows_padded - 1) // group + 1) * (
            cols // config.beat_elements)
        if not pages or room < 0:
            return self.random_gather(holes=holes, longest=longest)
        power = 1 << (page_size - 1).bit_length()
        slots = [rng.randrange(pages) * power + rng.randrange(page_size) for _ in range(rows)]
        entries = np.array([-rng.randrange(1, 1 << 31) if rng.random() < holes else slot for slot in slots], np.int64)
        return Gather(
            address=self.base + rng.randrange((GM_BYTES - pages * page_bytes) // unit + 1) * unit,
            page_bytes=page_bytes, page_size=page_size, entries=entries, list=self.write_list(entries),
            rows_padded=rows_padded, cols=cols, l1=rng.choice([0, room]) * config.l1_banks, row0=row0, a_side=a_side,
            fp8_656=layout == Layout.FP8_656, fp8_584=layout == Layout.FP8_584)

    def write_list(self, entries: np.ndarray) -> int:
        """Put a list into memory, behind the one before or somewhere behind it; returns its address."""
        data = np.asarray(entries, np.int64).astype(np.int32).tobytes()
        beats = -(-len(data) // self.size)
        place = self._list_end + self.rng.choice([0, 1, self.rng.randrange(20)])
        if place + beats > GM_BYTES // self.size:
            place = 0
        self._list_end = place + beats
        address = self.base + place * self.size
        if data:
            self.memory.write(address, data)
        return address

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
                self.fault, self.fault_row = get["fault_code"](), get["fault_row"]()
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
                burst = get["m_axi_araddr"]() | beats << 64
                self._observe(burst)
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
            if get["sink__en"]():
                assert not enable and self.fault is None and not get["halt"]()
                self.writes.observe(pack_sink(get["sink__addr"](), get["sink__data"]()))
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


async def ends_in_fault(test: Bench, fault: Fault, commands: list[Command | Gather]) -> None:
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
