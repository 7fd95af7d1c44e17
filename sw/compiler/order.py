# amaranth: UnusedElaboratable=no
"""Program order: engines' command streams merged in the order in which they are expected to start; and what
commands take, for the tiler.

Commands are fetched in order and a full engine queue holds up everything behind it, so a command must neither
come so late that its engine starves nor so early that it clogs a queue. The expected start is that of the cycle model
(:mod:`amla.sw.cycles`) where no command is fetched and no queue is full. It decides the order only; what depends on
what is settled by the semaphores, whatever the timing.

Sorting by start keeps each engine's own order, and a waiter behind its signaller: the result runs one by one
without blocking.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.fp.fdpa import Fdpa
from amla.rtl.isa import FLAGS, Engine, Opcode
from amla.rtl.softmax.lanes import AccumulateLane, VectorLane
from amla.rtl.softmax.row_update import RowUpdate

from ..cycles.model import expected_starts
from ..memory.preset import IDEAL, Memory
from .drafts import Draft
from .key_cache import bytes_of_row, gathered_bytes
from .program import Command

__all__ = ["by_expected_start", "duration", "latencies", "multiply_cycles"]

#: Cycles from the last step of a command to a waiter's start, beside those of the engine's arithmetic.
_HANDOVER = {Engine.LOAD: 46, Engine.FEED: 9, Engine.CUBE: 19, Engine.DRAIN: 13, Engine.VECTOR: 23,
             Engine.STORE: 26, Engine.SEQUENCER: 5}


@cache
def latencies(config: CoreConfig) -> dict[Engine, int]:
    """Cycles from the last step of a command to a waiter's start; of LOAD and STORE without memory's latency."""
    arithmetic = {
        Engine.CUBE: Fdpa.latency,
        Engine.DRAIN: AccumulateLane(mode=config.mode, comp_bits=config.comp_bits).latency,
        Engine.VECTOR: RowUpdate(config).latency + VectorLane(mode=config.mode).latency,
    }
    return {engine: cycles + arithmetic.get(engine, 0) for engine, cycles in _HANDOVER.items()}


def multiply_cycles(words: int, steps: int) -> int:
    """Cycles of so many steps along k over so many words of L0C: a word waits until it has left the dot units."""
    return words + (steps - 1) * max(words, Fdpa.latency + 2)


def duration(draft: Draft, config: CoreConfig, memory: Memory = IDEAL) -> int:
    """Cycles that a command occupies its engine, at full throughput."""
    f = {name: int(value) for name, value in draft.operands.items()}

    match draft.opcode:
        case Opcode.LOAD | Opcode.GATHER:
            flags, beat = frozenset(name for name in FLAGS[Opcode.LOAD] if f.get(name)), config.axi_data_bytes
            size = (bytes_of_row(flags, f["cols"]) if draft.opcode == Opcode.LOAD
                    else gathered_bytes(flags, f["cols"], beat))
            return max(memory.cycles(f["rows"] * size, beat), f["rows_padded"] * (f["cols"] // config.beat_elements))
        case Opcode.FEED_A:
            return f["outer"] * f["inner"]
        case Opcode.FEED_B:
            return f["outer"] * f["inner"] * (config.k // config.n if f.get("transpose") else 1)
        case Opcode.MMAD:
            return multiply_cycles(f["mt"] * f["nt"], f["kt"])
        case Opcode.DRAIN_S | Opcode.DRAIN_O:
            return f["mt"] * f["nt"] * (config.n // config.lanes)
        case Opcode.SOFTMAX:
            return f["mt"] * f["kt"] * (config.k // config.lanes)
        case Opcode.NORMALIZE:
            return f["mt"] * f["nt"] * (config.beat_elements // config.lanes)
        case Opcode.STORE:
            return 1 if f.get("lse") else memory.cycles(2 * f["rows"] * f["cols"], config.axi_data_bytes)
        case _:
            return 1


def by_expected_start(commands: Sequence[Command], config: CoreConfig, memory: Memory = IDEAL) -> list[int]:
    """Indices of the commands in the order of their expected start; each engine's own order stays.

    A command of the sequencer (FENCE, HALT) stays behind all that was before it, and before all that was
    behind it.

    Raises
    ------
    AmlaError: engines wait for each other.
    """
    closes = np.array([command.engine == Engine.SEQUENCER for command in commands])
    sections = np.cumsum(closes) - closes
    return np.lexsort((expected_starts(commands, config, memory), closes, sections)).tolist()
