"""From the bytes of an FP8 KV cache to beats of BF16, between AXI and L1.

The layouts are FlashMLA's, `docs/flash_mla.md`; the golden twins are ``amla.model.cache.fp8_cache`` and ``fp8_pages``.
"""

from dataclasses import dataclass
from enum import IntEnum

from amaranth import C, Cat, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..fp.mul import Dequantize
from ..fp.nets import register
from .axi import Response

__all__ = ["GRANULE", "ROWS", "SCALES_UNIT", "Dequantizer", "Layout"]

#: Rows begin at a multiple of so many bytes.
GRANULE = 16
#: Bytes of a token's scales in layout 584. What an output beat takes of the values is a multiple of it.
SCALES_UNIT = 8
_ROPE_BYTES = 128
_SCALES_AT = 512 // GRANULE  # of layout 656: granule of a row's four scales


class Layout(IntEnum):
    """Layout of an FP8 cache: 656 bytes per token, or 584 in pages."""

    FP8_656 = 0
    FP8_584 = 1


@dataclass(frozen=True)
class _Row:
    """A row of a layout: e4m3 values, columns per scale, bytes from one row to the next, and columns in all."""

    values: int
    group: int
    bytes: int

    @property
    def columns(self) -> int:
        return self.values + _ROPE_BYTES // 2


#: What a row of each layout is.
ROWS = {Layout.FP8_656: _Row(512, 128, 656), Layout.FP8_584: _Row(448, 64, 576)}


