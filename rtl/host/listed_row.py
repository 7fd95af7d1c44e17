"""From an entry of a list to the row of a paged cache that it names: where it lies in GM."""

from amaranth import C, Cat, Module, Mux, Signal, Value
from amaranth.hdl import unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..fp.product import DIGIT_BITS
from ..isa import LAYOUTS, MOST_SLOTS, Fault, Opcode
from ..pipeline import Pipeline, Staged
from .axi import Response
from .dequantizer import GRANULE, ROWS, SCALES_UNIT, Layout

__all__ = ["ENTRY_BITS", "CacheShape", "Listed", "ListedRow"]

#: Bits of a list's entry.
ENTRY_BITS = 32

#: Products that are added in a stage.
_TERMS = 2

_OFFSET_BITS = exact_log2(MOST_SLOTS)
_FIELDS = LAYOUTS[Opcode.GATHER].members

#: A paged cache, in the fields of a GATHER, and the FP8 layout of its rows, if it has one.
CacheShape = data.StructLayout({
    **{name: _FIELDS[name] for name in ("address", "page_bytes", "page_size", "cols")}, "fp8_656": 1, "fp8_584": 1})

#: What an entry stands for: a row to be read, zeros, or a fault.
Listed = data.StructLayout({"read": unsigned(1), "fault": Fault})


