"""Functional command simulator: a program on the core's buffers, bit-exact, one command after the other.

Buffers have the layouts of ``docs/architecture.md`` and start as NaN, so that a scheduler that reads what it
has not written shows. A command is checked in the order of that page ("Order of checks"), as the core checks it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from amla.model.cache import fp8_cache, fp8_pages
from amla.rtl.config import CoreConfig
from amla.rtl.isa import (
    HALFWORD_BITS,
    MAX_LENGTH,
    MOST_ROWS,
    MOST_SLOTS,
    SEMAPHORE_MAX,
    SEMAPHORES,
    Engine,
    Fault,
    Opcode,
    Semaphore,
)

from ..compiler.footprint import Footprint, buffer_words, footprint, last_words
from ..compiler.key_cache import ENTRY_BYTES, SCALE_BYTES, row_pitch
from ..compiler.memory_map import Job
from ..compiler.packing import TruncatedProgram, unpack
from ..compiler.program import Command, UnknownOpcode, members
from .executor import Executor

__all__ = ["CommandFault", "SimulationResult", "Simulator", "simulate"]

#: Layouts of FP8 caches by the flag of LOAD and GATHER.
_FP8 = {"fp8_656": fp8_cache, "fp8_584": fp8_pages}

_LOADS = (Opcode.LOAD, Opcode.GATHER)

#: Fields that count something and must not be zero.
_COUNTS = {
    Opcode.LOAD: ("rows_padded", "cols"), Opcode.GATHER: ("rows_padded", "cols"), Opcode.FEED_A: ("outer", "inner"),
    Opcode.FEED_B: ("outer", "inner"),
    Opcode.MMAD: ("mt", "nt", "kt"), Opcode.DRAIN_S: ("mt", "nt"), Opcode.DRAIN_O: ("mt", "nt"),
    Opcode.SOFTMAX: ("mt", "kt"), Opcode.NORMALIZE: ("mt", "nt"),
    Opcode.MERGE: ("mt", "nt", "splits"), Opcode.STORE: ("rows",),
}


class CommandFault(Exception):
    """A command at fault: ``code``, ``engine``, ``index`` and ``row`` as in the core's registers."""

    def __init__(self, code: Fault, engine: Engine, index: int, text: str, *, row: int = 0):
        place = f", row {row}" if row else ""
        super().__init__(f"command {index} ({engine.name.lower()}){place}: {code.name}: {text}")
        self.code, self.engine, self.index, self.row = code, engine, index, row


@dataclass
class SimulationResult:
    """What a run did.

    Attributes
    ----------
    commands:      executed
    bytes_read:    by LOAD
    bytes_written: by STORE
    writer:        index of the command that last wrote each beat of memory from the write window's base on, -1 for none
    """

    commands: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    writer: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)


def simulate(job: Job) -> tuple[np.ndarray, np.ndarray, SimulationResult]:
    """Run a job; returns O, LSE and what the run did. The job's memory is left as it is."""
    memory = job.memory.copy()
    simulator = Simulator(job.config, memory, base=job.base, read_window=job.program.read_window,
                          write_window=job.program.write_window, scale_word=job.program.scale_word)
    result = simulator.run(job.program.symbols["PROGRAM"], job.registers["PROGRAM_LENGTH"])
    start = job.output_base - job.base
    out, lse = job.unpack(memory[start:start + job.output_bytes])
    return out, lse, result


