"""Cube engine (Ascend: M): multiplies fractals of L0A and L0B into L0C, one triple per cycle."""

from itertools import pairwise

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..config import CoreConfig
from ..emit import Leaf
from ..fp.countdown import countdown
from ..fp.fdpa import Fdpa, decode_row
from ..fp.nets import net
from ..isa import FLAGS, LAYOUTS, Opcode
from ..issue.dispatch import EngineSignature
from .completion import Completion

__all__ = ["Cube"]


class Cube(wiring.Component):
    """Execute MMAD: ``L0C[mi, ni] (+)= L0A[ki, mi] . L0B[ki, ni]^T`` with m x n dot units of depth k.

    What L0A holds is Q or, with the flag ``weights``, P: each row of units has the decoders of both.

    Fractals are issued with ki outermost and ni innermost. The interlock delays an issue whose L0C word is
    still in the pipeline (``stall``), so a command is right for any size; a tile of at least
    ``Fdpa.latency`` + 2 words never waits. The next command is accepted with the issue of the last triple and
    follows it without a bubble.

    **Latency**: ``Fdpa.latency`` + 1 cycles from the issue of a triple to the write of its L0C word; one more
    to ``done``.

    **Throughput**: a triple per cycle.

    Parameters
    ----------
    config: core configuration

    Members
    -------
    start, done, stall, fault, fault_code: engine protocol
    active: a fractal triple issues in this cycle
    l0a, l0b: read ports of L0A and L0B
    l0c_read, l0c_write: ports of L0C

    Faults
    ------
    BAD_FIELD: ``mt``, ``nt`` or ``kt`` is zero. BUFFER_OVERRUN: a word of L0A, L0B or L0C past the
    buffer's end.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        l0c = {"addr_width": ceil_log2(config.l0c_words), "shape": config.m * config.n * 32}
        super().__init__({
            **dict(EngineSignature.members.items()),
            "active": Out(1),
            "l0a": In(memory.ReadPort.Signature(addr_width=ceil_log2(config.l0a_words),
                                                shape=config.m * config.k * 16)),
            "l0b": In(memory.ReadPort.Signature(addr_width=ceil_log2(config.l0b_words),
                                                shape=config.n * config.k * 16)),
            "l0c_read": In(memory.ReadPort.Signature(**l0c)),
            "l0c_write": In(memory.WritePort.Signature(**l0c)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        units = [[Leaf(Fdpa(k=config.k, acc_frac_bits=config.acc_frac_bits, format=config.operand,
                            p_format=config.p))
                  for _ in range(config.n)] for _ in range(config.m)]
        latency = units[0][0].component.latency
        m.submodules.completion = completion = Completion()
        m.d.comb += [
            self.done.eq(completion.done), self.fault.eq(completion.fault),
            self.fault_code.eq(completion.fault_code),
        ]

        layout = LAYOUTS[Opcode.MMAD]
        incoming = data.View(layout, self.start.payload)
        command = Signal(layout)
        active = Signal()

        # Fractals (ki, mi) of L0A and (ki, ni) of L0B follow each other in the order of the loops, except
        # that L0B starts its row again for every mi, and L0C its tile for every ki. One bit wider than the
        # fields: an address stops at the depth of its buffer, at most 2^16.
        a, b, b_row, c = (Signal(17, name=name) for name in ("a", "b", "b_row", "c"))
        issue, accept = Signal(), Signal()
        first_k, last_mn = Signal(), Signal()
        last_n = countdown(m, incoming.nt, start=accept, step=issue, name="n")
        last_m = countdown(m, incoming.mt, start=accept, step=issue & last_n, name="m")
        last_k = countdown(m, incoming.kt, start=accept, step=issue & last_mn, name="k")
        m.d.comb += last_mn.eq(last_m & last_n)
        last = last_k & last_mn

        # Stage 0 holds the memories' output, stage `latency` the write port.
        step = data.StructLayout({"last": 1, "reads": 1, "c": ceil_log2(config.l0c_words)})
        stages = [Signal(step, name=f"stage_{index}") for index in range(latency + 1)]
        valid = Signal(latency + 1)
        # Whether the word of L0C is on its way through the dot units is known ahead: for the word that follows if this
        # one is issued, and for this one if it waits.
        following = Signal.like(c)
        in_flight = Signal()

        def on_its_way(word):
            return Cat(valid[index] & (stage.c == word[:len(stage.c)]) for index, stage in enumerate(stages[:-1])).any()

        m.d.comb += following.eq(Mux(~active | last, incoming.l0c, Mux(last_mn, command.l0c, c + 1)))
        m.d.sync += in_flight.eq(Mux(issue | ~active, on_its_way(following) | (issue & (c == following)),
                                     on_its_way(c)))
        reads = command.header.flags[FLAGS[Opcode.MMAD]["accumulate"]] | ~first_k
        bad = active & ((command.mt == 0) | (command.nt == 0) | (command.kt == 0))
        overrun = active & ((a >= config.l0a_words) | (b >= config.l0b_words) | (c >= config.l0c_words))
        ready = active & ~bad & ~overrun
        m.d.comb += [
            issue.eq(ready & ~in_flight),
            self.active.eq(issue),
            self.stall.eq(ready & in_flight),
            completion.bad_field.eq(bad),
            completion.overrun.eq(overrun),
            completion.accept.eq(accept),
            self.start.ready.eq(completion.open & (~active | (issue & last))),
            accept.eq(self.start.valid & self.start.ready),
        ]
        with m.If(issue):
            m.d.sync += [b.eq(b + 1), c.eq(c + 1)]
            with m.If(last_n):
                m.d.sync += [a.eq(a + 1), b.eq(b_row)]
            with m.If(last_mn):
                m.d.sync += [first_k.eq(0), b.eq(b + 1), b_row.eq(b + 1), c.eq(command.l0c)]
            with m.If(last):
                m.d.sync += active.eq(0)
        with m.If(accept):
            m.d.sync += [
                active.eq(1), command.eq(incoming), first_k.eq(1),
                a.eq(incoming.l0a), b.eq(incoming.l0b), b_row.eq(incoming.l0b), c.eq(incoming.l0c),
            ]
        m.d.comb += [
            self.l0a.addr.eq(a), self.l0b.addr.eq(b), self.l0c_read.addr.eq(c),
            self.l0a.en.eq(issue), self.l0b.en.eq(issue), self.l0c_read.en.eq(issue & reads),
        ]
        weights = Signal()
        m.d.sync += [
            valid.eq(Cat(issue, valid)),
            weights.eq(command.header.flags[FLAGS[Opcode.MMAD]["weights"]]),
            stages[0].last.eq(last), stages[0].reads.eq(reads), stages[0].c.eq(c),
            *(after.eq(before) for before, after in pairwise(stages)),
        ]

        addend = net(m, Mux(stages[0].reads, self.l0c_read.data, 0), name="addend")
        for i, row in enumerate(units):
            words = self.l0a.data.word_select(i, config.k * 16)
            elements = net(m, decode_row(words, weights, format=config.operand, p_format=config.p), name=f"a_{i}")
            for j, unit in enumerate(row):
                m.submodules[f"unit_{i}_{j}"] = unit
                m.d.comb += [
                    unit.a.eq(elements),
                    unit.b.eq(self.l0b.data.word_select(j, config.k * 16)),
                    unit.c.eq(addend.word_select(i * config.n + j, 32)),
                ]
        out = stages[-1]
        m.d.comb += [
            self.l0c_write.en.eq(valid[-1]),
            self.l0c_write.addr.eq(out.c),
            self.l0c_write.data.eq(Cat(unit.y for row in units for unit in row)),
            completion.finish.eq(valid[-1] & out.last),
            completion.empty.eq(~valid.any()),
        ]
        return m
