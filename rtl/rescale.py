"""The rescale word operation: MUL by ADD. Golden twin: ``amla.model.rescale``."""

from amaranth import Array, C, Cat, Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .fp.nets import net
from .fp.word import FP32, pack

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
        offsets = Array(self.offsets.word_select(s, 32) for s in range(1 << self.comp_bits))
        segment = x.fraction[FP32.fraction_bits - self.comp_bits:]
        offset = net(m, offsets[segment], shape=signed(32), name="offset")
        total = net(m, self.x[:31] + offset, name="total")
        with m.If(x.exponent == FP32.special):
            m.d.comb += self.y.eq(self.x)
        with m.Elif(x.exponent == 0):
            m.d.comb += self.y.eq(Cat(C(0, 31), x.sign))
        with m.Else():
            m.d.comb += self.y.eq(pack(m, x.sign, total, FP32, name="packed"))
        return m
