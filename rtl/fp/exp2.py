"""exp2. Golden twin, and the algorithm step by step: ``amla.model.fp.exp2``."""

from amaranth import C, Cat, Module, Mux, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amla.model.fp.tables import EXP2

from .nets import net, register
from .quadratic import Quadratic
from .word import FP32, unpack

__all__ = ["Exp2"]

#: Fraction bits of the argument in fixed point.
_POINT = EXP2.index_bits + EXP2.u_bits


class Exp2(wiring.Component):
    """y = 2^x: faithful, monotonic, exact for integers; zero below x = −126, infinity from 128 on.

    **Latency:** 7 cycles. **Throughput:** one result per cycle.

    Stages: the argument's magnitude in fixed point; the five of :class:`Quadratic`; round.

    Members
    -------
    x : In(32), FP32 word
    y : Out(32), FP32 word
    """

    x: In(32)
    y: Out(32)

    latency = 1 + Quadratic.latency + 1

    def elaborate(self, platform):
        m = Module()
        m.submodules.quadratic = quadratic = Quadratic(table=EXP2)
        x = unpack(m, self.x, FP32, name="x")

        # Fixed point: magnitudes below 2^7, that is exponents up to 133, truncated below the last bit.
        width = 7 + _POINT
        wide = net(m, Cat(C(0, width - len(x.significand)), x.significand), name="wide")
        places = net(m, FP32.bias + 6 - x.exponent, shape=8, name="places")
        magnitude = register(m, Mux(places[6:] == 0, wide >> places[:6], 0), shape=width, name="magnitude")
        huge = x.exponent >= FP32.bias + 7
        nan, high, low, negative = register(m, Cat(x.nan, huge & ~x.sign, huge & x.sign, x.sign), name="flags")

        fixed = net(m, Mux(negative, -magnitude, magnitude), shape=signed(width + 1), name="fixed")
        integer = net(m, fixed[_POINT:].as_signed(), name="integer")
        m.d.comb += [
            quadratic.index.eq(fixed[EXP2.u_bits:_POINT]),
            quadratic.u.eq(fixed[:EXP2.u_bits]),
        ]
        special = register(m, Cat(nan, high, low | negative & (integer < -126)), name="special",
                           cycles=Quadratic.latency)
        scale = register(m, integer + (FP32.bias - 1), shape=8, name="scale", cycles=Quadratic.latency)

        # The hidden bit of the significand adds the missing one to the exponent.
        value = quadratic.v
        rounded = net(m, (value + C(127, 7) + value[8]) >> 8, shape=25, name="rounded")
        word = net(m, (scale << FP32.fraction_bits) + rounded, shape=31, name="word")
        result = Mux(special[0], FP32.nan, Mux(special[1], FP32.infinity, Mux(special[2], 0, word)))
        m.d.comb += self.y.eq(register(m, result, name="result"))
        return m
