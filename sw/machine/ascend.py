"""The Ascend 910 and the paper's kernel: cube, vector and transfer pipes of every core, task by task.

A *tile* is up to 256 rows of one request and 512 keys. The cube core computes C1 of a tile (scores, to global memory)
and then C2 of the tile before (P.V, added to O in global memory by atomic adds); its two vector cores meanwhile read
the scores, write P and add the row offsets to O as integers (V1). Inside the cube core MTE2 brings blocks to L1, MTE1
takes them to L0, the cube multiplies and FIXPIPE takes L0C away, each in its own time; buffers are rings, and a block
is overwritten when its last reader is done. Loops, blocks and rings are those of the published kernel [1]:

* C1: for 128 rows, for 128 keys, for 288 of 576 columns; L0 by 96 columns. L1 keeps Q of the rows, and at the turn to
  the next rows, which take the keys backwards, the last keys: 512 keys are 14 loads of blocks for 256 rows, not 16.
* C2: the same for 128 rows, for 128 columns of V, for 256 keys; L0 by 128 keys.
* L1: four slots for Q and P, three for K and V, 72 KiB each; L0A, L0B and L0C: two each.

Work is dealt out tile by tile, in order, as many to each core; a request that cores share is merged at the end.

[1] CANN, cann-recipes-infer, best practice of the operator FIA: pipelines in and between cores, mm1 and mm2 of MLA.
    (mm2 is printed there with its loops over rows and columns exchanged; its conditions are those of this order.)
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil

import numpy as np

from ..report.utilisation import macs_of
from ..workload.workload import Workload
from .estimate import HEAD_DIM, HEAD_DIM_V, Estimate, require_dense
from .machine import UNLIMITED, AscendMachine, Route
from .pipeline import Program, simulate

__all__ = ["Tile", "estimate", "program", "tiles_of"]

_ROWS, _KEYS = 256, 512
_BLOCK = 128  # rows, keys or columns of V of a block
_QK_COLUMNS, _QK_DEPTH = 288, 96
_PV_KEYS, _PV_DEPTH = 256, 128
#: C1 stages issued before the C2 of a tile: C1(t), V1(t - 1), C2(t - 1).
_AHEAD = 1
_LEFT_SLOTS, _RIGHT_SLOTS, _L0_SLOTS = 4, 3, 2
#: Bytes of scores that a vector core has in UB at a time: two such buffers, and what is made of them.
_UB_CHUNK = 32 * 1024
_PIPES = ("MTE2", "MTE1", "cube", "FIXPIPE", "vector MTE2", "vector", "vector MTE3")
#: Tiles of a core that are simulated; what lies beyond takes as long as the last ones.
_MOST_TILES = 128


@dataclass(frozen=True)
class Tile:
    """Rows and keys of a tile; whether it is the first and the last of its rows on this core."""

    rows: int
    keys: int
    first: bool
    last: bool


def _tiles(workload: Workload) -> Iterator[tuple[int, int, int]]:
    """(rows, keys, index of the rows) of every tile, in order."""
    group = 0
    for length in workload.lengths:
        for row in range(0, workload.rows, _ROWS):
            for key in range(0, length, _KEYS):
                yield min(_ROWS, workload.rows - row), min(_KEYS, length - key), group
            group += 1


def tiles_of(workload: Workload, cores: int) -> tuple[list[list[Tile]], int]:
    """Tiles of each core that has work, and how many times rows are cut between cores."""
    tiles = list(_tiles(workload))
    share = ceil(len(tiles) / cores)
    dealt = [tiles[at:at + share] for at in range(0, len(tiles), share)]
    cuts = sum(mine[-1][2] == following[0][2] for mine, following in pairwise(dealt))
    return [[Tile(rows, keys, at == 0 or mine[at - 1][2] != group, at == len(mine) - 1 or mine[at + 1][2] != group)
             for at, (rows, keys, group) in enumerate(mine)] for mine in dealt], cuts


class _Ring:
    """Slots of a buffer: who fills one waits for the last reader of what it held."""

    def __init__(self, slots: int):
        self._readers: list[int | None] = [None] * slots
        self._next = 0

    def take(self) -> tuple[int, tuple[int, ...]]:
        """A slot, and the tasks to wait for before it is filled."""
        slot, self._next = self._next, (self._next + 1) % len(self._readers)
        reader = self._readers[slot]
        return slot, () if reader is None else (reader,)

    def read(self, slot: int, task: int) -> None:
        """The slot is read until a task ends."""
        self._readers[slot] = task


class _Core:
    """Builds the program of one cube core and its vector cores."""

    def __init__(self, machine: AscendMachine):
        self.machine = machine
        self.program = Program(_PIPES)
        self._left, self._right = _Ring(_LEFT_SLOTS), _Ring(_RIGHT_SLOTS)
        self._l0, self._l0c = _Ring(_L0_SLOTS), _Ring(_L0_SLOTS)

    def _move(self, pipe: str, route: Route, size: float, *waits: int, lanes: int = 1, far: bool = False,
              writes: bool = False) -> int:
        """A transfer over so many routes of a kind; returns the task that ends it."""
        if route.start:
            waits = (self.program.work(pipe, route.start, *waits),)
        return self.program.move(pipe, size, route.bytes_per_cycle * lanes, *waits, far=far, writes=writes)

    def _load(self, ring: _Ring, words: int, *waits: int, far: bool = False) -> tuple[int, int]:
        """MTE2 fills a slot of L1: the slot and the task."""
        slot, free = ring.take()
        return slot, self._move("MTE2", self.machine.gm_l1, 2 * words, *free, *waits, far=far)

    def _multiply(self, m: int, n: int, k: int, *waits: int) -> tuple[int, int]:
        """MTE1 and one matrix instruction, m x k by k x n: the tasks. Callers wait for L1's blocks and for L0C."""
        machine, fractal = self.machine, self.machine.fractal
        slot, free = self._l0.take()
        cycles = sum(route.start + 2 * words / route.bytes_per_cycle
                     for route, words in ((machine.l1_l0a, m * k), (machine.l1_l0b, n * k)))
        feed = self.program.work("MTE1", cycles, *free, *waits)
        fractals = ceil(m / fractal) * ceil(n / fractal) * ceil(k / fractal)
        mad = self.program.work("cube", machine.mad_start + fractals, feed)
        self._l0.read(slot, mad)
        return feed, mad

    def _block(self, m: int, n: int, depth: int, step: int, left: tuple[int, int], right: tuple[int, int],
               waits: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """A block of products of L1's (slot, task) pairs: its last matrix instruction; and nothing more to wait for."""
        mad = -1
        for k in range(0, depth, step):
            feed, mad = self._multiply(m, n, min(step, depth - k), left[1], right[1], *waits)
            waits = ()
        self._left.read(left[0], feed)
        self._right.read(right[0], feed)
        return mad, waits

    def scores(self, tile: Tile, waits: tuple[int, ...]) -> int:
        """C1: the task that ends it."""
        program, machine = self.program, self.machine
        program.work("cube", machine.sync_cycles)
        fixed, forth = -1, True
        kept: list[tuple[int, int]] = []
        for row in range(0, tile.rows, _BLOCK):
            m = min(_BLOCK, tile.rows - row)
            query = [self._load(self._left, m * _QK_COLUMNS) for _ in range(HEAD_DIM // _QK_COLUMNS)]
            keys = list(range(0, tile.keys, _BLOCK))
            for at, key in enumerate(keys if forth else reversed(keys)):
                n = min(_BLOCK, tile.keys - key)
                if row == 0 or at > 0:
                    kept = [self._load(self._right, n * _QK_COLUMNS, far=row == 0) for _ in query]
                slot, free = self._l0c.take()
                for left, right in zip(query, kept, strict=True):
                    mad, free = self._block(m, n, _QK_COLUMNS, _QK_DEPTH, left, right, free)
                fixed = self._move("FIXPIPE", machine.l0c_gm, 4 * m * n, mad, *waits, writes=True)
                self._l0c.read(slot, fixed)
            forth = not forth
        return fixed

    def values(self, tile: Tile, weights: int, rescaled: tuple[int, ...]) -> int:
        """C2: the task that ends it. ``weights``: P is there; ``rescaled``: O is."""
        fixed = -1
        kept: list[tuple[int, int]] = []
        depths = [min(_PV_KEYS, tile.keys - key) for key in range(0, tile.keys, _PV_KEYS)]
        for row in range(0, tile.rows, _BLOCK):
            m = min(_BLOCK, tile.rows - row)
            parts = [self._load(self._left, m * depth, weights) for depth in depths]
            for column in range(HEAD_DIM_V // _BLOCK):
                if row == 0 or column > 0:
                    kept = [self._load(self._right, _BLOCK * depth) for depth in depths]
                slot, free = self._l0c.take()
                for depth, left, right in zip(depths, parts, kept, strict=True):
                    mad, free = self._block(m, _BLOCK, depth, _PV_DEPTH, left, right, free)
                fixed = self._move("FIXPIPE", self.machine.l0c_gm, 4 * m * _BLOCK, mad, *rescaled, writes=True)
                self._l0c.read(slot, fixed)
        return fixed

    def softmax(self, tile: Tile, scores: int) -> int:
        """V1 without the add to O: the task that ends it."""
        machine, program = self.machine, self.program
        written, buffers = -1, _Ring(_L0_SLOTS)
        for rows in self._chunks(tile.rows, tile.keys):
            slot, free = buffers.take()
            words = rows * tile.keys * machine.vectors
            read = self._move("vector MTE2", machine.gm_ub, 4 * words, scores, *free, lanes=machine.vectors)
            made = program.work("vector", self._softmax_cycles(rows, tile.keys), read)
            written = self._move("vector MTE3", machine.ub_gm, 2 * words, made, lanes=machine.vectors, writes=True)
            buffers.read(slot, written)
        return written

    def rescale(self, tile: Tile, before: int) -> int:
        """Row offsets added to O as integers, once the tile before has been added: the task that ends it."""
        machine, written = self.machine, -1
        for rows in self._chunks(tile.rows, HEAD_DIM_V):
            made = self.program.work("vector", self._cycles((("fill", rows * HEAD_DIM_V / 64),)))
            written = self._move("vector MTE3", machine.ub_gm, 4 * rows * HEAD_DIM_V * machine.vectors, made, before,
                                 lanes=machine.vectors, writes=True)
        return written

    def normalise(self, tile: Tile, values: int) -> None:
        """V2 of the last tile: O is read, guarded, divided and written in 16 bits."""
        machine = self.machine
        for rows in self._chunks(tile.rows, HEAD_DIM_V):
            words, repeats = rows * HEAD_DIM_V * machine.vectors, rows * HEAD_DIM_V / 64
            read = self._move("vector MTE2", machine.gm_ub, 4 * words, values, lanes=machine.vectors)
            made = self.program.work("vector", self._cycles(
                tuple((name, repeats) for name in ("max", "max", "mul", "div", "cast"))), read)
            self._move("vector MTE3", machine.ub_gm, 2 * words, made, lanes=machine.vectors, writes=True)

    def _chunks(self, rows: int, columns: int) -> Iterator[int]:
        """Rows of each chunk of a vector core."""
        mine, most = ceil(rows / self.machine.vectors), max(_UB_CHUNK // (4 * columns), 1)
        for row in range(0, mine, most):
            yield min(most, mine - row)

    def _cycles(self, operations: tuple[tuple[str, float], ...]) -> float:
        return sum(self.machine.vector[name][0] + repeats * self.machine.vector[name][1] + self.machine.vector_barrier
                   for name, repeats in operations)

    def _softmax_cycles(self, rows: int, keys: int) -> float:
        """Scale, row maximum, exponential, row sum, P = exp . S16 in 16 bits, and the state of the rows."""
        repeats, folded = rows * keys / 64, rows * max(ceil(keys / 64) - 1, 0)
        state = ceil(rows / 64)
        return self._cycles((
            ("muls", repeats), ("max", folded), ("row_max", rows), ("sub", repeats), ("exp", repeats), ("add", folded),
            ("row_sum", rows), ("mul", repeats), ("cast", repeats),
            *((name, state) for name in ("max", "sub", "exp", "muls", "cast", "div", "mul", "add", "sub", "muls"))))


def program(machine: AscendMachine, tiles: list[Tile], *, ahead: int = _AHEAD) -> Program:
    """What one core does with its tiles. ``ahead``: C1 stages issued before the C2 of a tile."""
    core = _Core(machine)
    scored: list[int] = []
    weights: list[int] = []
    rescaled: list[tuple[int, ...]] = []
    valued: list[int] = []
    slots = ahead + 2  # of the ring of S and P in global memory

    def second(at: int) -> None:
        valued.append(core.values(tiles[at], weights[at], rescaled[at]))
        if tiles[at].last:
            core.normalise(tiles[at], valued[at])
        if at + 1 < len(weights):
            rescale(at + 1)

    def rescale(at: int) -> None:
        rescaled.append(() if tiles[at].first else (core.rescale(tiles[at], valued[at - 1]),))

    for at, tile in enumerate(tiles):
        scored.append(core.scores(tile, (weights[at - slots],) if at >= slots else ()))
        weights.append(core.softmax(tile, scored[at]))
        if at <= len(valued):
            rescale(at)
        if at >= ahead:
            second(at - ahead)
    for at in range(len(valued), len(tiles)):
        second(at)
    return core.program


def _cycles(machine: AscendMachine, tiles: list[Tile], cores: int, ahead: int) -> tuple[float, float]:
    """Cycles of the core that takes longest, and from the first core's start to the last one's end."""
    skew = machine.dispatch_cycles
    read, write, far = (rate / machine.clock_hz for rate in (
        machine.l2_read_bytes_per_second, machine.l2_write_bytes_per_second,
        machine.memory_bytes_per_second * machine.memory_share / machine.dies))

    def run(count: int) -> tuple[float, float]:
        ends = simulate(program(machine, tiles[:count], ahead=ahead), cores, read=read, write=write, far=far, skew=skew)
        return float(max(ends - skew * np.arange(cores))), float(max(ends))

    whole = run(min(len(tiles), _MOST_TILES))
    if len(tiles) <= _MOST_TILES:
        return whole
    more = (whole[0] - run(_MOST_TILES // 2)[0]) * (len(tiles) / _MOST_TILES - 1) * 2
    return whole[0] + more, whole[1] + more


def estimate(workload: Workload, machine: AscendMachine, *, ahead: int = _AHEAD) -> Estimate:
    """Time of a workload.

    Each part is what the time grows by when that cost is added to those above it.

    Raises
    ------
    AmlaError: the workload is not dense, of 16 bits, 576/512 and without sinks.
    """
    require_dense(workload, machine)
    seconds = 2 * macs_of(workload) / machine.peak_flops
    dealt, cuts = tiles_of(workload, machine.dies * machine.cores)
    tiles = max(dealt, key=lambda mine: sum(tile.rows * tile.keys for tile in mine))
    peak = sum(tile.rows * tile.keys for tile in tiles) * (HEAD_DIM + HEAD_DIM_V) / machine.fractal**3
    no_sync = replace(machine, sync_cycles=0.0)
    no_memory = replace(no_sync, memory_bytes_per_second=UNLIMITED)
    alone = replace(no_memory, l2_read_bytes_per_second=UNLIMITED, l2_write_bytes_per_second=UNLIMITED)
    cube = program(no_sync, tiles, ahead=ahead).busy("cube")
    own, shared, far, (whole, end) = (_cycles(one, tiles, ceil(len(dealt) / machine.dies), ahead)
                                      for one in (alone, no_memory, no_sync, machine))
    partial = 2 * cuts * 4 * HEAD_DIM_V * min(_ROWS, workload.rows)
    rate = machine.dies * min(machine.cores * machine.vectors * machine.gm_ub.bytes_per_cycle,
                              machine.l2_read_bytes_per_second / machine.clock_hz)
    cycles = {
        "cores without work, padding": peak - seconds * machine.clock_hz,
        "start of matrix instructions": cube - peak,
        "pipes and buffers of a core": own[0] - cube,
        "cores share the L2": shared[0] - own[0],
        "cores share the HBM": far[0] - shared[0],
        "cube and vector cores synchronise": whole - far[0],
        "dispatch of the cores": end - whole,
        "merge of requests cut between cores": (partial / rate + machine.sync_cycles) * (cuts > 0),
        "launch": machine.launch_cycles + machine.bubble_cycles,
    }
    moved = sum(2 * HEAD_DIM * length + 2 * workload.rows * (HEAD_DIM + HEAD_DIM_V) for length in workload.lengths)
    bounds = {"compute": seconds, "memory": moved / machine.memory_bytes_per_second}
    by = max(bounds, key=bounds.__getitem__)
    parts = {"cube at its peak": seconds, **{name: value / machine.clock_hz for name, value in cycles.items()}}
    return Estimate(parts=parts, bound_seconds=bounds[by], bound_by=by, cores=len(dealt), stages={})
