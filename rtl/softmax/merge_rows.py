# amaranth: UnusedElaboratable=no
"""Row pass of MERGE: the factors of the splits of every row, and its LSE, from those of the splits."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..config import CoreConfig
from ..fp.add import Add
from ..fp.log2 import Log2
from ..fp.maximum import Maximum
from ..fp.mul import Mul
from ..pipeline import Pipeline
from .row_result import LN2
from .row_weight import ONE, PLUS_INF, RowWeight, slots

__all__ = ["MergeControl", "MergeRows"]

#: What the vector engine tells the row pass of a MERGE, and hears of it.
MergeControl = wiring.Signature({
    "merging": Out(1),  # a MERGE is executed
    "start": Out(1),  # strobe: the next cycle begins a row pass; the fields hold from now on
    "running": Out(1),
    "splits": Out(8), "row_groups": Out(16), "state": Out(16), "sink": Out(16), "lse": Out(16), "sinks": Out(1),
    "overrun": In(1),  # the next row is past the end of a buffer, and waits for ever
})


class MergeRows(wiring.Component):
    """Factors and LSE of row group after row group, as in ``model/attention/split_kv.py``.

    Of a row group the SINK words of its splits are read three times: all rows at once for their maximum; row by row,
    split after split, for the sum W of their weights; and again for the factors, by W, which goes round in a ring. Then
    W gives the LSE, and with ``sinks`` this the factor of the row's sink. One :class:`RowWeight` does all but the LSE.

    **Latency**: of a row group of S splits S + 2·S·P + ``group_latency`` cycles, P =
    :func:`~amla.rtl.softmax.row_weight.slots` of its rows; with ``sinks`` ``sink_latency`` more.

    **Throughput**: one row group at a time.

    Parameters
    ----------
    config: core configuration

    Members
    -------
    control:   from the vector engine
    read_en, read_word: read SINK; ``data`` is there one cycle later
    weight:    to :class:`RowWeight`, which is elsewhere, and back
    factor_en, factor_word, factor: a factor, an enable per row; that of split i of row group r is for word
               ``state`` + i·mt + r; behind the splits' the last one: 1, +inf in a row without key, or the sink's
    lse_valid, lse_last, lse_row, lse_word: a row's LSE, whether it completes a word, and which
    lses:      the LSE of the row group, shifted in by ``lse_valid``, row 0 lowest
    group_done: strobe: the last factor of a row group is written in this cycle
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        word_bits = ceil_log2(config.state_words)
        weight = RowWeight(config.m)
        weight._MustUse__silence = True  # only asked for its latencies
        #: Stages of a row's results after its issue, each in a register: its factor, the total of its weights, its LSE.
        self._factor_stage, self._total_stage = 3 + weight.latency, 2 + weight.total_latency
        self._lse_stage = self._total_stage + 1 + Log2.latency + Mul.latency + Add.latency + 1
        self.latency = max(self._factor_stage, self._lse_stage)
        self.group_latency = 1 + config.m + self._lse_stage
        self.sink_latency = config.m + self._factor_stage
        super().__init__({
            "control": In(MergeControl),
            "read_en": Out(1), "read_word": Out(word_bits), "data": In(config.m * 32),
            "weight": Out(weight.signature.flip()),
            "factor_en": Out(config.m), "factor_word": Out(word_bits), "factor": Out(32),
            "lse_valid": Out(1), "lse_last": Out(1), "lse_row": Out(32), "lse_word": Out(word_bits),
            "lses": In(config.m * 32), "group_done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        control, rows, words = self.control, self.config.m, self.config.state_words
        turn = slots(rows)
        split, slot, group, offset = Signal(8), Signal(range(turn)), Signal(16), Signal(18)
        maxima, sums, factors, ends, sinks = (Signal(name=name) for name in (
            "maxima", "sums", "factors", "ends", "sinks"))
        active, go, last, turn_end = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            active.eq(maxima | sums | factors | ends | sinks),
            control.overrun.eq(active & (
                (control.state + offset >= words) | (control.lse + group >= words)
                | ((~ends | control.sinks) & (control.sink + offset >= words)))),
            go.eq(active & control.running & ~control.overrun),
            last.eq(split == control.splits - 1), turn_end.eq(slot == turn - 1),
            self.read_word.eq(control.sink + offset), self.read_en.eq(go & ~ends),
            self.lse_word.eq(control.lse + group),
        ]
        with m.If(go):
            m.d.sync += slot.eq(Mux(maxima | turn_end, 0, slot + 1))
            with m.If(maxima | (turn_end & (sums | factors))):
                m.d.sync += [split.eq(Mux(last, 0, split + 1)),
                             offset.eq(Mux(last & ~factors, group, offset + control.row_groups))]
        with m.FSM():
            with m.State("IDLE"):
                with m.If(control.start):
                    m.d.sync += [split.eq(0), slot.eq(0), group.eq(0), offset.eq(0)]
                    m.next = "MAXIMA"
            for name, phase, end, after in (
                    ("MAXIMA", maxima, last, "SETTLE"), ("SUMS", sums, last & turn_end, "FACTORS"),
                    ("FACTORS", factors, last & turn_end, "ENDS"), ("ENDS", ends, turn_end, "WAIT"),
                    ("SINKS", sinks, turn_end, "WAIT")):
                with m.State(name):
                    m.d.comb += phase.eq(1)
                    with m.If(go & end):
                        m.next = after
            with m.State("SETTLE"):  # the maximum is in its register
                m.next = "SUMS"
            with m.State("WAIT"):
                with m.If(self.group_done):
                    m.d.sync += [group.eq(group + 1), offset.eq(group + 1)]
                    m.next = "MAXIMA"
                    with m.If(group == control.row_groups - 1):
                        m.next = "IDLE"
                with m.Elif(self.lse_last):
                    m.next = "SINKS"

        pipe = Pipeline()
        row, present = Signal(range(rows)), Signal()
        m.d.comb += [row.eq(slot), present.eq(slot < rows)]
        index = pipe.data(row, "row")
        first = split == 0
        top, counts = self._maxima(m, pipe.at(pipe.strobe(go & maxima, "maxima_read"), 2),
                                   pipe.at(pipe.data(first, "first"), 2))
        self._weigh(m, pipe, index, top, counts, fresh=first & sums, sums=sums, sinks=sinks)
        self._end(m, pipe, index, top, counts, ends=go & ends & present)
        self._write(m, pipe, index, group, weighs=go & (factors | sinks) & present, sinks=go & sinks & present)
        pipe.add_to(m)
        return m

    def _maxima(self, m, valid, first):
        """Maximum of the LSE that count, +inf without one, of every row; how many they are: none, one, more."""
        rows = self.config.m
        word, top, counts = (Signal(rows * bits, name=name, reset_less=True) for name, bits in (
            ("word", 32), ("top", 32), ("counts", 2)))
        m.d.sync += word.eq(self.data)
        for row in range(rows):
            m.submodules[f"maximum_{row}"] = maximum = Maximum()
            lse, best, count = word.word_select(row, 32), top.word_select(row, 32), counts.word_select(row, 2)
            fresh = first | (count == 0)
            m.d.comb += [maximum.a.eq(best), maximum.b.eq(lse)]
            with m.If(valid & (fresh | (lse != PLUS_INF))):
                m.d.sync += [best.eq(Mux(fresh, lse, maximum.y)),
                             count.eq(Mux(fresh, lse != PLUS_INF, 2))]
        return top, counts

    @staticmethod
    def _of_row(pipe, name, value, index, bits=32, *, stage):
        """The part of a row of a value at a stage, in a register."""
        return pipe.register(pipe.comb(name, lambda word, row: word.word_select(row, bits),
                                       pipe.data(value, f"{name}_rows", stage=stage), index))

    def _weigh(self, m, pipe, index, top, counts, *, fresh, sums, sinks):
        """Operands of the weights, two cycles after the issue of their row."""
        value, maximum, lse = (self._of_row(pipe, name, word, index, stage=1) for name, word in (
            ("value", self.data), ("maximum", top), ("ended", self.lses)))
        count = self._of_row(pipe, "count", counts, index, 2, stage=1)
        sink = pipe.data(sinks, "sink_in")
        seen = pipe.comb("seen", lambda value: value != PLUS_INF, value)
        pipe.finish({
            "sink": value, "lse": pipe.comb("against", Mux, sink, lse, maximum),
            "recip": pipe.comb("last_factor", lambda lse: Mux(lse == PLUS_INF, PLUS_INF, ONE), lse),
            "merge": pipe.comb("merge", lambda sink: ~sink, sink), "fresh": pipe.data(fresh, "fresh_in"), "seen": seen,
            "adds": pipe.comb("adds", lambda sums, seen: sums & seen, pipe.data(sums, "sums_in"), seen),
            "lone": pipe.comb("lone", lambda count, sink: (count == 1) & ~sink, count, sink),
        }, self.weight)

    def _end(self, m, pipe, index, top, counts, *, ends):
        """The LSE: of the total, or of the only split."""
        total = pipe.register(pipe.data(self.weight.total, "total", stage=self._total_stage))
        log = pipe.unit("natural", Mul(), a=LN2, b=pipe.unit("log2", Log2(), x=total))
        maximum = self._of_row(pipe, "end_maximum", top, index, stage=log.stage - 1)
        count = self._of_row(pipe, "end_count", counts, index, 2, stage=log.stage - 1)
        lse = pipe.register(pipe.comb("merged", lambda count, merged, single: Mux(count == 2, merged, single),
                                      count, pipe.unit("add_maximum", Add(), a=maximum, b=log), maximum))
        valid = pipe.at(pipe.strobe(ends, "ends_in"), lse.stage)
        m.d.comb += [self.lse_row.eq(pipe.at(lse, lse.stage)), self.lse_valid.eq(valid),
                     self.lse_last.eq(valid & (pipe.at(index, lse.stage) == self.config.m - 1))]
        assert lse.stage == self._lse_stage

    def _write(self, m, pipe, index, group, *, weighs, sinks):
        """Factors as they come: of the splits, and the last one, of the sink or without it beside the LSE."""
        stage, control = self._factor_stage, self.control
        weighed = pipe.register(pipe.data(self.weight.weighed, "weighed", stage=stage - 1))
        plain, valid = Signal(), Signal()
        row, offset = Signal(range(self.config.m)), Signal(18)
        row_end = row == self.config.m - 1
        m.d.comb += [
            plain.eq(self.lse_valid & ~control.sinks),
            valid.eq(plain | pipe.at(pipe.strobe(weighs, "weighs_in"), stage)),
            row.eq(Mux(plain, pipe.at(index, self._lse_stage), pipe.at(index, stage))),
            self.factor_en.eq(Cat(valid & (row == number) for number in range(self.config.m))),
            self.factor_word.eq(control.state + offset),
            self.factor.eq(Mux(plain, Mux(self.lse_row == PLUS_INF, PLUS_INF, ONE), pipe.at(weighed, stage))),
            self.group_done.eq(row_end & (plain | pipe.at(pipe.strobe(sinks, "sinks_in"), stage))),
        ]
        with m.If(control.start):
            m.d.sync += offset.eq(0)
        with m.Elif(self.group_done):
            m.d.sync += offset.eq(group + 1)
        with m.Elif(valid & row_end):
            m.d.sync += offset.eq(offset + control.row_groups)
