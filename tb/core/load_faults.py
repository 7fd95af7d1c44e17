"""Faults of the load engine's other kinds of rows: listed ones, FP8 and sinks."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.isa import MOST_ROWS, MOST_SLOTS, Fault

from ..host.gm import PlannedError, Response
from .fault_case import DATA, DATA_BYTES, LIST, READ_WINDOW, UNMAPPED_READ, FaultCase, gather, load, one

__all__ = ["load_faults"]

#: Slots of :func:`gather`'s pages in so many bytes.
_SLOT_BYTES = 32

_FP8_656 = {"fp8_656": True, "cols": 576, "rows": 2, "rows_padded": 2}
_FP8_584 = {"fp8_584": True, "cols": 512, "rows": 2, "rows_padded": 2}


def load_faults(config: CoreConfig) -> Iterator[FaultCase]:
    """Cases of GATHER, of FP8 rows and of sinks."""
    yield from _listed_rows(config)
    yield from _lists(config)
    yield from _gather_fields(config)
    yield from _fp8(config)
    yield from _sinks(config)


def _listed(name: str, code: Fault, row: int, entries: Sequence[int], operands: Mapping[str, int] = {},
            **options) -> FaultCase:
    """A GATHER of these entries, at fault at a row of theirs."""
    command = gather(**{"rows": len(entries), "rows_padded": len(entries), **operands})
    return one(f"GATHER {name}", command, code, row=row,
               content={command["list"]: np.array(entries, "<i4").tobytes()}, **options)


def _listed_rows(config: CoreConfig) -> Iterator[FaultCase]:
    """An entry is at fault: the first such one is named, whatever comes behind it."""
    window, past = Fault.READ_WINDOW, (READ_WINDOW[1] - DATA) // _SLOT_BYTES
    yield _listed("of a page past the window", window, 2, [1, -1, past, 0])
    yield _listed("of a page far past the window", window, 1, [3, (1 << 31) - 1, past])
    yield _listed("of a page below the window", window, 3, [4, 5, -1, 0], {"address": READ_WINDOW[0] - 128})
    yield _listed("of a page beyond the address bits", window, 0, [1],
                  {"address": DATA + (1 << config.axi_address_bits)})
    yield _listed("of an offset past the page", window, 4, [0, 1, 2, 4, 3, past], {"page_size": 3})
    yield _listed("of unmapped memory", Fault.READ_DECERR, 2, [5, -7, (UNMAPPED_READ - DATA) // _SLOT_BYTES, past],
                  simulated=False)
    for response in (Response.SLVERR, Response.DECERR):
        def plan(bench, response=response) -> None:
            bench.memory.read_errors.append(PlannedError(response, addresses=range(DATA + 96, DATA + 97)))

        yield _listed(f"of a row that answers {response.name}", Fault[f"READ_{response.name}"], 3, [0, 2, -1, 3, past],
                      prepare=plan, simulated=False)


def _lists(config: CoreConfig) -> Iterator[FaultCase]:
    """The list itself is at fault: outside of the window as a whole, or where memory does not answer."""
    per_beat = config.axi_data_bytes // 4
    for name, operands in {
        "below": {"list": READ_WINDOW[0] - config.axi_data_bytes}, "past": {"list": READ_WINDOW[1]},
        "at the end of": {"list": READ_WINDOW[1] - config.axi_data_bytes, "rows": per_beat + 1,
                          "rows_padded": per_beat + 1},
        "beyond the address bits, not in": {"list": LIST + (1 << config.axi_address_bits)},
    }.items():
        yield one(f"GATHER by a list {name} the window", gather(**operands), Fault.READ_WINDOW)
    yield one("GATHER by an unmapped list", gather(list=UNMAPPED_READ), Fault.READ_DECERR, simulated=False)
    at_the_end = {"list": DATA + DATA_BYTES - config.axi_data_bytes, "rows": per_beat + 1, "rows_padded": per_beat + 1}
    yield _listed("by a list that memory ends in", Fault.READ_DECERR, per_beat, [-1] * per_beat, at_the_end,
                  simulated=False)
    yield _listed("by a list that memory ends in, after an entry at fault", Fault.READ_WINDOW, 1,
                  [0] + [(1 << 31) - 1] * (per_beat - 1), at_the_end, simulated=False)


def _gather_fields(config: CoreConfig) -> Iterator[FaultCase]:
    half, many = config.axi_data_bytes // 2, MOST_ROWS + 1
    for name, operands in {
        "address": {"address": DATA + half}, "page_bytes": {"page_bytes": 128 + half}, "list": {"list": LIST + half},
        "cols": {"cols": config.beat_elements + 1}, "no cols": {"cols": 0}, "no rows": {"rows_padded": 0},
        "no page_size": {"page_size": 0}, "page_size": {"page_size": MOST_SLOTS + 1},
        "rows": {"rows": many, "rows_padded": many},
    }.items():
        yield one(f"bad field: {name} of GATHER", gather(**operands), Fault.BAD_FIELD)
    if config.l1_banks > 1:
        yield one("bad field: l1 of GATHER", gather(l1=1), Fault.BAD_FIELD)
    yield one("overrun of L1 by GATHER", gather(l1=config.l1_words - config.l1_banks), Fault.BUFFER_OVERRUN)


def _fp8(config: CoreConfig) -> Iterator[FaultCase]:
    """FP8 rows of LOAD and GATHER: their fields, and the window with their scales in it."""
    bad = {
        "both layouts": load(**_FP8_656, fp8_584=True), "both layouts of GATHER": gather(**_FP8_656, fp8_584=True),
        "cols of fp8_656": load(**_FP8_656 | {"cols": 512}), "cols of fp8_584": load(**_FP8_584 | {"cols": 576}),
        "address of fp8_656": load(**_FP8_656, address=DATA + 8), "pitch of fp8_584": load(**_FP8_584, pitch=1156),
        "address of fp8_584 by GATHER": gather(**_FP8_584, address=DATA + 8),
        "page_bytes of fp8_656": gather(**_FP8_656, page_bytes=664),
        "rows of fp8_656": load(**_FP8_656 | {"rows": MOST_ROWS + 1, "rows_padded": MOST_ROWS + 1}),
    }
    if not config.reads_fp8:
        bad |= {"fp8_656 where there is no FP8": load(**_FP8_656), "fp8_584 where there is no FP8": load(**_FP8_584)}
    for name, command in bad.items():
        yield one(f"bad field: {name}", command, Fault.BAD_FIELD)
    if not config.reads_fp8:
        return
    end = READ_WINDOW[1]
    yield one("overrun of L1 by fp8_656", load(**_FP8_656, l1=config.l1_words - config.l1_banks), Fault.BUFFER_OVERRUN)
    yield one("LOAD of FP8 rows past the window", load(**_FP8_656, address=end - 656), Fault.READ_WINDOW)
    yield one("LOAD of scales past the window", load(**_FP8_584, pitch=end - DATA), Fault.READ_WINDOW)
    yield one("LOAD of scales that end past the window", load(**_FP8_584, pitch=end - DATA - 8), Fault.READ_WINDOW)
    yield one("LOAD of unmapped FP8 rows", load(**_FP8_656, address=DATA + DATA_BYTES - 656), Fault.READ_DECERR, row=1,
              simulated=False)
    yield one("LOAD of unmapped scales", load(**_FP8_584, pitch=UNMAPPED_READ - DATA), Fault.READ_DECERR,
              simulated=False)
    per_beat = config.axi_data_bytes // 8
    yield one("LOAD of scales that memory ends in", simulated=False, row=per_beat, code=Fault.READ_DECERR, command=load(
        **_FP8_584 | {"rows": per_beat + 1, "rows_padded": per_beat + 1},
        pitch=DATA_BYTES - config.axi_data_bytes))
    yield _listed("of an FP8 row past the window", Fault.READ_WINDOW, 1, [0, (end - DATA) // 656],
                  _FP8_656 | {"page_size": 1, "page_bytes": 656})
    yield _listed("of scales past the window", Fault.READ_WINDOW, 1, [-1, 1],
                  _FP8_584 | {"page_size": 1, "page_bytes": 592, "address": end - 592 - 576})


def _sinks(config: CoreConfig) -> Iterator[FaultCase]:
    state = config.state_words

    def sinks(**operands):
        return load(**{"sinks": True, "cols": config.beat_elements, "rows": 2, "rows_padded": 2, **operands})

    yield one("bad field: cols of sinks", sinks(cols=2 * config.beat_elements), Fault.BAD_FIELD)
    yield one("bad field: pitch of sinks", sinks(pitch=config.axi_data_bytes // 2), Fault.BAD_FIELD)
    yield one("bad field: FP8 sinks", sinks(fp8_656=True, cols=576), Fault.BAD_FIELD)
    yield one("overrun of SINK by LOAD", sinks(l1=state - 1), Fault.BUFFER_OVERRUN)
    yield one("overrun of SINK by padding", sinks(rows=1, rows_padded=state + 1), Fault.BUFFER_OVERRUN)
    yield one("LOAD of sinks past the window", sinks(address=READ_WINDOW[1] - 256), Fault.READ_WINDOW)
