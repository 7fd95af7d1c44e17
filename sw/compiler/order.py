# amaranth: UnusedElaboratable=no
"""Program order: engines' command streams merged in the order in which they are expected to start.

Commands are fetched in order and a full engine queue holds up everything behind it, so a command must neither
come so late that its engine starves nor so early that it clogs a queue. The expected start comes from a model
of the engines: one command at a time, a duration by its counts, semaphores as the core has them. It decides
the order only; what depends on what is settled by the semaphores, whatever the timing.

Sorting by start keeps each engine's own order, and a waiter behind its signaller: the result runs one by one
without blocking.
"""

from collections import deque
from collections.abc import Sequence
from functools import cache

from amla.rtl.config import CoreConfig
from amla.rtl.fp.fdpa import Fdpa
from amla.rtl.isa import FLAGS, SEMAPHORES, Engine, Opcode
from amla.rtl.softmax.lanes import AccumulateLane, VectorLane
from amla.rtl.softmax.row_update import RowUpdate

from ..memory.preset import IDEAL, Memory
from .drafts import Draft
from .key_cache import bytes_of_row, gathered_bytes
from .program import Command, members

__all__ = ["by_estimated_start", "duration", "estimated_cycles", "latencies", "multiply_cycles"]

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
            flags, beat = frozenset(name for name in FLAGS[draft.opcode] if f.get(name)), config.axi_data_bytes
            row = (bytes_of_row(flags, f["cols"]) if draft.opcode == Opcode.LOAD
                   else gathered_bytes(flags, f["cols"], beat))
            return max(memory.cycles(f["rows"] * row, beat), f["rows_padded"] * (f["cols"] // config.beat_elements))
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


def by_estimated_start(drafts: Sequence[Draft], config: CoreConfig, memory: Memory = IDEAL) -> list[Draft]:
    """The drafts in the order of their estimated start; each engine's own order stays.

    A command of the sequencer (FENCE, HALT) stays behind all that was before it, and before all that was
    behind it.
    """
    result: list[Draft] = []
    engines = _Engines(config, memory)
    section: list[Draft] = []
    for draft in drafts:
        section.append(draft)
        if draft.engine == Engine.SEQUENCER:
            result += engines.run(section)
            section = []
    return result + engines.run(section)


def estimated_cycles(commands: Sequence[Command], config: CoreConfig, memory: Memory = IDEAL) -> int:
    """Cycles of a program from START to its end, by the same model.

    Memory delivers at its peak rate and commands are at hand when their engine is free, so the estimate is a
    little low: fetching takes its share of the reads, and a full queue holds up dispatch.
    """
    engines = _Engines(config, memory)
    section: list[Draft] = []
    for command in commands:
        section.append(Draft.of(command))
        if command.engine == Engine.SEQUENCER:
            engines.run(section)
            section = []
    engines.run(section)
    return engines.finished


class _Engines:
    """Estimated time of every engine, and when each semaphore's tokens come.

    ``finished`` is the end of what ends last so far.
    """

    def __init__(self, config: CoreConfig, memory: Memory):
        self._config, self._memory = config, memory
        self._latency = latencies(config) | {
            engine: latencies(config)[engine] + memory.latency for engine in (Engine.LOAD, Engine.STORE)}
        self._free = dict.fromkeys(Engine, 0)
        self.finished = 0
        self._tokens: list[deque[int]] = [deque() for _ in range(SEMAPHORES)]

    def run(self, section: Sequence[Draft]) -> list[Draft]:
        """Time a section that only its last command may close; returns it sorted by start."""
        queues: dict[Engine, deque[tuple[int, Draft]]] = {engine: deque() for engine in Engine}
        for index, draft in enumerate(section):
            queues[draft.engine].append((index, draft))
        starts: list[tuple[int, int, Draft]] = []
        progress = True
        while progress:
            progress = False
            for engine in Engine:
                queue = queues[engine]
                while queue and self._can_start(engine, queue[0][1], closing=len(starts) == len(section) - 1):
                    index, draft = queue.popleft()
                    starts.append((self._start(engine, draft), index, draft))
                    progress = True
        assert len(starts) == len(section), "the streams wait for each other"
        starts.sort(key=lambda entry: entry[:2])
        return [draft for _, _, draft in starts]

    def _can_start(self, engine: Engine, draft: Draft, *, closing: bool) -> bool:
        return (engine != Engine.SEQUENCER or closing) and all(
            self._tokens[semaphore] for semaphore in members(draft.wait))

    def _start(self, engine: Engine, draft: Draft) -> int:
        start = self._free[engine]
        for semaphore in members(draft.wait):
            start = max(start, self._tokens[semaphore].popleft())
        if engine == Engine.SEQUENCER:
            start = max(start, self.finished)
        self._free[engine] = start + duration(draft, self._config, self._memory)
        finish = self._free[engine] + self._latency[engine]
        self.finished = max(self.finished, finish)
        if engine == Engine.SEQUENCER:
            self._free = dict.fromkeys(Engine, finish)
        for semaphore in members(draft.signal):
            self._tokens[semaphore].append(finish)
        return start
