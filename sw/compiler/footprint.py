"""Which words of which buffers a command reads and writes: the one place that turns fields into addresses.

The command simulator checks the last of these addresses against the buffers, and moves data by them; the hazard
check compares them across engines.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.isa import Opcode

from .program import Command

__all__ = ["Footprint", "buffer_words", "footprint", "last_words"]


@dataclass(frozen=True)
class Footprint:
    """Word addresses per buffer, shaped as the command walks them."""

    reads: dict[str, np.ndarray] = field(default_factory=dict)
    writes: dict[str, np.ndarray] = field(default_factory=dict)


def buffer_words(config: CoreConfig) -> dict[str, int]:
    """Words of every buffer. STATE is the vector engine's own."""
    state = config.state_words
    return {"L1": config.l1_words, "L0A": config.l0a_words, "L0B": config.l0b_words, "L0C": config.l0c_words,
            "S": config.s_words, "ROWMAX": state, "OFFSETS": state, "STATE": state, "O": config.o_words,
            "OUT": config.out_words, "LSE": state, "SINK": state}


def footprint(command: Command, config: CoreConfig) -> Footprint:
    """The buffer words that a command reads and writes."""
    return Footprint(*({buffer: walk.addresses() for buffer, walk in walks.items()}
                       for walks in _walks(command, config)))


def last_words(command: Command, config: CoreConfig) -> dict[str, int]:
    """The last word that a command, whose counts are not zero, touches in each buffer: cheap for any counts."""
    both = _walks(command, config)
    return {buffer: max(walks[buffer].last for walks in both if buffer in walks) for buffer in both[0] | both[1]}


class _Axis(NamedTuple):
    """A loop of a walk: its step i adds (start + i) div group * stride."""

    steps: int
    stride: int
    start: int = 0
    group: int = 1


