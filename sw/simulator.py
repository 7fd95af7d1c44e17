"""Functional command simulator: a program on the core's buffers, bit-exact, one command after the other.

Buffers have the layouts of ``docs/architecture.md`` and start as NaN, so that a scheduler that reads what it
has not written shows. Semaphores, fields, windows and buffer bounds are checked as the core checks them.
"""

from dataclasses import dataclass, field

import numpy as np
from amla.model.accumulate import accumulate, normalize, reciprocal_and_lse
from amla.model.convert import to_bf16
from amla.model.fdpa import matmul
from amla.model.softmax import RowState, row_maximum, softmax_tile, valid_columns
from amla.rtl.config import CoreConfig
from amla.rtl.isa import COMMAND_BYTES, SEMAPHORE_MAX, SEMAPHORES, Engine, Fault, Opcode, Semaphore

from .footprint import Footprint, buffer_words, footprint
from .memory_map import Job
from .program import Command, UnknownOpcode, members, words

__all__ = ["CommandFault", "SimulationResult", "Simulator", "simulate"]

#: Initial words of the buffers, and their type.
_NAN32, _NAN16 = (0x7FC00000, np.uint32), (0x7FC0, np.uint16)

#: Buffers of BF16 words; the others hold 32-bit words.
_BF16 = ("L1", "L0A", "L0B", "OUT")

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
    writer:        index of the command that last wrote each beat of the write window, -1 for none
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
    result = simulator.run(job.program.symbols["PROGRAM"], len(job.program))
    start = job.output_base - job.base
    out, lse = job.unpack(memory[start:start + job.output_bytes])
    return out, lse, result


