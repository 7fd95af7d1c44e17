"""Regions of GM: rows of beats at a pitch, checked against a window and cut into AXI bursts.

Load and store share both halves: :class:`RegionCheck` prepares a command's region while it is decoded,
:class:`BurstGenerator` walks the region.
"""

from amaranth import C, Cat, Module, Mux, Signal
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..fp.nets import register
from ..fp.product import product

__all__ = ["BurstGenerator", "Region", "RegionCheck"]

ADDRESS_BITS = 48  # of a command's address field
PITCH_BITS = 32
ROWS_BITS = 16
BEATS_BITS = 16


def Region(address_bits: int) -> data.StructLayout:
    """``rows`` runs of ``beats`` consecutive beats each, ``pitch`` bytes from one run to the next."""
    return data.StructLayout({
        "address": unsigned(address_bits),
        "pitch": unsigned(PITCH_BITS),
        "rows": unsigned(ROWS_BITS),
        "beats": unsigned(ROWS_BITS + BEATS_BITS),
    })


class RegionCheck(wiring.Component):
    """Compares a command's region, rows or one run of beats, with the window and merges adjacent rows into one run.

    **Latency**: the inputs must have held for ``settle`` = 3 cycles before ``en``; results one cycle after it, and
    they hold. **Throughput**: one region every ``settle`` + 1 cycles.

    Parameters
    ----------
    address_bits: width of AXI addresses
    data_bytes:   bytes per beat

    Members
    -------
    en:           take the inputs
    address:      byte address of the first row, a multiple of the beat
    pitch:        bytes from one row to the next, a multiple of the beat
    rows:         rows, at least one
    beats:        beats per row, at least one
    run:          the region is instead ``run_beats`` beats, at least one, from ``run_address`` on
    window_base:  first byte allowed
    window_limit: first byte past the window, at most the end of the address space
    region:       the region, adjacent rows merged; address cut to ``address_bits`` (exact unless ``outside``)
    total:        beats of the region
    outside:      some byte of the region is outside the window; means nothing where a multiple is none
    """

    settle = 3

    def __init__(self, *, address_bits: int, data_bytes: int):
        self._data_bytes = data_bytes
        super().__init__({
            "en": In(1),
            "address": In(ADDRESS_BITS),
            "pitch": In(PITCH_BITS),
            "rows": In(ROWS_BITS),
            "beats": In(BEATS_BITS),
            "run": In(1), "run_address": In(ADDRESS_BITS), "run_beats": In(BEATS_BITS),
            "window_base": In(address_bits + 1),
            "window_limit": In(address_bits + 1),
            "region": Out(Region(address_bits)),
            "total": Out(ROWS_BITS + BEATS_BITS),
            "outside": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        # In beats, and as wide as they need to be, so that no address wraps into the window.
        beat = exact_log2(self._data_bytes)
        row_bytes = Cat(C(0, beat), self.beats)
        address, beats = Mux(self.run, self.run_address, self.address), Mux(self.run, self.run_beats, self.beats)
        first_end = register(m, address[beat:] + beats, name="first_end")  # of the first row
        room = register(m, self.window_limit[beat:] - first_end, name="room")  # for the rows behind it
        rows_after = register(m, self.rows - 1, name="rows_after", shape=ROWS_BITS)
        span = product(m, self.pitch[beat:], rows_after, name="span")
        span = register(m, span, name="span", shape=ROWS_BITS + PITCH_BITS - beat)
        total = product(m, self.rows, self.beats, name="total")
        total = register(m, total, name="total", shape=ROWS_BITS + BEATS_BITS)
        adjacent = register(m, self.pitch == row_bytes, name="adjacent")
        with m.If(self.en):
            m.d.sync += [
                self.outside.eq((address < self.window_base) | (Mux(self.run, 0, span) > room)),
                self.region.address.eq(address),
                self.region.pitch.eq(self.pitch),
                self.region.rows.eq(Mux(adjacent | self.run, 1, self.rows)),
                self.region.beats.eq(Mux(adjacent & ~self.run, total, beats)),
                self.total.eq(Mux(self.run, beats, total)),
            ]
        return m


class BurstGenerator(wiring.Component):
    """Cuts regions into AXI bursts: as long as the run, the 4 KiB page and 256 beats allow.

    Runs are measured ahead, one after the other; what is left of a run behind its first burst is measured again.

    **Latency**: four cycles from ``region`` to the first ``burst``. **Throughput**: a run's first burst every cycle,
    also across regions, each further one every two cycles, while it fits whole into what may be unanswered.

    Parameters
    ----------
    address_bits:    width of AXI addresses
    data_bytes:      bytes per beat
    in_flight_bytes: bytes that may be unanswered at a time; a multiple of the beat, at least 4 KiB

    Members
    -------
    region: ``In(stream)`` of :func:`Region`; address and pitch are multiples of the beat, counts not zero
    burst:  ``Out(stream)`` of {address, len, last}: first byte, beats minus one, last burst of its region
    answered: beats that are answered in this cycle: no more than have been requested
    half:   keep no more than half of the bytes unanswered
    stop:   begin no more bursts (one that is already valid stays valid)
    quiet:  no burst is valid, no beat unanswered
    """

    def __init__(self, *, address_bits: int, data_bytes: int, in_flight_bytes: int):
        self._address_bits = address_bits
        self._data_bytes = data_bytes
        self._block_beats = min(4096 // data_bytes, 256)  # divides both limits: no burst crosses a block
        self._in_flight = in_flight_bytes // data_bytes
        burst = data.StructLayout({
            "address": unsigned(address_bits), "len": unsigned(8), "last": unsigned(1),
        })
        super().__init__({
            "region": In(stream.Signature(Region(address_bits))),
            "burst": Out(stream.Signature(burst)),
            "answered": In(range(self._block_beats + 1)),
            "half": In(1),
            "stop": In(1),
            "quiet": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        region = Signal(Region(self._address_bits), reset_less=True)  # from the next run on that is to be measured
        run = data.StructLayout({
            "address": unsigned(self._address_bits), "beats": ROWS_BITS + BEATS_BITS,
            "length": range(self._block_beats + 1),
            "ends": 1, "last": 1,
        })
        ahead, now = Signal(run, reset_less=True), Signal(run, reset_less=True)
        left = Signal()  # the region has such a run
        waits, active, measured = Signal(), Signal(), Signal()  # a run is ahead; is under way; and its burst measured

        room = Signal(range(self._in_flight + 1), init=self._in_flight)  # beats that may be requested
        begin, take, measure = Signal(), Signal(), Signal()
        m.d.comb += [
            begin.eq(active & measured & ~self.stop & (now.length + Mux(self.half, self._in_flight // 2, 0) <= room)
                     & (~self.burst.valid | self.burst.ready)),
            take.eq(waits & (~active | (begin & now.ends))),
            measure.eq(left & (~waits | take)),
            self.region.ready.eq(~left | (measure & (region.rows == 1))),
            self.quiet.eq(room == self._in_flight),
        ]
        m.d.sync += [
            room.eq(room - Mux(begin, now.length, 0) + self.answered),
            waits.eq(measure | (waits & ~take)),
            active.eq(take | (active & ~(begin & now.ends))),
        ]

        with m.If(begin):
            m.d.sync += [
                self.burst.valid.eq(1),
                self.burst.payload.address.eq(now.address),
                self.burst.payload.len.eq(now.length - 1),
                self.burst.payload.last.eq(now.ends & now.last),
            ]
        with m.Elif(self.burst.ready):
            m.d.sync += self.burst.valid.eq(0)

        with m.If(self.region.ready):
            m.d.sync += [left.eq(self.region.valid), region.eq(self.region.payload)]
        with m.Elif(measure):
            m.d.sync += [region.rows.eq(region.rows - 1), region.address.eq(region.address + region.pitch)]
        with m.If(measure):
            m.d.sync += [
                ahead.address.eq(region.address), ahead.beats.eq(region.beats), ahead.last.eq(region.rows == 1),
                *self._measure(ahead, region.address, region.beats),
            ]
        with m.If(take):
            m.d.sync += [now.eq(ahead), measured.eq(1)]
        with m.Elif(begin):
            m.d.sync += [
                now.address.eq(now.address + now.length * self._data_bytes), now.beats.eq(now.beats - now.length),
                measured.eq(0),
            ]
        with m.Elif(~measured):
            m.d.sync += [*self._measure(now, now.address, now.beats), measured.eq(1)]
        return m

    def _measure(self, run, address, beats):
        """Assignments: the length of the next burst of a run, and whether it is the run's last."""
        first = exact_log2(self._data_bytes)
        to_block = self._block_beats - address[first:first + ceil_log2(self._block_beats)]
        return [run.length.eq(Mux(beats <= to_block, beats, to_block)), run.ends.eq(beats <= to_block)]
