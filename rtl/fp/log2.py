"""log2. Golden twin, and the algorithm step by step: ``amla.model.fp.log2``."""

from amaranth import C, Cat, Module, Mux, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amla.model.fp.tables import LOG2

from .nets import net, register
from .product import product
from .quadratic import Quadratic
from .word import FP32, normalise, round_word, unpack

__all__ = ["Log2"]

#: Fraction bits of t = m − 1, and of the exact result before its rounding.
_T_BITS = FP32.fraction_bits + 1
_POINT = _T_BITS + LOG2.value_bits


class Log2(wiring.Component):
    """y = log2(x): faithful, monotonic, exact for powers of two; −inf for ±0, NaN below.

    **Latency:** 11 cycles. **Throughput:** one result per cycle.

    Stages: the five of :class:`Quadratic`; products, then in two steps the sum of e + t·g; magnitude; normalise;
    round.

    Members
    -------
    x : In(32), FP32 word
    y : Out(32), FP32 word
    """

    x: In(32)
    y: Out(32)

    latency = Quadratic.latency + 6

    def elaborate(self, platform):
        m = Module()
        m.submodules.quadratic = quadratic = Quadratic(table=LOG2)
        x = unpack(m, self.x, FP32, name="x")
        fraction = self.x[:FP32.fraction_bits]
        m.d.comb += [quadratic.index.eq(fraction[LOG2.u_bits:]), quadratic.u.eq(fraction)]
        flags = Cat(x.nan | (x.sign & ~x.zero), x.zero, x.inf)
        special = register(m, flags, name="special", cycles=self.latency - 1)

        # x = 2^e·(1 + t) with t in [−1/4, 1/2).
        upper = fraction[-1]
        t = Mux(upper, fraction - 2**FP32.fraction_bits, Cat(C(0, 1), fraction))
        t = register(m, t, shape=_T_BITS, name="t", cycles=Quadratic.latency)
        e = register(m, x.exponent + upper - FP32.bias, shape=9, name="e", cycles=Quadratic.latency)

        # t's top bit weighs less than nothing.
        width = 8 + _POINT
        half = FP32.fraction_bits // 2
        low = register(m, product(m, t[:half], quadratic.v, name="digit"), name="low", shape=half + LOG2.value_bits + 1)
        top = register(m, Cat(C(0, LOG2.value_bits + 1), e) - Mux(t[-1], quadratic.v, 0), name="top",
                       shape=LOG2.value_bits + 10)
        high = register(m, product(m, t[half:-1], quadratic.v, name="high") + Cat(C(0, _T_BITS - 1 - half), top),
                        name="high", shape=width + 1 - half)
        exact = register(m, low + Cat(C(0, half), high), shape=width + 1, name="exact")

        magnitude = register(m, Mux(exact[-1], -exact, exact), shape=width, name="magnitude")
        # |log2(x)| is 0 or above 2^−24.
        normal, count = normalise(m, magnitude, name="normal", most=8 + _T_BITS - 1)
        sign = register(m, exact[-1], name="sign", cycles=2)
        significand = register(m, normal, name="significand")
        count = register(m, count, name="count")

        exponent = net(m, FP32.bias + width - 1 - _POINT - count, shape=signed(9), name="exponent")
        rounded = round_word(m, sign, exponent, significand, FP32, name="round")
        finite = Mux(significand[-1], rounded, 0)
        infinite = special[1:]
        infinity = Cat(C(FP32.infinity, 31), special[1])
        result = Mux(special[0], FP32.nan, Mux(infinite != 0, infinity, finite))
        m.d.comb += self.y.eq(register(m, result, name="result"))
        return m
