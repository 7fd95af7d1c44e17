"""The rescale word operation: MUL by ADD. Golden twin: ``amla.model.rescale``."""

from functools import reduce
from operator import or_

from amaranth import Cat, Module, Mux
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .fp.nets import net
from .fp.word import FP32

__all__ = ["Rescale"]


class Rescale(wiring.Component):
    """Multiply an FP32 word by 2^Δ·(1 + ε) with one integer addition to its exponent and fraction.

    **Latency:** none, combinational.

    The row's offset for the word's segment, its top ``comp_bits`` fraction bits, is added to bits 30:0.
    Zeros, infinities and NaN stay what they are (subnormals become zeros); a sum below the normal range is
    zero and one above it infinity, with x's sign. For ε = 0 this is the IEEE product x·2^Δ, flushed to zero.

    Parameters
    ----------
    comp_bits: index bits of the row offsets

    Members
    -------
    x :       In(32), FP32 word
    offsets : In(32·2^comp_bits), signed 32-bit offset of segment s in bits [32s, 32s + 32)
    y :       Out(32), FP32 word

    Raises
    ------
    ValueError: ``comp_bits`` is outside [0, 8].
    """

    latency = 0

    def __init__(self, *, comp_bits: int):
        if not 0 <= comp_bits <= 8:
            raise ValueError(f"comp_bits must be from 0 to 8, not {comp_bits!r}")
        self.comp_bits = comp_bits
        super().__init__({"x": In(32), "offsets": In(32 << comp_bits), "y": Out(32)})

    def elaborate(self, platform):
        m = Module()
        x = data.View(FP32.layout, self.x)
        bits = FP32.fraction_bits
        segment = x.fraction[bits - self.comp_bits:]
        # Gated words take fewer transistors than multiplexers.
        words = (self.offsets.word_select(s, 32) & (segment == s).replicate(32) for s in range(1 << self.comp_bits))
        offset = net(m, reduce(or_, words), name="offset")

        # The exponents' sum, and what becomes of it, for both carries out of the fractions' sum, which come late.
        low = net(m, x.fraction + offset[:bits], name="low")
        special = net(m, x.exponent == FP32.special, name="special")
        zero = net(m, x.exponent == 0, name="zero")
        negative = offset[31]
        answers = []
        for carry_in in range(2):
            # The sum is ``total`` less 2^8 if the offset is negative: a carry without a sign to cancel it is above
            # every word, a sign without a carry is below zero.
            total = net(m, x.exponent + offset[bits:31] + carry_in, name=f"total_{carry_in}", shape=1 + len(x.exponent))
            exponent, carry = total[:-1], total[-1]
            over = Mux(negative, carry & exponent.all(), carry | exponent.all())
            under = Mux(carry, negative & ~exponent.any(), negative | ~exponent.any())
            keep = net(m, ~(special | zero | over | under), name=f"keep_{carry_in}")
            ones = net(m, special | over & ~zero, name=f"ones_{carry_in}")
            answers.append(Cat(keep, ones, exponent))
        answer = net(m, Mux(low[-1], answers[1], answers[0]), name="answer")
        keep, ones, exponent = answer[0], answer[1], answer[2:]
        m.d.comb += self.y.eq(Cat(
            Mux(special, x.fraction, 0) | Mux(keep, low[:-1], 0),
            Mux(keep, exponent, 0) | ones.replicate(len(exponent)),
            x.sign,
        ))
        return m
