"""Fixed point with 32 fraction bits, in which the sums of a tile are exact.

Golden twin: ``amla.model.fp.fixed``.
"""

from amaranth import C, Cat, Module, Mux, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .nets import net, register
from .word import FP32, Format, normalise, round_word, unpack

__all__ = ["FRACTION_BITS", "FromFixed", "ToFixed"]

#: One is 2^FRACTION_BITS.
FRACTION_BITS = 32


class ToFixed(wiring.Component):
    """floor(|a|·2³²) for |a| in [0, 2); larger magnitudes, infinities and NaN saturate.

    **Latency:** none, combinational.

    Parameters
    ----------
    format: of a

    Members
    -------
    a :   In, word of the format
    y :   Out(33)
    nan : Out(1), a is NaN
    """

    latency = 0

    def __init__(self, *, format: Format = FP32):
        self.format = format
        super().__init__({"a": In(format.width), "y": Out(FRACTION_BITS + 1), "nan": Out(1)})

    def elaborate(self, platform):
        m = Module()
        a = unpack(m, self.a, self.format, name="a")
        width = len(self.y)
        wide = net(m, Cat(C(0, width - len(a.significand)), a.significand), name="wide")
        places = net(m, self.format.bias - a.exponent, shape=range(self.format.bias + 1), name="places")
        m.d.comb += [
            self.y.eq(Mux(a.exponent > self.format.bias, C(-1, width), Mux(places[6:].any(), 0, wide >> places[:6]))),
            self.nan.eq(a.nan),
        ]
        return m


class FromFixed(wiring.Component):
    """a·2⁻³² of an unsigned integer as an FP32 word, rounded once.

    **Latency:** 2 cycles. **Throughput:** one result per cycle.

    Parameters
    ----------
    width: bits of the integer

    Members
    -------
    a : In(width)
    y : Out(32), FP32 word

    Raises
    ------
    ValueError: ``width`` is outside [26, 64].
    """

    latency = 2

    def __init__(self, *, width: int = 48):
        if not 26 <= width <= 64:
            raise ValueError(f"width must be from 26 to 64, not {width!r}")
        self.width = width
        super().__init__({"a": In(width), "y": Out(32)})

    def elaborate(self, platform):
        m = Module()
        shifted, places = normalise(m, self.a, name="normal")
        normal = register(m, shifted, name="shifted")
        count = register(m, places, name="count")
        top = net(m, FP32.bias + self.width - 1 - FRACTION_BITS - count, shape=signed(10), name="top")
        rounded = round_word(m, C(0, 1), top, normal, FP32, name="round")
        m.d.comb += self.y.eq(register(m, Mux(normal[-1], rounded, 0), name="word"))
        return m
