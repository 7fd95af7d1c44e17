"""A run's counters against its program and its trace: how many cycles each engine can have spent in each state."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.isa import Engine, Opcode

from ..compiler.program import Command
from .compare import Mismatch

__all__ = ["Counted", "check_counters", "check_states", "counter_bounds", "triples"]


class Counted(Protocol):
    """What the checks look at: a run as the benches and :class:`~amla.sw.run.rtl_job.RtlRun` have it."""

    @property
    def cycles(self) -> int: ...
    @property
    def cube_active(self) -> int: ...
    @property
    def counters(self) -> Mapping[str, Mapping[str, int]]: ...
    @property
    def trace(self) -> Mapping[str, np.ndarray]: ...


def triples(commands: Sequence[Command]) -> int:
    """Fractal triples of a program: CUBE_ACTIVE of a run that reached HALT."""
    return sum(command["mt"] * command["nt"] * command["kt"] for command in commands
               if command.opcode == Opcode.MMAD)


def check_states(run: Counted) -> None:
    """Fail unless the four states of every engine sum to CYCLES, as after any run they must.

    Raises
    ------
    Mismatch: they do not.
    """
    for engine, states in run.counters.items():
        total = sum(states.values())
        if total != run.cycles:
            raise Mismatch(f"the counters of {engine} sum to {total}, not to CYCLES = {run.cycles}")


def check_counters(run: Counted, commands: Sequence[Command], config: CoreConfig) -> None:
    """Fail unless the counters of a run that reached HALT are those of its program and its trace.

    Raises
    ------
    Mismatch: CUBE_ACTIVE is not the program's number of fractal triples, or a state is out of its bounds.
    """
    check_states(run)
    if run.cube_active != triples(commands):
        raise Mismatch(f"CUBE_ACTIVE is {run.cube_active}, the program has {triples(commands)} fractal triples")
    for engine, bounds in counter_bounds(run.trace, commands, run.cycles, config).items():
        states = run.counters[engine]
        for names, (least, most) in bounds.items():
            got = sum(states[name] for name in names)
            if not least <= got <= most:
                raise Mismatch(f"{' + '.join(names).upper()} of {engine} is {got}, by trace and program it must be "
                               f"{least if least == most else f'from {least} to {most}'}: {dict(states)}")


def counter_bounds(trace: Mapping[str, np.ndarray], commands: Sequence[Command], cycles: int,
                   config: CoreConfig) -> dict[str, dict[tuple[str, ...], tuple[int, int]]]:
    """Least and most cycles of states, or sums of states, per engine, of a run that reached HALT.

    A command is in progress from its start to its end in the trace, so that BUSY + WAIT_MEMORY is exact, and with
    it WAIT_SEMAPHORE + IDLE; the vector engine waits for L1 in MERGE only. When a command entered its queue is not
    traced. Commands enter in program order: each before any later one starts, after the end of any FENCE before
    it, and not before its queue has a place. Between an engine's commands it is IDLE until the next one has
    entered, then in WAIT_SEMAPHORE. The sequencer is BUSY once per command, and waits for the semaphores of a
    FENCE from when all before it has ended: exact as well.
    """
    index = trace["index"]
    if sorted(index) != list(range(len(commands))) or (trace["end"] < trace["start"]).any():
        raise Mismatch(f"the trace must name each of {len(commands)} commands once, with start and end")
    order = np.argsort(index)
    start, end = (trace[name][order].tolist() for name in ("start", "end"))
    lanes: dict[Engine, list[int]] = {engine: [] for engine in Engine}
    earliest, latest = [0] * len(commands), [0] * len(commands)  # when it entered
    entered = ended = waited = 0
    for i, command in enumerate(commands):
        lane = lanes[command.engine]
        if command.engine == Engine.SEQUENCER:
            waited += max(end[i] - max(start[i], ended + 1), 0)
            entered = end[i] + 1
        elif len(lane) > config.queue_depth:
            entered = max(entered, start[lane[-config.queue_depth - 1]] + 1)
        earliest[i], ended = entered, max(ended, end[i])
        lane.append(i)
    after = cycles
    for i in reversed(range(len(commands))):
        latest[i], after = after, min(after, start[i])
    bounds: dict[str, dict[tuple[str, ...], tuple[int, int]]] = {
        "sequencer": {("busy",): (len(commands),) * 2, ("wait_semaphore",): (waited,) * 2}}
    for engine in list(Engine)[1:]:
        progress = least = most = 0
        last = -1  # end of the engine's commands so far
        for i in lanes[engine]:
            progress += max(end[i] - max(start[i], last + 1) + 1, 0)
            if start[i] > last + 1:
                least += max(start[i] - max(latest[i] + 1, last + 1), 1)
                most += max(start[i] - max(earliest[i] + 1, last + 1), 1)
            last = max(last, end[i])
        bounds[engine.name.lower()] = {("busy", "wait_memory"): (progress,) * 2, ("wait_semaphore",): (least, most)}
    if all(command.opcode != Opcode.MERGE for command in commands):
        bounds["vector"]["wait_memory",] = (0, 0)
    return bounds
