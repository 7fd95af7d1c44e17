"""FP32 addition. Golden twin: ``amla.model.fp.add``."""

from amaranth import C, Cat, Module, Mux, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .nets import net, register
from .word import FP32, normalise, round_word, unpack

__all__ = ["Add"]

#: Bits kept below the larger significand: guard, round and sticky.
_EXTRA = 3


class Add(wiring.Component):
    """y = a + b, rounded once; a − b is a + (b with its sign inverted).

    **Latency:** 4 cycles. **Throughput:** one result per cycle.

    Stages: order by magnitude; align and add; normalise; round.

    Members
    -------
    a, b : In(32), FP32 words
    y :    Out(32), FP32 word
    """

    a: In(32)
    b: In(32)
    y: Out(32)

    latency = 4

    def elaborate(self, platform):
        m = Module()

        # Stage 1: the larger magnitude to the left. Subnormals may order as they like: they count as zeros.
        swap = net(m, self.a[:31] < self.b[:31], name="swap")
        large = unpack(m, net(m, Mux(swap, self.b, self.a), name="large"), FP32, name="large")
        small = unpack(m, net(m, Mux(swap, self.a, self.b), name="small"), FP32, name="small")
        subtract = net(m, large.sign ^ small.sign, name="subtract")
        nan = large.nan | (large.inf & small.inf & subtract)
        special = register(m, Cat(nan, large.inf), name="special", cycles=3)
        sign = register(m, Mux(large.zero, large.sign & small.sign, large.sign), name="sign")
        exponent = register(m, large.exponent, name="exponent", cycles=2)
        distance = register(m, (large.exponent - small.exponent)[:8], name="distance")
        left = register(m, large.significand, name="left")
        right = register(m, small.significand, name="right")
        subtract = register(m, subtract, name="subtract_1")
        zero = register(m, large.zero, name="zero", cycles=3)

        # Stage 2: align and add. Any bit lost below the guard bits is kept as one sticky bit.
        width = len(right) + _EXTRA
        shifted = net(m, Cat(C(0, width + _EXTRA), right) >> distance[:5], name="shifted")
        window = Cat(shifted[width] | (shifted[:width] != 0), shifted[width + 1:])
        aligned = net(m, Mux(distance[5:] == 0, window, right != 0), shape=width + 1, name="aligned")
        left = net(m, Cat(C(0, _EXTRA), left), name="left_wide")
        # One adder: a difference adds the complement and one, the carry out of an extra bit below.
        addend = net(m, Mux(subtract, ~aligned, aligned), name="addend")
        total = net(m, Cat(subtract, left) + Cat(subtract, addend), shape=width + 2, name="sum")
        total = register(m, total[1:], name="total")
        sign = register(m, sign, name="sign_2", cycles=2)

        # Stage 3: normalise. The top bit of ``total`` weighs twice the larger operand's.
        normal, count = normalise(m, total, name="normal")
        top = register(m, exponent + 1 - count, shape=signed(10), name="top")
        normal = register(m, normal, name="normal")

        # Stage 4: round.
        rounded = round_word(m, sign, top, normal, FP32, name="round")
        # A difference of equals is +0; a sum of zeros is −0 only if both are.
        finite = Mux(normal[-1], rounded, Cat(C(0, 31), sign & zero))
        infinity = Cat(C(FP32.infinity, 31), sign)
        word = Mux(special[0], FP32.nan, Mux(special[1], infinity, finite))
        m.d.comb += self.y.eq(register(m, word, name="word"))
        return m
