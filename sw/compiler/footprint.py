"""Which words of which buffers a command reads and writes: the one place that turns fields into addresses.

The command simulator moves data by these addresses and checks them against the buffers; the hazard check
compares them across engines.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.isa import Opcode

from .program import Command

__all__ = ["Footprint", "buffer_words", "footprint"]


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
            "OUT": config.out_words, "LSE": state}


def footprint(command: Command, config: CoreConfig) -> Footprint:
    """The buffer words that a command reads and writes."""
    walk = _WALKS.get(command.opcode)
    return walk(command, config) if walk else Footprint()


def _grid(base: int, *axes: tuple[int, int]) -> np.ndarray:
    """base + sum of index * stride over axes of (count, stride)."""
    result = np.array(base, np.int64)
    for count, stride in axes:
        result = result[..., None] + np.arange(count, dtype=np.int64) * stride
    return result


def _load(c: Command, config: CoreConfig) -> Footprint:
    """L1[row, chunk]"""
    chunks = c["cols"] // config.k
    group = config.m if "a_side" in c.flags else config.n
    rows = (c["row0"] + np.arange(c["rows_padded"], dtype=np.int64)) // group
    return Footprint(writes={"L1": c["l1"] + rows[:, None] * chunks + np.arange(chunks)})


def _feed_a(c: Command, config: CoreConfig) -> Footprint:
    """L1[outer, inner], L0A[outer, inner]"""
    source = _grid(c["l1"], (c["outer"], c["outer_stride"]), (c["inner"], c["inner_stride"]))
    return Footprint({"L1": source}, {"L0A": c["l0"] + np.arange(source.size).reshape(source.shape)})


def _feed_b(c: Command, config: CoreConfig) -> Footprint:
    """L1[outer, inner] or, transposing, L1[outer, inner, j]; L0B likewise with h for j"""
    axes = [(c["outer"], c["outer_stride"]), (c["inner"], c["inner_stride"])]
    if "transpose" in c.flags:
        axes.append((config.k // config.n, c["group_stride"]))
    source = _grid(c["l1"], *axes)
    return Footprint({"L1": source}, {"L0B": c["l0"] + np.arange(source.size).reshape(source.shape)})


def _l0c(c: Command) -> np.ndarray:
    """L0C[m-tile, n-tile]"""
    return _grid(c["l0c"], (c["mt"], c["nt"]), (c["nt"], 1))


def _mmad(c: Command, config: CoreConfig) -> Footprint:
    """L0A[k-step, m-tile], L0B[k-step, n-tile], L0C[m-tile, n-tile]"""
    reads = {"L0A": _grid(c["l0a"], (c["kt"], c["mt"]), (c["mt"], 1)),
             "L0B": _grid(c["l0b"], (c["kt"], c["nt"]), (c["nt"], 1))}
    if "accumulate" in c.flags:
        reads["L0C"] = _l0c(c)
    return Footprint(reads, {"L0C": _l0c(c)})


def _drain_s(c: Command, config: CoreConfig) -> Footprint:
    """S[m-tile, lane group]"""
    rowmax = _grid(c["rowmax"], (c["mt"], 1))
    reads = {"L0C": _l0c(c)} | ({} if "first" in c.flags else {"ROWMAX": rowmax})
    groups = c["nt"] * (config.n // config.lanes)
    return Footprint(reads, {"S": _grid(c["s"], (c["mt"], c["s_pitch"]), (groups, 1)), "ROWMAX": rowmax})


def _drain_o(c: Command, config: CoreConfig) -> Footprint:
    """O[m-tile, lane group]"""
    o = _grid(c["o"], (c["mt"], c["o_pitch"]), (c["nt"] * (config.n // config.lanes), 1))
    reads = {"L0C": _l0c(c)}
    if "first" not in c.flags:
        reads |= {"O": o, "OFFSETS": _grid(c["offsets"], (c["mt"], 1))}
    return Footprint(reads, {"O": o})


def _softmax(c: Command, config: CoreConfig) -> Footprint:
    """S[row group, lane group], L1[row group, chunk]"""
    state = _grid(c["state"], (c["mt"], 1))
    reads = {"S": _grid(c["s"], (c["mt"], c["s_pitch"]), (c["kt"] * (config.k // config.lanes), 1)),
             "ROWMAX": _grid(c["rowmax"], (c["mt"], 1))} | ({} if "first" in c.flags else {"STATE": state})
    return Footprint(reads, {"L1": _grid(c["p"], (c["mt"], c["kt"]), (c["kt"], 1)), "STATE": state,
                             "OFFSETS": _grid(c["offsets"], (c["mt"], 1))})


def _normalize(c: Command, config: CoreConfig) -> Footprint:
    """O[row group, beat, lane group], OUT[row group, beat]"""
    lanes = config.beat_elements // config.lanes
    reads = {"O": _grid(c["o"], (c["mt"], c["o_pitch"]), (c["nt"], lanes), (lanes, 1)),
             "STATE": _grid(c["state"], (c["mt"], 1))}
    writes = {"OUT": _grid(c["out"], (c["mt"], c["out_pitch"]), (c["nt"], 1))}
    if "first" in c.flags:
        writes["LSE"] = _grid(c["lse"], (c["mt"], 1))
    return Footprint(reads, writes)


def _store(c: Command, config: CoreConfig) -> Footprint:
    """OUT[row group, beat] or LSE[row group]"""
    groups = -(-c["rows"] // config.m)
    if "lse" in c.flags:
        return Footprint({"LSE": _grid(c["out"], (groups, 1))})
    beats = c["cols"] // config.beat_elements
    return Footprint({"OUT": _grid(c["out"], (groups, c["out_pitch"]), (beats, 1))})


_WALKS: dict[Opcode, Callable[[Command, CoreConfig], Footprint]] = {
    Opcode.LOAD: _load, Opcode.FEED_A: _feed_a, Opcode.FEED_B: _feed_b, Opcode.MMAD: _mmad,
    Opcode.DRAIN_S: _drain_s, Opcode.DRAIN_O: _drain_o, Opcode.SOFTMAX: _softmax,
    Opcode.NORMALIZE: _normalize, Opcode.STORE: _store,
}
