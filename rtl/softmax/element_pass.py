"""Elements of the vector engine: P and the rows' sums from scores, the output from O or from splits."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..config import CoreConfig
from ..emit import Leaf
from ..pipeline import Pipeline
from .lanes import VectorLane
from .row_sums import SUM_BITS, RowSums

__all__ = ["ElementPass"]

PLUS_INF = 0x7F800000
MINUS_ONE = 0xBF800000


class ElementPass(wiring.Component):
    """Run lane groups (m rows x ``lanes`` columns) through m x ``lanes`` vector lanes.

    **Latency**: from ``valid`` to ``p_valid`` ``latency`` = ``VectorLane.latency`` + 2 cycles; to the first
    ``sum_valid`` of a row group, after its last lane group, ``sum_latency``; to ``out_en``
    ``VectorLane.product_latency`` + 1. What memories give is registered first.

    **Throughput**: one lane group per cycle; with scores, row groups must end at least m cycles apart.

    Parameters
    ----------
    config: core configuration

    Members
    -------
    scale, normalize, merge, wide: constant while a command runs
    valid:     a lane group enters: scores, or with ``normalize`` words of O, or with ``merge``, which comes with
               ``normalize``, words of a split
    elements:  its words, row-major; with ``merge`` ``splits``
    mask:      its valid columns, row-major; ignored with ``normalize``
    fresh, close: with ``merge``: its sums begin; the lane group is that of the sums, which are put out
    half:      with ``wide``: the second part of an FP32 lane group is put out, else the first
    m, s16, recip: words of its row group, as :class:`RowState` gives them (``s16`` in mode ``amla``); a row
               whose ``recip`` is +inf has no valid key with a score above -inf, its output is +0. With ``merge`` a
               split's elements count for nothing in a row whose ``recip`` is negative
    part:      its place in the target word
    part_last: it completes the target word
    row_start, row_end: it is the first, the last of its row group
    last:      it is the last of the command
    target:    address of the target word
    p_valid, p_address, p_data: a word of P for L1
    out_en, out_address, out_data: a lane group for OUT, one enable per part
    out_done:  strobe: the last lane group of a NORMALIZE is written in this cycle
    sum_valid, sum_l, sum_L, sum_nan: sums of a row's valid elements, row by row (``sum_l`` if the state has l)
    nonfinite: strobe: a valid exponential is NaN, or an output NaN or infinite
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        self._amla = config.mode == "amla"
        rows, lanes = config.m, config.lanes
        self._lanes = [Leaf(VectorLane(mode=config.mode, format=config.operand, p_format=config.p))
                       for _ in range(rows * lanes)]
        self.latency = self._lanes[0].component.latency + 2
        self._sums = {name: RowSums(rows, lanes) for name in ("L", "l") if name == "L" or name in config.state_fields}
        self.sum_latency = self._lanes[0].component.latency + 1 + self._sums["L"].latency
        self._p_parts, self._out_parts = config.k // lanes, config.beat_elements // lanes
        target_bits = max(ceil_log2(config.l1_words), ceil_log2(config.out_words))
        super().__init__({
            "scale": In(32), "normalize": In(1), "merge": In(1), "wide": In(1),
            "fresh": In(1), "close": In(1), "half": In(1), "splits": In(rows * lanes * 32),
            "valid": In(1), "elements": In(rows * lanes * 32), "mask": In(rows * lanes),
            "m": In(rows * 32), "recip": In(rows * 32),
            "part": In(range(max(self._p_parts, self._out_parts))), "part_last": In(1),
            "row_start": In(1), "row_end": In(1), "last": In(1), "target": In(target_bits),
            "p_valid": Out(1), "p_address": Out(range(config.l1_words)), "p_data": Out(rows * config.k * 16),
            "out_en": Out(self._out_parts), "out_address": Out(range(config.out_words)),
            "out_data": Out(rows * lanes * 16), "out_done": Out(1),
            "sum_valid": Out(1), "sum_L": Out(SUM_BITS), "sum_nan": Out(1), "nonfinite": Out(1),
            **({"s16": In(rows * 16)} if self._amla else {}),
            **({"sum_l": Out(SUM_BITS)} if "l" in config.state_fields else {}),
        })

    def elaborate(self, platform):
        m = Module()
        rows, lanes = self.config.m, self.config.lanes
        pipe = Pipeline()
        recip = [self.recip.word_select(row, 32) for row in range(rows)]
        # What counts for nothing is multiplied as 0 · -1 = -0, the zero that no sum is changed by.
        bubble = self.merge & ~self.valid
        mute = [bubble | recip[row][31] for row in range(rows)]
        merges = {"merge": pipe.register(pipe.data(self.merge, "merge_in")),
                  "fresh": pipe.register(pipe.data(self.fresh, "fresh_in"))}
        of_row = [{
            "scale": pipe.register(pipe.data(Mux(bubble, MINUS_ONE, Mux(self.normalize, recip[row], self.scale)),
                                             f"scale_{row}")),
            "m": pipe.register(pipe.data(self.m.word_select(row, 32), f"m_{row}")),
            **({"s16": pipe.register(pipe.data(self.s16.word_select(row, 16), f"s16_{row}"))} if self._amla else {}),
        } for row in range(rows)]
        for index, leaf in enumerate(self._lanes):
            row = index // lanes
            split = self.splits.word_select(index, 32) & ~mute[row].replicate(32)
            word = Mux(self.merge, Mux(self.close, leaf.sum, split), self.elements.word_select(index, 32))
            element = pipe.register(pipe.data(word, f"element_{index}"))
            start = pipe.place(f"lane_{row}_{index % lanes}", leaf, s=element, **of_row[row], **merges)
        lane = self._lanes[0].component
        scores = pipe.strobe(self.valid & ~self.normalize, "scores")
        outputs = pipe.strobe(self.valid & self.normalize & (self.close | ~self.merge), "outputs")
        tags = {name: pipe.data(getattr(self, name), f"tag_{name}")
                for name in ("mask", "part", "part_last", "row_start", "row_end", "last", "target", "half")}

        tags["empty"] = pipe.data(Cat(word == PLUS_INF for word in recip), "tag_empty")

        def at(stage):
            return {name: pipe.at(tag, stage) for name, tag in tags.items()}

        stage = start + lane.latency
        p_nan = self._collect(m, pipe.at(scores, stage), at(stage))
        stage = start + lane.product_latency
        out_nonfinite = self._output(m, pipe.at(outputs, stage), at(stage))
        found = Signal()
        m.d.sync += found.eq(p_nan)
        m.d.comb += self.nonfinite.eq(found | out_nonfinite)
        pipe.add_to(m)
        return m

    def _collect(self, m, valid, tag):
        """Assemble P and sum the rows; return whether a valid exponential is NaN."""
        lanes, k = self.config.lanes, self.config.k
        mask = tag["mask"]
        m.d.sync += [
            self.p_valid.eq(valid & tag["part_last"]),
            self.p_address.eq(tag["target"]),
        ]
        for index, unit in enumerate(self._lanes):
            row, column = divmod(index, lanes)
            for part in range(self._p_parts):
                with m.If(tag["part"] == part):
                    m.d.sync += self.p_data.word_select(row * k + part * lanes + column, 16).eq(
                        Mux(mask[index], unit.p, 0))
        nan = Cat(unit.nan for unit in self._lanes)
        for name, sums in self._sums.items():
            tap = {"L": "e_fixed", "l": "p_fixed"}[name]
            m.submodules[f"sums_{name}"] = sums
            m.d.comb += [
                sums.valid.eq(valid), sums.first.eq(tag["row_start"]), sums.last.eq(tag["row_end"]),
                sums.mask.eq(mask), sums.nan.eq(nan),
                *(value.eq(getattr(unit, tap)) for value, unit in zip(sums.value, self._lanes, strict=True)),
                getattr(self, f"sum_{name}").eq(sums.sum),
            ]
            if name == "L":
                m.d.comb += [self.sum_valid.eq(sums.sum_valid), self.sum_nan.eq(sums.sum_nan)]
        return valid & (mask & nan).any()

    def _output(self, m, valid, tag):
        """Write the lane group to OUT; return whether an output is NaN or infinite, a cycle later."""
        lanes, fraction_bits = self.config.lanes, self.config.operand.fraction_bits
        words, infinite = [], []
        for index, unit in enumerate(self._lanes):
            row, column = divmod(index, lanes)
            products = Cat(lane.product for lane in self._lanes[row * lanes:(row + 1) * lanes])
            half = Mux(tag["half"], products.word_select(lanes + column, 16), products.word_select(column, 16))
            word, empty = Signal(16, name=f"out_{index}"), tag["empty"][row]
            m.d.comb += word.eq(Mux(empty, 0, Mux(self.wide, half, unit.product_16)))
            words.append(word)
            exponent = Mux(self.wide, unit.product[23:31].all(), unit.product_16[fraction_bits:15].all())
            infinite.append(valid & ~empty & exponent)
        m.d.comb += [
            self.out_en.eq(Cat(valid & (tag["part"] == part) for part in range(self._out_parts))),
            self.out_address.eq(tag["target"]),
            self.out_data.eq(Cat(words)),
            self.out_done.eq(valid & tag["last"]),
        ]
        nonfinite = Signal(len(words))
        m.d.sync += nonfinite.eq(Cat(infinite))
        return nonfinite.any()
