"""The queue in front of one engine: order, semaphores, faults, trace and busy counting."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..isa import COMMAND_BITS, ENGINE_STATES, INDEX_BITS, SEMAPHORES, Header
from .semaphores import SemaphorePort

__all__ = ["MAX_UNFINISHED", "EngineQueue", "EngineSignature", "IndexedCommand", "TraceSignature"]

#: Commands an engine may have accepted and not finished.
MAX_UNFINISHED = 16

#: A command and its index in the program.
IndexedCommand = data.StructLayout({"index": INDEX_BITS, "command": COMMAND_BITS})

#: What an engine shows its queue; see ``docs/architecture.md``, "Engine protocol".
EngineSignature = wiring.Signature({
    "start": In(stream.Signature(COMMAND_BITS)),
    "done": Out(1),
    "stall": Out(1),
    "fault": Out(1),
    "fault_code": Out(8),
})

#: Start and end of commands, one strobe each, with the command's index.
TraceSignature = wiring.Signature({
    "start": Out(1), "start_index": Out(INDEX_BITS), "end": Out(1), "end_index": Out(INDEX_BITS),
})


class EngineQueue(wiring.Component):
    """In-order command queue of one engine.

    Takes the commands of its engine, obtains each one's semaphores, hands it over, and on completion
    signals. The semaphores of the next command may be taken while the last still runs, so that an engine
    that accepts early (the cube) loses no cycle.

    **Latency**: four cycles from ``push`` to ``start`` when nothing waits.
    **Throughput**: one command every two cycles.

    Parameters
    ----------
    depth: commands that wait in the queue.

    Members
    -------
    push:     commands from the sequencer
    engine:   the engine's protocol ports
    semaphores: its port to the semaphores
    stop:     freezes the queue: no further command starts, no completion signals
    state:    one bit per entry of ``ENGINE_STATES``, exactly one set
    empty:    no command waits or runs
    head_index: index of the oldest unfinished command
    fault, fault_code: the engine's fault, its command is ``head_index``
    trace:    start and end events
    """

    def __init__(self, *, depth: int):
        self.depth = depth
        super().__init__({
            "push": In(stream.Signature(IndexedCommand)),
            "engine": In(EngineSignature),
            "semaphores": Out(SemaphorePort),
            "stop": In(1),
            "state": Out(len(ENGINE_STATES)),
            "empty": Out(1),
            "head_index": Out(INDEX_BITS),
            "fault": Out(1),
            "fault_code": Out(8),
            "trace": Out(TraceSignature),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = SyncFIFOBuffered(width=IndexedCommand.size, depth=self.depth)
        # Index and signal mask of the commands that the engine has accepted and not finished.
        m.submodules.unfinished = unfinished = SyncFIFO(width=INDEX_BITS + SEMAPHORES, depth=MAX_UNFINISHED)

        m.d.comb += [
            queue.w_data.eq(self.push.payload),
            queue.w_en.eq(self.push.valid),
            self.push.ready.eq(queue.w_rdy),
        ]
        accept = Signal()
        # A memory's output is late: the command that waits for its semaphores is in registers.
        head = Signal(IndexedCommand, reset_less=True)
        waits, take = Signal(), Signal()
        m.d.comb += [take.eq(queue.r_rdy & (~waits | accept)), queue.r_en.eq(take)]
        m.d.sync += waits.eq(take | (waits & ~accept))
        with m.If(take):
            m.d.sync += head.eq(queue.r_data)
        header = data.View(Header, head.command[:Header.size])

        granted = Signal()
        m.d.comb += [
            self.semaphores.request.eq(waits & ~granted & ~self.stop),
            self.semaphores.wait.eq(header.wait),
            self.engine.start.payload.eq(head.command),
            self.engine.start.valid.eq(granted & unfinished.w_rdy & ~self.stop),
            accept.eq(self.engine.start.valid & self.engine.start.ready),
            unfinished.w_en.eq(accept),
            unfinished.w_data.eq(Cat(head.index, header.signal)),
        ]
        with m.If(self.semaphores.grant):
            m.d.sync += granted.eq(1)
        with m.Elif(accept):
            m.d.sync += granted.eq(0)

        oldest_index = unfinished.r_data[:INDEX_BITS]
        finish = Signal()
        m.d.comb += [
            finish.eq(self.engine.done & ~self.stop),
            unfinished.r_en.eq(finish),
            self.semaphores.strobe.eq(finish),
            self.semaphores.signal.eq(unfinished.r_data[INDEX_BITS:]),
            self.trace.start.eq(accept),
            self.trace.start_index.eq(head.index),
            self.trace.end.eq(finish),
            self.trace.end_index.eq(oldest_index),
            self.fault.eq(self.engine.fault & ~self.stop),
            self.fault_code.eq(self.engine.fault_code),
            self.empty.eq(~unfinished.r_rdy & ~waits & ~queue.r_rdy & (queue.level == 0)),
        ]
        with m.If(unfinished.r_rdy):
            m.d.comb += self.head_index.eq(oldest_index)
            m.d.comb += [self.state[0].eq(~self.engine.stall), self.state[2].eq(self.engine.stall)]
        with m.Elif(waits):
            m.d.comb += self.head_index.eq(head.index)
            m.d.comb += [self.state[0].eq(granted), self.state[1].eq(~granted)]
        with m.Else():
            m.d.comb += self.state[3].eq(1)
        return m
