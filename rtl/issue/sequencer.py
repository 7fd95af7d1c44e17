"""Fetches the program, decodes each command and hands it to its engine's queue."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..config import CoreConfig
from ..host.axi import ReadSignature
from ..isa import ENGINE_STATES, HALFWORD_BITS, INDEX_BITS, Engine, Fault, Header, Opcode
from .dispatch import IndexedCommand, TraceSignature
from .semaphores import SemaphorePort
from .unpack import Unpack

__all__ = ["BYTES_AHEAD", "Fetch", "Sequencer"]

#: Bytes of the program asked for ahead of their use: 64 commands that give all their halfwords, at a latency of 1,000
#: cycles one every 16 to 21 cycles, or three times as many of the compiler's.
BYTES_AHEAD = 2048
_BURST_BEATS = 8


class Fetch(wiring.Component):
    """Reads the program from memory as a stream of halfwords, ahead of their use.

    Reads exactly the beats that hold ``length`` halfwords, in aligned bursts of at most 8 beats, as soon as the
    buffer of 2 KiB has room for their answers. A base that is no multiple of the beat (BAD_FIELD), a burst
    outside the read window, or an error response ends the stream with a fault in place of the first halfword
    that it concerns.

    **Latency**: memory latency plus six cycles. **Throughput**: one beat, one halfword per cycle; a burst every
    four cycles.

    Members
    -------
    start:   strobe, begin at ``base`` with ``length`` halfwords
    base, length, window_base, window_limit: stable while the program runs; addresses up to the end of the address
             space, which is the first past all others
    axi:     read port
    halfword: the halfwords in order
    ended:   level; all have been delivered
    fault, fault_code: level; the next halfword cannot be delivered
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
            "halfword": Out(stream.Signature(HALFWORD_BITS)),
            "ended": Out(1),
            "fault": Out(1),
            "fault_code": Out(Fault),
            "halt": In(1),
            "quiet": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        beat = self.config.axi_data_bytes
        bits = self.config.axi_address_bits
        depth = BYTES_AHEAD // beat
        m.submodules.beats = beats = SyncFIFOBuffered(width=8 * beat + 2, depth=depth)

        # Address side: aligned bursts, each when the buffer has room for the longest.
        address = Signal(bits + 1)
        remaining = Signal(INDEX_BITS)  # beats not yet asked for
        coming = Signal(range(depth + 1))  # beats asked for that have not arrived
        ahead = Signal(range(depth + 1))  # these and those in the buffer
        # Bursts are aligned to their length, so none crosses a 4 KiB boundary (8 beats of at most 128 bytes).
        to_boundary = Signal(range(_BURST_BEATS + 1))
        index_in_burst = (address >> exact_log2(beat))[:exact_log2(_BURST_BEATS)]
        m.d.comb += to_boundary.eq(_BURST_BEATS - index_in_burst)
        # A burst ends at the window's limit, so that the fault comes at the first halfword outside.
        inside = Signal(bits + 1)
        outside = Signal()
        burst = Signal(range(_BURST_BEATS + 1))
        m.d.sync += [
            inside.eq((self.window_limit - address)[:bits + 1] >> exact_log2(beat)),
            outside.eq((address < self.window_base) | (address + beat > self.window_limit)),
            burst.eq(to_boundary),
        ]
        with m.If((remaining <= to_boundary) & (remaining <= inside)):
            m.d.sync += burst.eq(remaining)
        with m.Elif(inside < to_boundary):
            m.d.sync += burst.eq(inside)
        settling = Signal(range(3))  # cycles until the burst at the address is known
        with m.If(settling != 0):
            m.d.sync += settling.eq(settling - 1)
        want = Signal()
        m.d.comb += want.eq((remaining != 0) & (settling == 0) & (ahead <= depth - _BURST_BEATS) & ~self.halt)
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
                    asking.eq(0), settling.eq(2),
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

        # Program side.
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
        halfwords = 8 * beat // HALFWORD_BITS
        place = Signal(range(halfwords))  # in the beat
        left = Signal(INDEX_BITS)  # halfwords not yet delivered
        delivered = Signal()
        m.d.comb += [
            self.halfword.payload.eq(beats.r_data[:8 * beat].word_select(place, HALFWORD_BITS)),
            self.halfword.valid.eq(beats.r_rdy & ~bad & (left != 0)),
            self.ended.eq(left == 0),
            delivered.eq(self.halfword.valid & self.halfword.ready),
            beats.r_en.eq(delivered & (place == halfwords - 1)),
        ]
        m.d.sync += [place.eq(place + delivered), left.eq(left - delivered)]

        with m.If(self.start):
            m.d.sync += [
                address.eq(self.base), settling.eq(2), left.eq(self.length), place.eq(0), refused.eq(Fault.NONE),
                remaining.eq((self.length + halfwords - 1) >> exact_log2(halfwords)),
            ]
        return m


class Sequencer(wiring.Component):
    """Decodes commands in order and pushes each into the queue of its engine; executes FENCE and HALT.

    A full queue stops the sequencer: commands leave it strictly in program order.

    **Latency**: three cycles from the last halfword of a command to its queue. **Throughput**: as :class:`Unpack`.

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
        m.submodules.unpack = unpack = Unpack()
        wiring.connect(m, fetch.halfword, unpack.halfword)

        running = Signal()
        command = unpack.command
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

        asking = Signal()  # every engine has finished what comes before the FENCE or HALT at the head
        with m.If(running & ~self.halt):
            with m.If(asking):
                m.d.comb += self.semaphores.request.eq(1)
                with m.If(self.semaphores.grant):
                    m.d.comb += [busy.eq(1), command.ready.eq(1), self.trace.end.eq(1), self.semaphores.strobe.eq(1)]
                    m.d.sync += [started.eq(0), asking.eq(0)]
                    with m.If(is_halt):
                        m.d.sync += [running.eq(0), self.halted.eq(1)]
                with m.Else():
                    m.d.comb += wait_semaphore.eq(1)
            with m.Elif(~command.valid):
                with m.If(unpack.halfword.ready & fetch.ended):
                    m.d.comb += [self.fault.eq(1), self.fault_code.eq(Fault.TRUNCATED_PROGRAM)]
                with m.Elif(unpack.halfword.ready & fetch.fault):
                    m.d.comb += [self.fault.eq(1), self.fault_code.eq(fetch.fault_code)]
                with m.Else():
                    m.d.comb += wait_memory.eq(1)
            with m.Elif(~known):
                m.d.comb += [self.fault.eq(1), self.fault_code.eq(Fault.UNKNOWN_OPCODE)]
            with m.Elif(engine == Engine.SEQUENCER):
                with m.If(~started):
                    m.d.comb += self.trace.start.eq(1)
                m.d.comb += wait_semaphore.eq(self.drained)
                m.d.sync += [started.eq(1), asking.eq(self.drained)]
            with m.Else():
                m.d.comb += [Array(push.valid for push in self.push)[target].eq(1),
                             command.ready.eq(push_ready), busy.eq(push_ready)]
            with m.If(command.valid & command.ready):
                m.d.sync += self.index.eq(self.index + 1)

        with m.If(self.start):
            m.d.sync += [running.eq(1), self.index.eq(0), self.halted.eq(0), started.eq(0), asking.eq(0)]
        return m
