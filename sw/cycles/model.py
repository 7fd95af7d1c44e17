"""The cycle model: a program on a core beside a memory, cycle by cycle, without data.

It follows the RTL register by register where cycles are decided: queues, semaphores, what engines wait for, bursts,
and memory's own model. What it leaves out is arithmetic, and faults: programs are taken to be right.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.isa import ENGINE_STATES, Engine

from ..compiler.program import Command
from ..errors import AmlaError
from ..memory.preset import IDEAL, Memory
from ..memory.timing import memory_state
from .compute import step_cube, step_drain, step_feed, step_vector
from .issue import finish_commands, grant, step_queues, step_sequencer
from .state import compiled, core_state
from .table import ENTRY, entries_of, table_of
from .transfer import step_bus, step_load, step_store

__all__ = ["CycleRun", "simulate"]

#: Cycles from START to the first of the program, and from HALT to the last that is counted.
_BEFORE, _BEHIND = 2, 2
#: Cycles without a command that begins or ends, after which a program counts as stuck.
_PATIENCE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class CycleRun:
    """What a program takes.

    Attributes
    ----------
    cycles:      as register CYCLES
    cube_active: as register CUBE_ACTIVE
    counters:    engine -> state -> cycles, both in lower case
    start, end:  cycle from START of each command
    reads, writes: bursts, int64[n, 3]: first beat, last beat, bytes
    """

    cycles: int
    cube_active: int
    counters: dict[str, dict[str, int]]
    start: np.ndarray = field(repr=False)
    end: np.ndarray = field(repr=False)
    reads: np.ndarray = field(repr=False)
    writes: np.ndarray = field(repr=False)


def simulate(commands: Sequence[Command], config: CoreConfig, memory: Memory = IDEAL, *, gm: np.ndarray | None = None,
             base: int = 0, program: int = 0) -> CycleRun:
    """Run a program on the model.

    Parameters
    ----------
    commands: of the program, HALT last
    gm, base: uint8, content of GM from ``base`` on: needed for lists of GATHERs alone
    program:  address of the program in GM

    Raises
    ------
    AmlaError: the program waits for ever.
    """
    entries = np.zeros(0, ENTRY) if gm is None else entries_of(commands, config, gm, base)
    core = core_state(config, table_of(commands, config), entries, program=program)
    state = memory_state(memory, config.axi_data_bytes, idents=2)
    end = _run(core, state, _BEFORE, _PATIENCE)
    if end < 0:
        raise AmlaError(f"the program waits for ever in cycle {-end:,}")
    r = core.registers[0]
    counters = {engine.name.lower(): {name.lower(): int(core.counters[engine, number])
                                      for number, name in enumerate(ENGINE_STATES)} for engine in Engine}
    for states in counters.values():
        states["idle"] += end + _BEHIND - sum(states.values())
    return CycleRun(cycles=int(end) + _BEHIND, cube_active=int(r["cube_active"]), counters=counters, start=core.start,
                    end=core.end, reads=core.reads[:r["bursts"]], writes=core.writes[:r["written"]])


@compiled
def _run(core, memory, cycle, patience):
    """The cycle of HALT; negative when nothing has happened for ``patience`` cycles."""
    r = core.registers[0]
    r.fetch_settling = 2
    seen, since = 0, cycle
    while not r.halted:
        ident = step_bus(core, memory, cycle)
        step_sequencer(core, cycle)
        finish_commands(core, cycle)
        grant(core)
        step_cube(core, cycle)
        step_vector(core, cycle)
        step_drain(core, cycle)
        step_feed(core, cycle)
        step_load(core, cycle, ident == 1)
        step_store(core, memory, cycle)
        step_queues(core, cycle)
        cycle += 1
        if cycle - since >= patience:
            now = r.index + r.accepted.sum() + r.finished.sum() + r.bursts
            if now == seen:
                return -cycle
            seen, since = now, cycle
    return cycle - 1
