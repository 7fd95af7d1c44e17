"""Runs against models of time: the whole core against the cycle model; the pipelined engines, from the starts traced,
against models of their own: the end of every command, and WAIT_MEMORY.

Where two engines read one bank, the model of the one that waits knows the reads of the other.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.engines.vector import Vector
from amla.rtl.isa import Engine, Opcode
from amla.sw.compiler.footprint import footprint
from amla.sw.compiler.memory_map import Job
from amla.sw.compiler.program import Command
from amla.sw.cycles.model import simulate
from amla.sw.memory.preset import Memory
from amla.sw.run.model_check import COUNTER_OFF, MOST_OFF, compare

from ..engines.timing import BLOCK, Timeline, cube_timeline, drain_timeline, feed_timeline
from .driver import CoreRun

__all__ = ["check_cycles", "check_timing"]


def check_cycles(run: CoreRun, job: Job, memory: Memory) -> tuple[float, float]:
    """The cycle model's errors, as of :func:`~amla.sw.run.model_check.compare`; fail if one is larger than allowed, or
    without any in CYCLES if bytes move in another cycle.

    Parameters
    ----------
    memory: beside which the job ran, without stalls at random
    """
    model = simulate(job.program.commands, job.config, memory, gm=job.memory, base=job.base,
                     program=job.program.symbols["PROGRAM"])
    error, counter = compare(model, run.cycles, run.counters)
    assert abs(error) <= MOST_OFF, f"the cycle model takes {model.cycles} cycles, not {run.cycles}"
    assert counter <= COUNTER_OFF, f"a counter of the cycle model is {100 * counter:.1f} % of {run.cycles} cycles off"
    if not error:
        for name, moved in model.traffic.over_time(0, model.cycles).items():
            assert np.allclose(moved, run.traffic[name]), f"{name}: the cycle model moves them at another time"
    return error, counter


def check_timing(run: CoreRun, commands: Sequence[Command], config: CoreConfig) -> None:
    """Fail unless feed, cube and drain end each command and wait just as their models say, from the starts traced."""
    spans = {index: (int(start), int(end)) for index, start, end in
             zip(*(run.trace[name] for name in ("index", "start", "end")), strict=True)}
    taken: set[tuple[str, int, int]] = set()
    vector = Vector(config)
    for index, command in enumerate(commands):
        if command.opcode == Opcode.NORMALIZE:
            row_pass = vector.result_latency + 2 + ("sinks" in command.flags) * vector.sink_latency
            taken.update(_normalize_reads(command, config, spans[index][0], row_pass))
    models: dict[Engine, tuple[Timeline, Callable[[Command, CoreConfig], Iterable]]] = {
        Engine.FEED: (feed_timeline(config), _feed_items),
        Engine.CUBE: (cube_timeline(config, taken), _cube_items),
        Engine.DRAIN: (drain_timeline(config, taken), _drain_items),
    }
    for engine, (timeline, items) in models.items():
        name = engine.name.lower()
        for index, command in enumerate(commands):
            if command.engine == engine:
                start, end = spans[index]
                due = timeline.accept(items(command, config), start)
                assert end == due, f"command {index} of {name} ran from cycle {start} to {end}, not to {due}"
        waited = run.counters[name]["wait_memory"]
        assert waited == timeline.stalls, f"WAIT_MEMORY of {name} is {waited}, it stalled {timeline.stalls} cycles"


def _feed_items(command: Command, config: CoreConfig) -> Iterable[object]:
    words = sum(words.size for words in footprint(command, config).writes.values())
    group = config.k // config.n
    return (BLOCK if "transpose" in command.flags and index % group == 0 else None for index in range(words))


def _cube_items(command: Command, config: CoreConfig) -> Iterable[tuple[int, bool]]:
    words = footprint(command, config).writes["L0C"].ravel().tolist()
    return ((word, ki > 0 or "accumulate" in command.flags) for ki in range(command["kt"]) for word in words)


def _drain_items(command: Command, config: CoreConfig) -> Iterable[tuple[int, int, str, int, bool]]:
    walks, groups = footprint(command, config), config.n // config.lanes
    fractals = np.repeat(walks.reads["L0C"], groups).tolist()
    continues = "first" not in command.flags
    if command.opcode == Opcode.DRAIN_O:
        words = [("o", word, continues) for word in walks.writes["O"].ravel().tolist()]
    else:
        words = [("s", row, group == 0 and continues)
                 for row in walks.writes["ROWMAX"].tolist() for group in range(command["nt"] * groups)]
    return ((index, fractal, *word) for index, (fractal, word) in enumerate(zip(fractals, words, strict=True)))


def _normalize_reads(
    command: Command, config: CoreConfig, start: int, row_pass: int,
) -> Iterable[tuple[str, int, int]]:
    """(buffer, bank, cycle) of the reads of O: two cycles after the start, or as row groups become ready.

    ``row_pass`` is how many cycles after the start the first one does.
    """
    cycle = start + 2
    for group, words in enumerate(footprint(command, config).reads["O"]):
        if "first" in command.flags:
            cycle = max(cycle, start + config.m * group + row_pass)
        if "wide" in command.flags:  # each for two of OUT's lane groups
            words = np.repeat(words, 2)[:command["nt"] * (config.beat_elements // config.lanes)]
        for word in words.ravel().tolist():
            yield "o", word % 2, cycle
            cycle += 1
