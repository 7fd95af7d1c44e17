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
from ..memory.timing import Cache, MemoryState, memory_state
from ..memory.traffic import Traffic
from .compute import step_cube, step_drain, step_feed, step_vector
from .issue import finish_commands, grant, step_freely, step_queues, step_sequencer
from .ports import interconnect_state, step_interconnect, step_port
from .state import Core, compiled, core_at, core_state, stack
from .table import entries_of, table_of
from .transfer import step_load, step_store

__all__ = ["CycleRun", "expected_starts", "simulate", "simulate_cores"]

#: Cycles from START to the first of the program, and from HALT to the last that is counted.
_BEFORE, _BEHIND = 2, 2
#: Cycles from the begin of memory's time to START, by AXI4-Lite, and more through the register pages of a cluster.
_START_WAY, _PAGES_WAY = 2, 1
#: Cycles from the START of a core to that of the next one.
_START_CYCLES = 5
#: Where programs lie, behind all data, each at a page.
_PROGRAMS, _PAGE = 1 << 38, 4096
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
    reads, writes: int64[n, 3]: first beat, last beat, bytes of each burst, or of each part between another's beats
    """

    cycles: int
    cube_active: int
    counters: dict[str, dict[str, int]]
    start: np.ndarray = field(repr=False)
    end: np.ndarray = field(repr=False)
    reads: np.ndarray = field(repr=False)
    writes: np.ndarray = field(repr=False)

    @property
    def traffic(self) -> Traffic:
        """What moved, from START on."""
        return Traffic(*([tuple(burst) for burst in bursts.tolist()] for bursts in (self.reads, self.writes)))


def simulate(commands: Sequence[Command], config: CoreConfig, memory: Memory = IDEAL, *, gm: np.ndarray | None = None,
             base: int = 0, program: int = 0) -> CycleRun:
    """Run a program on the model.

    Parameters
    ----------
    commands: of the program, HALT last
    gm, base: uint8, content of GM from ``base`` on, for the lists of GATHERs; without it they name slot after slot
    program:  address of the program in GM

    Raises
    ------
    AmlaError: the program waits for ever, or reaches past a buffer.
    """
    core = core_state(config, table_of(commands, config), entries_of(commands, config, gm, base), program=program)
    return _simulate([core], memory_state(memory, config.axi_data_bytes, start=-_START_WAY, idents=2))[0]


def simulate_cores(phases: Sequence[Sequence[Sequence[Command] | None]], config: CoreConfig, memory: Memory, *,
                   cache: Cache | None = None, one_port: bool = False,
                   places: Sequence[Sequence[int | None]] | None = None, gm: np.ndarray | None = None,
                   base: int = 0) -> list[list[CycleRun | None]]:
    """Run programs on several cores, which share a memory, each by a port of its own.

    Parameters
    ----------
    phases: one after the other: a program for each core, HALT last, or None. All of a phase start together, when all
            of the one before have ended; memory is idle then
    memory: for all cores: its rate is what they share; a port moves at most a beat a cycle each way
    cache:  before memory; it keeps what it holds
    one_port: all cores share a port, as in :class:`~amla.rtl.cluster.cluster.AmlaCluster`, whose host starts one core
            after the other
    places: addresses of the programs in GM; None: page after page, behind all data
    gm, base: as of :func:`simulate`

    Returns
    -------
    runs: of each phase and core

    Raises
    ------
    AmlaError: as of :func:`simulate`.
    """
    runs, kept = [], None
    behind = _PROGRAMS
    for phase, programs in enumerate(phases):
        cores = []
        for core, commands in enumerate(programs):
            if commands is not None:
                table = table_of(commands, config)
                place = None if places is None else places[phase][core]
                cores.append(core_state(config, table, entries_of(commands, config, gm, base),
                                        program=behind if place is None else place))
                behind += -(-2 * int(table["halfwords"].sum()) // _PAGE) * _PAGE
        state = memory_state(memory, config.axi_data_bytes, start=-(_START_WAY + _PAGES_WAY) if one_port else 0,
                             idents=2 * len(cores), cache=cache, port_idents=None if one_port else 2)
        if kept is not None:
            state.blocks[:] = kept
        done = iter(_simulate(cores, state, one_port))
        runs.append([next(done) if commands is not None else None for commands in programs])
        kept = state.blocks
    return runs


def _simulate(cores: Sequence[Core], state: MemoryState, one_port: bool = False) -> list[CycleRun]:
    together = stack(cores)
    _finish(together, state, False, one_port)
    return [_result(core_at.py_func(together, number), len(core.table)) for number, core in enumerate(cores)]


def _result(core: Core, commands: int) -> CycleRun:
    r = core.registers[0]
    begin = int(r["begin"])
    cycles = int(r["halted_at"]) - begin + _BEHIND
    counters = {engine.name.lower(): {name.lower(): int(core.counters[engine, number])
                                      for number, name in enumerate(ENGINE_STATES)} for engine in Engine}
    for states in counters.values():
        states["idle"] += cycles - sum(states.values())
    return CycleRun(
        cycles=cycles, cube_active=int(r["cube_active"]), counters=counters, start=core.start[:commands] - begin,
        end=core.end[:commands] - begin, reads=core.reads[:r["turns"]] - (begin, begin, 0),
        writes=core.writes[:r["written"]] - (begin, begin, 0))


def expected_starts(commands: Sequence[Command], config: CoreConfig, memory: Memory = IDEAL) -> np.ndarray:
    """Cycle in which each command would start if only its engine, its semaphores and memory decided, int64[n].

    Each engine takes its commands in their order; queues have room for all, and nothing is fetched.

    Raises
    ------
    AmlaError: engines wait for each other.
    """
    table = table_of(commands, config, sizes=[2] * len(commands))
    cores = stack([core_state(config, table, entries_of(commands, config))])
    _finish(cores, memory_state(memory, config.axi_data_bytes, idents=2), True)
    return cores.start[0]


def _finish(cores: Core, state: MemoryState, freely: bool, one_port: bool = False) -> None:
    if one_port:
        cores.registers["begin"][:, 0] = _START_CYCLES * np.arange(len(cores.sizes))
    port = interconnect_state(len(cores.sizes))
    stuck = _run(cores, state, port.bus, port.slices, _BEFORE, _PATIENCE, freely, one_port)
    if stuck:
        raise AmlaError(f"the program waits for ever, from cycle {stuck:,} on at the latest")


@compiled
def _run(cores, memory, bus, slices, cycle, patience, freely, one_port):
    """Run all cores to their HALT; 0, or the cycle in which nothing has happened for ``patience`` cycles."""
    count = len(cores.sizes)
    left, seen, since = count, 0, cycle
    for number in range(count):
        cores.registers[number, 0].fetch_settling = 2
    while left:
        if one_port:
            step_interconnect(cores, memory, bus, slices, cycle)
        for number in range(count):
            r = cores.registers[number, 0]
            if r.halted or cycle < r.begin + _BEFORE:
                continue
            core = core_at(cores, number)
            if not one_port:
                step_port(core, memory, cycle, number)
            if freely:
                step_freely(core, cycle)
            else:
                step_sequencer(core, cycle)
            finish_commands(core, cycle)
            grant(core)
            step_cube(core, cycle)
            step_vector(core, cycle)
            step_drain(core, cycle)
            step_feed(core, cycle)
            step_load(core, cycle)
            step_store(core, cycle)
            step_queues(core, cycle)
            if r.halted:
                r.halted_at = cycle
                left -= 1
        cycle += 1
        if cycle - since >= patience:
            now = 0
            for number in range(count):
                r = cores.registers[number, 0]
                now += r.index + r.section + r.accepted.sum() + r.finished.sum() + r.bursts
            if now == seen:
                return cycle
            seen, since = now, cycle
    return 0
