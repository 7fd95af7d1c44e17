"""Proofs of an engine's command queue: order, no loss, no start without its semaphores, the right completion.

One command is followed: any one of those pushed, with any content. What holds for it holds for all.
"""

import types

from amaranth import Module, Signal
from amaranth.hdl import Assert, Assume
from amaranth.lib import data
from amaranth.lib.wiring import In
from amla.rtl.isa import Header
from amla.rtl.issue.dispatch import MAX_UNFINISHED, IndexedCommand

from .proof import Bug, Proof, Wrapper

__all__ = ["PROOFS"]

_DEPTH = 3
_CYCLES = 10


class _Queue(Wrapper):
    """The queue between a sequencer, semaphores and an engine that do what the protocol allows, at any time."""

    def __init__(self, rtl: types.ModuleType):
        self.unit = rtl.EngineQueue(depth=_DEPTH)
        super().__init__({
            "command": In(IndexedCommand), "valid": In(1), "mark": In(1), "grant": In(1), "ready": In(1),
            "done": In(1), "stall": In(1), "stop": In(1),
        })

    def check(self, m: Module) -> None:
        m.submodules.unit = unit = self.unit
        start, semaphores, trace = unit.engine.start, unit.semaphores, unit.trace
        waiting, running = Signal(range(_DEPTH + 2)), Signal(range(MAX_UNFINISHED + 2))
        granted = Signal()
        m.d.comb += [
            unit.push.payload.eq(self.command), unit.push.valid.eq(self.valid),
            start.ready.eq(self.ready), unit.engine.stall.eq(self.stall), unit.stop.eq(self.stop),
            semaphores.grant.eq(self.grant & semaphores.request),
            unit.engine.done.eq(self.done),
            Assume(~self.done | (running != 0)),  # an engine finishes only what it has accepted
        ]
        pushed, started, finished = Signal(), Signal(), Signal()
        m.d.comb += [
            pushed.eq(self.valid & unit.push.ready),
            started.eq(start.valid & self.ready),
            finished.eq(self.done & ~self.stop),
        ]
        m.d.sync += [
            waiting.eq(waiting + pushed - started),
            running.eq(running + started - finished),
            granted.eq((granted | semaphores.grant) & ~started),
        ]
        m.d.comb += [
            Assert(waiting <= _DEPTH, "the queue never holds more than it can"),
            Assert(running <= MAX_UNFINISHED),
            Assert(~start.valid | (granted & (waiting != 0)), "starts what was pushed, with its semaphores"),
            Assert(~semaphores.request | (~granted & (waiting != 0)), "asks once for each command"),
            Assert(~self.stop | ~(start.valid | semaphores.request | semaphores.strobe), "stop freezes"),
            Assert(unit.empty == ((waiting == 0) & (running == 0)), "empty is told"),
            Assert(unit.push.ready | (waiting != 0), "an empty queue takes a command"),
            Assert(trace.start == started), Assert(trace.end == finished),
            Assert(semaphores.strobe == finished, "signals once for each command"),
        ]
        self._follow(m, pushed & self.mark, started, finished, waiting, running)

    def _follow(self, m: Module, marked, started, finished, waiting, running) -> None:
        """Follow the first marked command from its push to its completion."""
        unit = self.unit
        start, semaphores, trace = unit.engine.start, unit.semaphores, unit.trace
        kept = Signal(IndexedCommand)
        header = data.View(Header, kept.command[:Header.size])
        state = Signal(2)  # 0 none is followed, 1 in the queue, 2 running, 3 finished
        ahead = Signal(range(max(_DEPTH, MAX_UNFINISHED) + 2))
        with m.Switch(state):
            with m.Case(0):
                with m.If(marked):
                    m.d.sync += [state.eq(1), kept.eq(self.command), ahead.eq(waiting - started)]
            with m.Case(1):
                with m.If((ahead == 0) & semaphores.request):
                    m.d.comb += Assert(semaphores.wait == header.wait, "asks for the command's semaphores")
                with m.If((ahead == 0) & start.valid):
                    m.d.comb += [
                        Assert(start.payload == kept.command, "in order and unchanged"),
                        Assert(trace.start_index == kept.index),
                    ]
                with m.If(started):
                    m.d.sync += ahead.eq(ahead - 1)
                    with m.If(ahead == 0):
                        m.d.sync += [state.eq(2), ahead.eq(running - finished)]
            with m.Case(2):
                with m.If(ahead == 0):
                    m.d.comb += Assert(unit.head_index == kept.index, "the oldest unfinished command is told")
                with m.If(finished):
                    m.d.sync += ahead.eq(ahead - 1)
                    with m.If(ahead == 0):
                        m.d.sync += state.eq(3)
                        m.d.comb += [
                            Assert(semaphores.signal == header.signal, "signals the finished command's semaphores"),
                            Assert(trace.end_index == kept.index),
                        ]


def _bug(old: str, new: str, says: str) -> Bug:
    return Bug(module="amla.rtl.issue.dispatch", old=old, new=new, says=says)


PROOFS = (
    Proof(name="queue-order", build=_Queue, cycles=_CYCLES,
          bug=_bug("queue.r_en.eq(accept)", "queue.r_en.eq(self.engine.start.ready)",
                   "a command is dropped while it waits for its semaphores"),
          says="commands start in order, once, unchanged, with their semaphores; each completion is its own"),
    Proof(name="queue-signals", build=_Queue, cycles=_CYCLES,
          bug=_bug("signal.eq(oldest.signal)", "signal.eq(header.signal)",
                   "a completion signals for the command at the head of the queue"),
          says="the same claim; its twin plants another bug"),
)