@dataclass(frozen=True)
class _Walk:
    """Nested loops over the words from ``base`` on, the outermost first."""

    base: int
    axes: tuple[_Axis, ...]

    def addresses(self) -> np.ndarray:
        result = np.array(self.base, np.int64)
        for axis in self.axes:
            index = axis.start + np.arange(axis.steps, dtype=np.int64)
            result = result[..., None] + index // axis.group * axis.stride
        return result

    @property
    def last(self) -> int:
        return self.base + sum((axis.start + axis.steps - 1) // axis.group * axis.stride for axis in self.axes)


#: What a command reads and what it writes.
_Walks = tuple[dict[str, _Walk], dict[str, _Walk]]


def _walks(command: Command, config: CoreConfig) -> _Walks:
    walk = _WALKS.get(command.opcode)
    return walk(command, config) if walk else ({}, {})


def _grid(base: int, *axes: tuple[int, ...]) -> _Walk:
    return _Walk(base, tuple(_Axis(*axis) for axis in axes))


def _load(c: Command, config: CoreConfig) -> _Walks:
    """L1[row, chunk] or SINK[row]"""
    if "sinks" in c.flags:
        return {}, {"SINK": _grid(c["l1"], (c["rows_padded"], 1))}
    chunks = c["cols"] // config.k
    group = config.m if "a_side" in c.flags else config.n
    return {}, {"L1": _grid(c["l1"], (c["rows_padded"], chunks, c["row0"], group), (chunks, 1))}


def _feed_a(c: Command, config: CoreConfig) -> _Walks:
    """L1[outer, inner], L0A[outer, inner]"""
    source = _grid(c["l1"], (c["outer"], c["outer_stride"]), (c["inner"], c["inner_stride"]))
    return {"L1": source}, {"L0A": _grid(c["l0"], (c["outer"], c["inner"]), (c["inner"], 1))}


def _feed_b(c: Command, config: CoreConfig) -> _Walks:
    """L1[outer, inner] or, transposing, L1[outer, inner, j]; L0B likewise with h for j"""
    source = [(c["outer"], c["outer_stride"]), (c["inner"], c["inner_stride"])]
    group = 1
    if "transpose" in c.flags:
        group = config.k // config.n
        source.append((group, c["group_stride"]))
    target = [(c["outer"], c["inner"] * group), (c["inner"], group), (group, 1)]
    return {"L1": _grid(c["l1"], *source)}, {"L0B": _grid(c["l0"], *target[:len(source)])}


def _l0c(c: Command) -> _Walk:
    """L0C[m-tile, n-tile]"""
    return _grid(c["l0c"], (c["mt"], c["nt"]), (c["nt"], 1))


def _mmad(c: Command, config: CoreConfig) -> _Walks:
    """L0A[k-step, m-tile], L0B[k-step, n-tile], L0C[m-tile, n-tile]"""
    reads = {"L0A": _grid(c["l0a"], (c["kt"], c["mt"]), (c["mt"], 1)),
             "L0B": _grid(c["l0b"], (c["kt"], c["nt"]), (c["nt"], 1))}
    if "accumulate" in c.flags:
        reads["L0C"] = _l0c(c)
    return reads, {"L0C": _l0c(c)}


def _drain_s(c: Command, config: CoreConfig) -> _Walks:
    """S[m-tile, lane group]"""
    rowmax = _grid(c["rowmax"], (c["mt"], 1))
    reads = {"L0C": _l0c(c)} | ({} if "first" in c.flags else {"ROWMAX": rowmax})
    groups = c["nt"] * (config.n // config.lanes)
    return reads, {"S": _grid(c["s"], (c["mt"], c["s_pitch"]), (groups, 1)), "ROWMAX": rowmax}


def _drain_o(c: Command, config: CoreConfig) -> _Walks:
    """O[m-tile, lane group]"""
    o = _grid(c["o"], (c["mt"], c["o_pitch"]), (c["nt"] * (config.n // config.lanes), 1))
    reads = {"L0C": _l0c(c)}
    if "first" not in c.flags:
        reads |= {"O": o, "OFFSETS": _grid(c["offsets"], (c["mt"], 1))}
    return reads, {"O": o}


def _softmax(c: Command, config: CoreConfig) -> _Walks:
    """S[row group, lane group], L1[row group, chunk]"""
    state = _grid(c["state"], (c["mt"], 1))
    reads = {"S": _grid(c["s"], (c["mt"], c["s_pitch"]), (c["kt"] * (config.k // config.lanes), 1)),
             "ROWMAX": _grid(c["rowmax"], (c["mt"], 1))} | ({} if "first" in c.flags else {"STATE": state})
    return reads, {"L1": _grid(c["p"], (c["mt"], c["kt"]), (c["kt"], 1)), "STATE": state,
                   "OFFSETS": _grid(c["offsets"], (c["mt"], 1))}


def _normalize(c: Command, config: CoreConfig) -> _Walks:
    """O[row group, lane group], OUT[row group, beat]"""
    groups = -(-c["nt"] * (config.beat_elements // config.lanes) // (2 if "wide" in c.flags else 1))
    reads = {"O": _grid(c["o"], (c["mt"], c["o_pitch"]), (groups, 1)),
             "STATE": _grid(c["state"], (c["mt"], 1))}
    writes = {"OUT": _grid(c["out"], (c["mt"], c["out_pitch"]), (c["nt"], 1))}
    if "first" in c.flags:
        writes["LSE"] = _grid(c["lse"], (c["mt"], 1))
        if "sinks" in c.flags:
            reads["SINK"] = _grid(c["sink"], (c["mt"], 1))
    return reads, writes


def _merge(c: Command, config: CoreConfig) -> _Walks:
    """L1[row group, split, word], STATE[split, row group], SINK likewise, OUT[row group, beat]"""
    mt, splits = c["mt"], c["splits"]
    factors = _grid(c["state"], (splits + 1, mt), (mt, 1))
    reads = {"L1": _grid(c["l1"], (mt, c["l1_pitch"]), (splits, c["split_pitch"]), (2 * c["nt"] * config.l1_banks, 1))}
    writes = {"OUT": _grid(c["out"], (mt, c["out_pitch"]), (c["nt"], 1))}
    if "first" not in c.flags:
        return reads | {"STATE": factors}, writes
    reads["SINK"] = _grid(c["sink"], (splits + ("sinks" in c.flags), mt), (mt, 1))
    return reads, writes | {"STATE": factors, "LSE": _grid(c["lse"], (mt, 1))}


def _store(c: Command, config: CoreConfig) -> _Walks:
    """OUT[row group, beat] or LSE[row group]"""
    groups = -(-c["rows"] // config.m)
    if "lse" in c.flags:
        return {"LSE": _grid(c["out"], (groups, 1))}, {}
    beats = c["cols"] // config.beat_elements
    return {"OUT": _grid(c["out"], (groups, c["out_pitch"]), (beats, 1))}, {}


_WALKS: dict[Opcode, Callable[[Command, CoreConfig], _Walks]] = {
    Opcode.LOAD: _load, Opcode.GATHER: _load, Opcode.FEED_A: _feed_a, Opcode.FEED_B: _feed_b, Opcode.MMAD: _mmad,
    Opcode.DRAIN_S: _drain_s, Opcode.DRAIN_O: _drain_o, Opcode.SOFTMAX: _softmax,
    Opcode.NORMALIZE: _normalize, Opcode.MERGE: _merge, Opcode.STORE: _store,
}
