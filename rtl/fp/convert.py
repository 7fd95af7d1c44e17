"""Conversions of FP32 words, all combinational. Golden twin: ``amla.model.fp.convert``."""

from amaranth import C, Cat, Module, Mux, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .nets import net
from .word import BF16, FP32, Format, round_word, unpack

__all__ = ["Ceil", "Narrow", "Rint", "ToInt"]


class Narrow(wiring.Component):
    """The nearest word of a narrower format, ties to even.

    **Latency:** none, combinational.

    Parameters
    ----------
    format: of the result

    Members
    -------
    a : In(32), FP32 word
    y : Out(16), word of the format
    """

    latency = 0

    def __init__(self, *, format: Format = BF16):
        self.format = format
        super().__init__({"a": In(32), "y": Out(format.width)})

    def elaborate(self, platform):
        m = Module()
        a = unpack(m, self.a, FP32, name="a")
        exponent = net(m, a.exponent - (FP32.bias - self.format.bias), shape=signed(9), name="exponent")
        # Exponent field 0 with a fraction of 0 becomes zero and 255 saturates by themselves: only NaN is special.
        rounded = round_word(m, a.sign, exponent, Cat(a.significand[:-1], 1), self.format, name="round")
        m.d.comb += self.y.eq(Mux(a.nan, self.format.nan, rounded))
        return m


class Rint(wiring.Component):
    """The nearest integer, ties to even, as an FP32 word; zero results are +0, infinities pass.

    **Latency:** none, combinational.

    Members
    -------
    a : In(32), FP32 word
    y : Out(32), FP32 word
    """

    a: In(32)
    y: Out(32)

    latency = 0

    def elaborate(self, platform):
        m = Module()
        a = unpack(m, self.a, FP32, name="a")
        # With 1 to 23 fraction bits below the point the word itself is rounded there; a carry moves into the
        # exponent as it should. With 23 the bit above the point is the exponent's last, and 127 ends in the
        # hidden bit's 1.
        shift = net(m, 150 - a.exponent, shape=5, name="shift")
        below = net(m, (C(1, 24) << shift) - 1, shape=23, name="below")
        odd = (self.a[:24] >> shift)[0]
        moved = net(m, self.a[:31] + below[1:] + odd, shape=31, name="moved")
        rounded = Cat(moved & ~Cat(below, C(0, 8)), a.sign)
        with m.If(a.nan):
            m.d.comb += self.y.eq(FP32.nan)
        with m.Elif(a.exponent >= 150):
            m.d.comb += self.y.eq(self.a)
        with m.Elif(a.exponent >= 127):
            m.d.comb += self.y.eq(rounded)
        with m.Elif((a.exponent == 126) & (self.a[:23] != 0)):
            m.d.comb += self.y.eq(Cat(C(FP32.bias << 23, 31), a.sign))
        return m


class Ceil(wiring.Component):
    """The smallest integer not below, as an FP32 word; zero results are +0, infinities pass.

    **Latency:** none, combinational.

    Members
    -------
    a : In(32), FP32 word
    y : Out(32), FP32 word
    """

    a: In(32)
    y: Out(32)

    latency = 0

    def elaborate(self, platform):
        m = Module()
        a = unpack(m, self.a, FP32, name="a")
        # With 1 to 23 fraction bits below the point a positive word moves up unless they are all zero, a carry
        # moving into the exponent as it should; a negative one is truncated.
        shift = net(m, 150 - a.exponent, shape=5, name="shift")
        below = net(m, (C(1, 24) << shift) - 1, shape=23, name="below")
        moved = net(m, self.a[:31] + Mux(a.sign, 0, below), shape=31, name="moved")
        with m.If(a.nan):
            m.d.comb += self.y.eq(FP32.nan)
        with m.Elif(a.exponent >= 150):
            m.d.comb += self.y.eq(self.a)
        with m.Elif(a.exponent >= 127):
            m.d.comb += self.y.eq(Cat(moved & ~Cat(below, C(0, 8)), a.sign))
        with m.Elif(~a.zero & ~a.sign):
            m.d.comb += self.y.eq(FP32.bias << 23)
        return m


class ToInt(wiring.Component):
    """An integer-valued word as an integer, clamped to [−255, 0]; NaN gives 0. Fraction bits are dropped.

    **Latency:** none, combinational.

    Members
    -------
    a : In(32), FP32 word
    y : Out(signed(9))
    """

    a: In(32)
    y: Out(signed(9))

    latency = 0

    def elaborate(self, platform):
        m = Module()
        a = unpack(m, self.a, FP32, name="a")
        # Eight bits left of the point: exponents 127 to 134, that is 7 to 0 places to the right.
        places = net(m, 134 - a.exponent, shape=3, name="places")
        magnitude = net(m, a.significand[16:] >> places, name="magnitude")
        with m.If(a.sign & ~a.nan):
            with m.If(a.exponent >= 135):
                m.d.comb += self.y.eq(-255)
            with m.Elif(a.exponent >= 127):
                m.d.comb += self.y.eq(-magnitude)
        return m
