"""Proofs of an engine's command queue: order, no loss, no start without its semaphores, the right completion.

One command is followed: any one of those pushed, with any content. What holds for it holds for all.
"""

import types

from amaranth import Array, Cat, Module, Mux, Signal, Value
from amaranth.hdl import Assert, Assume
from amaranth.lib import data
from amaranth.lib.wiring import In
from amla.rtl.config import CoreConfig
from amla.rtl.isa import INDEX_BITS, SEMAPHORES, Header
from amla.rtl.issue.dispatch import MAX_UNFINISHED, IndexedCommand

from .proof import Bug, Proof, Wrapper

__all__ = ["PROOFS"]

_DEPTH = CoreConfig.load("deepseek").queue_depth
#: A command waits in a register before the queue, whose last place is its memory's output.
_MOST, _ROWS = _DEPTH + 1, _DEPTH - 1

#: What is kept of an unfinished command; the oldest is in a register before the others.
_RECORD, _PLACES = INDEX_BITS + SEMAPHORES, MAX_UNFINISHED - 1

#: The unit's registers, and the rows of its memories.
_REGISTERS = {
    "waits": 1, "granted": 1, "queue.r_rdy": 1, "queue.r_data": IndexedCommand.size,
    "queue.inner_level": range(_ROWS + 1), "queue.consume": range(_ROWS), "queue.produce": range(_ROWS),
    **{f"queue.storage[{row}]": IndexedCommand.size for row in range(_ROWS)},
    "running": 1, "entering": 1, "oldest": _RECORD, "newest": _RECORD,
    "unfinished.level": range(_PLACES + 1),
    "unfinished.consume": range(_PLACES), "unfinished.produce": range(_PLACES),
    **{f"unfinished.storage[{row}]": _RECORD for row in range(_PLACES)},
}


class _Queue(Wrapper):
    """The queue between a sequencer, semaphores and an engine that do what the protocol allows, at any time."""

    def __init__(self, rtl: types.ModuleType):
        self.unit = rtl.EngineQueue(depth=_DEPTH)
        super().__init__({
            "command": In(IndexedCommand), "valid": In(1), "mark": In(1), "grant": In(1), "ready": In(1),
            "done": In(1), "stall": In(1), "stop": In(1),
        }, _REGISTERS)

    def place(self, m: Module) -> None:
        """Connect the unit and count its commands: ``waiting`` until they start, ``running`` from then on."""
        m.submodules.unit = unit = self.unit
        start, semaphores, trace = unit.engine.start, unit.semaphores, unit.trace
        self.waiting, self.running = waiting, running = Signal(range(_MOST + 2)), Signal(range(MAX_UNFINISHED + 2))
        self.pushed, self.started, self.finished = pushed, started, finished = Signal(), Signal(), Signal()
        granted, idle = Signal(), Signal(2)
        m.d.comb += [
            unit.push.payload.eq(self.command), unit.push.valid.eq(self.valid),
            start.ready.eq(self.ready), unit.engine.stall.eq(self.stall), unit.stop.eq(self.stop),
            semaphores.grant.eq(self.grant & semaphores.request),
            unit.engine.done.eq(self.done),
            Assume(~self.done | (running != 0)),  # an engine finishes only what it has accepted
            pushed.eq(self.valid & unit.push.ready),
            started.eq(start.valid & self.ready),
            finished.eq(self.done & ~self.stop),
        ]
        m.d.sync += [
            waiting.eq(waiting + pushed - started),
            running.eq(running + started - finished),
            granted.eq((granted | semaphores.grant) & ~started),
            idle.eq(Mux((waiting != 0) & ~granted & ~semaphores.request & ~self.stop, idle + 1, 0)),
        ]
        m.d.comb += [
            Assert(waiting <= _MOST, "the queue never holds more than it can"),
            Assert(unit.push.ready | (waiting >= _ROWS), "takes commands until it is full"),
            Assert(start.valid == (granted & (running != MAX_UNFINISHED) & ~self.stop), "starts with its semaphores"),
            Assert(~granted | (waiting != 0), "starts what was pushed"),
            Assert(~semaphores.request | (~granted & (waiting != 0)), "asks once for each command"),
            Assert(idle <= 2, "no command is left unasked for three cycles"),
            Assert(~self.stop | ~(start.valid | semaphores.request | semaphores.strobe), "stop freezes"),
            Assert(unit.empty == ((waiting == 0) & (running == 0)), "empty is told"),
            Assert(trace.start == started), Assert(trace.end == finished),
            Assert(semaphores.strobe == finished, "signals once for each command"),
        ]
        # Invariant: what was counted is what the registers say.
        waits, ready, level = (self.at(net) for net in ("waits", "queue.r_rdy", "queue.inner_level"))
        m.d.comb += [
            Assert(granted == self.at("granted")), Assert(~granted | waits), Assert(waiting == waits + ready + level),
            Assert(running == self.at("running") + self.at("entering") + self.at("unfinished.level")),
            Assert(self.at("running") | (running == 0)), Assert(~self.at("entering") | ~granted),
            Assert(self.at("unfinished.level") + self.at("entering") <= _PLACES),
            Assert((idle == 0) | waits | ready), Assert((idle <= 1) | waits),
        ]

    def follow(self, m: Module, content: Value, entered: Value, there: Value, left: Value) -> tuple[Signal, ...]:
        """Follow one of those that enter, any one: whether it is there, how many are ahead of it, and its content."""
        followed, ahead, kept = Signal(), Signal(range(_MOST + 1)), Signal(len(content))
        with m.If(followed):
            m.d.sync += [ahead.eq(ahead - left), followed.eq((ahead != 0) | ~left)]
        with m.Else():
            m.d.sync += [followed.eq(entered & self.mark), ahead.eq(there - left), kept.eq(content)]
        m.d.comb += Assert(~followed | (ahead < there))
        return followed, ahead, kept

    def stored(self, m: Module, memory: str, rows: int, level: Value, followed: Value, place: Value) -> Value:
        """What the row holds that was written when nothing was ``followed``.

        Invariant: as many rows are in use as the level says, in a ring, and that one is so many places from the oldest.
        """
        def row(place):
            return Mux(first + place < rows, first + place, first + place - rows)

        first, last, own = self.at(f"{memory}.consume"), self.at(f"{memory}.produce"), Signal(range(rows))
        with m.If(~followed):
            m.d.sync += own.eq(last)
        m.d.comb += [
            Assert(level <= rows), Assert(first < rows), Assert(last == row(level)),
            Assert(~followed | (place < 0) | (own == row(place[:len(level)]))),
        ]
        return Array(self.at(f"{memory}.storage[{i}]") for i in range(rows))[own]