class ListedRow(wiring.Component):
    """Finds the beats of a row and of its scales, and checks them.

    An entry is page · 2^s + offset, 2^s the smallest power of two that holds the slots of a page, so that nothing is
    divided. Its row lies at ``address`` + page · ``page_bytes`` + offset · bytes of a row, its scales (layout 584)
    behind the values of the page. A negative entry is a row of zeros. One whose offset is past the page, or whose beats
    are not all inside of the window, is the fault READ_WINDOW; one that came with an error, READ_SLVERR or READ_DECERR.

    **Latency**: ``latency`` cycles, before which the cache has been there for two. **Throughput**: an entry per cycle.

    Parameters
    ----------
    address_bits, data_bytes: of AXI

    Members
    -------
    entry, error: of the list, and the response that it came with
    cache:        :data:`CacheShape`; address and page_bytes are multiples of 16 (FP8) or of the beat
    window_base, window_limit: what may be read
    listed:       :data:`Listed`
    address, scales: of the beats that hold the row and its scales, in beats; mean nothing unless to be read
    beats:        that hold the row; its scales are in one
    first, first_scale: of a task of the dequantizer
    """

    def __init__(self, *, address_bits: int, data_bytes: int):
        beat = exact_log2(data_bytes)
        unit = min(GRANULE, data_bytes)  # bytes; a row and where it begins are multiples of it
        most = max(*(row.bytes for row in ROWS.values()), 2 << _FIELDS["cols"].width) // unit
        super().__init__({
            "entry": In(ENTRY_BITS), "error": In(Response), "cache": In(CacheShape),
            "window_base": In(address_bits + 1), "window_limit": In(address_bits + 1),
            "listed": Out(Listed), "address": Out(address_bits - beat), "scales": Out(address_bits - beat),
            "beats": Out(range(most * unit // data_bytes + 2)),
            "first": Out(range(max(data_bytes // GRANULE, 2))),
            "first_scale": Out(range(max(data_bytes // SCALES_UNIT, 2))),
        })
        cache = self.cache
        self._row_units = Signal(range(most + 1), reset_less=True)
        self._shift = Signal(range(_OFFSET_BITS + 1), reset_less=True)
        self._page_scales = Signal(32, reset_less=True)
        self._bytes, self._unit = data_bytes, unit
        self._pipe = pipe = Pipeline()

        entry = pipe.register(pipe.data(self.entry, "entry_in"))
        page = pipe.register(pipe.comb("page", lambda x: x[:-1] >> self._shift, entry))
        mask = (C(1, _OFFSET_BITS + 1) << self._shift) - 1
        offset = pipe.register(pipe.comb("offset", lambda x: (x & mask)[:_OFFSET_BITS], entry))
        past_page = pipe.register(pipe.comb("past_page", lambda x: x >= cache.page_size, offset))
        page_at = self._product("page_at", page, cache.page_bytes)
        start = pipe.register(pipe.comb("start", lambda x: x + cache.address, page_at))
        in_page = self._product("in_page", offset, self._row_units)
        in_scales = pipe.register(pipe.comb("in_scales", lambda x: x + self._page_scales, offset))
        row, scales = (
            pipe.register(pipe.comb(name, lambda x, y, size=size: x + (y << exact_log2(size)), start, inside))
            for name, inside, size in (("row", in_page, unit), ("row_scales", in_scales, SCALES_UNIT)))

        per_beat = data_bytes // unit
        first = pipe.comb("first_unit", lambda x: x[exact_log2(unit):beat], row)
        beats = pipe.register(pipe.comb(
            "row_beats", lambda x: (x + self._row_units + (per_beat - 1)) >> exact_log2(per_beat), first))
        begin = pipe.comb("begin", lambda x: x[beat:], row)
        end = pipe.register(pipe.comb("row_end", lambda x, y: x + y, begin, beats))
        begin_scales = pipe.comb("begin_scales", lambda x: x[beat:], scales)
        # The window in beats: from the first that is wholly inside of it to before the first that is not.
        self._low = Signal(address_bits + 2 - beat, reset_less=True)
        self._high = Signal(address_bits + 1 - beat, reset_less=True)
        outside = pipe.register(pipe.comb("outside", lambda x, y: (x < self._low) | (y > self._high), begin, end))
        scales_outside = pipe.register(pipe.comb(
            "scales_outside", lambda x: cache.fp8_584 & ((x < self._low) | (x >= self._high)), begin_scales))
        fault = pipe.comb("fault", self._fault, entry, pipe.register(pipe.data(self.error, "error_in")), past_page,
                          outside, scales_outside)
        read = pipe.comb("read", lambda x, y: ~x[-1] & (y == Fault.NONE), entry, fault)
        self.latency = pipe.finish({
            "address": begin, "beats": beats, "scales": begin_scales, "first": first,
            "first_scale": pipe.comb("scales_unit", lambda x: x[min(exact_log2(SCALES_UNIT), beat):beat], scales),
            "listed": pipe.comb("listed_row", Cat, read, fault),
        }, self)

    def _product(self, name: str, a: Staged, b: Value) -> Staged:
        """a·b: products with digits of b as in :func:`~amla.rtl.fp.product.product`, then sums of pairs of them."""
        pipe = self._pipe
        parts = [pipe.register(pipe.comb(f"{name}_{low}", lambda x, low=low: x * b[low:low + DIGIT_BITS] << low, a))
                 for low in range(0, len(b), DIGIT_BITS)]
        while len(parts) > 1:
            parts = [pipe.register(pipe.comb(f"{name}_of_{len(parts)}_{first}", lambda *terms: sum(terms, start=C(0)),
                                             *parts[first:first + _TERMS])) for first in range(0, len(parts), _TERMS)]
        return parts[0]

    @staticmethod
    def _fault(entry, error, past_page, outside, scales_outside):
        window = ~entry[-1] & (past_page | outside | scales_outside)
        return Mux(error == Response.SLVERR, Fault.READ_SLVERR, Mux(error == Response.DECERR, Fault.READ_DECERR,
                   Mux(window, Fault.READ_WINDOW, Fault.NONE)))

    def elaborate(self, platform):
        m = Module()
        cache = self.cache
        wide, narrow = (ROWS[layout].bytes // self._unit for layout in (Layout.FP8_656, Layout.FP8_584))
        m.d.sync += [
            self._row_units.eq(Mux(cache.fp8_656, wide, Mux(
                cache.fp8_584, narrow, cache.cols >> exact_log2(self._unit // 2)))),
            self._page_scales.eq(cache.page_size * (ROWS[Layout.FP8_584].bytes // SCALES_UNIT)),
            self._low.eq((self.window_base + (self._bytes - 1)) >> exact_log2(self._bytes)),
            self._high.eq(self.window_limit >> exact_log2(self._bytes)),
        ]
        for power in range(_OFFSET_BITS + 1):
            with m.If((cache.page_size > (1 << power >> 1)) & (cache.page_size <= 1 << power)):
                m.d.sync += self._shift.eq(power)
        self._pipe.add_to(m)
        return m
