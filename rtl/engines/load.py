"""Load engine: rows of GM into L1, in fractal order."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import WritePort
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..config import CoreConfig
from ..fp.countdown import countdown
from ..fp.nets import register
from ..fp.product import product
from ..host.axi import ReadSignature, Response
from ..host.burst import BurstGenerator, Region, RegionCheck
from ..host.dequantizer import GRANULE, ROWS, SCALES_UNIT, Layout
from ..host.fp8_region import Fp8Region
from ..host.row_source import RowSource
from ..isa import COMMAND_BITS, FLAGS, FP8_ROWS, LAYOUTS, Fault, Opcode
from ..issue.dispatch import MAX_UNFINISHED

__all__ = ["Load"]

#: Commands between the address side and the data side, as many as the engine protocol leaves: one each is captured,
#: decoded, executed, in the write register and in ``done``.
_COMMANDS_AHEAD = MAX_UNFINISHED - 5
#: Cycles for which a captured command holds still before its decoding ends.
_SETTLE = RegionCheck.settle + 1


class Load(wiring.Component):
    """Executes LOAD. The address side decodes commands and requests bursts, ahead of the data side by up to
    ``axi_in_flight_bytes`` and across commands; the data side writes one beat into L1 per cycle. FP8 rows become BF16
    on their way, in a :class:`~amla.rtl.host.dequantizer.Dequantizer` between AXI and the data side.

    **Latency**: eleven cycles from ``start`` to AR, of FP8 rows ``Fp8Region.latency`` more, and with scales apart as
    many again as their check takes; one from R to the write of L1 (FP8: and the dequantizer's), two to ``done``.
    **Throughput**: one beat of L1 (or beat of zeros) per cycle, also across commands, while memory delivers and
    ``l1_ready`` is high.

    A command is checked as a whole before its first request; the first of these that holds is its fault:
    BAD_FIELD, BUFFER_OVERRUN, READ_WINDOW. Such a command requests and writes nothing. READ_SLVERR and
    READ_DECERR stop it at the beat that carries them. After a fault, or once ``halt`` was high, the engine
    requests and writes nothing until reset, and drops the beats that still arrive.

    Parameters
    ----------
    config: core configuration

    Members
    -------
    start, done, stall, fault, fault_code: engine protocol, see ``docs/architecture.md``
    axi:          ``Out(ReadSignature)``
    l1:           write ports of the L1 banks, granularity one row; a beat writes the same row of all banks
    l1_ready:     low: somebody else writes L1 this cycle
    writing:      STORE sends: request no more than half of the bytes ahead, so that memory gets its beats together
    window_base:  first byte that may be read
    window_limit: first byte past the read window
    halt:         stop for good
    quiet:        no burst is valid or unanswered
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        row_bits = config.k * 16
        self._bank_words = config.l1_words // config.l1_banks
        port = WritePort.Signature(
            addr_width=ceil_log2(self._bank_words),
            shape=unsigned(max(config.m, config.n) * row_bits),
            granularity=row_bits,
        )
        super().__init__({
            "start": In(stream.Signature(COMMAND_BITS)),
            "done": Out(1),
            "stall": Out(1),
            "fault": Out(1),
            "fault_code": Out(8),
            "axi": Out(ReadSignature(config.axi_address_bits, config.axi_data_bytes * 8)),
            "l1": In(port).array(config.l1_banks),
            "l1_ready": In(1),
            "writing": In(1),
            "window_base": In(config.axi_address_bits + 1),
            "window_limit": In(config.axi_address_bits + 1),
            "halt": In(1),
            "quiet": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        beat_shift = exact_log2(config.beat_elements)
        bank_shift = exact_log2(config.l1_banks)
        word = range(self._bank_words + 1)
        row_in_group = range(max(config.m, config.n, 2))
        task_layout = data.StructLayout({
            "rows": unsigned(16),  # from GM
            "rows_padded": unsigned(16),  # in all
            "beats": unsigned(16),  # per row
            "word": word,  # address in every bank
            "row": row_in_group,  # inside the row group
            "a_side": unsigned(1),
            "fp8": unsigned(1),
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
        m.submodules.tasks = tasks = SyncFIFOBuffered(
            width=task_layout.size, depth=_COMMANDS_AHEAD)
        m.submodules.source = source = RowSource(
            data_bytes=config.axi_data_bytes, max_rows=FP8_ROWS if config.reads_fp8 else None, commands=_COMMANDS_AHEAD)

        # Capture: unpack the command.
        layout = LAYOUTS[Opcode.LOAD]
        flags = FLAGS[Opcode.LOAD]
        given = data.View(layout, self.start.payload)
        captured = Signal()
        fields = Signal(layout, reset_less=True)
        capture, measured, decode, dispatch = Signal(), Signal(), Signal(), Signal()
        decoded = Signal()
        settling = Signal(range(_SETTLE + Fp8Region.latency + 1))  # cycles until what the checks need of it is known
        scales_left = Signal()  # the scales are to be checked before the rows
        is_656, is_584 = (fields.header.flags[flags[name]] for name in ("fp8_656", "fp8_584"))
        given_656, given_584 = (given.header.flags[flags[name]] for name in ("fp8_656", "fp8_584"))
        m.d.comb += [
            self.start.ready.eq(~stop & (~captured | decode)),
            capture.eq(self.start.valid & self.start.ready),
            measured.eq(captured & (settling == 0) & ~decoded),
            decode.eq(measured & ~scales_left),
        ]
        with m.If(capture):
            m.d.sync += [settling.eq(Mux(given_656 | given_584, _SETTLE + Fp8Region.latency, _SETTLE)),
                         scales_left.eq(given_584)]
        with m.Elif(measured):
            m.d.sync += [settling.eq(_SETTLE), scales_left.eq(0)]
        with m.Elif(settling != 0):
            m.d.sync += settling.eq(settling - 1)
        with m.If(capture):
            m.d.sync += fields.eq(given)
            with m.If(given.rows > given.rows_padded):
                m.d.sync += fields.rows.eq(given.rows_padded)
        m.d.sync += [
            captured.eq(capture | (captured & ~decode)),
            decoded.eq(decode | (decoded & ~dispatch)),
        ]

        # Decode: what the checks need, products first.
        a_side = Signal()
        group = Signal(range(256))
        end_group = Signal(range((65535 + 255) // min(config.m, config.n) + 2))  # the first one behind it
        row = Signal(8)
        beats = Signal(16)
        m.d.comb += [
            a_side.eq(fields.header.flags[flags["a_side"]]),
            beats.eq(fields.cols >> beat_shift),
        ]
        for flag, rows in ((1, config.m), (0, config.n)):
            shift = exact_log2(rows)
            with m.If(a_side == flag):
                m.d.comb += [
                    group.eq(fields.row0 >> shift),
                    row.eq(fields.row0 & (rows - 1)),
                    end_group.eq((fields.row0 + fields.rows_padded + (rows - 1)) >> shift),
                ]
        task = Signal(task_layout, reset_less=True)
        code = Signal(Fault, reset_less=True)
        reads = Signal(reset_less=True)
        bank_word = fields.l1 >> bank_shift
        group, end_group = register(m, group, name="group_1"), register(m, end_group, name="end_group_1")
        first_word = register(m, product(m, group, beats, name="first") + bank_word, name="first_word")
        end_word = register(m, product(m, end_group, beats, name="end") + bank_word, name="end_word")
        past = register(m, end_word > self._bank_words, name="past")
        bad = self._bad(m, fields, is_656, is_584)
        m.d.comb += [
            check.en.eq(measured),
            check.address.eq(fields.address),
            check.pitch.eq(fields.pitch),
            check.rows.eq(fields.rows),
            check.beats.eq(beats),
            check.window_base.eq(self.window_base),
            check.window_limit.eq(self.window_limit),
        ]
        with m.If(decode):
            m.d.sync += [
                task.rows.eq(fields.rows),
                task.rows_padded.eq(fields.rows_padded),
                task.beats.eq(beats),
                task.row.eq(row),
                task.a_side.eq(a_side),
                task.fp8.eq(is_656 | is_584),
                task.word.eq(first_word),
                reads.eq(fields.rows != 0),
                code.eq(Mux(bad, Fault.BAD_FIELD, Mux(past, Fault.BUFFER_OVERRUN, Fault.NONE))),
            ]

        # FP8 rows: one run of beats, and before it that of the scales, if they lie apart.
        scales = Signal(Region(config.axi_address_bits), reset_less=True)
        scales_beats, scales_outside = Signal.like(check.total, reset_less=True), Signal(reset_less=True)
        has_scales, scales_sent = Signal(reset_less=True), Signal()
        if config.reads_fp8:
            m.submodules.fp8 = fp8 = Fp8Region(data_bytes=config.axi_data_bytes)
            converted = source.command.payload.task
            m.d.comb += [
                fp8.address.eq(fields.address), fp8.scales_offset.eq(fields.pitch), fp8.rows.eq(fields.rows),
                fp8.layout.eq(Mux(is_656, Layout.FP8_656, Layout.FP8_584)),
                source.command.payload.dequantize.eq(task.fp8),
            ]
            with m.If(is_656 | is_584):
                m.d.comb += [check.address.eq(Mux(scales_left, fp8.scales_address, fp8.beats_address)),
                             check.beats.eq(Mux(scales_left, fp8.scales_beats, fp8.beats)),
                             check.rows.eq(1), check.pitch.eq(0)]
            with m.If(decode):
                m.d.sync += [
                    scales.eq(check.region), scales_beats.eq(Mux(is_584, check.total, 0)), has_scales.eq(is_584),
                    scales_outside.eq(is_584 & (check.outside | fp8.past)),
                    *(getattr(converted, name).eq(getattr(fp8, name)) for name in (
                        "layout", "rows", "first", "first_scale")),
                ]

        # Dispatch: to the data side always, to the burst generator when something is to be read.
        dispatched = Signal(task_layout)
        wanted, go, request = Signal(), Signal(), Signal()
        refused = Signal()  # a command at fault went to the data side: nothing after it may be requested
        outside = check.outside | scales_outside
        scales_next = has_scales & ~scales_sent
        m.d.comb += [
            dispatched.eq(task),
            dispatched.fault.eq(Mux((code == Fault.NONE) & reads & outside, Fault.READ_WINDOW, code)),
            wanted.eq((code == Fault.NONE) & reads & ~outside),
            go.eq(decoded & ~refused & ~stop & tasks.w_rdy & source.command.ready),
            dispatch.eq(go & ((bursts.region.ready & ~scales_next) | ~wanted)),
            tasks.w_en.eq(dispatch),
            tasks.w_data.eq(dispatched),
            bursts.region.payload.eq(Mux(scales_next, scales, check.region)),
            bursts.region.valid.eq(go & wanted),
            request.eq(bursts.region.valid & bursts.region.ready),
            source.command.payload.beats.eq(check.total + scales_beats),
            source.command.valid.eq(request & ~scales_sent),
        ]
        m.d.sync += scales_sent.eq(~dispatch & (scales_sent | (request & has_scales)))
        with m.If(dispatch & (dispatched.fault != Fault.NONE)):
            m.d.sync += refused.eq(1)

        r = self.axi.r
        m.d.comb += [
            self.axi.ar.valid.eq(bursts.burst.valid),
            self.axi.ar.payload.address.eq(bursts.burst.payload.address),
            self.axi.ar.payload.len.eq(bursts.burst.payload.len),
            bursts.burst.ready.eq(self.axi.ar.ready),
            bursts.stop.eq(stop),
            bursts.half.eq(self.writing),
            bursts.answered.eq(r.valid & r.ready),
            self.quiet.eq(bursts.quiet),
            source.beats.valid.eq(r.valid),
            source.beats.payload.data.eq(r.payload.data),
            source.beats.payload.resp.eq(r.payload.resp),
            r.ready.eq(source.beats.ready),
            source.drop.eq(stop),
        ]

        # Data side: one entry per beat goes to the write register, which holds it until L1 takes it.
        active = Signal()
        now = Signal(task_layout, reset_less=True)
        group_word = Signal(word, reset_less=True)  # of the row group's first beat
        entry = data.StructLayout({
            "beat": unsigned(config.axi_data_bytes * 8),
            "word": unsigned(ceil_log2(self._bank_words)),
            "row": row_in_group,
            "last": unsigned(1),
            "fault": Fault,
        })
        write = Signal(entry, reset_less=True)
        write_valid = Signal()

        free, push, row_ends, group_ends, task_ends = (Signal() for _ in range(5))
        wants_read = Signal()  # the row comes from GM
        last_read, last_row = Signal(), Signal()
        fault = Signal(Fault)
        following = data.View(task_layout, tasks.r_data)
        arrived = Signal(source.plain.payload.shape())  # from AXI, or dequantised
        arrived_valid = Signal()
        m.d.comb += [
            arrived.eq(source.plain.payload), arrived_valid.eq(source.plain.valid),
            source.plain.ready.eq(wants_read & free & ~now.fp8),
        ]
        if config.reads_fp8:
            m.d.comb += source.converted.ready.eq(wants_read & free & now.fp8)
            with m.If(now.fp8):
                m.d.comb += [arrived.eq(source.converted.payload), arrived_valid.eq(source.converted.valid)]
        m.d.comb += [
            free.eq(~write_valid | self.l1_ready),
            push.eq(active & free & ~stop & (~wants_read | arrived_valid)),
            row_ends.eq(countdown(m, following.beats, start=tasks.r_en, step=push, name="beats")),
            last_read.eq(countdown(m, following.rows, start=tasks.r_en, step=push & row_ends, name="rows")),
            last_row.eq(countdown(m, following.rows_padded, start=tasks.r_en, step=push & row_ends,
                                  name="rows_padded")),
            group_ends.eq(now.row == Mux(now.a_side, config.m - 1, config.n - 1)),
            task_ends.eq(row_ends & last_row),
            fault.eq(now.fault),
        ]
        with m.If(wants_read):
            with m.Switch(arrived.resp):
                with m.Case(Response.SLVERR):
                    m.d.comb += fault.eq(Fault.READ_SLVERR)
                with m.Case(Response.DECERR):
                    m.d.comb += fault.eq(Fault.READ_DECERR)

        m.d.comb += tasks.r_en.eq((~active | (push & task_ends)) & ~stop)
        with m.If(tasks.r_en):
            m.d.sync += [
                active.eq(tasks.r_rdy),
                wants_read.eq(tasks.r_rdy & (following.fault == Fault.NONE) & (following.rows != 0)),
                now.eq(following),
                group_word.eq(following.word),
            ]
        with m.Elif(push):
            m.d.sync += now.word.eq(now.word + 1)
            with m.If(row_ends):
                m.d.sync += now.row.eq(Mux(group_ends, 0, now.row + 1))
                with m.If(last_read):
                    m.d.sync += wants_read.eq(0)
                with m.If(group_ends):
                    m.d.sync += group_word.eq(now.word + 1)
                with m.Else():
                    m.d.sync += now.word.eq(group_word)

        with m.If(free | stop):
            m.d.sync += write_valid.eq(push)
        with m.If(push):
            m.d.sync += [
                write.beat.eq(Mux(wants_read, arrived.data, 0)),
                write.word.eq(now.word),
                write.row.eq(now.row),
                write.last.eq(task_ends),
                write.fault.eq(fault),
            ]
            with m.If(fault != Fault.NONE):
                m.d.sync += stopped.eq(1)

        # The fault leaves by the write register too, so that it comes after the writes before it.
        landed = Signal()
        m.d.comb += landed.eq(write_valid & (write.fault == Fault.NONE) & self.l1_ready & ~self.halt)
        bank_bits = config.k * 16
        for number, bank in enumerate(self.l1):
            m.d.comb += [
                bank.addr.eq(write.word),
                bank.data.eq(write.beat[number * bank_bits:(number + 1) * bank_bits]
                             .replicate(max(config.m, config.n))),
                bank.en.eq(Cat(landed & (write.row == index) for index in range(max(config.m, config.n)))),
            ]
        m.d.sync += [
            self.done.eq(landed & write.last),
            self.fault.eq(write_valid & (write.fault != Fault.NONE) & ~self.halt),
            self.fault_code.eq(write.fault),
        ]
        m.d.comb += self.stall.eq(~stop & ((active & (now.fault == Fault.NONE) & ~push)
                                           | (write_valid & ~self.l1_ready)))
        return m

    def _bad(self, m, fields, is_656, is_584):
        """BAD_FIELD, a cycle after the fields."""
        config = self._config
        mask = config.axi_data_bytes - 1
        is_fp8 = is_656 | is_584
        misplaced = ((fields.address & mask) != 0) | ((fields.pitch & mask) != 0)
        if config.reads_fp8:
            misplaced = Mux(is_fp8, ((fields.address & (GRANULE - 1)) != 0) | ((fields.pitch & (SCALES_UNIT - 1)) != 0)
                            | (fields.cols != Mux(is_656, *(ROWS[layout].columns for layout in Layout)))
                            | (fields.rows > FP8_ROWS) | (is_656 & is_584), misplaced)
        else:
            misplaced |= is_fp8
        return register(m, misplaced
                           | ((fields.cols & (config.beat_elements - 1)) != 0)
                           | ((fields.l1 & (config.l1_banks - 1)) != 0)
                           | (fields.cols == 0)
                           | (fields.rows_padded == 0), name="bad")
