"""Expands the program's halfwords to commands."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..isa import COMMAND_BITS, GIVEN, HALFWORD_BITS, REFERENCES, reference

__all__ = ["Unpack"]


class Unpack(wiring.Component):
    """Commands of 256 bits from a program in memory, as :mod:`amla.rtl.isa` describes it.

    The last command of every reference is kept in a memory of its own; after a reset all count as zeros.

    **Latency**: one cycle from a command's last halfword. **Throughput**: a command every 2 + max(1, g) cycles, where
    g counts the halfwords that it gives.

    Members
    -------
    halfword: the program
    command:  the commands in order
    """

    halfword: In(stream.Signature(HALFWORD_BITS))
    command: Out(stream.Signature(COMMAND_BITS))

    def elaborate(self, platform):
        m = Module()
        kept_bits = GIVEN * HALFWORD_BITS
        m.submodules.last = last = memory.Memory(shape=kept_bits, depth=REFERENCES, init=[])
        read, write = last.read_port(), last.write_port()
        seen = Signal(REFERENCES)

        head = Signal(HALFWORD_BITS)
        which = Signal(range(REFERENCES))
        given = Signal(GIVEN)  # what is still to come
        fresh = Signal()  # nothing of it has come yet
        rest = [Signal(HALFWORD_BITS, name=f"rest_{i}") for i in range(GIVEN)]
        # A whole command says that it gives all.
        m.d.comb += self.command.payload.eq(Cat(head, Const((1 << GIVEN) - 1, HALFWORD_BITS), *rest))
        taken = Signal()
        lowest = Signal(GIVEN)
        m.d.comb += [
            taken.eq(self.halfword.valid & self.halfword.ready),
            lowest.eq(given & -given),
            which.eq(reference(head)),
            read.addr.eq(which), read.en.eq(0),
            write.addr.eq(which), write.data.eq(Cat(rest)),
        ]
        with m.FSM():
            with m.State("HEAD"):
                m.d.comb += self.halfword.ready.eq(1)
                with m.If(taken):
                    m.d.sync += head.eq(self.halfword.payload)
                    m.next = "GIVEN"
            with m.State("GIVEN"):
                m.d.comb += [self.halfword.ready.eq(1), read.en.eq(taken)]
                with m.If(taken):
                    m.d.sync += [given.eq(self.halfword.payload), fresh.eq(1)]
                    m.next = "REST"
            with m.State("REST"):
                m.d.comb += self.halfword.ready.eq(given.any())
                m.d.sync += fresh.eq(0)
                with m.If(fresh):
                    known = seen.bit_select(which, 1)
                    for i, halfword in enumerate(rest):
                        with m.If(~given[i]):
                            m.d.sync += halfword.eq(Mux(known, read.data.word_select(i, HALFWORD_BITS), 0))
                with m.If(taken):
                    m.d.sync += given.eq(given ^ lowest)
                    for i, halfword in enumerate(rest):
                        with m.If(lowest[i]):
                            m.d.sync += halfword.eq(self.halfword.payload)
                with m.If((given == 0) | (taken & (given == lowest))):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += [self.command.valid.eq(1), self.halfword.ready.eq(self.command.ready)]
                with m.If(self.command.ready):
                    m.d.comb += write.en.eq(1)
                    m.d.sync += seen.eq(seen | (1 << which))
                    m.next = "HEAD"
                with m.If(taken):
                    m.d.sync += head.eq(self.halfword.payload)
                    m.next = "GIVEN"
        return m
