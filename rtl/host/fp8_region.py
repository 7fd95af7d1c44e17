"""Where rows of an FP8 cache lie in GM: the beats that hold them, and those that hold their scales."""

from amaranth import C, Cat, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..fp.nets import register
from ..isa import MOST_ROWS
from .burst import ADDRESS_BITS, BEATS_BITS, PITCH_BITS
from .dequantizer import GRANULE, ROWS, SCALES_UNIT, Layout

__all__ = ["Fp8Region"]


class Fp8Region(wiring.Component):
    """Turns rows of one of the FP8 layouts, one behind the other, into runs of whole beats.

    **Latency**: ``latency`` cycles for which the inputs hold. **Throughput**: one region per cycle.

    Parameters
    ----------
    data_bytes: bytes per beat

    Members
    -------
    address:       of the first row, a multiple of 16
    scales_offset: layout 584: from there to its scales, a multiple of 8
    rows:          at least one, at most ``MOST_ROWS``
    layout:        :class:`~amla.rtl.host.dequantizer.Layout`
    beats_address, beats: first byte and number of the beats that hold the rows
    scales_address, scales_beats: the same of their scales
    first, first_scale: of a task of the dequantizer
    past:          the scales begin past the last address
    """

    latency = 3

    def __init__(self, *, data_bytes: int):
        self._bytes = data_bytes
        super().__init__({
            "address": In(ADDRESS_BITS), "scales_offset": In(PITCH_BITS), "rows": In(ceil_log2(MOST_ROWS + 1)),
            "layout": In(Layout),
            "beats_address": Out(ADDRESS_BITS), "beats": Out(BEATS_BITS),
            "scales_address": Out(ADDRESS_BITS), "scales_beats": Out(BEATS_BITS), "past": Out(1),
            "first": Out(range(max(data_bytes // GRANULE, 2))), "first_scale": Out(range(data_bytes // SCALES_UNIT)),
        })

    def elaborate(self, platform):
        m = Module()
        beat = exact_log2(self._bytes)
        unit = exact_log2(SCALES_UNIT)
        first = self.address[exact_log2(GRANULE):beat]
        # Granules of a row: 32 and a few.
        wide, narrow = (ROWS[layout].bytes // GRANULE - 32 for layout in (Layout.FP8_656, Layout.FP8_584))
        more = register(m, Mux(self.layout == Layout.FP8_656, self.rows * wide, self.rows * narrow), name="more")
        granules = register(m, Cat(C(0, 5), self.rows) + more, name="granules")
        scales = register(m, self.address + self.scales_offset, name="scales")
        first_scale = scales[unit:beat]
        m.d.comb += [
            self.beats_address.eq(Cat(C(0, beat), self.address[beat:])),
            self.beats.eq(register(m, self._beats(granules + first, GRANULE), name="beats_1")),
            self.first.eq(first),
            self.scales_address.eq(Cat(C(0, beat), scales[beat:ADDRESS_BITS])),
            self.scales_beats.eq(register(m, self._beats(self.rows + first_scale, SCALES_UNIT), name="scales_1")),
            self.first_scale.eq(first_scale),
            self.past.eq(scales[ADDRESS_BITS]),
        ]
        return m

    def _beats(self, units, size: int):
        """Whole beats that hold so many units of so many bytes."""
        per_beat = self._bytes // size
        return (units + (per_beat - 1)) >> exact_log2(per_beat)
