"""Reciprocal. Golden twin, and the algorithm step by step: ``amla.model.fp.recip``."""

from amaranth import C, Cat, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amla.model.fp.tables import RECIP

from .nets import net, register
from .quadratic import Quadratic
from .word import FP32, unpack

__all__ = ["Recip"]


class Recip(wiring.Component):
    """y = 1/x: faithful, monotonic, exact for powers of two; ±0 and ±inf become each other.

    **Latency:** 6 cycles. **Throughput:** one result per cycle.

    Members
    -------
    x : In(32), FP32 word
    y : Out(32), FP32 word
    """

    x: In(32)
    y: Out(32)

    latency = Quadratic.latency + 1

    def elaborate(self, platform):
        m = Module()
        m.submodules.quadratic = quadratic = Quadratic(table=RECIP)
        x = unpack(m, self.x, FP32, name="x")
        fraction = self.x[:FP32.fraction_bits]
        m.d.comb += [quadratic.index.eq(fraction[RECIP.u_bits:]), quadratic.u.eq(fraction)]
        # 254 − exponent is the result's exponent, or one more than it unless the fraction is zero.
        small = x.exponent + (fraction != 0) >= 2 * FP32.bias
        special = register(m, Cat(x.nan, x.zero, small), name="special", cycles=Quadratic.latency)
        sign = register(m, x.sign, name="sign", cycles=Quadratic.latency)
        scale = register(m, 2 * FP32.bias - 2 - x.exponent, shape=8, name="scale", cycles=Quadratic.latency)

        # The top bit of the significand adds one to the exponent, or two if the fraction is zero (v = 2^32).
        value = quadratic.v
        rounded = net(m, (value + C(127, 7) + value[8]) >> 8, shape=25, name="rounded")
        word = net(m, (scale << FP32.fraction_bits) + rounded, shape=31, name="word")
        body = net(m, Mux(special[1], FP32.infinity, Mux(special[2], 0, word)), name="body", shape=31)
        m.d.comb += self.y.eq(register(m, Mux(special[0], FP32.nan, Cat(body, sign)), name="result"))
        return m