class Simulator:
    """A core's buffers and semaphores.

    Parameters
    ----------
    config:       the core
    memory:       uint8, GM from address ``base`` on; written in place
    base:         address of the first byte of ``memory``
    read_window, write_window: first byte, first byte past
    scale_word:   FP32 word of softmax_scale * log2(e)
    """

    def __init__(self, config: CoreConfig, memory: np.ndarray, *, base: int, read_window: tuple[int, int],
                 write_window: tuple[int, int], scale_word: int):
        self._config, self._memory, self._base = config, memory, base
        self._read_window, self._write_window, self._scale = read_window, write_window, scale_word
        self._beat = config.axi_data_bytes
        m, n, k, lanes = config.m, config.n, config.k, config.lanes
        shapes = {"L1": (max(m, n), k), "L0A": (m, k), "L0B": (n, k), "L0C": (m, n), "S": (m, lanes),
                  "ROWMAX": (m,),
                  "OFFSETS": (m, 1 << config.comp_bits), "O": (m, lanes),
                  "OUT": (config.beat_elements // lanes, m, lanes), "LSE": (m,)}
        depths = buffer_words(config)
        self._depths = depths
        self._buffers = {
            name: np.full((depths[name], *shape), *(_NAN16 if name in _BF16 else _NAN32))
            for name, shape in shapes.items()
        }
        self._state = {name: np.full((depths["STATE"], m), *_NAN32) for name in ("m", "c", "l", "L", "R")}
        self._semaphores = [0] * SEMAPHORES
        beats = -(-(write_window[1] - write_window[0]) // self._beat)
        self._result = SimulationResult(writer=np.full(beats, -1, np.int64))

    @property
    def semaphores(self) -> dict[str, int]:
        """The counters."""
        return {semaphore.name: self._semaphores[semaphore] for semaphore in Semaphore}

    def run(self, program: int, length: int) -> SimulationResult:
        """Execute the program of ``length`` commands at GM address ``program`` up to its HALT.

        Raises
        ------
        CommandFault: as the core's fault. A wait that program order cannot satisfy is the fault WATCHDOG.
        """
        start = program - self._base
        binary = self._memory[start:start + COMMAND_BYTES * length].tobytes()
        for index, word in enumerate(words(binary)):
            try:
                command = Command.decode(word)
            except UnknownOpcode as error:
                raise CommandFault(Fault.UNKNOWN_OPCODE, Engine.SEQUENCER, index, str(error)) from None
            self._take(index, command)
            self._check_fields(index, command)
            self._execute(index, command)
            self._signal(index, command)
            self._result.commands += 1
            if command.opcode == Opcode.HALT:
                return self._result
        raise CommandFault(Fault.TRUNCATED_PROGRAM, Engine.SEQUENCER, length, "no HALT among the commands")

    # Semaphores, fields, bounds.

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
        if c.opcode in (Opcode.LOAD, Opcode.STORE):
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

    def _check_bounds(self, index: int, command: Command, touched: Footprint) -> None:
        for accesses in (touched.reads, touched.writes):
            for buffer, addresses in accesses.items():
                last, depth = int(addresses.max()), self._depths[buffer]
                if last >= depth:
                    raise CommandFault(Fault.BUFFER_OVERRUN, command.engine, index,
                                       f"word {last} of {buffer}, which has {depth}")

    def _check_window(self, index: int, command: Command, first: int, stop: int) -> None:
        load = command.opcode == Opcode.LOAD
        low, high = self._read_window if load else self._write_window
        if first < low or stop > high:
            raise CommandFault(Fault.READ_WINDOW if load else Fault.WRITE_WINDOW, command.engine, index,
                               f"bytes {first:#x} to {stop:#x} outside of {low:#x} to {high:#x}")

    # Commands.

    def _execute(self, index: int, command: Command) -> None:
        if command.engine == Engine.SEQUENCER:
            return
        touched = footprint(command, self._config)
        if command.opcode in (Opcode.LOAD, Opcode.STORE):
            rows = self._gm_rows(command)
            if rows.size:
                self._check_window(index, command, int(rows.min()),
                                   int(rows.max()) + self._row_bytes(command))
        self._check_bounds(index, command, touched)
        getattr(self, f"_{command.opcode.name.lower()}")(index, command, touched)

    def _gm_rows(self, c: Command) -> np.ndarray:
        """GM address of every row (of every LSE beat)."""
        if c.opcode == Opcode.STORE and "lse" in c.flags:
            return c["address"] + np.arange(-(-c["rows"] // self._config.m)) * self._beat
        rows = min(c["rows"], c["rows_padded"]) if c.opcode == Opcode.LOAD else c["rows"]
        return c["address"] + np.arange(rows) * c["pitch"]

    def _row_bytes(self, c: Command) -> int:
        return self._beat if "lse" in c.flags else 2 * c["cols"]

    def _load(self, index: int, c: Command, touched: Footprint) -> None:
        group = self._config.m if "a_side" in c.flags else self._config.n
        rows = self._gm_rows(c)
        places = rows[:, None] - self._base + np.arange(2 * c["cols"])
        data = np.zeros((c["rows_padded"], c["cols"]), np.uint16)
        data[:len(rows)] = self._memory[places].view(np.uint16)
        inside = (c["row0"] + np.arange(c["rows_padded"])) % group
        self._buffers["L1"][touched.writes["L1"], inside[:, None]] = data.reshape(len(data), -1,
                                                                                  self._config.k)
        self._result.bytes_read += places.size

    def _feed_a(self, index: int, c: Command, touched: Footprint) -> None:
        self._buffers["L0A"][touched.writes["L0A"]] = self._buffers["L1"][touched.reads["L1"],
                                                                          :self._config.m]

    def _feed_b(self, index: int, c: Command, touched: Footprint) -> None:
        n, k = self._config.n, self._config.k
        data = self._buffers["L1"][touched.reads["L1"], :n]
        if "transpose" in c.flags:  # [outer, inner, group, row, column] -> columns in groups of n, then keys
            outer, inner = data.shape[:2]
            data = data.reshape(outer, inner, k, k).swapaxes(2, 3).reshape(outer, inner, k // n, n, k)
        self._buffers["L0B"][touched.writes["L0B"]] = data

    def _mmad(self, index: int, c: Command, touched: Footprint) -> None:
        a = self._buffers["L0A"][touched.reads["L0A"]]  # [kt, mt, m, k]
        b = self._buffers["L0B"][touched.reads["L0B"]]
        places = touched.writes["L0C"]
        start = self._matrix(self._buffers["L0C"][places]) if "accumulate" in c.flags else None
        result = matmul(_operand(a), _operand(b), k=self._config.k, acc_frac_bits=self._config.acc_frac_bits,
                        c=start)
        self._buffers["L0C"][places] = self._tiles(result, self._config.n)

    def _drain_s(self, index: int, c: Command, touched: Footprint) -> None:
        scores = self._matrix(self._buffers["L0C"][touched.reads["L0C"]])
        self._buffers["S"][touched.writes["S"]] = self._tiles(scores, self._config.lanes)
        places = touched.writes["ROWMAX"]
        maxima = row_maximum(scores, self._valid(c, len(scores)))
        if "first" not in c.flags:
            former = np.stack([self._buffers["ROWMAX"][places].reshape(-1), maxima], axis=1)
            maxima = row_maximum(former, np.full(len(former), 2, np.int64))
        self._buffers["ROWMAX"][places] = maxima.reshape(len(places), -1)

    def _drain_o(self, index: int, c: Command, touched: Footprint) -> None:
        product = self._matrix(self._buffers["L0C"][touched.reads["L0C"]])
        places, first = touched.writes["O"], "first" in c.flags
        output = self._matrix(self._buffers["O"][places])
        segments = 1 << self._config.comp_bits
        offsets = np.zeros((len(product), segments), np.uint32)
        if not first:
            offsets[:] = self._buffers["OFFSETS"][touched.reads["OFFSETS"]].reshape(-1, segments)
        accumulate(output, product, offsets, first=first, mode=self._config.mode,
                   comp_bits=self._config.comp_bits)
        self._buffers["O"][places] = self._tiles(output, self._config.lanes)

    def _softmax(self, index: int, c: Command, touched: Footprint) -> None:
        scores = self._matrix(self._buffers["S"][touched.reads["S"]])
        places = touched.writes["STATE"]
        state = RowState(**{name: self._state[name][places].reshape(-1) for name in ("m", "c", "l", "L")})
        p, offsets = softmax_tile(
            scores, self._valid(c, len(scores)), self._buffers["ROWMAX"][touched.reads["ROWMAX"]].reshape(-1),
            state,
            scale_word=self._scale, first="first" in c.flags, mode=self._config.mode,
            comp_bits=self._config.comp_bits,
        )
        for name in ("m", "c", "l", "L"):
            self._state[name][places] = getattr(state, name).reshape(len(places), -1)
        self._buffers["OFFSETS"][touched.writes["OFFSETS"]] = offsets.reshape(len(places), -1,
                                                                              offsets.shape[1])
        self._buffers["L1"][touched.writes["L1"], :self._config.m] = self._tiles(p, self._config.k)

    def _normalize(self, index: int, c: Command, touched: Footprint) -> None:
        places = touched.reads["STATE"]
        if "first" in c.flags:
            state = RowState(**{name: self._state[name][places].reshape(-1) for name in ("m", "c", "l", "L")})
            factor, lse = reciprocal_and_lse(state, mode=self._config.mode)
            self._state["R"][places] = factor.reshape(len(places), -1)
            self._buffers["LSE"][touched.writes["LSE"]] = lse.reshape(len(places), -1)
        words_ = self._buffers["O"][touched.reads["O"]]  # [mt, nt, lane group, m, lanes]
        mt, nt, groups, m, lanes = words_.shape
        rows = words_.transpose(0, 3, 1, 2, 4).reshape(mt * m, -1)
        out = to_bf16(normalize(np.ascontiguousarray(rows), self._state["R"][places].reshape(-1)))
        self._buffers["OUT"][touched.writes["OUT"]] = (
            out.reshape(mt, m, nt, groups, lanes).transpose(0, 2, 3, 1, 4))

    def _store(self, index: int, c: Command, touched: Footprint) -> None:
        m, rows = self._config.m, self._gm_rows(c)
        if "lse" in c.flags:
            lse = self._buffers["LSE"][touched.reads["LSE"]].reshape(-1)[:c["rows"]]
            data, row = lse.view(np.uint8).reshape(-1, 4), np.arange(c["rows"])
            places = rows[row // m, None] + row[:, None] % m * 4 + np.arange(4)
        else:
            words_ = self._buffers["OUT"][touched.reads["OUT"]]  # [group, beat, lane group, m, lanes]
            data = np.ascontiguousarray(words_.transpose(0, 3, 1, 2, 4)).reshape(-1,
                                                                                 c["cols"])[:c["rows"]].view(np.uint8)
            places = rows[:, None] + np.arange(2 * c["cols"])
        self._memory[places - self._base] = data
        self._result.writer[(places - self._write_window[0]) // self._beat] = index
        self._result.bytes_written += places.size

    # Views.

    def _valid(self, c: Command, rows: int) -> np.ndarray:
        return valid_columns(rows, c["limit"], c["heads"], c["head0"])

    def _matrix(self, tiles: np.ndarray) -> np.ndarray:
        """[row group, column group, m, columns] -> [row, column]"""
        return np.ascontiguousarray(tiles.swapaxes(1, 2)).reshape(tiles.shape[0] * tiles.shape[2], -1)

    def _tiles(self, matrix: np.ndarray, columns: int) -> np.ndarray:
        """[row, column] -> [row group, column group, m, columns]"""
        m = self._config.m
        return matrix.reshape(len(matrix) // m, m, -1, columns).swapaxes(1, 2)


def _operand(fractals: np.ndarray) -> np.ndarray:
    """[k-step, tile, row, k] -> [row, k-step and k]"""
    return np.ascontiguousarray(fractals.transpose(1, 2, 0, 3)).reshape(fractals.shape[1] * fractals.shape[2],
                                                                        -1)
