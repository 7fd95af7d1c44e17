"""Rows of a paged cache by a list of slots: what to request of memory, row by row."""

from itertools import pairwise

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..isa import MOST_ROWS, Fault
from .burst import Region
from .dequantizer import Layout
from .listed_row import ENTRY_BITS, CacheShape, Listed, ListedRow
from .row_source import Kind, RowSource

__all__ = ["RowGather"]


class RowGather(wiring.Component):
    """Turns lists into requests, ahead of the rows that have come; see :class:`~amla.rtl.host.listed_row.ListedRow`.

    After an entry that is a fault nothing more is requested, by nobody: ``command`` is not ready, nor is it ``idle``.

    **Latency**: ``ListedRow.latency`` + 6 cycles from a list's beat to the first region. **Throughput**: a row per
    cycle, with scales apart every other one; ``ListedRow.latency`` + 8 cycles between commands.

    Parameters
    ----------
    source: takes the requests
    address_bits, data_bytes: of AXI

    Members
    -------
    command: ``In(stream)`` of {cache: CacheShape, rows: at least one} of a GATHER whose list is being requested
    list:    ``In(stream)`` of {data, resp}: the beats of the commands' lists
    window_base, window_limit: what may be read
    region:  ``Out(stream)`` of :func:`~amla.rtl.host.burst.Region`: the beats of a row, before it those of its scales
    request: ``Out(stream)``: that of ``source`` for these beats, together with the first region
    row:     ``Out(stream)`` of :data:`~amla.rtl.host.listed_row.Listed`, one per entry
    between: of a row the scales have been requested, the rest not yet: nobody else may request
    idle:    the rows of all commands have been requested
    stop:    request nothing more
    """

    #: Commands whose lists may come while the rows of another one are requested.
    ahead = 3

    def __init__(self, source: RowSource, *, address_bits: int, data_bytes: int):
        self._address_bits, self._bytes = address_bits, data_bytes
        self._command = data.StructLayout({"cache": CacheShape, "rows": range(MOST_ROWS + 1)})
        self._beat = source.list.payload.shape()
        request = source.request.payload.shape()
        self._dequantizes = "task" in request.members
        super().__init__({
            "command": In(stream.Signature(self._command)),
            "list": In(stream.Signature(self._beat)),
            "window_base": In(address_bits + 1), "window_limit": In(address_bits + 1),
            "region": Out(stream.Signature(Region(address_bits))),
            "request": Out(stream.Signature(request)),
            "row": Out(stream.Signature(Listed)),
            "between": Out(1),
            "idle": Out(1),
            "stop": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        per_beat = 8 * self._bytes // ENTRY_BITS
        list_beats = -(-MOST_ROWS // per_beat)
        m.submodules.commands = commands = SyncFIFOBuffered(width=self._command.size, depth=self.ahead)
        m.submodules.lists = lists = SyncFIFOBuffered(width=self._beat.size, depth=(self.ahead + 1) * list_beats)
        m.submodules.place = place = ListedRow(address_bits=self._address_bits, data_bytes=self._bytes)
        following, entries = data.View(self._command, commands.r_data), data.View(self._beat, lists.r_data)

        # One command at a time: what its fields decide holds until its last row has been requested.
        now = Signal(self._command, reset_less=True)
        active, settled, ends = Signal(), Signal(2), Signal()
        unfinished = Signal(range(self.ahead + 2))
        refused = Signal()  # an entry was at fault
        m.d.comb += [
            self.command.ready.eq(commands.w_rdy & ~refused), commands.w_en.eq(self.command.valid & ~refused),
            commands.w_data.eq(self.command.payload), commands.r_en.eq(~active),
            self.list.ready.eq(lists.w_rdy), lists.w_en.eq(self.list.valid), lists.w_data.eq(self.list.payload),
            self.idle.eq((unfinished == 0) & ~refused),
        ]
        m.d.sync += [
            unfinished.eq(unfinished + (self.command.valid & self.command.ready) - ends),
            settled.eq(Cat(active, settled[0]) & active.replicate(2)),
        ]
        with m.If(~active):
            m.d.sync += [active.eq(commands.r_rdy), now.eq(following)]
        with m.Elif(ends):
            m.d.sync += [active.eq(0), settled.eq(0)]

        # Entries, one a cycle while there is a place for what becomes of each.
        result = data.StructLayout({name: place.signature.members[name].shape for name in (
            "listed", "address", "scales", "beats", "first", "first_scale")})
        depth = place.latency + 4
        m.submodules.results = results = SyncFIFOBuffered(width=result.size, depth=depth)
        room = Signal(range(depth + 1), init=depth)
        left, unrequested = (Signal(range(MOST_ROWS + 1), name=name) for name in ("left", "unrequested"))
        index = Signal(range(max(per_beat, 2)))
        take, done = Signal(), Signal()
        m.d.comb += [
            take.eq(settled[1] & (left != 0) & lists.r_rdy & (room != 0)),
            lists.r_en.eq(take & ((index == per_beat - 1) | (left == 1))),
            ends.eq(done & (unrequested == 1)),
            place.entry.eq(entries.data.word_select(index[:ceil_log2(per_beat)], ENTRY_BITS)),
            place.error.eq(entries.resp),
            place.cache.eq(now.cache), place.window_base.eq(self.window_base), place.window_limit.eq(self.window_limit),
            results.w_data.eq(Cat(getattr(place, name) for name in result.members)),
        ]
        m.d.sync += room.eq(room - take + done)
        with m.If(~settled[0]):
            m.d.sync += [left.eq(now.rows), unrequested.eq(now.rows), index.eq(0)]
        with m.Else():
            m.d.sync += [left.eq(left - take), unrequested.eq(unrequested - done)]
            with m.If(take):
                m.d.sync += index.eq(Mux(index == per_beat - 1, 0, index + 1))
        valid = [take, *(Signal(name=f"valid_{stage}") for stage in range(1, place.latency + 1))]
        m.d.sync += [after.eq(before) for before, after in pairwise(valid)]
        m.d.comb += results.w_en.eq(valid[-1])

        # Requests, in order.
        row = data.View(result, results.r_data)
        apart = now.cache.fp8_584
        scales_sent, go, requested = Signal(), Signal(), Signal()
        scales_next = apart & ~scales_sent
        m.d.comb += [
            go.eq(results.r_rdy & ~refused & ~self.stop & self.row.ready & self.request.ready),
            self.region.valid.eq(go & row.listed.read),
            self.region.payload.address.eq(Mux(scales_next, row.scales, row.address) << exact_log2(self._bytes)),
            self.region.payload.rows.eq(1),
            self.region.payload.beats.eq(Mux(scales_next, 1, row.beats)),
            requested.eq(self.region.valid & self.region.ready),
            self.request.valid.eq(requested & ~scales_sent),
            self.request.payload.beats.eq(row.beats + apart),
            done.eq(go & (~row.listed.read | (self.region.ready & ~scales_next))),
            self.row.valid.eq(done),
            self.row.payload.eq(row.listed),
            results.r_en.eq(done),
            self.between.eq(scales_sent),
        ]
        if self._dequantizes:
            task = self.request.payload.task
            m.d.comb += [
                self.request.payload.kind.eq(Mux(now.cache.fp8_656 | apart, Kind.DEQUANTIZE, Kind.PLAIN)),
                task.layout.eq(Mux(apart, Layout.FP8_584, Layout.FP8_656)), task.rows.eq(1),
                task.first.eq(row.first), task.first_scale.eq(row.first_scale),
            ]
        m.d.sync += [
            scales_sent.eq(~done & (scales_sent | requested)),
            refused.eq(refused | (done & (row.listed.fault != Fault.NONE))),
        ]
        return m
