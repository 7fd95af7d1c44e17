"""A workload with its keys cut: programs of its shares, and of their merge, one after the other on one memory."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from amla.model import mla_decode
from amla.model.attention.split_kv import key_splits
from amla.rtl.config import CoreConfig
from amla.sw.cluster.merge import Merge, schedule_merge
from amla.sw.cluster.share import RowsResult, schedule_share
from amla.sw.compiler.key_cache import KeyCache, KeySource, Listed, Paged
from amla.sw.compiler.memory_map import Job
from amla.sw.compiler.plan import Piece, Share
from amla.sw.compiler.program import Annotation, Command, Program, assemble
from amla.sw.simulator.simulator import Simulator
from amla.sw.workload.inputs import Inputs

__all__ = ["SplitJob", "random_cuts"]

_PAGE = 4096


def random_cuts(rng: random.Random, config: CoreConfig, lengths: Sequence[int]) -> tuple[int, ...]:
    """One to four cuts of the longest request, multiples of k."""
    chunks = range(1, max(max(lengths) // config.k, 2))
    return tuple(config.k * cut for cut in sorted(rng.sample(chunks, min(rng.randint(1, 4), len(chunks)))))


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitJob:
    """The programs of a workload whose keys are cut, and their memory.

    Attributes
    ----------
    job:      of the same workload, uncut: its data, and where O and LSE are
    inputs:   of the workload
    cuts:     keys
    programs: to be run in order
    memory:   uint8, from the job's base on
    """

    job: Job
    inputs: Inputs
    cuts: tuple[int, ...]
    programs: tuple[Program, ...]
    memory: np.ndarray

    @classmethod
    def build(cls, job: Job, inputs: Inputs, cuts: tuple[int, ...], rng: random.Random) -> "SplitJob":
        """Cut a job's keys at ``cuts``, multiples of k, its rows and the columns of the merge at random.

        Raises
        ------
        AmlaError: the core's buffers are too small.
        """
        return _Builder(job, inputs, cuts, rng).build()

    def registers(self, program: Program) -> Mapping[str, int]:
        """Registers of a program."""
        return replace(self.job, program=program).registers

    def golden(self) -> tuple[np.ndarray, np.ndarray]:
        """O and LSE of the golden model."""
        load = self.job.workload
        return mla_decode(**self.inputs.arguments(), head_dim_v=load.head_dim_v, softmax_scale=load.scale,
                          causal=load.causal, mode=self.job.config.mode, numerics=self.job.numerics, cuts=self.cuts)

    def simulate(self) -> np.ndarray:
        """Memory as the command simulator leaves it."""
        memory = self.memory.copy()
        for program in self.programs:
            Simulator(self.job.config, memory, base=self.job.base, read_window=program.read_window,
                      write_window=program.write_window, scale_word=program.scale_word).run(
                program.symbols["PROGRAM"], self.registers(program)["PROGRAM_LENGTH"])
        return memory

    def unpack(self, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """O and LSE from the memory."""
        start = self.job.output_base - self.job.base
        return self.job.unpack(memory[start:start + self.job.output_bytes])


class _Builder:
    def __init__(self, job: Job, inputs: Inputs, cuts: tuple[int, ...], rng: random.Random):
        self._job, self._inputs, self._cuts, self._rng = job, inputs, cuts, rng
        self._config, self._workload = job.config, job.plan.workload
        self._memory = bytearray(job.memory.tobytes())
        self._commands: list[tuple[list[Command], list[Annotation], bool]] = []  # and whether O is written
        self._groups = -(-self._workload.rows // self._config.m)

    def build(self) -> SplitJob:
        job, symbols = self._job, self._job.program.symbols
        self._align()
        self._sink = self._sinks()
        self._gap()
        partials = job.base + len(self._memory)
        shares = [(request, [*self._row_ranges()]) for request in range(len(self._workload.lengths))]
        results = {(request, split, rows): self._region(rows) for request, ranges in shares
                   for split in key_splits(self._cuts, self._workload.lengths[request]) for rows in ranges}
        self._align()
        end = job.base + len(self._memory)
        self._gap()
        keys = self._keys(symbols, job.base + len(self._memory))
        for request, ranges in shares:
            self._request(request, ranges, results, keys)
        if isinstance(keys, Listed):
            self._memory += keys.image
        self._align()
        read = symbols["Q"], job.base + len(self._memory) + sum(
            _PAGE + len(assemble(commands)) for commands, _, _ in self._commands) // _PAGE * _PAGE + _PAGE
        programs = []
        for commands, notes, final in self._commands:
            binary, address = assemble(commands), job.base + len(self._memory)
            self._memory += binary
            self._align()
            programs.append(Program(
                commands=tuple(commands), binary=binary, scale_word=job.program.scale_word, read_window=read,
                write_window=job.program.write_window if final else (partials, end), annotations=tuple(notes),
                symbols={**symbols, "PROGRAM": address}))
        self._memory += bytes(max(read[1] - job.base - len(self._memory), 0))
        return SplitJob(job=job, inputs=self._inputs, cuts=self._cuts, programs=tuple(programs),
                        memory=np.frombuffer(bytes(self._memory), np.uint8).copy())

    def _request(self, request: int, ranges: list[Piece], results: dict, keys: KeySource) -> None:
        """The shares of a request and, unless its keys are uncut, their merge."""
        workload, config, job = self._workload, self._config, self._job
        length = workload.lengths[request]
        splits = key_splits(self._cuts, length) or [(0, 0)]
        o = job.program.symbols["O"] + 2 * request * workload.rows * workload.head_dim_v
        lse = job.program.symbols["LSE"] + request * self._groups * config.axi_data_bytes
        for rows in ranges:
            for split in splits:
                partial = len(splits) > 1
                result = results[request, split, rows] if partial else RowsResult(
                    rows, o + 2 * rows.start * workload.head_dim_v,
                    lse + rows.start // config.m * config.axi_data_bytes)
                share = Share(request, rows, Piece(split[0], split[1] - split[0]), length, partial)
                _, commands, notes = schedule_share(
                    workload, share, config, keys, q=job.program.symbols["Q"], result=result, preload=job.plan.preload,
                    kv_block=job.plan.kv_block, listed=isinstance(keys, Listed), sink=None if partial else self._sink)
                self._commands.append((commands, notes, not partial))
        if len(splits) < 2:
            return
        sinks = None if self._sink is None else [
            self._sink + group * config.axi_data_bytes for group in range(self._groups)]
        for columns in self._column_ranges():
            for rows in ranges:
                merge = Merge(
                    request=request, parts=[results[request, split, rows] for split in splits], rows=rows,
                    columns=columns, width=workload.head_dim_v, o=o,
                    lse=lse if columns.start == 0 else None, sinks=sinks)
                self._commands.append((*schedule_merge(merge, config), True))

    def _keys(self, symbols: Mapping[str, int], lists: int) -> KeySource:
        load, inputs = self._job.workload, self._inputs
        cache = KeyCache.of(load, base=symbols["KV"])
        if inputs.block_table is not None:
            return Paged(cache, inputs.block_table)
        caches = [cache]
        if load.extra is not None and inputs.extra_k_cache is not None:
            caches.append(KeyCache.of(load, base=symbols["EXTRA"], page_size=load.extra.page_size))
        return Listed(caches, inputs.sequences, lists, self._config.axi_data_bytes)

    def _sinks(self) -> int | None:
        """The beats of sinks of a request's row groups."""
        if self._inputs.attn_sink is None:
            return None
        address, m = self._job.base + len(self._memory), self._config.m
        rows = np.arange(self._groups * m).reshape(-1, m) % len(self._inputs.attn_sink)
        beats = np.zeros((self._groups, self._config.axi_data_bytes), np.uint8)
        beats[:, :4 * m] = np.ascontiguousarray(self._inputs.attn_sink[rows]).view(np.uint8)
        self._memory += beats.tobytes()
        self._align()
        return address

    def _region(self, rows: Piece) -> RowsResult:
        """Room for a partial result."""
        o = self._job.base + len(self._memory)
        size = 4 * rows.size * self._workload.head_dim_v
        lse = -(-size // self._config.axi_data_bytes) * self._config.axi_data_bytes
        self._memory += b"\xa5" * (lse + -(-rows.size // self._config.m) * self._config.axi_data_bytes)
        return RowsResult(rows, o, o + lse)

    def _row_ranges(self) -> list[Piece]:
        m, rows = self._config.m, self._workload.rows
        return [Piece(piece.start * m, min(piece.stop * m, rows) - piece.start * m)
                for piece in self._ranges(self._groups)]

    def _column_ranges(self) -> list[Piece]:
        beat = self._config.beat_elements
        return [Piece(piece.start * beat, piece.size * beat)
                for piece in self._ranges(self._workload.head_dim_v // beat)]

    def _ranges(self, count: int) -> list[Piece]:
        """One range, or two."""
        edges = sorted({0, self._rng.randint(1, count), count})
        return [Piece(start, stop - start) for start, stop in pairwise(edges)]

    def _gap(self) -> None:
        """A page beside what a program writes: benches guard it."""
        self._memory += b"\xa5" * _PAGE

    def _align(self) -> None:
        self._memory += b"\xa5" * (-(self._job.base + len(self._memory)) % _PAGE)
