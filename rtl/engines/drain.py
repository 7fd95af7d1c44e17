"""Drain engine (Ascend: FixPipe): moves L0C to S with the row maxima, or accumulates it into rescaled O."""

from itertools import pairwise

from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from ..config import CoreConfig
from ..emit import Leaf
from ..fp.countdown import countdown
from ..fp.maximum import Maximum
from ..fp.nets import net, register
from ..fp.word import ONE
from ..isa import FLAGS, LAYOUTS, Opcode
from ..issue.dispatch import EngineSignature
from ..softmax.lanes import AccumulateLane
from ..softmax.valid_columns import ValidColumns
from .completion import Completion

__all__ = ["Drain"]

_NEGATIVE_INFINITY = 0xFF800000


class Drain(wiring.Component):
    """Execute DRAIN_S and DRAIN_O, a lane group (m rows x ``lanes`` columns) per cycle.

    Each L0C fractal is read once and held for its n/lanes lane groups. Its bank may belong to the cube in a cycle:
    the drain reads it with its first lane group, which waits for the bank, or one cycle ahead of it where the bank
    is free, with the last lane group of the fractal before; so a cube that takes both banks in turn costs nothing.
    DRAIN_S writes them to S as they are and keeps the maximum of each row's valid columns, which starts from
    -inf (``first``) or from ROWMAX; masked columns do not count in it. DRAIN_O writes ``first ? PV :
    rescale(O) + PV`` back to O, through one accumulate lane per row and column; with ``first`` the lanes get -0 and a
    neutral offset.

    A word of O that is still in the pipeline is not read again: the lane group waits (``stall``) until the
    write has landed; likewise ROWMAX. So overlapping commands see each other's results in order. It also waits
    while the vector engine reads its bank of O.

    **Latency**: from a lane group's issue two cycles to the write of S, ``maximum_latency`` + 2 to that of ROWMAX,
    ``AccumulateLane.latency`` + 2 to that of O; ``done`` one cycle after the longer of the last two.

    **Throughput**: a lane group per cycle, also from one command to the next, except for the waits above.

    Parameters
    ----------
    config: core configuration

    Members
    -------
    start, done, stall, fault, fault_code: engine protocol
    l0c, l0c_ready: read port of L0C, used only while its bank is free
    s:       write port of S
    rowmax_read, rowmax_write: ports of ROWMAX
    offsets: read port of OFFSETS; not read with ``first``
    o_read, o_ready, o_write: ports of O; ``o_read`` is not used with ``first``, and only while its bank is free

    Faults
    ------
    BAD_FIELD: ``mt`` or ``nt`` is zero. BUFFER_OVERRUN: a word of L0C, S, ROWMAX, O or OFFSETS past the
    buffer's end.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        self.maximum_latency = max(ceil_log2(config.lanes), 1)  # a cycle for each level of the tree
        rowmax = {"addr_width": ceil_log2(config.state_words), "shape": config.m * 32}
        s = {"addr_width": ceil_log2(config.s_words), "shape": config.m * config.lanes * 32}
        o = {"addr_width": ceil_log2(config.o_words), "shape": config.m * config.lanes * 32}
        super().__init__({
            **dict(EngineSignature.members.items()),
            "l0c": In(memory.ReadPort.Signature(addr_width=ceil_log2(config.l0c_words),
                                                shape=config.m * config.n * 32)),
            "l0c_ready": In(1),
            "s": In(memory.WritePort.Signature(**s)),
            "rowmax_read": In(memory.ReadPort.Signature(**rowmax)),
            "rowmax_write": In(memory.WritePort.Signature(**rowmax)),
            "offsets": In(memory.ReadPort.Signature(addr_width=ceil_log2(config.state_words),
                                                    shape=config.m * 32 << config.comp_bits)),
            "o_read": In(memory.ReadPort.Signature(**o)),
            "o_ready": In(1),
            "o_write": In(memory.WritePort.Signature(**o)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        rows, lanes = config.m, config.lanes
        groups = config.n // lanes  # lane groups of a fractal
        units = [[Leaf(AccumulateLane(mode=config.mode, comp_bits=config.comp_bits)) for _ in range(lanes)]
                 for _ in range(rows)]
        latency = units[0][0].component.latency
        m.submodules.completion = completion = Completion()
        m.submodules.limits = limits = ValidColumns(rows)
        m.d.comb += [
            self.done.eq(completion.done), self.fault.eq(completion.fault),
            self.fault_code.eq(completion.fault_code),
        ]

        # DRAIN_S and DRAIN_O have the same fields up to the mask: destination, pitch, row word.
        layout = LAYOUTS[Opcode.DRAIN_S]
        incoming = data.View(layout, self.start.payload)
        command = Signal(layout)
        active = Signal()
        to_o = command.header.opcode == Opcode.DRAIN_O
        first = command.header.flags[FLAGS[Opcode.DRAIN_S]["first"]]

        # One bit wider than the fields: an address stops at the depth of its buffer, and a row of words
        # starts at most one pitch later.
        fractal, target, target_row, state = (
            Signal(17, name=name) for name in ("fractal", "target", "target_row", "state"))
        group = Signal(range(max(groups, 2)))  # not of zero bits, which Verilog lacks
        column_group = Signal(16 + ceil_log2(groups))  # inside the row
        last_group = group == groups - 1
        issue, accept = Signal(), Signal()
        row_start, row_end = Signal(), Signal()
        last_column = countdown(m, incoming.nt, start=accept, step=issue & last_group, name="columns")
        last = row_end & countdown(m, incoming.mt, start=accept, step=issue & row_end, name="rows")
        m.d.comb += row_end.eq(last_group & last_column)
        next_row = target_row + command.s_pitch

        bad = active & ((command.mt == 0) | (command.nt == 0))
        overrun = active & ((fractal >= config.l0c_words)
                            | (target >= Mux(to_o, config.o_words, config.s_words))
                            | ((state >= config.state_words) & ~(to_o & first)))

        # Stage 0 holds the output of L0C and O, stage 1 the lanes' operands. O is written from stage `latency` + 1; S
        # from stage 1, ROWMAX is read in stage `maximum_latency` - 1 and written two stages later.
        step = data.StructLayout({"last": 1, "to_o": 1, "first": 1, "row_start": 1, "row_end": 1,
                                  "group": len(group), "target": 16, "state": 16})
        stages = [Signal(step, name=f"stage_{index}")
                  for index in range(max(latency, self.maximum_latency) + 2)]
        valid = Signal(len(stages))
        o_in_flight = Cat(valid[index] & stage.to_o & (stage.target == target[:16])
                          for index, stage in enumerate(stages[:latency + 2])).any()
        rowmax_in_flight = Cat(valid[index] & ~stage.to_o & (stage.state == state[:16])
                               for index, stage in enumerate(stages[:2])).any()
        hazard = Mux(to_o, o_in_flight, row_start & ~first & rowmax_in_flight)
        reads_o = to_o & ~first
        ready = active & ~bad & ~overrun

        # The fractal of the next lane group is held, or on its way; a read then is of the fractal behind it.
        loaded = Signal()
        source = Signal(17)
        fetch = ready & (source < config.l0c_words) & (~loaded | (issue & last_group & ~last)) & self.l0c_ready
        m.d.comb += [
            source.eq(Mux(loaded, fractal + 1, fractal)),
            self.l0c.addr.eq(source), self.l0c.en.eq(fetch),
        ]
        with m.If(issue & last_group):
            m.d.sync += loaded.eq(loaded & fetch)
        with m.Elif(fetch):
            m.d.sync += loaded.eq(1)

        m.d.comb += [
            issue.eq(ready & ~hazard & (loaded | self.l0c_ready) & (~reads_o | self.o_ready)),
            self.stall.eq(ready & ~issue),
            completion.bad_field.eq(bad),
            completion.overrun.eq(overrun),
            completion.accept.eq(accept),
            self.start.ready.eq(completion.open & (~active | (issue & last))),
            accept.eq(self.start.valid & self.start.ready),
            limits.start.eq(accept),
            limits.advance.eq(issue & row_end),
            limits.head0.eq(incoming.head0),
            limits.limit.eq(command.limit),
            limits.heads.eq(incoming.heads),
        ]
        with m.If(issue):
            m.d.sync += [group.eq(group + 1), column_group.eq(column_group + 1), target.eq(target + 1),
                         row_start.eq(row_end)]
            with m.If(last_group):
                m.d.sync += [group.eq(0), fractal.eq(fractal + 1)]
            with m.If(row_end):
                m.d.sync += [column_group.eq(0), state.eq(state + 1), target.eq(next_row), target_row.eq(next_row)]
            with m.If(last):
                m.d.sync += active.eq(0)
        with m.If(accept):
            m.d.sync += [
                active.eq(1), command.eq(incoming), row_start.eq(1), group.eq(0), column_group.eq(0),
                fractal.eq(incoming.l0c), target.eq(incoming.s), target_row.eq(incoming.s),
                state.eq(incoming.rowmax),
            ]
        m.d.comb += [
            self.o_read.addr.eq(target), self.o_read.en.eq(issue & reads_o),
            self.offsets.addr.eq(state), self.offsets.en.eq(issue & reads_o & row_start),
        ]
        m.d.sync += [
            valid.eq(Cat(issue, valid)),
            stages[0].last.eq(last), stages[0].to_o.eq(to_o), stages[0].first.eq(first),
            stages[0].row_start.eq(row_start), stages[0].row_end.eq(row_end), stages[0].group.eq(group),
            stages[0].target.eq(target), stages[0].state.eq(state),
            *(after.eq(before) for before, after in pairwise(stages)),
        ]
        m.d.comb += [
            completion.finish.eq(valid[-1] & stages[-1].last),
            completion.empty.eq(~valid.any()),
        ]

        # Element (row, lane) of the lane group in stage 0, from the fractal just read or from the one held; a fractal
        # read ahead arrives together with the last lane group of the one before it.
        arrives, direct = Signal(), Signal()
        held = Signal(self.l0c.data.shape(), reset_less=True)
        m.d.sync += [arrives.eq(fetch), direct.eq(fetch & ~loaded)]
        with m.If(arrives):
            m.d.sync += held.eq(self.l0c.data)
        word = net(m, Mux(direct, self.l0c.data, held), name="word")
        scores = [[Array(word.word_select(row * config.n + index * lanes + lane, 32)
                         for index in range(groups))[stages[0].group] for lane in range(lanes)]
                  for row in range(rows)]
        values = register(m, Cat(scores), name="values")
        self._accumulate(m, units, values, stages, valid)
        self._score(m, values, stages, valid, limits.columns, column_group)
        return m

    def _accumulate(self, m, units, values, stages, valid):
        """O <- rescale(O) + PV."""
        lanes, offset_bits = self.config.lanes, 32 << self.config.comp_bits
        before, leaving = stages[0], 1 + units[0][0].component.latency
        neutral = Const(ONE if self.config.mode == "mul" else 0, 32)
        o = register(m, Mux(before.first, Const(1 << 31, 32).replicate(len(self.o_read.data) // 32), self.o_read.data),
                     name="o")
        offsets = register(m, Mux(before.first, neutral.replicate(len(self.offsets.data) // 32), self.offsets.data),
                           name="offsets_read")
        for row, line in enumerate(units):
            for lane, unit in enumerate(line):
                m.submodules[f"lane_{row}_{lane}"] = unit
                m.d.comb += [
                    unit.o.eq(o.word_select(row * lanes + lane, 32)),
                    unit.pv.eq(values.word_select(row * lanes + lane, 32)),
                    unit.offsets.eq(offsets.word_select(row, offset_bits)),
                ]
        m.d.comb += [
            self.o_write.addr.eq(stages[leaving].target),
            self.o_write.data.eq(Cat(unit.y for line in units for unit in line)),
            self.o_write.en.eq(valid[leaving] & stages[leaving].to_o),
        ]

    def _score(self, m, values, stages, valid, limits, column_group):
        """S <- scores, and the running maximum of each row's valid columns."""
        lanes = self.config.lanes
        lane_bits = ceil_log2(lanes)
        reads = self.maximum_latency - 1
        asking, arriving, updating = stages[reads:reads + 3]
        column = Signal.like(column_group)  # of the lane group in stage 0
        m.d.sync += column.eq(column_group)
        m.d.comb += [
            self.s.addr.eq(stages[1].target),
            self.s.data.eq(values),
            self.s.en.eq(valid[1] & ~stages[1].to_o),
            self.rowmax_read.addr.eq(asking.state),
            self.rowmax_read.en.eq(valid[reads] & ~asking.to_o & asking.row_start & ~asking.first),
        ]
        maxima = []
        for row in range(self.config.m):
            candidates = []
            for lane in range(lanes):
                counts = Signal(name=f"counts_{row}_{lane}", reset_less=True)  # in stage 1
                m.d.sync += counts.eq(Cat(Const(lane, lane_bits), column) < limits[row])
                candidates.append(Mux(counts, values.word_select(row * lanes + lane, 32), _NEGATIVE_INFINITY))
            best = self._tree(m, candidates, f"maximum_{row}")  # of the lane group that is updating
            running = Signal(32, name=f"running_{row}", reset_less=True)
            m.submodules[f"running_maximum_{row}"] = update = Maximum()
            m.d.comb += [update.a.eq(running), update.b.eq(best)]
            with m.If(valid[reads + 1] & arriving.row_start):
                m.d.sync += running.eq(Mux(arriving.first, _NEGATIVE_INFINITY,
                                           self.rowmax_read.data.word_select(row, 32)))
            with m.Elif(valid[reads + 2]):
                m.d.sync += running.eq(update.y)
            maxima.append(update.y)
        m.d.comb += [
            self.rowmax_write.addr.eq(updating.state),
            self.rowmax_write.data.eq(Cat(maxima)),
            self.rowmax_write.en.eq(valid[reads + 2] & ~updating.to_o & updating.row_end),
        ]

    @staticmethod
    def _tree(m, values, name):
        """Maximum of ``values`` by a balanced tree of comparators, a register behind each level."""
        level = 0
        if len(values) == 1:
            return register(m, values[0], name=name)
        while len(values) > 1:
            parents = []
            for index in range(0, len(values), 2):
                m.submodules[f"{name}_{level}_{index // 2}"] = node = Maximum()
                m.d.comb += [node.a.eq(values[index]), node.b.eq(values[index + 1])]
                parents.append(register(m, node.y, name=f"{name}_{level}_{index // 2}_y"))
            values, level = parents, level + 1
        return values[0]
