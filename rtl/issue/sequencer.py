"""Fetches the program, decodes each command and hands it to its engine's queue."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import CoreConfig
from ..host.axi import ReadSignature
from ..isa import COMMAND_BITS, COMMAND_BYTES, ENGINE_STATES, INDEX_BITS, Engine, Fault, Header, Opcode
from .dispatch import IndexedCommand, TraceSignature
from .semaphores import SemaphorePort

__all__ = ["COMMANDS_AHEAD", "Fetch", "Sequencer"]

#: Commands asked for ahead of their use: at a latency of 1,000 cycles one every 16 to 21 cycles, twice the pace of
#: what the compiler writes.
COMMANDS_AHEAD = 64
_BURST_BEATS = 8


class Fetch(wiring.Component):
    """Reads the program from memory as a stream of commands, ahead of their use.

    Reads exactly the beats that hold ``length`` commands, in aligned bursts of at most 8 beats, as soon as the
    buffer of 64 commands has room for their answers. A base that is no multiple of the beat (BAD_FIELD), a burst
    outside the read window, or an error response ends the stream with a fault in place of the first command
    that it concerns.

    **Latency**: memory latency plus four cycles. **Throughput**: one beat per cycle, one command per cycle.

    Members
    -------
    start:   strobe, begin at ``base`` with ``length`` commands
    base, length, window_base, window_limit: stable while the program runs; addresses up to the end of the address
             space, which is the first past all others
    axi:     read port
    command: the commands in order
    fault, fault_code: level; the next command cannot be delivered
    halt:    issue no new burst, discard what arrives
    quiet:   no burst is outstanding
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        bits = config.axi_address_bits
        super().__init__({
            "start": In(1),
            "base": In(bits + 1),
            "length": In(INDEX_BITS),
            "window_base": In(bits + 1),
            "window_limit": In(bits + 1),
            "axi": Out(ReadSignature(bits, 8 * config.axi_data_bytes)),
            "command": Out(stream.Signature(COMMAND_BITS)),
            "fault": Out(1),
            "fault_code": Out(Fault),
            "halt": In(1),
            "quiet": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        beat = self.config.axi_data_bytes
        bits = self.config.axi_address_bits
        depth = COMMANDS_AHEAD * COMMAND_BYTES // beat
        m.submodules.beats = beats = SyncFIFOBuffered(width=8 * beat + 2, depth=depth)

        # Address side: aligned bursts, each when the buffer has room for the longest.
        address = Signal(bits + 1)
        remaining = Signal(INDEX_BITS + 4)  # beats not yet asked for
        coming = Signal(range(depth + 1))  # beats asked for that have not arrived
        ahead = Signal(range(depth + 1))  # these and those in the buffer
        # Bursts are aligned to their length, so none crosses a 4 KiB boundary (8 beats of at most 128 bytes).
        to_boundary = Signal(range(_BURST_BEATS + 1))
        index_in_burst = (address >> exact_log2(beat))[:exact_log2(_BURST_BEATS)]
        m.d.comb += to_boundary.eq(_BURST_BEATS - index_in_burst)
        # A burst ends at the window's limit, so that the fault names the first command outside.
        inside = Signal(bits + 1)
        outside = Signal()
        m.d.comb += [
            inside.eq((self.window_limit - address)[:bits + 1] >> exact_log2(beat)),
            outside.eq((address < self.window_base) | (address + beat > self.window_limit)),
        ]
        burst = Signal(range(_BURST_BEATS + 1))
        m.d.comb += burst.eq(to_boundary)
        with m.If((remaining <= to_boundary) & (remaining <= inside)):
            m.d.comb += burst.eq(remaining)
        with m.Elif(inside < to_boundary):
            m.d.comb += burst.eq(inside)
        want = Signal()
        m.d.comb += want.eq((remaining != 0) & (ahead <= depth - _BURST_BEATS) & ~self.halt)
        # Once valid, a request stays valid until it is taken, also when a halt arrives in between.
        asking = Signal()
        m.d.comb += [
            self.axi.ar.valid.eq(asking),
            self.axi.ar.payload.address.eq(address),
            self.axi.ar.payload.len.eq(burst - 1),
            self.quiet.eq((coming == 0) & ~asking),
        ]
        refused = Signal(Fault)  # why no further burst is asked for
        asked = Signal.like(burst)
        with m.If(asking):
            with m.If(self.axi.ar.ready):
                m.d.comb += asked.eq(burst)
                m.d.sync += [
                    asking.eq(0),
                    address.eq(address + burst * beat), remaining.eq(remaining - burst),
                ]
        with m.Elif(want):
            with m.If(address[:exact_log2(beat)] != 0):
                m.d.sync += [refused.eq(Fault.BAD_FIELD), remaining.eq(0)]
            with m.Elif(outside):
                m.d.sync += [refused.eq(Fault.READ_WINDOW), remaining.eq(0)]
            with m.Else():
                m.d.sync += asking.eq(1)

        m.d.comb += [
            self.axi.r.ready.eq(1),  # the buffer has room for all that is coming
            beats.w_data.eq(Cat(self.axi.r.payload.data, self.axi.r.payload.resp)),
            beats.w_en.eq(self.axi.r.valid & ~self.halt),
        ]
        m.d.sync += [
            coming.eq(coming + asked - self.axi.r.valid),
            ahead.eq(ahead + asked - beats.r_en),
        ]

        # Command side.
        response = beats.r_data[8 * beat:]
        bad = Signal()
        m.d.comb += bad.eq(beats.r_rdy & response[1])
        with m.If(bad):
            m.d.comb += [
                self.fault.eq(1),
                self.fault_code.eq(Mux(response[0], Fault.READ_DECERR, Fault.READ_SLVERR)),
            ]
        with m.Elif((refused != Fault.NONE) & (ahead == 0)):
            m.d.comb += [self.fault.eq(1), self.fault_code.eq(refused)]
        if beat >= COMMAND_BYTES:
            per_beat = beat // COMMAND_BYTES
            slot = Signal(range(max(per_beat, 2)))
            last_slot = slot == per_beat - 1
            m.d.comb += [
                self.command.payload.eq(beats.r_data.word_select(slot, COMMAND_BITS)),
                self.command.valid.eq(beats.r_rdy & ~bad),
                beats.r_en.eq(self.command.valid & self.command.ready & last_slot),
            ]
            with m.If(self.command.valid & self.command.ready):
                m.d.sync += slot.eq(Mux(last_slot, 0, slot + 1))
        else:
            parts = COMMAND_BYTES // beat
            part = Signal(range(parts))
            gathered = Signal(COMMAND_BITS - 8 * beat)
            m.d.comb += [
                self.command.payload.eq(Cat(gathered, beats.r_data[:8 * beat])),
                self.command.valid.eq(beats.r_rdy & ~bad & (part == parts - 1)),
                beats.r_en.eq(beats.r_rdy & ~bad & ((part != parts - 1) | self.command.ready)),
            ]
            with m.If(beats.r_en):
                m.d.sync += [
                    gathered.eq(Cat(gathered, beats.r_data[:8 * beat])[8 * beat:]),
                    part.eq(Mux(part == parts - 1, 0, part + 1)),
                ]
            slot = part

        with m.If(self.start):
            m.d.sync += [
                address.eq(self.base),
                remaining.eq((self.length * COMMAND_BYTES + beat - 1) >> exact_log2(beat)),
                slot.eq(0), refused.eq(Fault.NONE),
            ]
        return m


class Sequencer(wiring.Component):
    """Decodes commands in order and pushes each into the queue of its engine; executes FENCE and HALT.

    A full queue stops the sequencer: commands leave it strictly in program order.

    **Latency**: one cycle from a fetched command to its queue. **Throughput**: one command per cycle.

    Members
    -------
    start, base, length, window_base, window_limit, axi, halt, quiet: see :class:`Fetch`
    push:   one stream per engine queue (LOAD first; ``Engine`` without SEQUENCER)
    drained: every engine queue is empty
    semaphores: port for FENCE and HALT
    state:  BUSY: a command leaves or FENCE/HALT completes; WAIT_SEMAPHORE: FENCE/HALT; WAIT_MEMORY: fetching;
            IDLE: held by a full queue, by a FENCE or HALT whose predecessors run, or no program
    index:  index of the next command
    halted: level, HALT has been reached
    fault, fault_code: level, the command at ``index`` cannot be executed
    trace:  start and end of FENCE and HALT
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        bits = config.axi_address_bits
        super().__init__({
            "start": In(1),
            "base": In(bits + 1),
            "length": In(INDEX_BITS),
            "window_base": In(bits + 1),
            "window_limit": In(bits + 1),
            "axi": Out(ReadSignature(bits, 8 * config.axi_data_bytes)),
            "halt": In(1),
            "quiet": Out(1),
            "push": Out(stream.Signature(IndexedCommand)).array(len(Engine) - 1),
            "drained": In(1),
            "semaphores": Out(SemaphorePort),
            "state": Out(len(ENGINE_STATES)),
            "index": Out(INDEX_BITS),
            "halted": Out(1),
            "fault": Out(1),
            "fault_code": Out(Fault),
            "trace": Out(TraceSignature),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetch = fetch = Fetch(self.config)
        for name in ("start", "base", "length", "window_base", "window_limit", "halt"):
            m.d.comb += getattr(fetch, name).eq(getattr(self, name))
        m.d.comb += self.quiet.eq(fetch.quiet)
        wiring.connect(m, wiring.flipped(self.axi), fetch.axi)

        running = Signal()
        command = fetch.command
        header = data.View(Header, command.payload[:Header.size])
        engine = header.opcode[4:8]
        known = Signal()
        m.d.comb += known.eq(Cat(header.opcode == opcode for opcode in Opcode).any())
        is_halt = header.opcode == Opcode.HALT

        busy = Signal()
        wait_semaphore = Signal()
        wait_memory = Signal()
        m.d.comb += self.state.eq(Cat(busy, wait_semaphore, wait_memory, ~(busy | wait_semaphore | wait_memory)))

        started = Signal()  # the FENCE or HALT at the head has been announced on the trace
        m.d.comb += [self.trace.start_index.eq(self.index), self.trace.end_index.eq(self.index)]
        m.d.comb += [self.semaphores.wait.eq(header.wait), self.semaphores.signal.eq(header.signal)]
        for push in self.push:
            m.d.comb += [push.payload.index.eq(self.index), push.payload.command.eq(command.payload)]
        target = Signal(range(len(self.push)))
        m.d.comb += target.eq(engine - Engine.LOAD)
        push_ready = Array(push.ready for push in self.push)[target]

        with m.If(running & ~self.halt):
            with m.If(self.index == self.length):
                m.d.comb += [self.fault.eq(1), self.fault_code.eq(Fault.TRUNCATED_PROGRAM)]
            with m.Elif(fetch.fault):
                m.d.comb += [self.fault.eq(1), self.fault_code.eq(fetch.fault_code)]
            with m.Elif(~command.valid):
                m.d.comb += wait_memory.eq(1)
            with m.Elif(~known):
                m.d.comb += [self.fault.eq(1), self.fault_code.eq(Fault.UNKNOWN_OPCODE)]
            with m.Elif(engine == Engine.SEQUENCER):
                with m.If(~started):
                    m.d.comb += self.trace.start.eq(1)
                    m.d.sync += started.eq(1)
                with m.If(self.drained):
                    m.d.comb += self.semaphores.request.eq(1)
                    with m.If(self.semaphores.grant):
                        m.d.comb += [busy.eq(1), command.ready.eq(1), self.trace.end.eq(1),
                                     self.semaphores.strobe.eq(1)]
                        m.d.sync += started.eq(0)
                        with m.If(is_halt):
                            m.d.sync += [running.eq(0), self.halted.eq(1)]
                    with m.Else():
                        m.d.comb += wait_semaphore.eq(1)
            with m.Else():
                m.d.comb += [Array(push.valid for push in self.push)[target].eq(1),
                             command.ready.eq(push_ready), busy.eq(push_ready)]
            with m.If(command.valid & command.ready):
                m.d.sync += self.index.eq(self.index + 1)

        with m.If(self.start):
            m.d.sync += [running.eq(1), self.index.eq(0), self.halted.eq(0), started.eq(0)]
        return m
