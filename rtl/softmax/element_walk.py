"""Walk over the lane groups of a tile in the vector engine."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..fp.countdown import countdown

__all__ = ["ElementWalk"]

FIELD_BITS = 16


class ElementWalk(wiring.Component):
    """Addresses of the lane groups of a tile: by row group, block, and lane group, the last innermost.

    A block is what one target word holds (a chunk of P or a beat of OUT): ``parts`` lane groups. Source words
    follow one another inside a row group, which starts ``pitch`` words after the last one. Target words are
    counted per block; with ``linear`` they follow one another through the whole tile, else each row group
    starts ``target_pitch`` words after the last one. With ``halves`` each source word is read twice, for two parts.

    Addresses do not wrap as long as nobody issues past a buffer of ``depth_bits`` address bits.

    **Latency**: the first lane group stands at the outputs in the cycle after ``start``, the next one in the
    cycle after ``issue``. **Throughput**: one lane group per cycle.

    Parameters
    ----------
    max_parts:   largest ``parts``
    depth_bits:  address bits of the largest buffer

    Members
    -------
    start:   strobe: the next cycle begins a tile; the fields must hold from this cycle on
    row_groups, blocks, parts: counts, none of them zero
    source, pitch, target, target_pitch, linear: addresses
    halves:  two parts are made of each source word
    issue:   strobe: go on to the next lane group
    active:  a lane group stands at the outputs
    source_word, target_word: its addresses
    group, part: its number inside the row group and inside the block
    half:    with ``halves``: the second part of its source word
    block_end: it is the last of a block
    row_start, row_end: it is the first, the last of a row group
    last:      it is the last of the tile
    """

    def __init__(self, *, max_parts: int, depth_bits: int):
        self._address_bits = address_bits = max(FIELD_BITS + 1, depth_bits + 1) + 1
        super().__init__({
            "start": In(1),
            "row_groups": In(FIELD_BITS), "blocks": In(FIELD_BITS), "parts": In(range(max_parts + 1)),
            "source": In(FIELD_BITS), "pitch": In(FIELD_BITS),
            "target": In(24), "target_pitch": In(FIELD_BITS), "linear": In(1), "halves": In(1),
            "issue": In(1),
            "active": Out(1), "source_word": Out(address_bits), "target_word": Out(max(25, address_bits)),
            "group": Out(FIELD_BITS + max_parts.bit_length()),
            "part": Out(range(max_parts)), "half": Out(1),
            "block_end": Out(1), "row_start": Out(1), "row_end": Out(1), "last": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        source_row = Signal(self._address_bits)
        target_row = Signal.like(self.target_word)
        next_source, next_target = source_row + self.pitch, target_row + self.target_pitch
        m.d.comb += [
            self.block_end.eq(countdown(m, self.parts, start=self.start, step=self.issue, name="parts")),
            self.row_end.eq(self.block_end & countdown(
                m, self.blocks, start=self.start, step=self.issue & self.block_end, name="blocks")),
            self.last.eq(self.row_end & countdown(
                m, self.row_groups, start=self.start, step=self.issue & self.row_end, name="rows")),
        ]
        with m.If(self.issue):
            m.d.sync += [
                self.part.eq(self.part + 1), self.group.eq(self.group + 1),
                self.source_word.eq(self.source_word + (self.half | ~self.halves)),
                self.half.eq(~self.half & self.halves), self.row_start.eq(self.row_end),
            ]
            with m.If(self.block_end):
                m.d.sync += [self.part.eq(0), self.target_word.eq(self.target_word + 1)]
            with m.If(self.row_end):
                m.d.sync += [
                    self.group.eq(0), self.half.eq(0), source_row.eq(next_source), self.source_word.eq(next_source),
                ]
                with m.If(~self.linear):
                    m.d.sync += [target_row.eq(next_target), self.target_word.eq(next_target)]
            with m.If(self.last):
                m.d.sync += self.active.eq(0)
        with m.If(self.start):
            m.d.sync += [
                self.active.eq(1), self.row_start.eq(1), self.part.eq(0), self.group.eq(0), self.half.eq(0),
                source_row.eq(self.source), self.source_word.eq(self.source),
                target_row.eq(self.target), self.target_word.eq(self.target),
            ]
        return m
