# amaranth: UnusedElaboratable=no
"""Vector engine (Ascend: V): online softmax of S tiles, the final O and LSE, and the merge of split keys."""

from amaranth import C, Cat, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from ..config import CoreConfig
from ..fp.add import Add
from ..fp.fixed import FromFixed
from ..isa import COMMAND_BITS, FLAGS, LAYOUTS, Fault, Opcode
from ..issue.dispatch import EngineSignature
from ..softmax.element_pass import ElementPass
from ..softmax.element_walk import ElementWalk
from ..softmax.lanes import VectorLane
from ..softmax.merge_walk import MergeWalk
from ..softmax.row_result import RowResult
from ..softmax.row_state import RowState
from ..softmax.row_sums import RowSums
from ..softmax.row_update import RowUpdate
from ..softmax.row_weight import RowWeight
from ..softmax.valid_columns import ValidColumns

__all__ = ["Vector"]


class Vector(wiring.Component):
    """Execute SOFTMAX, NORMALIZE and MERGE, one command at a time.

    The first two run their passes at once. The row pass takes one row per cycle through :class:`RowState`, which holds
    the state of the rows. The element pass follows as soon as its row group is there: a lane group (m rows x
    ``lanes`` columns) per cycle through :class:`ElementPass`; a row group takes at least the m cycles of its
    rows. In SOFTMAX the sums of a row group then go back to the row state, a row per cycle. NORMALIZE without
    ``first`` has no row pass. With ``wide`` a lane group takes two cycles, a half of OUT's lane groups each.

    MERGE has passes of its own, :class:`MergeRows` and :class:`MergeWalk`, through the same units and lanes; a row
    group is merged while the next one's rows are.

    **Latency**: from ``start`` to ``done`` the lane groups of the tile (with a row pass, before the last row
    group at least m per row group) plus a constant: SOFTMAX ``softmax_latency``; NORMALIZE ``normalize_latency``, and
    with ``first`` also ``result_latency``, with ``first`` and ``sinks`` ``sink_latency`` more. MERGE: the row pass of
    the first row group, then of each the longer of the next one's and its own run after run, plus ``merge_latency``.

    **Throughput**: a lane group per cycle inside a command; commands do not overlap.

    Parameters
    ----------
    config: core configuration

    Members
    -------
    start, done, stall, fault, fault_code: engine protocol; ``stall``: MERGE waits for L1
    scale:     FP32 word sigma, constant during a program
    nonfinite: strobe: a valid exponential is NaN, or an output NaN or infinite
    s, rowmax, o, sink: read ports
    offsets:   write port, a write enable per row
    out:       write port, a write enable per lane group of a beat
    lse:       write port
    l1, l1_ready: read ports of the banks of L1, and that the feed engine takes none in this cycle
    p_address, p_data, p_valid: word of P for L1 (rows 0 ... m - 1), taken in the cycle of ``p_valid``

    Faults
    ------
    BAD_FIELD: ``mt``, ``kt``, ``nt`` or ``splits`` is zero. BUFFER_OVERRUN: a word past the end of its buffer, row
    state and L1 included; reported when the words before it have been written.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        rows, group_bits = config.m, config.m * config.lanes
        self.softmax_latency = (RowUpdate(config).latency + VectorLane(mode=config.mode).latency + FromFixed.latency
                                + Add.latency + RowSums(rows, config.lanes).latency + 2 * rows + 7)
        self.normalize_latency = VectorLane.product_latency + 4
        self.result_latency = RowResult().latency + rows + 3
        self.sink_latency = 1 + RowWeight(config.m).latency
        self.merge_latency = MergeWalk.latency + VectorLane.product_latency + 2
        state_bits = ceil_log2(config.state_words)
        super().__init__({
            **dict(EngineSignature.members.items()),
            "scale": In(32),
            "nonfinite": Out(1),
            "s": In(memory.ReadPort.Signature(addr_width=ceil_log2(config.s_words), shape=group_bits * 32)),
            "rowmax": In(memory.ReadPort.Signature(addr_width=state_bits, shape=rows * 32)),
            "o": In(memory.ReadPort.Signature(addr_width=ceil_log2(config.o_words), shape=group_bits * 32)),
            "sink": In(memory.ReadPort.Signature(addr_width=state_bits, shape=rows * 32)),
            "offsets": In(memory.WritePort.Signature(
                addr_width=state_bits, shape=rows * 32 << config.comp_bits,
                granularity=32 << config.comp_bits)),
            "out": In(memory.WritePort.Signature(
                addr_width=ceil_log2(config.out_words), shape=rows * config.beat_elements * 16,
                granularity=group_bits * 16)),
            "lse": In(memory.WritePort.Signature(addr_width=state_bits, shape=rows * 32)),
            "l1": In(memory.ReadPort.Signature(
                addr_width=ceil_log2(config.l1_words // config.l1_banks),
                shape=max(rows, config.n) * config.k * 16)).array(config.l1_banks), "l1_ready": In(1),
            "p_address": Out(range(config.l1_words)),
            "p_data": Out(rows * config.k * 16),
            "p_valid": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.rows = rows = RowState(config)
        m.submodules.elements = elements = ElementPass(config)

        command = Signal(COMMAND_BITS)
        softmax = data.View(LAYOUTS[Opcode.SOFTMAX], command)
        normalize = data.View(LAYOUTS[Opcode.NORMALIZE], command)
        first = softmax.header.flags[FLAGS[Opcode.SOFTMAX]["first"]]
        sinks = normalize.header.flags[FLAGS[Opcode.NORMALIZE]["sinks"]]
        wide = normalize.header.flags[FLAGS[Opcode.NORMALIZE]["wide"]]
        # What SOFTMAX and NORMALIZE have, each in a place of its own.
        incoming_softmax = data.View(LAYOUTS[Opcode.SOFTMAX], self.start.payload)
        incoming_normalize = data.View(LAYOUTS[Opcode.NORMALIZE], self.start.payload)
        incoming_merge = incoming_softmax.header.opcode == Opcode.MERGE
        incoming_ends = incoming_softmax.header.opcode == Opcode.NORMALIZE
        ends, merging = Signal(), Signal()  # NORMALIZE or MERGE, MERGE
        merge = data.View(LAYOUTS[Opcode.MERGE], command)
        fields = {name: Signal.like(of_softmax, name=name, reset_less=True)
                  for name, (of_softmax, _) in self._fields(incoming_softmax, incoming_normalize).items()}
        row_groups, blocks, state = (fields[name] for name in ("row_groups", "blocks", "state"))

        begin, running, finish, overrun = Signal(), Signal(), Signal(), Signal()
        # Cycles until nothing issued is on its way to a buffer any more; elements enter a cycle after issue.
        longest = max(rows.latency, MergeWalk.latency + elements.latency)
        flush = Signal(range(longest + 1), init=longest)
        m.d.comb += finish.eq(rows.sum_done | elements.out_done)
        m.d.sync += self.done.eq(finish)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.start.ready.eq(1)
                m.d.sync += [command.eq(self.start.payload), ends.eq(incoming_ends | incoming_merge),
                             merging.eq(incoming_merge)]
                m.d.sync += [fields[name].eq(Mux(incoming_ends, of_normalize, of_softmax)) for name, (
                    of_softmax, of_normalize) in self._fields(incoming_softmax, incoming_normalize).items()]
                with m.If(self.start.valid):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += begin.eq(1)
                m.next = "RUN"
                with m.If(Mux(merging, (merge.mt == 0) | (merge.nt == 0) | (merge.splits == 0),
                              (row_groups == 0) | (blocks == 0))):
                    m.d.comb += [self.fault.eq(1), self.fault_code.eq(Fault.BAD_FIELD)]
                    m.next = "STOPPED"
            with m.State("RUN"):
                m.d.comb += running.eq(1)
                with m.If(finish):
                    m.next = "IDLE"
                with m.If(overrun):
                    m.next = "FLUSH"
            with m.State("FLUSH"):
                m.d.sync += flush.eq(flush - 1)
                with m.If(flush == 0):
                    m.d.comb += [self.fault.eq(1), self.fault_code.eq(Fault.BUFFER_OVERRUN)]
                    m.next = "STOPPED"
            with m.State("STOPPED"):
                pass

        m.d.comb += [
            rows.scale.eq(self.scale), rows.normalize.eq(ends), rows.first.eq(first), rows.sinks.eq(sinks),
            elements.scale.eq(self.scale), elements.normalize.eq(ends), elements.merge.eq(merging),
            elements.wide.eq(wide & ~merging),
            self.nonfinite.eq(elements.nonfinite),
        ]
        words = {"state": state, "rowmax": softmax.rowmax, "offsets": softmax.offsets, "lse": normalize.lse,
                 "sink": normalize.sink}
        row_overrun = self._row_pass(
            m, rows, begin=begin, running=running, active=~merging & (~ends | first), ends=ends, row_groups=row_groups,
            words=words, softmax=softmax)
        m.submodules.merge_walk = merge_walk = self._merge_pass(
            m, rows, merge, begin=begin & merging, running=running, first=first, sinks=sinks, merging=merging)
        element_overrun = self._element_pass(
            m, rows, elements, merge_walk, begin=begin, running=running, ends=ends, merging=merging, fields=fields,
            no_row_pass=ends & ~first, wide=wide, softmax=softmax, normalize=normalize)
        m.d.comb += overrun.eq(row_overrun | element_overrun | rows.merge.overrun | merge_walk.overrun)

        m.d.comb += [
            rows.begin.eq(begin), rows.sum_word.eq(state), rows.sum_groups.eq(row_groups),
            rows.sum_valid.eq(elements.sum_valid), rows.sum_nan.eq(elements.sum_nan),
            rows.sum_L.eq(elements.sum_L),
        ]
        if "l" in config.state_fields:
            m.d.comb += rows.sum_l.eq(elements.sum_l)
        return m

    @staticmethod
    def _fields(softmax, normalize):
        """Fields by name, as each of both commands has them."""
        return {
            "row_groups": (softmax.mt, normalize.mt), "blocks": (softmax.kt, normalize.nt),
            "state": (softmax.state, normalize.state), "source": (softmax.s, normalize.o),
            "pitch": (softmax.s_pitch, normalize.o_pitch), "target": (softmax.p, normalize.out),
        }

    def _limits(self, m, name, begin, softmax):
        """Valid columns of the row group that a pass is at."""
        m.submodules[f"{name}_limits"] = limits = ValidColumns(self.config.m)
        m.d.comb += [
            limits.start.eq(begin), limits.head0.eq(softmax.head0),
            limits.limit.eq(softmax.limit), limits.heads.eq(softmax.heads),
        ]
        return limits

    def _row_pass(self, m, rows, *, begin, running, active, ends, row_groups, words, softmax):
        """Issue one row per cycle; return whether it passes a buffer's end."""
        config = self.config
        limits = self._limits(m, "row", begin, softmax)
        here, row, row_group = Signal(), Signal(range(config.m)), Signal(16)
        overrun, issue, row_end = Signal(), Signal(), Signal()
        at = {}
        for name, base in words.items():
            at[name] = word = Signal(17, name=f"{name}_word")
            m.d.comb += word.eq(base + row_group)
        past = {name: word >= config.state_words for name, word in at.items()}
        m.d.comb += [
            overrun.eq(here & (past["state"] | Mux(ends, past["lse"] | (rows.sinks & past["sink"]),
                                                      past["rowmax"] | past["offsets"]))),
            issue.eq(running & here & ~overrun),
            row_end.eq(row == config.m - 1),
            limits.advance.eq(issue & row_end),
            self.rowmax.addr.eq(at["rowmax"]), self.rowmax.en.eq(issue & ~ends),
            rows.issue.eq(issue), rows.row.eq(row), rows.smax.eq(self.rowmax.data),
            *(getattr(rows, f"{name}_word").eq(at[name]) for name in ("state", "offsets", "lse", "sink")),
        ]
        m.d.comb += rows.rows_valid.eq(Cat(columns != 0 for columns in limits.columns))
        wiring.connect(m, rows.offsets, wiring.flipped(self.offsets))
        wiring.connect(m, rows.lse, wiring.flipped(self.lse))
        wiring.connect(m, rows.sink, wiring.flipped(self.sink))
        with m.If(begin):
            m.d.sync += [here.eq(active), row.eq(0), row_group.eq(0)]
        with m.Elif(issue):
            m.d.sync += row.eq(row + 1)
            with m.If(row_end):
                m.d.sync += [row.eq(0), row_group.eq(row_group + 1), here.eq(row_group != row_groups - 1)]
        return overrun

    def _merge_pass(self, m, rows, merge, *, begin, running, first, sinks, merging):
        """Both passes of a MERGE; return the walk of its elements."""
        walk = MergeWalk(self.config)
        m.d.comb += [
            rows.merge.merging.eq(merging), rows.merge.start.eq(begin & first), rows.merge.running.eq(running),
            rows.merge.row_groups.eq(merge.mt), rows.merge.sinks.eq(sinks),
            *(getattr(rows.merge, name).eq(getattr(merge, name)) for name in ("splits", "state", "sink", "lse")),
            walk.start.eq(begin), walk.running.eq(running), walk.alone.eq(~first), walk.ready.eq(self.l1_ready),
            walk.group_ready.eq(rows.group_ready), walk.row_groups.eq(merge.mt), walk.blocks.eq(merge.nt),
            *(getattr(walk, name).eq(getattr(merge, name)) for name in (
                "l1", "l1_pitch", "split_pitch", "splits", "state", "out", "out_pitch")),
            self.stall.eq(walk.stall),
        ]
        for mine, port in zip(walk.ports, self.l1, strict=True):
            wiring.connect(m, mine, wiring.flipped(port))
        return walk

    def _element_pass(self, m, rows, elements, merge, *, begin, running, ends, merging, fields, no_row_pass, wide,
                      softmax, normalize):
        """Issue one lane group per cycle; return whether it passes a buffer's end."""
        config = self.config
        limits = self._limits(m, "element", begin, softmax)
        p_parts, out_parts = config.k // config.lanes, config.beat_elements // config.lanes
        m.submodules.walk = walk = ElementWalk(
            max_parts=out_parts,
            depth_bits=ceil_log2(max(config.s_words, config.o_words, config.out_words, config.l1_words)))
        state_word = Signal(17)
        groups_ready = Signal(17)  # row groups that the row pass is ahead
        issue, ready, overrun = Signal(), Signal(), Signal()
        m.d.comb += [
            walk.start.eq(begin & ~merging), walk.issue.eq(issue), walk.halves.eq(ends & wide),
            *(getattr(walk, name).eq(fields[name]) for name in ("row_groups", "blocks", "source", "pitch", "target")),
            walk.parts.eq(Mux(ends, out_parts, p_parts)),
            walk.target_pitch.eq(normalize.out_pitch), walk.linear.eq(~ends),
            # Row groups get ready m cycles apart, so their sums have m cycles to go back to the row state.
            ready.eq(walk.active & (~walk.row_start | no_row_pass | (groups_ready != 0))),
            overrun.eq(ready & ((walk.source_word >= Mux(ends, config.o_words, config.s_words))
                                | (walk.target_word >= Mux(ends, config.out_words, config.l1_words))
                                | (state_word >= config.state_words))),
            issue.eq(running & ready & ~overrun),
            limits.advance.eq(issue & walk.row_end),
            self.s.addr.eq(walk.source_word), self.s.en.eq(issue & ~ends),
            self.o.addr.eq(walk.source_word), self.o.en.eq(issue & ends),
            rows.read_word.eq(Mux(merging, merge.read_word, state_word)),
            rows.read_en.eq((issue & walk.row_start) | merge.read_en),
        ]
        with m.If(begin):
            m.d.sync += [groups_ready.eq(0), state_word.eq(fields["state"])]
        with m.Else():
            m.d.sync += state_word.eq(state_word + limits.advance)
            m.d.sync += groups_ready.eq(groups_ready + rows.group_ready - limits.advance)
        # The memories answer one cycle after the issue, and so do the limits.
        group = Signal.like(walk.group)
        m.d.sync += group.eq(walk.group)
        m.d.comb += elements.mask.eq(Cat(count > Cat(C(lane, exact_log2(config.lanes)), group)
                                         for count in limits.columns for lane in range(config.lanes)))
        valid, part, target, last = Signal(), Signal.like(walk.part), Signal.like(walk.target_word), Signal()
        m.d.sync += [
            Cat(valid, part, target, last).eq(Cat(issue, walk.part, walk.target_word, walk.last)),
            elements.part_last.eq(walk.block_end), elements.half.eq(walk.half),
            elements.row_start.eq(walk.row_start), elements.row_end.eq(walk.row_end),
        ]
        m.d.comb += [
            elements.valid.eq(valid | merge.valid), elements.part.eq(Mux(merging, merge.part, part)),
            elements.target.eq(Mux(merging, merge.target, target)), elements.last.eq(Mux(merging, merge.last, last)),
            elements.splits.eq(merge.elements), elements.fresh.eq(merge.fresh), elements.close.eq(merge.close),
            elements.elements.eq(Mux(ends, self.o.data, self.s.data)),
            elements.m.eq(rows.m), elements.recip.eq(rows.recip),
            self.p_valid.eq(elements.p_valid), self.p_address.eq(elements.p_address),
            self.p_data.eq(elements.p_data),
            self.out.addr.eq(elements.out_address), self.out.en.eq(elements.out_en),
            self.out.data.eq(elements.out_data.replicate(out_parts)),
        ]
        if config.mode == "amla":
            m.d.comb += elements.s16.eq(rows.s16)
        return overrun
