"""A program as the cycle model reads it: a record per command, and one per entry of the lists of its GATHERs."""

from collections.abc import Iterable, Sequence

import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.host.dequantizer import GRANULE, ROWS, SCALES_UNIT, Layout
from amla.rtl.isa import Engine, Opcode

from ..compiler.packing import packed_sizes
from ..compiler.program import Command

__all__ = ["COMMAND", "ENTRY", "entries_of", "table_of"]

#: A command. What fields mean depends on the engine: those of ``rtl/isa.py``, and
#: halfwords: of the program in memory; count: words of a FEED, beats of a row of LOAD, GATHER and STORE, lane groups of
#: OUT that a word of O gives; groups: lane groups in a block of the vector engine; address, pitch, runs, beats: the
#: region in GM, adjacent rows merged, in bytes and beats; scales, scales_beats: of FP8 rows whose scales lie apart;
#: layout: 0, or 1 + Layout; first, first_scale: of a task of the dequantizer; entry: the first one of a GATHER.
_NAMES = (
    "engine", "opcode", "wait", "signal", "section", "halfwords", "mt", "nt", "kt", "count", "groups", "source",
    "pitch", "target", "target_pitch", "state", "first", "flag", "rows", "rows_padded", "address", "run_pitch", "runs",
    "beats", "scales", "scales_beats", "layout", "first_granule", "first_scale", "entry")
COMMAND = np.dtype([(name, np.int64) for name in _NAMES])
_PLACE = {name: place for place, name in enumerate(_NAMES)}

#: An entry of a list: whether a row is read, the bytes at which its beats and the beat of its scales begin, its beats;
#: the others as of a command.
ENTRY = np.dtype([(name, np.int64) for name in (
    "read", "address", "beats", "scales", "layout", "first_granule", "first_scale")])

_LAYOUTS = {"fp8_656": Layout.FP8_656, "fp8_584": Layout.FP8_584}


def table_of(commands: Sequence[Command], config: CoreConfig, *, sizes: Sequence[int] | None = None,
             ) -> np.ndarray:
    """The records of a program.

    Parameters
    ----------
    sizes: halfwords of each command in memory, instead of those that packing gives
    """
    rows, section, entry = [], 0, 0
    for command in commands:
        row = [0] * len(_NAMES)
        values = _of_engine(command, config)
        values |= {"engine": command.engine, "opcode": command.opcode, "wait": command.wait,
                   "signal": command.signal, "section": section}
        if command.opcode == Opcode.GATHER:
            values["entry"] = entry
            entry += values["rows"]
        for name, value in values.items():
            row[_PLACE[name]] = value
        rows.append(row)
        section += command.engine == Engine.SEQUENCER
    table = np.array(rows, np.int64).reshape(-1, len(_NAMES)).view(COMMAND)[:, 0]
    table["halfwords"] = packed_sizes(command.encode() for command in commands) if sizes is None else sizes
    return table


