"""Store engine: output rows and LSE words to GM."""

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.memory import ReadPort
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..config import CoreConfig
from ..fp.countdown import countdown
from ..fp.nets import register
from ..fp.product import product
from ..host.axi import Response, WriteSignature
from ..host.burst import BurstGenerator, RegionCheck
from ..isa import COMMAND_BITS, FLAGS, LAYOUTS, Fault, Opcode
from ..issue.dispatch import MAX_UNFINISHED

__all__ = ["Store"]

#: Cycles for which a captured command holds still before its decoding ends.
_SETTLE = RegionCheck.settle + 1


class Store(wiring.Component):
    """Executes STORE. The address side decodes commands and issues bursts, up to ``axi_in_flight_bytes``
    unanswered; the data side reads OUT (or LSE) and follows with the beats; commands finish in order with
    their responses.

    **Latency**: eleven cycles from ``start`` to AW, fourteen to the first W beat; one from the last B to ``done``.
    **Throughput**: one beat per cycle, also across commands, while the bus is ready.

    A command is checked as a whole before its first burst; the first of these that holds is its fault:
    BAD_FIELD, BUFFER_OVERRUN, WRITE_WINDOW. Such a command writes nothing. WRITE_SLVERR and WRITE_DECERR are
    reported at the response that carries them. After a fault, or once ``halt`` was high, the engine issues no
    burst until reset; the beats that issued bursts still owe go out with all strobes low.

    Parameters
    ----------
    config: core configuration

    Members
    -------
    start, done, stall, fault, fault_code: engine protocol, see ``docs/architecture.md``
    axi:          ``Out(WriteSignature)``
    out:          read port of OUT
    lse:          read port of LSE
    window_base:  first byte that may be written
    window_limit: first byte past the write window
    halt:         stop for good
    sending:      a burst waits for AWREADY, or beats of one have yet to be read from OUT
    quiet:        no burst is valid or unanswered
    """

    #: Commands, and bursts, between the address side and the data side: enough for a beat per cycle.
    commands_ahead = 3
    bursts_ahead = 4

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "start": In(stream.Signature(COMMAND_BITS)),
            "done": Out(1),
            "stall": Out(1),
            "fault": Out(1),
            "fault_code": Out(8),
            "axi": Out(WriteSignature(config.axi_address_bits, config.axi_data_bytes * 8)),
            "out": In(ReadPort.Signature(
                addr_width=ceil_log2(config.out_words),
                shape=unsigned(config.m * config.beat_elements * 16))),
            "lse": In(ReadPort.Signature(
                addr_width=ceil_log2(config.state_words), shape=unsigned(config.m * 32))),
            "window_base": In(config.axi_address_bits + 1),
            "window_limit": In(config.axi_address_bits + 1),
            "halt": In(1),
            "sending": Out(1),
            "quiet": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        group_shift = exact_log2(config.m)
        row_in_group = unsigned(max(group_shift, 1))
        task_layout = data.StructLayout({
            "rows": unsigned(16),  # output rows, also with lse
            "beats": unsigned(16),  # per row
            "word": unsigned(16),
            "pitch": unsigned(16),  # words per row group
            "lse": unsigned(1),
            "fault": Fault,
        })

        stopped = Signal()
        stop = Signal()
        m.d.comb += stop.eq(stopped | self.halt)
        m.d.sync += stopped.eq(stop)

        m.submodules.check = check = RegionCheck(
            address_bits=config.axi_address_bits, data_bytes=config.axi_data_bytes)
        m.submodules.bursts = bursts = BurstGenerator(
            address_bits=config.axi_address_bits, data_bytes=config.axi_data_bytes,
            in_flight_bytes=config.axi_in_flight_bytes)
        m.submodules.tasks = tasks = SyncFIFOBuffered(width=task_layout.size, depth=self.commands_ahead)
        m.submodules.lengths = lengths = SyncFIFO(width=8, depth=self.bursts_ahead)
        # Of the bursts that no response has come for, which may be of one beat each.
        burst_layout = data.StructLayout({"beats": unsigned(9), "last": unsigned(1)})
        m.submodules.unanswered = unanswered = SyncFIFOBuffered(
            width=burst_layout.size, depth=config.axi_in_flight_bytes // config.axi_data_bytes)

        # Capture: unpack the command.
        layout = LAYOUTS[Opcode.STORE]
        captured, decoded = Signal(), Signal()
        fields = Signal(layout, reset_less=True)
        capture, decode, dispatch = Signal(), Signal(), Signal()
        unfinished = Signal(range(MAX_UNFINISHED + 1))
        finish = Signal()
        settling = Signal(range(_SETTLE + 1))  # cycles until what the checks need of the fields is known
        m.d.comb += [
            self.start.ready.eq(~stop & (unfinished != MAX_UNFINISHED) & (~captured | decode)),
            capture.eq(self.start.valid & self.start.ready),
            decode.eq(captured & (settling == 0) & ~decoded),
        ]
        with m.If(capture):
            m.d.sync += settling.eq(_SETTLE)
        with m.Elif(settling != 0):
            m.d.sync += settling.eq(settling - 1)
        with m.If(capture):
            m.d.sync += fields.eq(self.start.payload)
        m.d.sync += [
            unfinished.eq(unfinished + capture - finish),
            captured.eq(capture | (captured & ~decode)),
            decoded.eq(decode | (decoded & ~dispatch)),
        ]

        # Decode: what the checks need, products first. With lse every row group is one beat, beats adjacent.
        lse = Signal()
        task = Signal(task_layout, reset_less=True)
        code = Signal(Fault, reset_less=True)
        beat_mask = config.axi_data_bytes - 1
        m.d.comb += lse.eq(fields.header.flags[FLAGS[Opcode.STORE]["lse"]])
        groups = (fields.rows + config.m - 1) >> group_shift
        beats = register(m, Mux(lse, 1, fields.cols >> exact_log2(config.beat_elements)), name="beats", shape=16)
        pitch = register(m, Mux(lse, 1, fields.out_pitch), name="pitch")
        last_group = register(m, (fields.rows - 1)[:16] >> group_shift, name="last_group")
        end_of_group = register(m, beats + fields.out, name="end_of_group")
        room = register(m, Mux(lse, config.state_words, config.out_words) - end_of_group, name="room")
        span = register(m, product(m, pitch, last_group, name="span"), name="span")
        bad = register(m, ((fields.address & beat_mask) != 0)
                       | (fields.rows == 0)
                       | (~lse & (((fields.pitch & beat_mask) != 0)
                                  | ((fields.cols & (config.beat_elements - 1)) != 0)
                                  | (fields.cols == 0))), name="bad")
        past = register(m, span > room, name="past")
        m.d.comb += [
            check.en.eq(decode),
            check.address.eq(fields.address),
            check.pitch.eq(register(m, Mux(lse, config.axi_data_bytes, fields.pitch), name="gm_pitch")),
            check.rows.eq(register(m, Mux(lse, groups, fields.rows), name="gm_rows")),
            check.beats.eq(beats),
            check.window_base.eq(self.window_base),
            check.window_limit.eq(self.window_limit),
        ]
        with m.If(decode):
            m.d.sync += [
                task.rows.eq(fields.rows),
                task.beats.eq(beats),
                task.word.eq(fields.out),
                task.pitch.eq(pitch),
                task.lse.eq(lse),
                code.eq(Mux(bad, Fault.BAD_FIELD, Mux(past, Fault.BUFFER_OVERRUN, Fault.NONE))),
            ]

        # Dispatch: to the data side always, to the burst generator when the command is right.
        refused = Signal()  # a command at fault went to the data side: nothing after it may be issued
        dispatched = Signal(task_layout)
        right = (code == Fault.NONE) & ~check.outside
        m.d.comb += [
            dispatched.eq(task),
            dispatched.fault.eq(Mux((code == Fault.NONE) & check.outside, Fault.WRITE_WINDOW, code)),
            dispatch.eq(decoded & ~refused & ~stop & tasks.w_rdy & (bursts.region.ready | ~right)),
            tasks.w_en.eq(dispatch),
            tasks.w_data.eq(dispatched),
            bursts.region.payload.eq(check.region),
            bursts.region.valid.eq(decoded & right & ~refused & ~stop & tasks.w_rdy),
        ]
        with m.If(dispatch & ~right):
            m.d.sync += refused.eq(1)

        # A burst goes to AW and, in its first cycle, to the data side: W may not wait for AWREADY.
        told = Signal()
        aw, w, b = self.axi.aw, self.axi.w, self.axi.b
        announce = Signal()
        oldest = data.View(burst_layout, unanswered.r_data)
        m.d.comb += [
            aw.valid.eq(bursts.burst.valid),
            aw.payload.address.eq(bursts.burst.payload.address),
            aw.payload.len.eq(bursts.burst.payload.len),
            bursts.burst.ready.eq(aw.ready),
            bursts.stop.eq(stop | (lengths.level + (bursts.burst.valid & ~told) >= self.bursts_ahead)),
            bursts.answered.eq(Mux(b.valid, oldest.beats, 0)),
            self.quiet.eq(bursts.quiet),
            self.sending.eq(bursts.burst.valid | lengths.r_rdy),
            announce.eq(bursts.burst.valid & ~told),
            lengths.w_en.eq(announce),
            lengths.w_data.eq(bursts.burst.payload.len),
            unanswered.w_en.eq(announce),
            unanswered.w_data.eq(Cat(bursts.burst.payload.len + 1, bursts.burst.payload.last)),
        ]
        m.d.sync += told.eq(bursts.burst.valid & ~aw.ready)

        # Data side, address stage: one beat of an issued burst per step.
        active = Signal()
        now = Signal(task_layout, reset_less=True)
        beat = Signal(16, reset_less=True)
        row = Signal(row_in_group, reset_less=True)
        burst_beat = Signal(8)
        step, row_ends, group_ends, task_ends, burst_ends = (Signal() for _ in range(5))
        read_free = Signal()
        following = data.View(task_layout, tasks.r_data)
        m.d.comb += [
            step.eq(lengths.r_rdy & read_free & ((active & (now.fault == Fault.NONE)) | stop)),
            row_ends.eq(countdown(m, following.beats, start=tasks.r_en, step=step, name="beats")),
            group_ends.eq(now.lse | (row == config.m - 1)),
            task_ends.eq(row_ends & Mux(now.lse, now.rows <= config.m, now.rows == 1)),
            burst_ends.eq(burst_beat == lengths.r_data),
            lengths.r_en.eq(step & burst_ends),
            tasks.r_en.eq((~active | (step & task_ends)) & ~stop),
            self.out.addr.eq(now.word + beat),
            self.out.en.eq(step & ~now.lse & ~stop),
            self.lse.addr.eq(now.word),
            self.lse.en.eq(step & now.lse & ~stop),
        ]
        with m.If(step):
            m.d.sync += burst_beat.eq(Mux(burst_ends, 0, burst_beat + 1))
        with m.If(tasks.r_en):
            m.d.sync += [
                active.eq(tasks.r_rdy),
                now.eq(following),
                beat.eq(0),
                row.eq(0),
            ]
        with m.Elif(step):
            m.d.sync += beat.eq(beat + 1)
            with m.If(row_ends):
                m.d.sync += [
                    beat.eq(0),
                    row.eq(Mux(group_ends, 0, row + 1)),
                    now.rows.eq(now.rows - Mux(now.lse, config.m, 1)),
                ]
                with m.If(group_ends):
                    m.d.sync += now.word.eq(now.word + now.pitch)

        # Read stage: the word of the step before is at the ports and stays there until it is taken.
        read_valid = Signal()
        read = Signal(data.StructLayout({
            "row": row_in_group, "lse": unsigned(1), "rows": unsigned(config.m),
            "blank": unsigned(1), "last": unsigned(1),
        }), reset_less=True)
        write_free = Signal()
        m.d.comb += [
            write_free.eq(~w.valid | w.ready),
            read_free.eq(~read_valid | write_free),
        ]
        with m.If(read_free):
            m.d.sync += read_valid.eq(step)
        with m.If(step):
            m.d.sync += [
                read.row.eq(row),
                read.lse.eq(now.lse),
                read.rows.eq(Cat(now.rows > index for index in range(config.m))),
                read.blank.eq(stop),
                read.last.eq(burst_ends),
            ]

        # Write stage. Element e of row r is lane e mod lanes of lane group e div lanes.
        groups_layout = data.ArrayLayout(
            data.ArrayLayout(config.lanes * 16, config.m), config.beat_elements // config.lanes)
        word = data.View(groups_layout, self.out.data)
        row_beats = Array(Cat(group[index] for group in word) for index in range(config.m))
        lse_strobes = Cat(valid.replicate(4) for valid in read.rows)
        with m.If(write_free):
            m.d.sync += w.valid.eq(read_valid)
            with m.If(read_valid):
                m.d.sync += [
                    w.payload.data.eq(Mux(read.lse, self.lse.data, row_beats[read.row])),
                    w.payload.strb.eq(Mux(read.blank, 0, Mux(read.lse, lse_strobes, ~0))),
                    w.payload.last.eq(read.last),
                ]

        # Responses come in the order of the bursts: each belongs to the oldest unfinished command.
        fault = Signal(Fault)
        m.d.comb += [
            b.ready.eq(1),
            unanswered.r_en.eq(b.valid),
        ]
        with m.If(b.valid & (b.payload.resp == Response.SLVERR)):
            m.d.comb += fault.eq(Fault.WRITE_SLVERR)
        with m.Elif(b.valid & (b.payload.resp == Response.DECERR)):
            m.d.comb += fault.eq(Fault.WRITE_DECERR)
        with m.Elif(b.valid):
            m.d.comb += finish.eq(oldest.last & ~stop)
        with m.Elif(active & bursts.quiet):
            m.d.comb += fault.eq(now.fault)
        m.d.sync += [
            self.done.eq(finish),
            self.fault.eq((fault != Fault.NONE) & ~stop),
            self.fault_code.eq(fault),
        ]
        with m.If(fault != Fault.NONE):
            m.d.sync += stopped.eq(1)
        m.d.comb += self.stall.eq(~stop & ~bursts.quiet & ~step & ~(read_valid & write_free))
        return m
