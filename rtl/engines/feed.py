"""Feed engine (Ascend: MTE1): copies fractals from L1 to L0A and L0B, transposing V on the way."""

from itertools import pairwise

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..config import CoreConfig
from ..fp.countdown import countdown
from ..isa import FLAGS, LAYOUTS, Opcode
from ..issue.dispatch import EngineSignature
from .completion import Completion

__all__ = ["Feed"]

#: L1 addresses: the field's 24 bits, and room for one stride past the last word before the overrun is seen.
_ADDRESS_BITS = 25


class Feed(wiring.Component):
    """Execute FEED_A and FEED_B: strided reads of L1, consecutive writes of L0A or L0B.

    Every word read goes through a ring of two k x k blocks, k/n words each, and leaves it k/n cycles later:
    as it came, or, with ``transpose``, as a slice of columns of its block. So the two kinds of command share
    the pipeline in order and never meet at a write port.

    **Latency**: k/n + 1 cycles from the read of a word to the write in its place; one more to ``done``.

    **Throughput**: a word per cycle, also from one command to the next. Before a transposing command up to
    k/n - 1 cycles are lost (and counted as ``stall``) until the ring is at a block boundary.

    Parameters
    ----------
    config: core configuration

    Members
    -------
    start, done, stall, fault, fault_code: engine protocol
    l1:     read ports of the banks of L1; word w is in bank w mod banks at address w div banks
    l1_free: no bank is read in this cycle
    l0a:    write port of L0A
    l0b:    write port of L0B

    Faults
    ------
    BAD_FIELD: ``outer`` or ``inner`` is zero. BUFFER_OVERRUN: a word of L1, L0A or L0B past the buffer's end.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        self._word_bits = max(config.m, config.n) * config.k * 16
        super().__init__({
            **dict(EngineSignature.members.items()),
            "l1": In(memory.ReadPort.Signature(addr_width=ceil_log2(config.l1_words // config.l1_banks),
                                               shape=self._word_bits)).array(config.l1_banks),
            "l1_free": Out(1),
            "l0a": In(memory.WritePort.Signature(addr_width=ceil_log2(config.l0a_words),
                                                 shape=config.m * config.k * 16)),
            "l0b": In(memory.WritePort.Signature(addr_width=ceil_log2(config.l0b_words),
                                                 shape=config.n * config.k * 16)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        group = config.k // config.n  # words of a k x k block
        bank_bits = ceil_log2(config.l1_banks)
        slot_bits = ceil_log2(group)
        m.submodules.completion = completion = Completion()
        m.d.comb += [
            self.done.eq(completion.done), self.fault.eq(completion.fault),
            self.fault_code.eq(completion.fault_code),
        ]

        # Command in the issue stage; FEED_A's fields are a prefix of FEED_B's.
        layout = LAYOUTS[Opcode.FEED_B]
        incoming = data.View(layout, self.start.payload)
        command = Signal(layout)
        active = Signal()
        side_a = command.header.opcode == Opcode.FEED_A
        transpose = command.header.flags[FLAGS[Opcode.FEED_B]["transpose"]] & ~side_a

        # Address generation: word (outer, inner, j), j counting the row groups of a block to transpose.
        address = Signal(_ADDRESS_BITS)
        inner_base = Signal(_ADDRESS_BITS)
        outer_base = Signal(_ADDRESS_BITS)
        l0 = Signal(17)
        j = Signal(range(max(group, 2)))  # not of zero bits, which Verilog lacks
        inner_next = inner_base + command.inner_stride
        outer_next = outer_base + command.outer_stride
        last_j = ~transpose | (j == group - 1)
        issue, accept = Signal(), Signal()
        last_inner, ends_inner = Signal(), Signal()
        m.d.comb += [
            last_inner.eq(last_j & countdown(m, incoming.inner, start=accept, step=issue & last_j, name="inner")),
            ends_inner.eq(issue & last_inner),
        ]
        last = last_inner & countdown(m, incoming.outer, start=accept, step=ends_inner, name="outer")

        # The ring position of the next word; a block to transpose starts at a block boundary.
        head = Signal(slot_bits + 1)
        aligned = ~transpose | (j != 0) | (head[:slot_bits] == 0)
        bad = active & ((command.outer == 0) | (command.inner == 0))
        overrun = active & ((address >= config.l1_words)
                            | (l0 >= Mux(side_a, config.l0a_words, config.l0b_words)))
        m.d.comb += [
            issue.eq(active & ~bad & ~overrun & aligned),
            completion.bad_field.eq(bad),
            completion.overrun.eq(overrun),
            completion.accept.eq(accept),
            self.start.ready.eq(completion.open & (~active | (issue & last))),
            accept.eq(self.start.valid & self.start.ready),
            self.stall.eq(active & ~bad & ~overrun & ~aligned),
        ]
        with m.If(issue):
            m.d.sync += [l0.eq(l0 + 1), j.eq(j + 1), address.eq(address + command.group_stride)]
            with m.If(last_j):
                m.d.sync += [j.eq(0), inner_base.eq(inner_next), address.eq(inner_next)]
            with m.If(last_inner):
                m.d.sync += [outer_base.eq(outer_next), inner_base.eq(outer_next), address.eq(outer_next)]
            with m.If(last):
                m.d.sync += active.eq(0)
        with m.If(accept):
            m.d.sync += [
                active.eq(1), command.eq(incoming), l0.eq(incoming.l0), j.eq(0),
                address.eq(incoming.l1), inner_base.eq(incoming.l1), outer_base.eq(incoming.l1),
            ]

        m.d.comb += self.l1_free.eq(~active)  # a register: who else reads L1 asks for it before it reads
        bank = Signal(max(bank_bits, 1))
        m.d.comb += bank.eq(address[:bank_bits])
        for index, port in enumerate(self.l1):
            m.d.comb += [port.addr.eq(address[bank_bits:]), port.en.eq(issue & (bank == index))]

        # What travels with a word: stage 0 is the memory's output, stage `group` the write port. The words of
        # a block are issued in successive cycles, so the first is due right after the last entered the ring.
        step = data.StructLayout({"last": 1, "side_a": 1, "transpose": 1, "l0": 16, "slot": slot_bits + 1})
        stages = [Signal(step, name=f"stage_{index}") for index in range(group + 1)]
        valid = Signal(group + 1)
        m.d.sync += [
            valid.eq(Cat(issue, valid)),
            stages[0].last.eq(last), stages[0].side_a.eq(side_a), stages[0].transpose.eq(transpose),
            stages[0].l0.eq(l0), stages[0].slot.eq(head),
            *(after.eq(before) for before, after in pairwise(stages)),
        ]

        with m.If(issue | self.stall):
            m.d.sync += head.eq(head + 1)

        read_bank = Signal.like(bank)
        m.d.sync += read_bank.eq(bank)
        word = Array(port.data for port in self.l1)[read_bank]
        ring = Array(Signal(self._word_bits, reset_less=True, name=f"ring_{slot}")
                     for slot in range(2 * group))
        with m.If(valid[0]):
            m.d.sync += ring[stages[0].slot].eq(word)

        out = stages[-1]
        plain = ring[out.slot]
        slices = Array(self._columns(ring, slot) for slot in range(2 * group))
        m.d.comb += [
            self.l0a.addr.eq(out.l0), self.l0b.addr.eq(out.l0),
            self.l0a.data.eq(plain),
            self.l0b.data.eq(Mux(out.transpose, slices[out.slot], plain)),
            self.l0a.en.eq(valid[-1] & out.side_a),
            self.l0b.en.eq(valid[-1] & ~out.side_a),
            completion.finish.eq(valid[-1] & out.last),
            completion.empty.eq(~valid.any()),
        ]
        return m

    def _columns(self, ring: Array, slot: int):
        """Word ``slot`` of the ring with its block transposed: row x is the block's column h * n + x."""
        n, k = self.config.n, self.config.k
        first, h = slot // (k // n) * (k // n), slot % (k // n)
        return Cat(ring[first + y // n].word_select(y % n * k + h * n + x, 16)
                   for x in range(n) for y in range(k))
