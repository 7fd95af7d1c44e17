"""Walk of MERGE: lane groups of splits out of L1, in the order in which the vector lanes add them up."""

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..config import CoreConfig
from .lanes import VectorLane

__all__ = ["MergeWalk"]

#: L1 addresses: the field's 24 bits, and room for a pitch past the last word before the overrun is seen.
_ADDRESS_BITS = 26


class MergeWalk(wiring.Component):
    """Read the rows of splits from L1, and say what the lanes do with them.

    A row group's columns come in runs of as many lane groups as the lanes hold sums: :attr:`VectorLane.turn`, half of
    it where a lane group of FP32 takes two words of L1. Of a run first all splits come, a turn of ``turn`` cycles each;
    when the last sum is there, ``close``: the lanes multiply the sums by the last factor, a turn again. A read that has
    to wait comes a turn later, in its place.

    **Latency**: ``valid`` ``latency`` cycles after the read.

    **Throughput**: with S splits a run takes S + 1 turns and ``VectorLane.product_latency`` + 1 cycles, a row group a
    cycle more: of 12 splits 69 cycles for 5 lane groups.

    Parameters
    ----------
    config: core configuration

    Members
    -------
    start:    strobe: the next cycle begins; the fields hold from now on
    running:  a MERGE may go on
    alone:    row groups wait for no ``group_ready``, strobes of row groups whose factors are there
    l1, l1_pitch, split_pitch, splits, row_groups, blocks, state, out, out_pitch: fields of MERGE, no count zero
    ports:    read ports of the banks of L1; ``ready``: no other reader takes a bank in this cycle
    stall:    a read waits for ``ready``
    overrun:  the next word is past the end of a buffer
    read_en, read_word: read the factors of a lane group's rows, a cycle before ``valid``
    valid:    a lane group: ``elements``, FP32 words, row-major, or with ``close`` the sums
    fresh:    its sums begin
    part, target, last: of a sum: its place in the word of OUT, that word, the command's last one
    """

    latency = 2

    def __init__(self, config: CoreConfig):
        self.config = config
        #: Words of L1 in a lane group of FP32, and lane groups in a word.
        self.words, self.groups = max(2 * config.lanes // config.k, 1), max(config.k // (2 * config.lanes), 1)
        self.run = VectorLane.turn // self.words
        self._parts = config.beat_elements // config.lanes
        super().__init__({
            "start": In(1), "running": In(1), "alone": In(1), "group_ready": In(1),
            "l1": In(24), "l1_pitch": In(16), "split_pitch": In(24), "splits": In(8), "row_groups": In(16),
            "blocks": In(16), "state": In(16), "out": In(16), "out_pitch": In(16),
            "ports": In(memory.ReadPort.Signature(
                addr_width=ceil_log2(config.l1_words // config.l1_banks),
                shape=max(config.m, config.n) * config.k * 16)).array(config.l1_banks),
            "ready": In(1), "stall": Out(1), "overrun": Out(1),
            "read_en": Out(1), "read_word": Out(ceil_log2(config.state_words)),
            "valid": Out(1), "elements": Out(config.m * config.lanes * 32), "fresh": Out(1), "close": Out(1),
            "part": Out(range(self._parts)), "target": Out(ceil_log2(config.out_words)), "last": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, turn = self.config, VectorLane.turn
        at, item, items = Signal(range(turn)), Signal(range(turn + 1)), Signal(range(turn + 1))
        pause = Signal(range(VectorLane.product_latency))
        groups_ready, group, split = Signal(17), Signal(16), Signal(8)
        rest = Signal(16 + exact_log2(self._parts))  # lane groups of the row from the run on
        # Words of L1: of the row group, of the run in a split, the next one; and where the run behind begins.
        row_word, split_word, word, run_behind = (Signal(_ADDRESS_BITS, name=name) for name in (
            "row_word", "split_word", "word", "run_behind"))
        run_part, in_word, part_behind = (Signal(range(self.groups), name=name) for name in (
            "run_part", "in_word", "part_behind"))
        factor, out_row, target, part = Signal(18), Signal(18), Signal(18), Signal.like(self.part)
        folds, closes, here, step, issue = Signal(), Signal(), Signal(), Signal(), Signal()
        turn_end, last_split, last_run, last_group = Signal(), Signal(), Signal(), Signal()
        next_word, next_in_word = Signal.like(word), Signal.like(in_word)
        fetch = step & folds
        m.d.comb += [
            here.eq((folds | closes) & (at == item) & (item != items)),
            self.overrun.eq(here & ((factor >= config.state_words) | Mux(
                closes, target >= config.out_words, word >= config.l1_words))),
            step.eq(here & self.running & ~self.overrun & (closes | self.ready)),
            self.stall.eq(here & folds & self.running & ~self.overrun & ~self.ready),
            issue.eq(step & (item[0] if self.words == 2 else 1)),
            turn_end.eq((at == turn - 1) & (item + step == items)),
            last_split.eq(split == self.splits - 1), last_run.eq(rest <= self.run),
            last_group.eq(group == self.row_groups - 1),
            next_word.eq(word + (fetch & (in_word == self.groups - 1))), next_in_word.eq(in_word + fetch),
        ]
        m.d.sync += [word.eq(next_word), in_word.eq(next_in_word), groups_ready.eq(groups_ready + self.group_ready)]
        with m.If(folds | closes):
            m.d.sync += [at.eq(Mux(at == turn - 1, 0, at + 1)), item.eq(Mux(turn_end, 0, item + step))]
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [at.eq(0), item.eq(0), split.eq(0), group.eq(0), groups_ready.eq(0),
                                 row_word.eq(self.l1), out_row.eq(self.out)]
                    m.next = "ROW"
            with m.State("ROW"):
                m.d.sync += [split_word.eq(row_word), word.eq(row_word), in_word.eq(0), run_part.eq(0),
                             rest.eq(self.blocks << exact_log2(self._parts)), target.eq(out_row), part.eq(0)]
                with m.If(self.running & (self.alone | (groups_ready != 0))):
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.sync += [items.eq(Mux(last_run, rest, self.run) << exact_log2(self.words)),
                             factor.eq(self.state + group)]
                m.next = "FOLD"
            with m.State("FOLD"):
                m.d.comb += folds.eq(1)
                with m.If(turn_end):
                    next_split = split_word + self.split_pitch
                    m.d.sync += [split.eq(split + 1), factor.eq(factor + self.row_groups),
                                 split_word.eq(next_split), word.eq(next_split), in_word.eq(run_part)]
                    with m.If(split == 0):
                        m.d.sync += [run_behind.eq(next_word), part_behind.eq(next_in_word)]
                    with m.If(last_split):
                        m.d.sync += [split.eq(0), pause.eq(VectorLane.product_latency - 1)]
                        m.next = "PAUSE"
            with m.State("PAUSE"):  # until the last sums have taken their turn
                m.d.sync += pause.eq(pause - 1)
                with m.If(pause == 0):
                    m.next = "CLOSE"
            with m.State("CLOSE"):
                m.d.comb += closes.eq(1)
                with m.If(issue):
                    m.d.sync += part.eq(part + 1)
                    with m.If(part == self._parts - 1):
                        m.d.sync += [part.eq(0), target.eq(target + 1)]
                with m.If(turn_end):
                    m.d.sync += [rest.eq(rest - self.run), split_word.eq(run_behind), word.eq(run_behind),
                                 in_word.eq(part_behind), run_part.eq(part_behind)]
                    m.next = "RUN"
                    with m.If(last_run):
                        m.d.sync += [group.eq(group + 1), groups_ready.eq(groups_ready + self.group_ready - 1),
                                     row_word.eq(row_word + self.l1_pitch), out_row.eq(out_row + self.out_pitch)]
                        m.next = "ROW"
                        with m.If(last_group):
                            m.next = "IDLE"

        tags = Cat(issue, issue & (split == 0), closes, part, target[:len(self.target)],
                   closes & last_run & last_group & (item == items - 1))
        read, factor_read = Signal.like(tags, name="tags"), Signal.like(factor)
        m.d.sync += [read.eq(tags), factor_read.eq(factor),
                     Cat(self.valid, self.fresh, self.close, self.part, self.target, self.last).eq(read)]
        m.d.comb += [self.read_en.eq(read[0]), self.read_word.eq(factor_read)]
        self._fetch(m, word, in_word, item, fetch)
        return m

    def _fetch(self, m, word, in_word, item, fetch):
        """Read a word; of its answer take the lane group."""
        config, bank_bits = self.config, exact_log2(self.config.l1_banks)
        bank, read_bank, read_part = Signal(bank_bits), Signal(bank_bits), Signal.like(in_word)
        m.d.comb += bank.eq(word[:bank_bits])
        m.d.sync += [read_bank.eq(bank), read_part.eq(in_word)]
        for number, port in enumerate(self.ports):
            m.d.comb += [port.addr.eq(word[bank_bits:]), port.en.eq(fetch & (bank == number))]
        data = Array(port.data for port in self.ports)[read_bank] if bank_bits else self.ports[0].data
        rows = [data.word_select(row, config.k * 16) for row in range(config.m)]
        if self.words == 2:  # the first word's half of a row goes below the second's
            first = Signal()
            m.d.sync += first.eq(fetch & ~item[0])
            for row, half in enumerate(rows):
                kept = Signal(config.k * 16, name=f"kept_{row}", reset_less=True)
                with m.If(first):
                    m.d.sync += kept.eq(half)
                rows[row] = Cat(kept, half)
        m.d.sync += self.elements.eq(Cat(row.word_select(read_part, config.lanes * 32) for row in rows))