class _Order(_Queue):
    """A command from its push to its start."""

    def check(self, m):
        self.place(m)
        start, semaphores, trace = self.unit.engine.start, self.unit.semaphores, self.unit.trace
        followed, ahead, kept = self.follow(m, Value.cast(self.command), self.pushed, self.waiting, self.started)
        head = Cat(trace.start_index, start.payload)
        header = data.View(Header, data.View(IndexedCommand, kept).command[:Header.size])
        first = followed & (ahead == 0)
        m.d.comb += [
            Assert(~(first & semaphores.request) | (semaphores.wait == header.wait), "asks for its semaphores"),
            Assert(~(first & start.valid) | (head == kept), "in order and unchanged"),
        ]
        # Invariant: it is in its place.
        waits, ready, level = (self.at(net) for net in ("waits", "queue.r_rdy", "queue.inner_level"))
        place = ahead - waits - ready
        stored = self.stored(m, "queue", _ROWS, level, followed, place)
        queued = Mux(ahead < waits, head, Mux(place < 0, self.at("queue.r_data"), stored))
        m.d.comb += Assert(~followed | (queued == kept))


class _Signals(_Queue):
    """A command from its start to its completion."""

    def check(self, m):
        self.place(m)
        unit = self.unit
        header = data.View(Header, unit.engine.start.payload[:Header.size])
        followed, ahead, kept = self.follow(m, Cat(unit.trace.start_index, header.signal), self.started, self.running,
                                            self.finished)
        index, signal = kept[:INDEX_BITS], kept[INDEX_BITS:]
        first = followed & (ahead == 0)
        m.d.comb += [
            Assert(~first | (unit.head_index == index), "the oldest unfinished command is told"),
            Assert(~(first & self.finished) | (unit.semaphores.signal == signal) & (unit.trace.end_index == index),
                   "its completion is its own"),
        ]
        # Invariant: it is in its place.
        level, place = self.at("unfinished.level"), ahead - 1
        stored = self.stored(m, "unfinished", _PLACES, level, followed, place)
        there = Mux(place < 0, self.at("oldest"), Mux(place < level, stored, self.at("newest")))
        m.d.comb += Assert(~followed | (there == kept))


def _bug(old: str, new: str, says: str) -> Bug:
    return Bug(module="amla.rtl.issue.dispatch", old=old, new=new, says=says)


PROOFS = (
    Proof(name="queue-order", build=_Order, cycles=10, induction=1,
          bug=_bug("queue.r_rdy & (~waits | accept)", "queue.r_rdy & (~waits | self.engine.start.ready)",
                   "a command is dropped while it waits for its semaphores"),
          says="commands start in order, once, unchanged, with their own semaphores"),
    Proof(name="queue-signals", build=_Signals, cycles=10, induction=1,
          bug=_bug("self.semaphores.signal.eq(oldest.signal)", "self.semaphores.signal.eq(header.signal)",
                   "a completion signals for the command at the head of the queue"),
          says="commands complete in order, each with its own index and signals"),
)
