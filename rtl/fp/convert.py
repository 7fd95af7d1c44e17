"""Conversions of FP32 words. Golden twin: ``amla.model.fp.convert``."""

from amaranth import C, Cat, Module, Mux, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .nets import net, register
from .word import BF16, FP32, Format, Unpacked, round_word, unpack

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

    **Latency:** 1 cycle. **Throughput:** one result per cycle.

    Stages: the bits below the point; their addition, which follows the register.

    Members
    -------
    a : In(32), FP32 word
    y : Out(32), FP32 word
    """

    a: In(32)
    y: Out(32)

    latency = 1

    def elaborate(self, platform):
        m = Module()
        a = unpack(m, self.a, FP32, name="a")
        # With 1 to 23 fraction bits below the point the word itself is rounded there; a carry moves into the
        # exponent as it should. With 23 the bit above the point is the exponent's last, and 127 ends in the
        # hidden bit's 1.
        shift = net(m, 150 - a.exponent, shape=5, name="shift")
        below = register(m, (C(1, 24) << shift) - 1, shape=23, name="below")
        odd = register(m, (self.a[:24] >> shift)[0], name="odd")
        kept, rounds, ones = _classes(m, a, (a.exponent == 126) & (self.a[:23] != 0))
        word = register(m, self.a, name="word")
        moved = net(m, word[:31] + below[1:] + odd, shape=31, name="moved")
        m.d.comb += self.y.eq(_chosen(word, moved & ~Cat(below, C(0, 8)), kept, rounds, ones))
        return m


class Ceil(wiring.Component):
    """The smallest integer not below, as an FP32 word; zero results are +0, infinities pass.

    **Latency:** 1 cycle. **Throughput:** one result per cycle.

    Stages: the bits below the point; their addition, which follows the register.

    Members
    -------
    a : In(32), FP32 word
    y : Out(32), FP32 word
    """

    a: In(32)
    y: Out(32)

    latency = 1

    def elaborate(self, platform):
        m = Module()
        a = unpack(m, self.a, FP32, name="a")
        # With 1 to 23 fraction bits below the point a positive word moves up unless they are all zero, a carry
        # moving into the exponent as it should; a negative one is truncated.
        shift = net(m, 150 - a.exponent, shape=5, name="shift")
        below = register(m, (C(1, 24) << shift) - 1, shape=23, name="below")
        kept, rounds, ones = _classes(m, a, (a.exponent < 127) & ~a.zero & ~a.sign)
        word = register(m, self.a, name="word")
        moved = net(m, word[:31] + Mux(word[31], 0, below), shape=31, name="moved")
        m.d.comb += self.y.eq(_chosen(word, moved & ~Cat(below, C(0, 8)), kept, rounds, ones))
        return m


def _classes(m: Module, a: Unpacked, one: Value) -> Value:
    """Three bits, a cycle later: the word stays; has bits to round; becomes ±1 by ``one``."""
    whole = a.exponent >= 150
    return register(m, Cat(whole, ~whole & (a.exponent >= 127), one), name="classes")


def _chosen(word: Value, rounded: Value, kept: Value, rounds: Value, ones: Value) -> Value:
    """The result by the word's class, the canonical NaN for any; what has no class is +0."""
    nan = word[23:31].all() & (word[:23] != 0)
    magnitude = (Mux(kept, word[:31], 0) | Mux(rounds, rounded, 0) | Mux(ones, FP32.one, 0))[:31]
    return Mux(nan, FP32.nan, Cat(magnitude, word[31] & (kept | rounds | ones)))


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