class Dequantizer(wiring.Component):
    """Rows of an FP8 cache, as consecutive bytes, to rows of BF16: 576 columns (656 bytes) or 512 (584).

    A task takes beats in this order: layout 584, those that hold the scales of its rows (eight bytes each); then those
    that hold its rows. What lies in front of the first row, and behind the last one, in their beats is not looked at.
    A row of layout 656 leaves when its scales, behind the values, are there.

    **Latency**: ``latency`` = 10 cycles at most from the beat that is last needed to ``out``. **Throughput**: one beat
    of ``out`` per cycle, also across rows and tasks, while beats come fast enough.

    Parameters
    ----------
    data_bytes: bytes per beat, 16 to 128
    max_rows:   most rows of a task of layout 584, whose scales are kept

    Members
    -------
    task:  ``In(stream)`` of {layout, rows (at least one), first (granule of 16 bytes in its beat at which the first row
           begins), first_scale (layout 584: unit of eight bytes in its beat at which the first row's scales begin)}
    beats: ``In(stream)`` of {data, resp}: AXI's responses
    out:   ``Out(stream)`` of {data, resp}: BF16 words; of the responses of the beats that it is made from, an error if
           one is
    drop:  take all beats, and give none, for good
    """

    latency = 6 + Dequantize.latency  # two queues, the window, what a beat of `out` is made from

    def __init__(self, *, data_bytes: int, max_rows: int):
        if data_bytes not in (16, 32, 64, 128):
            raise ValueError(f"data_bytes must be 16, 32, 64 or 128, not {data_bytes!r}")
        if max_rows < 1:
            raise ValueError(f"max_rows must be at least 1, not {max_rows!r}")
        self._bytes = data_bytes
        self._max_rows = max_rows
        beat = data.StructLayout({"data": unsigned(8 * data_bytes), "resp": Response})
        self._beat = beat
        self._task = data.StructLayout({
            "layout": Layout, "rows": unsigned(16), "first": range(max(data_bytes // GRANULE, 2)),
            "first_scale": range(data_bytes // SCALES_UNIT)})
        super().__init__({
            "task": In(stream.Signature(self._task)),
            "beats": In(stream.Signature(beat)),
            "out": Out(stream.Signature(beat)),
            "drop": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        row_beats = -(-max(row.bytes for row in ROWS.values()) // self._bytes) + 1
        scale_beats = -(-self._max_rows * SCALES_UNIT // self._bytes) + 1
        m.submodules.values = values = SyncFIFOBuffered(width=self._beat.size, depth=2 * row_beats)
        m.submodules.scales = scales = SyncFIFOBuffered(width=self._beat.size, depth=max(scale_beats, 4))
        m.submodules.tasks = tasks = SyncFIFOBuffered(width=self._task.size, depth=2)
        self._sort(m, values, scales, tasks)
        self._convert(m, values, scales, tasks)
        return m

    def _sort(self, m: Module, values: SyncFIFOBuffered, scales: SyncFIFOBuffered, tasks: SyncFIFOBuffered) -> None:
        """Beats of scales and of values, each to their queue."""
        granules = self._bytes // GRANULE
        active, is_scales = Signal(), Signal()
        layout = Signal(Layout, reset_less=True)
        rows = Signal(17, reset_less=True)  # that do not end in an earlier beat, the one before the first too
        place = Signal(range(max(row.bytes for row in ROWS.values()) // GRANULE), reset_less=True)  # in the row
        units = Signal(range((1 << 16) + self._bytes // SCALES_UNIT), reset_less=True)  # to the end of the scales
        accept, ends, taken = Signal(), Signal(), Signal()
        m.d.comb += [
            self.task.ready.eq(tasks.w_rdy & (~active | ends)),
            tasks.w_en.eq(self.task.valid & self.task.ready),
            tasks.w_data.eq(self.task.payload),
            accept.eq(active & Mux(is_scales, scales.w_rdy, values.w_rdy & scales.w_rdy)),
            self.beats.ready.eq(accept | self.drop),
            taken.eq(self.beats.valid & accept & ~self.drop),
        ]
        row_granules = Mux(layout == Layout.FP8_656, *(row.bytes // GRANULE for row in ROWS.values()))
        next_place = place + granules
        row_ends = Signal()
        m.d.comb += [
            row_ends.eq(next_place >= row_granules),
            ends.eq(taken & ~is_scales & row_ends & (rows == 1)),
        ]
        # The granule of a row's scales, if it is in this beat.
        offset = Signal(7)
        m.d.comb += offset.eq(_SCALES_AT - place)
        has_scales = Signal()
        m.d.comb += has_scales.eq((layout == Layout.FP8_656) & (offset < granules))
        granule = self.beats.payload.data.word_select(offset[:exact_log2(granules)], 8 * GRANULE)
        whole = data.View(self._beat, self.beats.payload.as_value())
        kept = Signal(self._beat)
        m.d.comb += [
            kept.resp.eq(whole.resp),
            kept.data.eq(Mux(is_scales, whole.data, granule)),
            scales.w_data.eq(kept),
            scales.w_en.eq(taken & (is_scales | has_scales)),
            values.w_data.eq(whole),
            # A granule that is a beat would only be skipped.
            values.w_en.eq(taken & ~is_scales & ~(has_scales if granules == 1 else 0)),
        ]
        with m.If(taken & is_scales):
            m.d.sync += [units.eq(units - self._bytes // SCALES_UNIT), is_scales.eq(units > self._bytes // SCALES_UNIT)]
        with m.If(taken & ~is_scales):
            m.d.sync += [place.eq(Mux(row_ends, next_place - row_granules, next_place)), rows.eq(rows - row_ends)]
        with m.If(ends):
            m.d.sync += active.eq(0)
        with m.If(self.task.ready):
            given = self.task.payload
            m.d.sync += [
                active.eq(self.task.valid), layout.eq(given.layout), is_scales.eq(given.layout == Layout.FP8_584),
                units.eq(given.first_scale + given.rows), rows.eq(given.rows + (given.first != 0)),
            ]
            for name, row in ROWS.items():
                with m.If(given.layout == name):
                    m.d.sync += place.eq(Mux(given.first == 0, 0, row.bytes // GRANULE - given.first))

    def _convert(self, m: Module, values: SyncFIFOBuffered, scales: SyncFIFOBuffered, tasks: SyncFIFOBuffered) -> None:
        """Beats of BF16 from the values and scales."""
        elements = self._bytes // 2  # of an output beat
        units = self._bytes // SCALES_UNIT
        rope_beats = _ROPE_BYTES // self._bytes
        skipped = GRANULE // SCALES_UNIT if self._bytes > GRANULE else 0  # layout 656: the scales

        # The beat that holds the next byte, and the one behind it.
        window = [Signal(self._beat, reset_less=True, name=f"window_{index}") for index in range(2)]
        full = [Signal(name=f"full_{index}") for index in range(2)]
        shift = [Signal(name=f"shift_{index}") for index in range(2)]  # by one beat; by another one
        fetched = data.View(self._beat, values.r_data)
        after = Signal(2)  # beats of the window that stay
        m.d.comb += [
            after.eq(full[0] + full[1] - shift[0] - shift[1]),
            values.r_en.eq(after != 2),
        ]
        with m.If(shift[0] & (after != 0)):
            m.d.sync += window[0].eq(window[1])
        with m.If(after == 0):
            m.d.sync += window[0].eq(fetched)
        with m.If(after == 1):
            m.d.sync += window[1].eq(fetched)
        m.d.sync += [
            full[0].eq((after != 0) | values.r_rdy),
            full[1].eq((after == 2) | ((after == 1) & values.r_rdy)),
        ]

        # One output beat a step.
        task = Signal(self._task, reset_less=True)
        active = Signal()
        rows = Signal(16, reset_less=True)
        beat = Signal(range(max(row.values for row in ROWS.values()) // elements + rope_beats), reset_less=True)
        place = Signal(range(units), reset_less=True)  # of the next byte in the window
        unit = Signal(range(units), reset_less=True)  # layout 584: of the row's scales in their beat
        rope = Signal(reset_less=True)
        step, ready = Signal(), Signal()
        wide = task.layout == Layout.FP8_656
        value_beats = Mux(wide, *(row.values // elements for row in ROWS.values()))
        last_value, last_beat, last_row, scales_end = Signal(), Signal(), Signal(), Signal()
        end = Signal(range(2 * units + 1))  # of what the step reads
        target = Signal(range(2 * units + 1))  # the place after it
        m.d.comb += [
            last_value.eq(beat == value_beats - 1),
            last_beat.eq(beat == value_beats + rope_beats - 1),
            last_row.eq(rows == 1),
            end.eq(place + Mux(rope, units, units // 2)),
            target.eq(end + Mux(last_value & wide, skipped, 0)),
            step.eq(active & ready & scales.r_rdy & full[0] & (full[1] | (end <= units))),
            shift[0].eq(step & ((target >= units) | (last_beat & last_row))),
            shift[1].eq(step & last_beat & last_row & (end > units)),
            scales_end.eq(wide | (unit == units - 1) | last_row),
            scales.r_en.eq(step & last_beat & scales_end),
        ]
        with m.If(step):
            m.d.sync += [place.eq(target), beat.eq(beat + 1), rope.eq(rope | last_value)]
            with m.If(last_beat):
                m.d.sync += [beat.eq(0), rope.eq(0), rows.eq(rows - 1), unit.eq(unit + 1)]
        m.d.comb += tasks.r_en.eq(~active | (step & last_beat & last_row))
        with m.If(tasks.r_en):
            following = data.View(self._task, tasks.r_data)
            m.d.sync += [
                active.eq(tasks.r_rdy), task.eq(following), rows.eq(following.rows), beat.eq(0), rope.eq(0),
                place.eq(following.first * (GRANULE // SCALES_UNIT)), unit.eq(following.first_scale),
            ]

        # What the step reads, registered; a value's scale is that of its group of columns.
        both = Cat(window[0].data, window[1].data)
        pick = Signal(8 * self._bytes, reset_less=True)
        first_unit = min(units // 2, GRANULE // SCALES_UNIT)  # places are multiples of it
        choices = [both[8 * SCALES_UNIT * index:][:8 * self._bytes] for index in range(0, units, first_unit)]
        with m.Switch(place):
            for index, choice in enumerate(choices):
                with m.Case(index * first_unit):
                    m.d.sync += pick.eq(choice)
        kept = data.View(self._beat, scales.r_data)
        words = Mux(wide, *(beat // (row.group // elements) for row in ROWS.values()))
        scale, halve = Signal(32, reset_less=True), Signal(reset_less=True)
        code = kept.data.word_select(Cat(words[:3], unit), 8)
        with m.If(wide):
            m.d.sync += [scale.eq(kept.data[:8 * GRANULE].word_select(words[:2], 32)), halve.eq(0)]
        with m.Else():
            power = Mux(code == 0, 1, code)
            m.d.sync += [scale.eq(Cat(C(0, 22), code == 255, power)), halve.eq(code == 0)]
        bad = [part.resp[1] for part in (*window, kept)]
        resp = Signal(Response, reset_less=True)
        with m.If(bad[0]):
            m.d.sync += resp.eq(window[0].resp)
        with m.Elif(bad[1] & (end > units)):
            m.d.sync += resp.eq(window[1].resp)
        with m.Elif(bad[2]):
            m.d.sync += resp.eq(kept.resp)
        with m.Else():
            m.d.sync += resp.eq(Response.OKAY)

        lanes = [Dequantize() for _ in range(elements)]
        for index, lane in enumerate(lanes):
            m.submodules[f"lane_{index}"] = lane
            m.d.comb += [lane.scale.eq(scale), lane.halve.eq(halve), lane.code.eq(pick.word_select(index, 8))]
        cycles = Dequantize.latency
        is_rope = register(m, register(m, rope, name="rope_0"), name="is_rope", cycles=cycles)
        as_is = register(m, pick, name="as_is", cycles=cycles)

        # Whatever is under way has a place behind the lanes.
        depth = cycles + 6
        m.submodules.done = done = SyncFIFOBuffered(width=self._beat.size, depth=depth)
        room = Signal(range(depth + 1), init=depth)
        taken = Signal()
        valid = [Signal(name=f"valid_{index}") for index in range(cycles + 1)]
        result = Signal(self._beat)
        m.d.comb += [
            ready.eq((room != 0) & ~self.drop),
            taken.eq(self.out.valid & self.out.ready),
            result.data.eq(Mux(is_rope, as_is, Cat(lane.y for lane in lanes))),
            result.resp.eq(register(m, resp, name="resp", cycles=cycles)),
            done.w_data.eq(result),
            done.w_en.eq(valid[-1]),
            self.out.valid.eq(done.r_rdy & ~self.drop),
            self.out.payload.eq(done.r_data),
            done.r_en.eq(self.out.ready),
        ]
        m.d.sync += [room.eq(room - step + taken), Cat(valid).eq(Cat(step, *valid[:-1]))]
