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
from ..host.listed_row import ENTRY_BITS, Listed
from ..host.row_gather import RowGather
from ..host.row_source import Kind, RowSource
from ..isa import COMMAND_BITS, FLAGS, LAYOUTS, MOST_ROWS, MOST_SLOTS, Fault, Opcode
from ..issue.dispatch import MAX_UNFINISHED

__all__ = ["Load"]

#: Width of a count of rows.
_ROW_BITS = 16
#: Cycles for which a captured command holds still before its decoding ends.
_SETTLE = RegionCheck.settle + 1

#: A captured command, LOAD or GATHER: ``pitch`` is page_bytes of the latter.
_FIELDS = data.StructLayout({
    **{name: LAYOUTS[Opcode.LOAD][name].shape for name in (
        "header", "address", "pitch", "rows", "rows_padded", "cols", "l1", "row0")},
    **{name: LAYOUTS[Opcode.GATHER][name].shape for name in ("list", "page_size")},
    "gather": 1,
})


class Load(wiring.Component):
    """Executes LOAD and GATHER. The address side decodes commands and requests bursts, ahead of the data side by up to
    ``axi_in_flight_bytes`` and across commands; the data side writes one beat into L1 per cycle. FP8 rows become BF16
    on their way, in a :class:`~amla.rtl.host.dequantizer.Dequantizer` between AXI and the data side. The list of a
    GATHER is requested when the command is decoded, its rows by :class:`~amla.rtl.host.row_gather.RowGather` once it
    has come: lists of commands that follow come meanwhile.

    **Latency**: eleven cycles from ``start`` to AR, of FP8 rows ``Fp8Region.latency`` more, and with scales apart as
    many again as their check takes; one from R to the write of L1 (FP8: and the dequantizer's), two to ``done``.
    **Throughput**: one beat of L1 (or beat of zeros) per cycle, also across commands, while memory delivers and
    ``l1_ready`` is high. Of a row that is gathered the bus moves every beat that holds a byte of it.

    A command is checked as a whole before its first request; the first of these that holds is its fault:
    BAD_FIELD, BUFFER_OVERRUN, READ_WINDOW. Such a command requests and writes nothing. READ_SLVERR and
    READ_DECERR stop it at the beat that carries them; READ_WINDOW, and errors of its list, stop a GATHER at a row.
    After a fault, or once ``halt`` was high, the engine requests and writes nothing until reset, and drops the beats
    that still arrive.

    Parameters
    ----------
    config: core configuration

    Members
    -------
    start, done, stall, fault, fault_code: engine protocol, see ``docs/architecture.md``
    fault_row:    with ``fault``, the row of the command at which it came
    axi:          ``Out(ReadSignature)``
    l1:           write ports of the L1 banks, granularity one row; a beat writes the same row of all banks
    l1_ready:     low: somebody else writes L1 this cycle
    sink:         write port of SINK
    writing:      STORE sends: request no more than half of the bytes ahead, so that memory gets its beats together
    window_base:  first byte that may be read
    window_limit: first byte past the read window
    halt:         stop for good
    quiet:        no burst is valid or unanswered
    """

    #: Commands between the address side and the data side, as many as the engine protocol leaves: one each is captured,
    #: decoded, executed, in the write register and in ``done``.
    commands_ahead = MAX_UNFINISHED - 5

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
            "fault_row": Out(_ROW_BITS),
            "axi": Out(ReadSignature(config.axi_address_bits, config.axi_data_bytes * 8)),
            "l1": In(port).array(config.l1_banks),
            "l1_ready": In(1),
            "sink": In(WritePort.Signature(addr_width=ceil_log2(config.state_words), shape=config.m * 32)),
            "writing": In(1),
            "window_base": In(config.axi_address_bits + 1),
            "window_limit": In(config.axi_address_bits + 1),
            "halt": In(1),
            "quiet": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        word = range(max(self._bank_words, config.state_words) + 1)
        task_layout = data.StructLayout({
            "rows": unsigned(_ROW_BITS),  # from GM
            "rows_padded": unsigned(_ROW_BITS),  # in all
            "beats": unsigned(16),  # per row
            "word": word,  # address in every bank, or in SINK
            "row": range(max(config.m, config.n, 2)),  # inside the row group
            "a_side": 1, "fp8": 1, "gather": 1, "sinks": 1,
            "fault": Fault,
        })
        stopped, stop = Signal(), Signal()
        m.d.comb += stop.eq(stopped | self.halt)
        m.d.sync += stopped.eq(stop)
        m.submodules.tasks = tasks = SyncFIFOBuffered(width=task_layout.size, depth=self.commands_ahead)
        m.submodules.listed = listed = SyncFIFOBuffered(width=Listed.size, depth=MOST_ROWS)
        m.submodules.source = source = RowSource(
            data_bytes=config.axi_data_bytes, max_rows=MOST_ROWS if config.reads_fp8 else None, requests=MOST_ROWS)
        self._address_side(m, stop, tasks, task_layout, source, listed)
        self._data_side(m, stop, stopped, tasks, task_layout, source, listed)
        return m

    def _address_side(self, m, stop, tasks, task_layout, source, listed):
        """From commands to requests, and what the data side is to expect."""
        config = self._config
        sizes = {"address_bits": config.axi_address_bits, "data_bytes": config.axi_data_bytes}
        m.submodules.check = check = RegionCheck(**sizes)
        m.submodules.bursts = bursts = BurstGenerator(in_flight_bytes=config.axi_in_flight_bytes, **sizes)
        m.submodules.gather = gather = RowGather(source, **sizes)

        # Capture: unpack the command.
        captured, decoded = Signal(), Signal()
        fields = Signal(_FIELDS, reset_less=True)
        given = self._unpack(m)
        capture, measured, decode, dispatch = Signal(), Signal(), Signal(), Signal()
        settling = Signal(range(_SETTLE + Fp8Region.latency + 1))  # cycles until what the checks need of it is known
        scales_left = Signal()  # the scales are to be checked before the rows
        run = Signal()  # what is checked is one run of beats: FP8 rows, their scales, or a list
        m.d.comb += [
            self.start.ready.eq(~stop & (~captured | decode)),
            capture.eq(self.start.valid & self.start.ready),
            measured.eq(captured & (settling == 0) & ~decoded),
            decode.eq(measured & ~scales_left),
        ]
        with m.If(capture):
            of_scales = self._flag(given, "fp8_584") & ~given.gather
            m.d.sync += [
                fields.eq(given), scales_left.eq(of_scales),
                run.eq(given.gather | self._flag(given, "fp8_656") | self._flag(given, "fp8_584")),
                settling.eq(Mux((self._flag(given, "fp8_656") & ~given.gather) | of_scales,
                                _SETTLE + Fp8Region.latency, _SETTLE)),
            ]
        with m.Elif(measured):
            m.d.sync += [settling.eq(_SETTLE), scales_left.eq(0)]
        with m.Elif(settling != 0):
            m.d.sync += settling.eq(settling - 1)
        m.d.sync += [
            captured.eq(capture | (captured & ~decode)),
            decoded.eq(decode | (decoded & ~dispatch)),
        ]

        # Decode: to the data side's task, and to the region or regions that are read.
        is_656, is_584, is_sinks = (self._flag(fields, name) for name in ("fp8_656", "fp8_584", "sinks"))
        beats = fields.cols >> exact_log2(config.beat_elements)
        task = Signal(task_layout, reset_less=True)
        code = Signal(Fault, reset_less=True)
        reads = Signal(reset_less=True)
        a_side, row, first_word, past = self._place(m, fields, beats)
        bad = self._bad(m, fields)
        m.d.comb += [
            check.en.eq(measured), check.address.eq(fields.address), check.pitch.eq(fields.pitch),
            check.rows.eq(fields.rows), check.beats.eq(beats), check.run.eq(run),
            check.window_base.eq(self.window_base), check.window_limit.eq(self.window_limit),
        ]
        with m.If(decode):
            m.d.sync += [
                task.rows.eq(fields.rows), task.rows_padded.eq(fields.rows_padded), task.beats.eq(beats),
                task.word.eq(first_word), task.row.eq(row), task.a_side.eq(a_side), task.fp8.eq(is_656 | is_584),
                task.gather.eq(fields.gather), task.sinks.eq(is_sinks),
                reads.eq(fields.rows != 0),
                code.eq(Mux(bad, Fault.BAD_FIELD, Mux(past, Fault.BUFFER_OVERRUN, Fault.NONE))),
                gather.command.payload.rows.eq(fields.rows),
                *(getattr(gather.command.payload.cache, name).eq(value) for name, value in (
                    ("address", fields.address), ("page_bytes", fields.pitch), ("page_size", fields.page_size),
                    ("cols", fields.cols), ("fp8_656", is_656), ("fp8_584", is_584))),
            ]

        # FP8 rows: one run of beats, and before it that of the scales, if they lie apart.
        scales = Signal(Region(config.axi_address_bits), reset_less=True)
        scales_beats, scales_outside = Signal.like(check.total, reset_less=True), Signal(reset_less=True)
        has_scales, scales_sent = Signal(reset_less=True), Signal()
        direct = Signal.like(source.request.payload)
        if config.reads_fp8:
            m.submodules.fp8 = fp8 = Fp8Region(data_bytes=config.axi_data_bytes)
            m.d.comb += [
                fp8.address.eq(fields.address), fp8.scales_offset.eq(fields.pitch), fp8.rows.eq(fields.rows),
                fp8.layout.eq(Mux(is_656, Layout.FP8_656, Layout.FP8_584)),
                check.run_address.eq(Mux(scales_left, fp8.scales_address, fp8.beats_address)),
                check.run_beats.eq(Mux(scales_left, fp8.scales_beats, fp8.beats)),
            ]
            converted = Signal.like(direct.task, reset_less=True)
            m.d.comb += direct.task.eq(converted)
            apart = is_584 & ~fields.gather
            with m.If(decode):
                m.d.sync += [
                    scales.eq(check.region), scales_outside.eq(apart & (check.outside | fp8.past)),
                    scales_beats.eq(Mux(apart, check.total, 0)), has_scales.eq(apart),
                    *(getattr(converted, name).eq(getattr(fp8, name)) for name in (
                        "layout", "rows", "first", "first_scale")),
                ]
        with m.If(fields.gather):
            per_beat = 8 * config.axi_data_bytes // ENTRY_BITS
            m.d.comb += [check.run_address.eq(fields.list),
                         check.run_beats.eq((fields.rows[:8] + (per_beat - 1)) >> exact_log2(per_beat))]

        # Dispatch: to the data side always; to memory when something is to be read, a LOAD behind all rows gathered.
        dispatched = Signal(task_layout)
        wanted, go, request = Signal(), Signal(), Signal()
        refused = Signal()  # a command at fault went to the data side: nothing after it may be requested
        outside = check.outside | scales_outside
        scales_next = has_scales & ~scales_sent
        takes = Signal()  # the engine's own requests, before those of gathered rows
        m.d.comb += [
            dispatched.eq(task),
            dispatched.fault.eq(Mux((code == Fault.NONE) & reads & outside, Fault.READ_WINDOW, code)),
            wanted.eq((code == Fault.NONE) & reads & ~outside),
            go.eq(decoded & ~refused & ~stop & tasks.w_rdy),
            takes.eq(go & wanted & Mux(task.gather, gather.command.ready & ~gather.between, gather.idle)),
            request.eq(takes & source.request.ready & bursts.region.ready),
            dispatch.eq(Mux(wanted, request & ~scales_next, go)),
            tasks.w_en.eq(dispatch),
            tasks.w_data.eq(dispatched),
            direct.beats.eq(check.total + scales_beats),
            direct.kind.eq(Mux(task.gather, Kind.LIST, Mux(task.fp8, Kind.DEQUANTIZE, Kind.PLAIN))),
            gather.command.valid.eq(dispatch & wanted & task.gather),
            gather.window_base.eq(self.window_base), gather.window_limit.eq(self.window_limit),
            gather.stop.eq(stop),
            gather.row.ready.eq(listed.w_rdy), listed.w_en.eq(gather.row.valid), listed.w_data.eq(gather.row.payload),
        ]
        m.d.sync += scales_sent.eq(~dispatch & (scales_sent | (request & has_scales)))
        with m.If(dispatch & (dispatched.fault != Fault.NONE)):
            m.d.sync += refused.eq(1)
        with m.If(takes):
            m.d.comb += [
                bursts.region.valid.eq(source.request.ready),
                bursts.region.payload.eq(Mux(scales_next, scales, check.region)),
                source.request.valid.eq(request & ~scales_sent), source.request.payload.eq(direct),
            ]
        with m.Else():
            m.d.comb += [
                bursts.region.valid.eq(gather.region.valid), bursts.region.payload.eq(gather.region.payload),
                gather.region.ready.eq(bursts.region.ready),
                source.request.valid.eq(gather.request.valid), source.request.payload.eq(gather.request.payload),
                gather.request.ready.eq(source.request.ready),
            ]

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
            gather.list.valid.eq(source.list.valid), gather.list.payload.eq(source.list.payload),
            source.list.ready.eq(gather.list.ready),
        ]

    def _data_side(self, m, stop, stopped, tasks, task_layout, source, listed):
        """One entry per beat goes to the write register, which holds it until L1 takes it."""
        config = self._config
        following = data.View(task_layout, tasks.r_data)
        active = Signal()
        now = Signal(task_layout, reset_less=True)
        number = Signal(_ROW_BITS, reset_less=True)  # of the row in its command
        group_word = Signal.like(now.word, reset_less=True)  # of the row group's first beat
        entry = data.StructLayout({
            "beat": unsigned(config.axi_data_bytes * 8),
            "word": unsigned(max(ceil_log2(self._bank_words), ceil_log2(config.state_words))),
            "row": now.row.shape(), "number": _ROW_BITS, "sinks": 1, "last": 1,
            "fault": Fault,
        })
        write = Signal(entry, reset_less=True)
        write_valid = Signal()

        free, push, row_ends, group_ends, task_ends = (Signal() for _ in range(5))
        wants_read = Signal()  # the row comes from GM, if the list names one
        reads, known = Signal(), Signal()  # the row comes from GM; whether it does is known
        last_read, last_row = Signal(), Signal()
        fault = Signal(Fault)
        arrived = Signal(source.plain.payload.shape())  # from AXI, or dequantised
        arrived_valid = Signal()
        by_list = wants_read & now.gather
        listed_row, listed_valid = Signal(Listed, reset_less=True), Signal()  # of the row, from a register
        m.d.comb += listed.r_en.eq(~listed_valid | (push & row_ends & by_list))
        with m.If(listed.r_en):
            m.d.sync += [listed_row.eq(listed.r_data), listed_valid.eq(listed.r_rdy)]
        m.d.comb += [
            reads.eq(wants_read & (~now.gather | listed_row.read)),
            known.eq(~by_list | listed_valid),
            arrived.eq(source.plain.payload), arrived_valid.eq(source.plain.valid),
            source.plain.ready.eq(reads & known & free & ~now.fp8),
        ]
        if config.reads_fp8:
            m.d.comb += source.converted.ready.eq(reads & known & free & now.fp8)
            with m.If(now.fp8):
                m.d.comb += [arrived.eq(source.converted.payload), arrived_valid.eq(source.converted.valid)]
        m.d.comb += [
            free.eq(~write_valid | self.l1_ready),
            push.eq(active & free & ~stop & known & (~reads | arrived_valid)),
            row_ends.eq(countdown(m, following.beats, start=tasks.r_en, step=push, name="beats")),
            last_read.eq(countdown(m, following.rows, start=tasks.r_en, step=push & row_ends, name="rows")),
            last_row.eq(countdown(m, following.rows_padded, start=tasks.r_en, step=push & row_ends,
                                  name="rows_padded")),
            group_ends.eq(now.sinks | (now.row == Mux(now.a_side, config.m - 1, config.n - 1))),
            task_ends.eq(row_ends & last_row),
            fault.eq(now.fault),
        ]
        with m.If(by_list & (listed_row.fault != Fault.NONE)):
            m.d.comb += fault.eq(listed_row.fault)
        with m.If(reads):
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
                number.eq(0),
            ]
        with m.Elif(push):
            m.d.sync += now.word.eq(now.word + 1)
            with m.If(row_ends):
                m.d.sync += [now.row.eq(Mux(group_ends, 0, now.row + 1)), number.eq(number + 1)]
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
                write.beat.eq(Mux(reads, arrived.data, 0)),
                write.word.eq(now.word), write.row.eq(now.row), write.number.eq(number), write.sinks.eq(now.sinks),
                write.last.eq(task_ends),
                write.fault.eq(fault),
            ]
            with m.If(fault != Fault.NONE):
                m.d.sync += stopped.eq(1)

        # The fault leaves by the write register too, so that it comes after the writes before it.
        landed = Signal()
        m.d.comb += landed.eq(write_valid & (write.fault == Fault.NONE) & self.l1_ready & ~self.halt)
        bank_bits = config.k * 16
        for index, bank in enumerate(self.l1):
            m.d.comb += [
                bank.addr.eq(write.word),
                bank.data.eq(write.beat[index * bank_bits:(index + 1) * bank_bits]
                             .replicate(max(config.m, config.n))),
                bank.en.eq(Cat(landed & ~write.sinks & (write.row == row) for row in range(max(config.m, config.n)))),
            ]
        m.d.comb += [
            self.sink.addr.eq(write.word), self.sink.data.eq(write.beat), self.sink.en.eq(landed & write.sinks),
            self.stall.eq(~stop & ((active & (now.fault == Fault.NONE) & ~push) | (write_valid & ~self.l1_ready))),
        ]
        m.d.sync += [
            self.done.eq(landed & write.last),
            self.fault.eq(write_valid & (write.fault != Fault.NONE) & ~self.halt),
            self.fault_code.eq(write.fault),
            self.fault_row.eq(write.number),
        ]

    def _unpack(self, m):
        """The command at ``start`` in the fields of either opcode; no more rows than are written."""
        payload = self.start.payload
        load, gather = (data.View(LAYOUTS[opcode], payload) for opcode in (Opcode.LOAD, Opcode.GATHER))
        is_gather = Signal()
        given = Signal(_FIELDS)
        rows = [Mux(fields.rows > fields.rows_padded, fields.rows_padded, fields.rows) for fields in (gather, load)]
        m.d.comb += [
            is_gather.eq(load.header.opcode == Opcode.GATHER),
            given.header.eq(load.header), given.gather.eq(is_gather), given.rows.eq(Mux(is_gather, *rows)),
            given.list.eq(gather.list), given.page_size.eq(gather.page_size),
            given.pitch.eq(Mux(is_gather, gather.page_bytes, load.pitch)),
            *(given[name].eq(Mux(is_gather, gather[name], load[name])) for name in (
                "address", "rows_padded", "cols", "l1", "row0")),
        ]
        return given

    @staticmethod
    def _flag(fields, name):
        """A flag of the command; there is none that only one of the opcodes has but ``sinks``."""
        return fields.header.flags[FLAGS[Opcode.LOAD][name]] & (~fields.gather if name == "sinks" else 1)

    def _place(self, m, fields, beats):
        """Where the rows go: side, row inside the first row group, first word; and that they end past the buffer."""
        config = self._config
        bank_shift = exact_log2(config.l1_banks)
        a_side, is_sinks = self._flag(fields, "a_side"), self._flag(fields, "sinks")
        group = Signal(range(256))
        end_group = Signal(range((65535 + 255) // min(config.m, config.n) + 2))  # the first one behind it
        row = Signal(8)
        for flag, rows in ((1, config.m), (0, config.n)):
            shift = exact_log2(rows)
            with m.If(a_side == flag):
                m.d.comb += [
                    group.eq(fields.row0 >> shift),
                    row.eq(fields.row0 & (rows - 1)),
                    end_group.eq((fields.row0 + fields.rows_padded + (rows - 1)) >> shift),
                ]
        group, end_group = register(m, group, name="group_1"), register(m, end_group, name="end_group_1")
        bank_word = fields.l1 >> bank_shift
        first_word = product(m, group, beats, name="first") + bank_word
        end_word = register(m, product(m, end_group, beats, name="end") + bank_word, name="end_word")
        end_sinks = register(m, fields.l1 + fields.rows_padded, name="end_sinks")
        past = register(m, Mux(is_sinks, end_sinks > config.state_words, end_word > self._bank_words), name="past")
        return a_side, row, register(m, Mux(is_sinks, fields.l1, first_word), name="first_word"), past

    def _bad(self, m, fields):
        """BAD_FIELD, a cycle after the fields."""
        config = self._config
        mask = config.axi_data_bytes - 1
        is_656, is_584, is_sinks = (self._flag(fields, name) for name in ("fp8_656", "fp8_584", "sinks"))
        is_fp8 = is_656 | is_584
        misplaced = ((fields.address & mask) != 0) | ((fields.pitch & mask) != 0)
        if config.reads_fp8:
            pitch_mask = Mux(fields.gather, GRANULE - 1, SCALES_UNIT - 1)
            misplaced = Mux(is_fp8, ((fields.address & (GRANULE - 1)) != 0) | ((fields.pitch & pitch_mask) != 0)
                            | (fields.cols != Mux(is_656, *(ROWS[layout].columns for layout in Layout)))
                            | (fields.rows > MOST_ROWS) | (is_656 & is_584) | is_sinks, misplaced)
        else:
            misplaced |= is_fp8
        listed = fields.gather & (((fields.list & mask) != 0) | (fields.page_size == 0)
                                  | (fields.page_size > MOST_SLOTS) | (fields.rows > MOST_ROWS))
        return register(m, misplaced | listed
                           | ((fields.cols & (config.beat_elements - 1)) != 0)
                           | Mux(is_sinks, fields.cols != config.beat_elements,
                                 (fields.l1 & (config.l1_banks - 1)) != 0)
                           | (fields.cols == 0)
                           | (fields.rows_padded == 0), name="bad")