def _of_engine(c: Command, config: CoreConfig) -> dict[str, int]:
    match c.opcode:
        case Opcode.FEED_A | Opcode.FEED_B:
            flag = "transpose" in c.flags
            return {"count": c["outer"] * c["inner"] * (config.k // config.n if flag else 1), "flag": flag}
        case Opcode.MMAD:
            return {"mt": c["mt"], "nt": c["nt"], "kt": c["kt"], "target": c["l0c"], "flag": "accumulate" in c.flags}
        case Opcode.DRAIN_S | Opcode.DRAIN_O:
            to_o = c.opcode == Opcode.DRAIN_O
            names = ("o", "o_pitch", "offsets") if to_o else ("s", "s_pitch", "rowmax")
            target, pitch, state = (c[name] for name in names)
            return {"mt": c["mt"], "nt": c["nt"], "source": c["l0c"], "target": target, "target_pitch": pitch,
                    "state": state, "first": "first" in c.flags, "flag": to_o}
        case Opcode.SOFTMAX:
            return {"mt": c["mt"], "nt": c["kt"], "groups": config.k // config.lanes, "first": 1}
        case Opcode.NORMALIZE:
            return {"mt": c["mt"], "nt": c["nt"], "groups": config.beat_elements // config.lanes,
                    "count": 1 + ("wide" in c.flags), "source": c["o"], "pitch": c["o_pitch"],
                    "first": "first" in c.flags, "flag": "sinks" in c.flags}
        case Opcode.MERGE:
            return {"mt": c["mt"], "nt": c["nt"], "kt": c["splits"], "groups": config.beat_elements // config.lanes,
                    "first": "first" in c.flags, "flag": "sinks" in c.flags}
        case Opcode.STORE:
            return _store(c, config)
        case Opcode.LOAD:
            return _load(c, config)
        case Opcode.GATHER:
            per_beat = config.axi_data_bytes // 4
            return _transfer(c, config) | {
                "address": c["list"], "runs": 1, "beats": -(-c["rows"] // per_beat), "count": c["cols"]
                // config.beat_elements, "layout": _layout(c)}
    return {}


def _layout(c: Command) -> int:
    return next((1 + layout for flag, layout in _LAYOUTS.items() if flag in c.flags), 0)


def _transfer(c: Command, config: CoreConfig) -> dict[str, int]:
    return {"rows": min(c["rows"], c["rows_padded"]), "rows_padded": c["rows_padded"]}


def _merged(address: int, pitch: int, rows: int, beats: int, beat: int) -> dict[str, int]:
    if pitch == beats * beat:
        beats, rows = rows * beats, 1
    return {"address": address, "run_pitch": pitch, "runs": rows, "beats": beats}


def _run(address: int, size: int, beat: int) -> tuple[int, int]:
    """First byte of the beats that hold ``size`` bytes, and how many they are."""
    first = address // beat * beat
    return first, -(-(address + size - first) // beat)


def _store(c: Command, config: CoreConfig) -> dict[str, int]:
    beat = config.axi_data_bytes
    if "lse" in c.flags:
        groups = -(-c["rows"] // config.m)
        return {"rows": c["rows"], "count": 1, "flag": 1, **_merged(c["address"], beat, groups, 1, beat)}
    beats = c["cols"] // config.beat_elements
    return {"rows": c["rows"], "count": beats, **_merged(c["address"], c["pitch"], c["rows"], beats, beat)}


def _load(c: Command, config: CoreConfig) -> dict[str, int]:
    beat, values = config.axi_data_bytes, _transfer(c, config)
    beats, rows, layout = c["cols"] // config.beat_elements, values["rows"], _layout(c)
    values |= {"count": beats, "layout": layout}
    if not layout:
        return values | _merged(c["address"], c["pitch"], rows, beats, beat)
    address, beats = _run(c["address"], rows * ROWS[Layout(layout - 1)].bytes, beat)
    values |= {"address": address, "runs": 1, "beats": beats, "first_granule": c["address"] % beat // GRANULE}
    if layout - 1 == Layout.FP8_584:
        scales = c["address"] + c["pitch"]
        first, beats = _run(scales, rows * SCALES_UNIT, beat)
        values |= {"scales": first, "scales_beats": beats, "first_scale": scales % beat // SCALES_UNIT}
    return values


def entries_of(commands: Iterable[Command], config: CoreConfig, memory: np.ndarray | None = None,
               base: int = 0) -> np.ndarray:
    """The records of the entries of all lists.

    Parameters
    ----------
    memory: uint8, GM from address ``base`` on, with the lists; None: they name one slot after the other
    """
    found = [_entries(command, config, memory, base) for command in commands if command.opcode == Opcode.GATHER]
    return np.concatenate(found) if found else np.zeros(0, ENTRY)


def _entries(c: Command, config: CoreConfig, memory: np.ndarray | None, base: int) -> np.ndarray:
    beat, layout = config.axi_data_bytes, _layout(c)
    rows = min(c["rows"], c["rows_padded"])
    shift = (c["page_size"] - 1).bit_length()
    if memory is None:
        slots = np.arange(rows)
        listed = (slots // c["page_size"] << shift) + slots % c["page_size"]
    else:
        start = c["list"] - base
        listed = memory[start:start + 4 * rows].view("<i4").astype(np.int64)
    size = ROWS[Layout(layout - 1)].bytes if layout else 2 * c["cols"]
    page, offset = listed >> shift, listed & ((1 << shift) - 1)
    address = c["address"] + page * c["page_bytes"] + offset * size
    records = np.zeros(rows, ENTRY)
    records["read"], records["layout"] = listed >= 0, layout
    records["address"] = address // beat * beat
    records["beats"] = -(-(address % beat + size) // beat)
    records["first_granule"] = address % beat // GRANULE
    if layout - 1 == Layout.FP8_584:
        scales = c["address"] + page * c["page_bytes"] + c["page_size"] * size + offset * SCALES_UNIT
        records["scales"] = scales // beat * beat
        records["first_scale"] = scales % beat // SCALES_UNIT
    return records