class Simulator:
    """A core's buffers and semaphores.

    Parameters
    ----------
    config:       the core
    memory:       uint8, GM from address ``base`` on; written in place. Elsewhere no memory answers (DECERR)
    base:         address of the first byte of ``memory``
    read_window, write_window: first byte, first byte past; past the address space counts as its end
    scale_word:   FP32 word of softmax_scale * log2(e)
    """

    def __init__(self, config: CoreConfig, memory: np.ndarray, *, base: int, read_window: tuple[int, int],
                 write_window: tuple[int, int], scale_word: int):
        self._config, self._memory, self._base = config, memory, base
        self._space = 1 << config.axi_address_bits
        self._read_window, self._write_window = (
            tuple(min(address, self._space) for address in window) for window in (read_window, write_window))
        self._beat = config.axi_data_bytes
        self._depths = buffer_words(config)
        self._executor = Executor(config, scale_word=scale_word)
        self._semaphores = [0] * SEMAPHORES
        end = base + len(memory)
        self._output = max(self._write_window[0], base)
        beats = max(-(-(min(self._write_window[1], end) - self._output) // self._beat), 0)
        self._result = SimulationResult(writer=np.full(beats, -1, np.int64))

    @property
    def buffers(self) -> dict[str, np.ndarray]:
        """Words of every buffer."""
        return self._executor.buffers

    @property
    def semaphores(self) -> dict[str, int]:
        """The counters."""
        return {semaphore.name: self._semaphores[semaphore] for semaphore in Semaphore}

    def run(self, program: int, length: int) -> SimulationResult:
        """Execute the program of ``length`` halfwords at GM address ``program`` up to its HALT.

        Raises
        ------
        CommandFault: as the core's fault. A wait that program order cannot satisfy is the fault WATCHDOG.
        """
        program, length = min(program, self._space), min(length, MAX_LENGTH)
        words = unpack(self._halfwords(program, length))
        while True:
            index = self._result.commands
            command = self._fetch(index, words)
            self._take(index, command)
            self._execute(index, command)
            self._signal(index, command)
            self._result.commands += 1
            if command.opcode == Opcode.HALT:
                return self._result

    # Fetch, semaphores, fields, bounds, windows.

    def _halfwords(self, program: int, length: int) -> Iterator[int]:
        """The program, read in beats as they are needed."""
        size = HALFWORD_BITS // 8
        if program % self._beat and length:
            raise CommandFault(Fault.BAD_FIELD, Engine.SEQUENCER, 0,
                               f"PROGRAM_BASE must be a multiple of {self._beat}, not {program:#x}")
        for first in range(program, program + size * length, self._beat):
            stop = first + self._beat
            self._check_window(self._result.commands, Engine.SEQUENCER, first, stop)
            self._check_answer(self._result.commands, Engine.SEQUENCER, first, stop)
            beat = self._memory[first - self._base:stop - self._base].view("<u2")
            yield from beat[:length - (first - program) // size].tolist()

    def _fetch(self, index: int, words: Iterator[int]) -> Command:
        try:
            return Command.decode(next(words))
        except UnknownOpcode as error:
            raise CommandFault(Fault.UNKNOWN_OPCODE, Engine.SEQUENCER, index, str(error)) from None
        except (StopIteration, TruncatedProgram):
            raise CommandFault(Fault.TRUNCATED_PROGRAM, Engine.SEQUENCER, index, "no HALT among the commands") from None

    def _take(self, index: int, command: Command) -> None:
        for semaphore in members(command.wait):
            if not self._semaphores[semaphore]:
                raise CommandFault(Fault.WATCHDOG, command.engine, index,
                                   f"waits for {semaphore.name}, which no earlier command has signalled")
            self._semaphores[semaphore] -= 1

    def _signal(self, index: int, command: Command) -> None:
        for semaphore in members(command.signal):
            if self._semaphores[semaphore] == SEMAPHORE_MAX:
                raise CommandFault(Fault.SEMAPHORE_OVERFLOW, command.engine, index,
                                   f"{semaphore.name} is at its maximum of {SEMAPHORE_MAX}")
            self._semaphores[semaphore] += 1

    def _check_fields(self, index: int, c: Command) -> None:
        def require(ok: bool, text: str) -> None:
            if not ok:
                raise CommandFault(Fault.BAD_FIELD, c.engine, index, text)

        lse = c.opcode == Opcode.STORE and "lse" in c.flags
        for name in _COUNTS.get(c.opcode, ()):
            require(c[name] > 0, f"{name} must be positive, not 0")
        if c.opcode in _LOADS:
            self._check_load(c, require)
        elif c.opcode == Opcode.STORE:
            for name in ("address",) if lse else ("address", "pitch"):
                require(c[name] % self._beat == 0,
                        f"{name} must be a multiple of {self._beat}, not {c[name]:#x}")
            if not lse:
                elements = self._config.beat_elements
                require(c["cols"] > 0 and c["cols"] % elements == 0,
                        f"cols must be a positive multiple of {elements}, not {c['cols']}")

    def _check_load(self, c: Command, require: Callable[[bool, str], None]) -> None:
        config, beat, gather = self._config, self._beat, c.opcode == Opcode.GATHER
        flags = [flag for flag in (*_FP8, "sinks") if flag in c.flags]
        require(len(flags) < 2, f"{' and '.join(flags)} exclude each other")
        layout = _FP8.get(flags[0]) if flags else None
        require(config.reads_fp8 or not layout, f"{' '.join(flags)} on {config.name}, which reads no FP8")
        pitch = "page_bytes" if gather else "pitch"
        multiples = {"address": 16, pitch: 16 if gather else 8} if layout else {"address": beat, pitch: beat}
        for name, multiple in (multiples | ({"list": beat} if gather else {})).items():
            require(c[name] % multiple == 0, f"{name} must be a multiple of {multiple}, not {c[name]:#x}")
        cols = layout.WIDTH if layout else config.beat_elements
        whole = c["cols"] == cols if flags else c["cols"] % cols == 0
        require(whole, f"cols must be {'' if flags else 'a multiple of '}{cols}, not {c['cols']}")
        if "sinks" not in flags:
            require(c["l1"] % config.l1_banks == 0, f"l1 must be a multiple of {config.l1_banks}, not {c['l1']}")
        if layout or gather:
            require(self._rows_read(c) <= MOST_ROWS, f"rows must be at most {MOST_ROWS}, not {self._rows_read(c)}")
        if gather:
            require(0 < c["page_size"] <= MOST_SLOTS, f"page_size must be 1 to {MOST_SLOTS}, not {c['page_size']}")

    def _check_bounds(self, index: int, command: Command) -> None:
        for buffer, last in last_words(command, self._config).items():
            depth = self._depths[buffer]
            if last >= depth:
                raise CommandFault(Fault.BUFFER_OVERRUN, command.engine, index,
                                   f"word {last} of {buffer}, which has {depth}")

    def _check_window(self, index: int, engine: Engine, first: int, stop: int, *, row: int = 0) -> None:
        """The bytes from ``first`` to before ``stop`` are in the engine's window."""
        write = engine == Engine.STORE
        low, high = self._write_window if write else self._read_window
        if first < low or stop > high:
            raise CommandFault(Fault.WRITE_WINDOW if write else Fault.READ_WINDOW, engine, index,
                               f"bytes {first:#x} to {stop:#x} outside of {low:#x} to {high:#x}", row=row)

    def _check_answer(self, index: int, engine: Engine, first: int, stop: int, *, row: int = 0) -> None:
        """The bytes from ``first`` to before ``stop`` are in memory."""
        if first < self._base or stop > self._base + len(self._memory):
            raise CommandFault(Fault.WRITE_DECERR if engine == Engine.STORE else Fault.READ_DECERR, engine, index,
                               f"no memory answers at bytes {first:#x} to {stop:#x}", row=row)

    # Commands.

    def _execute(self, index: int, command: Command) -> None:
        if command.engine == Engine.SEQUENCER:
            return
        self._check_fields(index, command)
        self._check_bounds(index, command)
        for first, stop in self._gm_ranges(command):
            self._check_window(index, command.engine, first, stop)
        self._check_answers(index, command)
        touched = footprint(command, self._config)
        if command.opcode in _LOADS:
            self._load(index, command, touched)
        elif command.opcode == Opcode.STORE:
            self._store(index, command, touched)
        else:
            self._executor.execute(command, touched)

    def _rows_read(self, c: Command) -> int:
        return min(c["rows"], c["rows_padded"])

    def _check_answers(self, index: int, c: Command) -> None:
        """Memory answers to all of a command but the list and the rows of a GATHER; else of a LOAD the row is named."""
        if c.opcode == Opcode.STORE:
            for first, stop in self._gm_ranges(c):
                self._check_answer(index, c.engine, first, stop)
        elif c.opcode == Opcode.LOAD:
            for row in range(self._rows_read(c)):
                for first, stop in self._row_ranges(c, row):
                    self._check_answer(index, c.engine, first, stop, row=row)

    def _gm_ranges(self, c: Command) -> list[tuple[int, int]]:
        """First byte, and first byte past, of what a command touches in GM; of a GATHER its list."""
        if c.opcode not in (*_LOADS, Opcode.STORE) or not self._gm_count(c):
            return []
        return [(first, stop) for (first, _), (_, stop) in zip(
            self._row_ranges(c, 0), self._row_ranges(c, self._gm_count(c) - 1), strict=True)]

    def _gm_count(self, c: Command) -> int:
        """Rows in GM (beats of LSE, entries of a list)."""
        if c.opcode in _LOADS:
            return self._rows_read(c)
        return -(-c["rows"] // self._config.m) if "lse" in c.flags else c["rows"]

    def _row_ranges(self, c: Command, row: int) -> list[tuple[int, int]]:
        """First byte, and first byte past, of a row (beat of LSE, entry of a list), and of its scales."""
        if c.opcode == Opcode.GATHER:
            return [self._beats_of(c["list"] + row * ENTRY_BYTES, ENTRY_BYTES)]
        if c.flags & _FP8.keys():
            address, scales = c["address"] + row * self._row_bytes(c), c["address"] + c["pitch"] + row * SCALE_BYTES
            return [self._beats_of(*run) for run in _fp8_runs(c, address, scales, 1)]
        first = c["address"] + row * (self._beat if "lse" in c.flags else c["pitch"])
        return [(first, first + self._row_bytes(c))]

    def _beats_of(self, first: int, size: int) -> tuple[int, int]:
        """The whole beats that hold some bytes: first byte, first byte past."""
        return first // self._beat * self._beat, -(-(first + size) // self._beat) * self._beat

    def _gm_rows(self, c: Command) -> np.ndarray:
        """GM address of every row (of every LSE beat)."""
        if c.opcode == Opcode.STORE and "lse" in c.flags:
            return c["address"] + np.arange(-(-c["rows"] // self._config.m)) * self._beat
        rows = self._rows_read(c) if c.opcode == Opcode.LOAD else c["rows"]
        return c["address"] + np.arange(rows) * c["pitch"]

    def _row_bytes(self, c: Command) -> int:
        """Bytes of a row (beat of LSE) in GM, without scales that lie apart."""
        if "lse" in c.flags:
            return self._beat
        return row_pitch(c.flags, c["cols"])

    def _load(self, index: int, c: Command, touched: Footprint) -> None:
        rows = self._gather(index, c) if c.opcode == Opcode.GATHER else self._rows(c)
        if "sinks" in c.flags:
            sinks = np.zeros((c["rows_padded"], self._config.m), np.uint32)
            sinks[:len(rows)] = rows.view(np.uint32)[:, :self._config.m]
            self.buffers["SINK"][touched.writes["SINK"]] = sinks
            return
        data = np.zeros((c["rows_padded"], c["cols"]), np.uint16)
        data[:len(rows)] = rows
        group = self._config.m if "a_side" in c.flags else self._config.n
        inside = (c["row0"] + np.arange(c["rows_padded"])) % group
        fractal_rows = data.reshape(len(data), -1, self._config.k)
        self.buffers["L1"][touched.writes["L1"], inside[:, None]] = fractal_rows

    def _rows(self, c: Command) -> np.ndarray:
        """The rows of a LOAD, uint16[rows, cols]."""
        count = self._rows_read(c)
        if count and c.flags & _FP8.keys():
            return self._fp8_rows(c, c["address"], c["address"] + c["pitch"], count)
        places = self._gm_rows(c)[:, None] - self._base + np.arange(2 * c["cols"])
        self._result.bytes_read += places.size
        return np.ascontiguousarray(self._memory[places]).view(np.uint16)

    def _fp8_rows(self, c: Command, address: int, scales: int, count: int) -> np.ndarray:
        tokens = np.concatenate([self._bytes(*run) for run in _fp8_runs(c, address, scales, count)])
        self._result.bytes_read += len(tokens)
        if "fp8_656" in c.flags:
            return fp8_cache.dequantize_fp8(tokens.reshape(count, -1))
        return fp8_pages.dequantize_fp8_pages(tokens.reshape(1, count, -1), np.arange(count))

    def _gather(self, index: int, c: Command) -> np.ndarray:
        """The rows of a GATHER, uint16[rows, cols]; stops at the first entry at fault."""
        rows = np.zeros((self._rows_read(c), c["cols"]), np.uint16)
        size = self._row_bytes(c)
        for number in range(len(rows)):
            for first, stop in self._row_ranges(c, number):
                self._check_answer(index, c.engine, first, stop, row=number)
            entry = int(self._bytes(c["list"] + number * ENTRY_BYTES, ENTRY_BYTES).view("<i4")[0])
            self._result.bytes_read += ENTRY_BYTES
            if entry < 0:
                continue
            page, offset = divmod(entry, 1 << (c["page_size"] - 1).bit_length())
            if offset >= c["page_size"]:
                raise CommandFault(Fault.READ_WINDOW, c.engine, index,
                                   f"entry {entry} is slot {offset} of a page of {c['page_size']}", row=number)
            start = c["address"] + page * c["page_bytes"]
            address, scales = start + offset * size, start + c["page_size"] * size + offset * SCALE_BYTES
            fp8 = c.flags & _FP8.keys()
            runs = [self._beats_of(*run) for run in (_fp8_runs(c, address, scales, 1) if fp8 else [(address, size)])]
            for check in (self._check_window, self._check_answer):
                for first, stop in runs:
                    check(index, c.engine, first, stop, row=number)
            if fp8:
                rows[number] = self._fp8_rows(c, address, scales, 1)[0]
            else:
                rows[number] = self._bytes(address, size).view(np.uint16)
                self._result.bytes_read += size
        return rows

    def _bytes(self, address: int, size: int) -> np.ndarray:
        return self._memory[address - self._base:address - self._base + size]

    def _store(self, index: int, c: Command, touched: Footprint) -> None:
        m, rows = self._config.m, self._gm_rows(c)
        if "lse" in c.flags:
            lse = self.buffers["LSE"][touched.reads["LSE"]].reshape(-1)[:c["rows"]]
            data, row = lse.view(np.uint8).reshape(-1, 4), np.arange(c["rows"])
            places = rows[row // m, None] + row[:, None] % m * 4 + np.arange(4)
        else:
            out = self.buffers["OUT"][touched.reads["OUT"]]  # [group, beat, lane group, m, lanes]
            out = np.ascontiguousarray(out.transpose(0, 3, 1, 2, 4)).reshape(-1, c["cols"])
            data = out[:c["rows"]].view(np.uint8)
            places = rows[:, None] + np.arange(2 * c["cols"])
        self._memory[places - self._base] = data
        self._result.writer[(places - self._output) // self._beat] = index
        self._result.bytes_written += places.size


def _fp8_runs(c: Command, address: int, scales: int, rows: int) -> list[tuple[int, int]]:
    """First byte, and bytes, of FP8 rows, and of their scales where these lie apart."""
    apart = [(scales, rows * SCALE_BYTES)] if "fp8_584" in c.flags else []
    return [(address, rows * row_pitch(c.flags, c["cols"])), *apart]
