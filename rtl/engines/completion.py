"""In-order completion of commands: how many are unfinished, ``done``, and the fault that stops the engine."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..isa import Fault
from ..issue.dispatch import MAX_UNFINISHED

__all__ = ["Completion"]


class Completion(wiring.Component):
    """The protocol side of a pipelined engine whose issue stage works on one command at a time.

    The engine accepts a command only while ``open``, reports every last write by ``finish``, and names what
    is wrong with the command in its issue stage by ``bad_field`` and ``overrun``, which it holds from then
    on. The fault is passed on when that command is the oldest unfinished one and nothing is left in the
    pipeline, so it never overtakes the ``done`` of an earlier command.

    **Latency**: ``done`` one cycle after ``finish``, when the write of that cycle has landed; ``fault`` in
    the cycle in which its condition holds.

    **Throughput**: a command per cycle.

    Members
    -------
    accept:     strobe: a command is accepted at the end of this cycle
    finish:     strobe: the oldest unfinished command's last write is on the memory port in this cycle
    empty:      nothing is in the pipeline behind the issue stage
    bad_field:  the command in the issue stage breaks a rule of its fields; wins over ``overrun``
    overrun:    the command in the issue stage is about to pass the end of a buffer
    open:       a further command may be accepted; low for good after a fault
    done, fault, fault_code: as in the engine protocol
    """

    accept: In(1)
    finish: In(1)
    empty: In(1)
    bad_field: In(1)
    overrun: In(1)
    open: Out(1)
    done: Out(1)
    fault: Out(1)
    fault_code: Out(8)

    def elaborate(self, platform):
        m = Module()
        unfinished = Signal(range(MAX_UNFINISHED + 1))
        stopped = Signal()
        m.d.sync += [
            self.done.eq(self.finish),
            unfinished.eq(unfinished + self.accept - self.done),
            stopped.eq(stopped | self.fault),
        ]
        m.d.comb += [
            self.open.eq((unfinished != MAX_UNFINISHED) & ~stopped),
            self.fault.eq((self.bad_field | self.overrun) & self.empty & (unfinished == 1) & ~stopped),
            self.fault_code.eq(Mux(self.bad_field, Fault.BAD_FIELD, Fault.BUFFER_OVERRUN)),
        ]
        return m
