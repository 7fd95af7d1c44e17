"""Functional command simulator: a program on the core's buffers, bit-exact, one command after the other.

Buffers have the layouts of ``docs/architecture.md`` and start as NaN, so that a scheduler that reads what it
has not written shows. A command is checked in the order of that page ("Order of checks"), as the core checks it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from amla.model.cache import fp8_cache, fp8_pages
from amla.rtl.config import CoreConfig
from amla.rtl.isa import (
    FP8_ROWS,
    HALFWORD_BITS,
    MAX_LENGTH,
    SEMAPHORE_MAX,
    SEMAPHORES,
    Engine,
    Fault,
    Opcode,
    Semaphore,
)

from ..compiler.footprint import Footprint, buffer_words, footprint, last_words
from ..compiler.memory_map import Job
from ..compiler.packing import TruncatedProgram, unpack
from ..compiler.program import Command, UnknownOpcode, members
from .executor import Executor

__all__ = ["CommandFault", "SimulationResult", "Simulator", "simulate"]

#: Layouts of FP8 caches, by the flag of LOAD.
_FP8 = {"fp8_656": fp8_cache, "fp8_584": fp8_pages}

#: Fields that count something and must not be zero.
_COUNTS = {
    Opcode.LOAD: ("rows_padded", "cols"), Opcode.FEED_A: ("outer", "inner"),
    Opcode.FEED_B: ("outer", "inner"),
    Opcode.MMAD: ("mt", "nt", "kt"), Opcode.DRAIN_S: ("mt", "nt"), Opcode.DRAIN_O: ("mt", "nt"),
    Opcode.SOFTMAX: ("mt", "kt"), Opcode.NORMALIZE: ("mt", "nt"), Opcode.STORE: ("rows",),
}


class CommandFault(Exception):
    """A command at fault: ``code``, ``engine`` and ``index`` as in the core's registers."""

    def __init__(self, code: Fault, engine: Engine, index: int, text: str):
        super().__init__(f"command {index} ({engine.name.lower()}): {code.name}: {text}")
        self.code, self.engine, self.index = code, engine, index


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
            self._check_memory(self._result.commands, Engine.SEQUENCER, first, stop)
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
        layouts = [flag for flag in _FP8 if flag in c.flags]
        if layouts:
            require(self._config.reads_fp8 and len(layouts) == 1, f"{' and '.join(layouts)} on {self._config.name}")
            for name, multiple in (("address", 16), ("pitch", 8)):
                require(c[name] % multiple == 0, f"{name} must be a multiple of {multiple}, not {c[name]:#x}")
            require(c["cols"] == _FP8[layouts[0]].WIDTH, f"cols must be {_FP8[layouts[0]].WIDTH}, not {c['cols']}")
            require(self._rows_read(c) <= FP8_ROWS, f"rows must be at most {FP8_ROWS}, not {self._rows_read(c)}")
        elif c.opcode in (Opcode.LOAD, Opcode.STORE):
            for name in ("address",) if lse else ("address", "pitch"):
                require(c[name] % self._beat == 0,
                        f"{name} must be a multiple of {self._beat}, not {c[name]:#x}")
            if not lse:
                elements = self._config.beat_elements
                require(c["cols"] > 0 and c["cols"] % elements == 0,
                        f"cols must be a positive multiple of {elements}, not {c['cols']}")
        if c.opcode == Opcode.LOAD:
            banks = self._config.l1_banks
            require(c["l1"] % banks == 0, f"l1 must be a multiple of {banks}, not {c['l1']}")

    def _check_bounds(self, index: int, command: Command) -> None:
        for buffer, last in last_words(command, self._config).items():
            depth = self._depths[buffer]
            if last >= depth:
                raise CommandFault(Fault.BUFFER_OVERRUN, command.engine, index,
                                   f"word {last} of {buffer}, which has {depth}")

    def _check_memory(self, index: int, engine: Engine, first: int, stop: int) -> None:
        """The bytes from ``first`` to before ``stop`` are in the engine's window, and in memory."""
        write = engine == Engine.STORE
        low, high = self._write_window if write else self._read_window
        if first < low or stop > high:
            raise CommandFault(Fault.WRITE_WINDOW if write else Fault.READ_WINDOW, engine, index,
                               f"bytes {first:#x} to {stop:#x} outside of {low:#x} to {high:#x}")
        if first < self._base or stop > self._base + len(self._memory):
            raise CommandFault(Fault.WRITE_DECERR if write else Fault.READ_DECERR, engine, index,
                               f"no memory answers at bytes {first:#x} to {stop:#x}")

    # Commands.

    def _execute(self, index: int, command: Command) -> None:
        if command.engine == Engine.SEQUENCER:
            return
        self._check_fields(index, command)
        self._check_bounds(index, command)
        for first, stop in self._gm_ranges(command):
            self._check_memory(index, command.engine, first, stop)
        touched = footprint(command, self._config)
        if command.opcode == Opcode.LOAD:
            self._load(command, touched)
        elif command.opcode == Opcode.STORE:
            self._store(index, command, touched)
        else:
            self._executor.execute(command, touched)

    def _rows_read(self, c: Command) -> int:
        return min(c["rows"], c["rows_padded"])

    def _gm_ranges(self, c: Command) -> list[tuple[int, int]]:
        """First byte, and first byte past, of what a command touches in GM."""
        if c.opcode == Opcode.LOAD and self._rows_read(c) and c.flags & _FP8.keys():
            beat = self._beat
            return [(first // beat * beat, -(-(first + count) // beat) * beat) for first, count in self._fp8_runs(c)]
        if c.opcode not in (Opcode.LOAD, Opcode.STORE):
            return []
        rows = self._gm_rows(c)
        return [(int(rows[0]), int(rows[-1]) + self._row_bytes(c))] if rows.size else []

    def _fp8_runs(self, c: Command) -> list[tuple[int, int]]:
        """First byte, and bytes, of the values of FP8 rows, and of their scales where these lie apart."""
        rows = self._rows_read(c)
        if "fp8_656" in c.flags:
            return [(c["address"], rows * fp8_cache.BYTES)]
        return [(c["address"], rows * fp8_pages.VALUE_BYTES),
                (c["address"] + c["pitch"], rows * (fp8_pages.BYTES - fp8_pages.VALUE_BYTES))]

    def _gm_rows(self, c: Command) -> np.ndarray:
        """GM address of every row (of every LSE beat)."""
        if c.opcode == Opcode.STORE and "lse" in c.flags:
            return c["address"] + np.arange(-(-c["rows"] // self._config.m)) * self._beat
        rows = self._rows_read(c) if c.opcode == Opcode.LOAD else c["rows"]
        return c["address"] + np.arange(rows) * c["pitch"]

    def _row_bytes(self, c: Command) -> int:
        return self._beat if "lse" in c.flags else 2 * c["cols"]

    def _load(self, c: Command, touched: Footprint) -> None:
        group = self._config.m if "a_side" in c.flags else self._config.n
        data = np.zeros((c["rows_padded"], c["cols"]), np.uint16)
        count = self._rows_read(c)
        if count and c.flags & _FP8.keys():
            runs = [self._memory[first - self._base:first - self._base + size] for first, size in self._fp8_runs(c)]
            tokens = np.concatenate(runs)
            if "fp8_656" in c.flags:
                data[:count] = fp8_cache.dequantize_fp8(tokens.reshape(count, -1))
            else:
                data[:count] = fp8_pages.dequantize_fp8_pages(tokens.reshape(1, count, -1), np.arange(count))
            self._result.bytes_read += len(tokens)
        elif count:
            places = self._gm_rows(c)[:, None] - self._base + np.arange(2 * c["cols"])
            data[:count] = self._memory[places].view(np.uint16)
            self._result.bytes_read += places.size
        inside = (c["row0"] + np.arange(c["rows_padded"])) % group
        fractal_rows = data.reshape(len(data), -1, self._config.k)
        self.buffers["L1"][touched.writes["L1"], inside[:, None]] = fractal_rows

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
