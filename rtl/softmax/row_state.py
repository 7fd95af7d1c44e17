"""Row state of the online softmax: its memories and the passes that go row by row."""

from functools import partial

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..config import CoreConfig
from ..fp.add import Add
from ..fp.fixed import FromFixed
from ..pipeline import Pipeline
from .merge_rows import MergeControl, MergeRows
from .row_result import RowResult
from .row_sums import SUM_BITS
from .row_update import RowUpdate
from .row_weight import RowWeight

__all__ = ["RowState"]

QUIET_NAN = 0x7FC00000


class RowState(wiring.Component):
    """Hold m, c, l, L and R of every row; update them at the start and at the end of a tile.

    A row enters by ``issue``. With ``normalize`` low it runs through :class:`RowUpdate`: the state but the
    sums is written back, the offsets leave, and the sums, already in the new frame, wait for the tile's own
    sums, which enter in the same order by ``sum_valid`` and are added. With ``normalize`` high it runs
    through :class:`RowResult`: R and the LSE; with ``sinks`` R then runs through :class:`RowWeight`. What elements
    need is kept in words of a row group, the rest row by row. Factors of a MERGE, by :class:`MergeRows`, take the
    places of R.

    **Latency**: ``group_ready`` 3 + ``RowUpdate.latency`` (``normalize``: ``RowResult.latency``, with ``sinks``
    also 1 + ``RowWeight.latency``) cycles after the last row of a row group; its words can be read from then on.
    ``sum_done`` 1 + ``FromFixed.latency`` + ``Add.latency`` cycles after the last row's sums. OFFSETS and LSE are
    written at most ``latency`` cycles after ``issue``.

    **Throughput**: one row per cycle in either pass.

    Parameters
    ----------
    config: core configuration

    Members
    -------
    scale, normalize, first, sinks: constant while a command runs
    issue:         a row enters
    row:           its number inside the row group
    state_word, offsets_word, lse_word, sink_word: words of its row group
    smax, rows_valid: ROWMAX word of its row group, and which of the group's rows have a valid column, one cycle
                   after ``issue``
    group_ready:   strobe: all rows of a row group have been written
    offsets, lse:  write ports of OFFSETS and LSE
    sink:          read port of SINK
    read_en, read_word: read ``m``, ``s16`` (mode ``amla``) and ``recip`` of a row group; they are there one
                   cycle later and hold
    merge:         the row pass of a MERGE, which needs no ``issue``
    begin:         strobe: the next sums are those of row group ``sum_word``, and on for ``sum_groups``
    sum_valid, sum_l, sum_L, sum_nan: a row's sums in fixed point (``sum_l`` if the state has l)
    sum_done:      strobe: the sums of the last row are written in this cycle
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        self._amla = config.mode == "amla"
        #: State words that are sums.
        self._sums = [name for name in config.state_fields if name in ("l", "L")]
        self._update, self._result, self._weight = RowUpdate(config), RowResult(), RowWeight(config.m)
        self._merge = MergeRows(config)
        self.latency = max(2 + max(self._update.latency, self._result.latency + 1 + self._weight.latency),
                           self._merge.latency)
        word_bits = ceil_log2(config.state_words)
        super().__init__({
            "scale": In(32), "normalize": In(1), "first": In(1), "sinks": In(1),
            "issue": In(1), "row": In(range(config.m)), "rows_valid": In(config.m),
            "state_word": In(word_bits), "offsets_word": In(word_bits), "lse_word": In(word_bits),
            "sink_word": In(word_bits),
            "smax": In(config.m * 32),
            "group_ready": Out(1),
            "offsets": In(memory.WritePort.Signature(
                addr_width=word_bits, shape=config.m * 32 << config.comp_bits,
                granularity=32 << config.comp_bits)),
            "lse": In(memory.WritePort.Signature(addr_width=word_bits, shape=config.m * 32)),
            "sink": In(memory.ReadPort.Signature(addr_width=word_bits, shape=config.m * 32)),
            "read_en": In(1), "read_word": In(word_bits),
            "m": Out(config.m * 32), "recip": Out(config.m * 32),
            "merge": In(MergeControl),
            "begin": In(1), "sum_word": In(word_bits), "sum_groups": In(16),
            "sum_valid": In(1), "sum_L": In(SUM_BITS), "sum_nan": In(1), "sum_done": Out(1),
            **({"s16": Out(config.m * 16)} if self._amla else {}),
            **({"sum_l": In(SUM_BITS)} if "l" in self._sums else {}),
        })

    def elaborate(self, platform):
        m = Module()
        config, amla = self.config, self._amla
        # Words of a row group, by the width of a row, for the elements; and words of a row, for the rows. Both read m.
        grouped = {"m": 32, "recip": 32, **({"s16": 16} if amla else {})}
        single = [*config.state_fields, *(f"{name}_base" for name in self._sums)]
        groups = {name: memory.Memory(shape=config.m * width, depth=config.state_words, init=[])
                  for name, width in grouped.items()}
        rows = {name: memory.Memory(shape=32, depth=config.state_rows, init=[]) for name in single}
        group_writes = {name: cells.write_port(granularity=grouped[name]) for name, cells in groups.items()}
        row_writes = {name: cells.write_port() for name, cells in rows.items()}
        for name, cells in rows.items():
            m.submodules[f"{name}_rows"] = cells
        for name, cells in groups.items():
            m.submodules[f"{name}_groups"] = cells
            port = cells.read_port()
            m.d.comb += [
                port.addr.eq(self.read_word), port.en.eq(self.read_en), getattr(self, name).eq(port.data),
            ]

        self._row_pass(m, rows, group_writes, row_writes)
        self._sum_pass(m, rows, row_writes)
        return m

    def _address(self, row, word):
        """Address of a row in a memory with a word per row."""
        return Cat(row[:exact_log2(self.config.m)], word)

    def _row_pass(self, m, rows, group_writes, row_writes):
        config, amla = self.config, self._amla
        pipe = Pipeline()
        row = pipe.data(self.row, "row")
        state_word, offsets_word, lse_word, sink_word = (
            pipe.data(getattr(self, name), name) for name in ("state_word", "offsets_word", "lse_word", "sink_word"))
        row_address = self._address(self.row, self.state_word)
        address = pipe.data(row_address, "address")
        starts = pipe.strobe(self.issue & ~self.normalize, "starts")
        results = pipe.strobe(self.issue & self.normalize, "results")
        plain = pipe.strobe(self.issue & self.normalize & ~self.sinks, "plain")
        weighed = pipe.strobe(self.issue & self.normalize & self.sinks, "weighed")

        state = {}
        for name in config.state_fields:
            port = rows[name].read_port()
            m.d.comb += [port.addr.eq(row_address), port.en.eq(self.issue)]
            state[name] = pipe.register(pipe.data(port.data, f"{name}_read", stage=1))
        smax = pipe.register(pipe.comb("smax_read", lambda value, index: value.word_select(index, 32),
                                       pipe.data(self.smax, "smax_word", stage=1), row))
        row_valid = pipe.register(pipe.comb("row_valid", lambda value, index: value.bit_select(index, 1),
                                            pipe.data(self.rows_valid, "rows_valid", stage=1), row))

        update = self._update
        stage = update.latency + pipe.place(
            "update", update, scale=self.scale, first=self.first,
            valid=row_valid, smax=smax,
            **{f"{name}_in": value for name, value in state.items()})
        strobe, index = pipe.at(starts, stage), pipe.at(row, stage)
        enable = Cat(strobe & (index == i) for i in range(config.m))
        self._write(m, self.offsets, pipe.at(offsets_word, stage), enable, update.offsets)
        for name in ("m", *(("s16",) if amla else ())):
            self._write(m, group_writes[name], pipe.at(state_word, stage), enable, getattr(update, name))
        for name in config.state_fields:
            port = row_writes[f"{name}_base" if name in self._sums else name]
            self._write(m, port, pipe.at(address, stage), strobe, getattr(update, name))
        updated = strobe & (index == config.m - 1)

        result = self._result
        stage = result.latency + pipe.place("result", result, m=state["m"], L=state["L"],
                                            divisor=state["l" if "l" in self._sums else "L"])
        strobe, index = pipe.at(results, stage), pipe.at(row, stage)
        # The rows of an LSE word come one after another; the last one enters as the word is written.
        m.submodules.merge_rows = merge = self._merge
        merging = self.merge.merging
        wiring.connect(m, wiring.flipped(self.merge), merge.control)
        lse = Signal(config.m * 32, reset_less=True)
        shifted = Cat(lse[32:], Mux(merging, merge.lse_row, result.lse))
        finished = strobe & (index == config.m - 1)
        with m.If(strobe | merge.lse_valid):
            m.d.sync += lse.eq(shifted)
        self._write(m, self.lse, Mux(merging, merge.lse_word, pipe.at(lse_word, stage)), finished | merge.lse_last,
                    shifted)

        # The sinks are read so late that nothing of them is delayed.
        m.d.comb += [
            self.sink.addr.eq(Mux(merging, merge.read_word, pipe.at(sink_word, stage - 1))),
            self.sink.en.eq(pipe.at(weighed, stage - 1) | merge.read_en),
            merge.data.eq(self.sink.data), merge.lses.eq(lse),
        ]
        sink = pipe.register(pipe.comb("sink_read", lambda value, index: value.word_select(index, 32),
                                       pipe.data(self.sink.data, "sink_row", stage=stage), row))
        weight, splits = self._weight, merge.weight
        operands = {name: pipe.register(pipe.data(getattr(result, name), f"result_{name}", stage=stage))
                    for name in ("recip", "lse")} | {"sink": sink}
        late = weight.latency + pipe.place("weight", weight, **{
            name: pipe.comb(f"weight_{name}", partial(Mux, merging, getattr(splits, name)), operand)
            for name, operand in operands.items()})
        m.d.comb += [weight.merge.eq(merging & splits.merge),
                     splits.weighed.eq(weight.weighed), splits.total.eq(weight.total),
                     *(getattr(weight, name).eq(getattr(splits, name)) for name in ("fresh", "seen", "adds", "lone"))]
        # Commands do not overlap: a row comes with its sink, or without, or is one of a MERGE.
        with_sink = pipe.at(weighed, late)
        index, word = (Mux(with_sink, pipe.at(operand, late), pipe.at(operand, stage)) for operand in (row, state_word))
        strobe = with_sink | pipe.at(plain, stage)
        enable = Cat(strobe & (index == i) for i in range(config.m))
        self._write(m, group_writes["recip"], Mux(merging, merge.factor_word, word), enable | merge.factor_en,
                    Mux(merging, merge.factor, Mux(with_sink, weight.weighed, result.recip)))
        m.d.sync += self.group_ready.eq(updated | (strobe & (index == config.m - 1)) | merge.group_done)
        pipe.add_to(m)

    def _sum_pass(self, m, rows, row_writes):
        config = self.config
        pipe = Pipeline()
        row, word, left = Signal(range(config.m)), Signal.like(self.sum_word), Signal.like(self.sum_groups)
        row_end = row == config.m - 1
        with m.If(self.begin):
            m.d.sync += [row.eq(0), word.eq(self.sum_word), left.eq(self.sum_groups)]
        with m.Elif(self.sum_valid):
            m.d.sync += row.eq(row + 1)
            with m.If(row_end):
                m.d.sync += [row.eq(0), word.eq(word + 1), left.eq(left - 1)]
        address = pipe.data(self._address(row, word), "sum_address")
        valid = pipe.strobe(self.sum_valid, "sum_valid")
        last = pipe.strobe(self.sum_valid & row_end & (left == 1), "sum_last")
        nan = pipe.data(self.sum_nan, "sum_nan")
        for name in self._sums:
            port = rows[f"{name}_base"].read_port()
            m.d.comb += [port.addr.eq(pipe.at(address, 0)), port.en.eq(self.sum_valid)]
            fixed = pipe.register(pipe.data(getattr(self, f"sum_{name}"), f"sum_{name}"))
            tile = pipe.comb(f"tile_{name}", lambda flag, value: Mux(flag, QUIET_NAN, value),
                             nan, pipe.unit(f"from_fixed_{name}", FromFixed(width=SUM_BITS), a=fixed))
            base = pipe.data(port.data, f"{name}_base_read", stage=1)
            total = pipe.unit(f"add_{name}", Add(), a=base, b=tile)
            stage = total.stage
            self._write(m, row_writes[name], pipe.at(address, stage), pipe.at(valid, stage),
                        pipe.at(total, stage))
        m.d.comb += self.sum_done.eq(pipe.at(last, stage))
        pipe.add_to(m)

    @staticmethod
    def _write(m, port, address, enable, value):
        """Drive a write port; a value narrower than the word is offered to every row of it."""
        copies = len(port.data) // len(value)
        m.d.comb += [port.addr.eq(address), port.en.eq(enable), port.data.eq(value.replicate(copies))]
