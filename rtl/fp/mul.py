"""Multiplication: FP32 × FP32 → FP32, and FP32 × a narrower format → that format.

Golden twin: ``amla.model.fp.mul``.
"""

from dataclasses import replace

from amaranth import C, Cat, Module, Mux, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .nets import net, register
from .product import product
from .word import BF16, FP32, Format, round_word, unpack, word_of

__all__ = ["Mul", "MulNarrow"]


class Mul(wiring.Component):
    """y = a · b, the exact product rounded once.

    **Latency:** 3 cycles. **Throughput:** one result per cycle.

    Members
    -------
    a, b : In(32), FP32 words
    y :    Out(32), FP32 word
    """

    a: In(32)
    b: In(32)
    y: Out(32)

    latency = 3

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.y.eq(register(m, _product(m, self.a, FP32, self.b, FP32, FP32), name="word"))
        return m


class MulNarrow(wiring.Component):
    """y = a · b, the exact product rounded once to b's format; a subnormal b counts as zero.

    **Latency:** 3 cycles. **Throughput:** one result per cycle.

    Parameters
    ----------
    format: of b and y

    Members
    -------
    a : In(32), FP32 word
    b : In(16), word of the format
    y : Out(16), word of the format
    """

    latency = 3

    def __init__(self, *, format: Format = BF16):
        self.format = format
        super().__init__({"a": In(32), "b": In(format.width), "y": Out(format.width)})

    def elaborate(self, platform):
        m = Module()
        flushing = replace(self.format, subnormals=False)
        m.d.comb += self.y.eq(register(m, _product(m, self.a, FP32, self.b, flushing, self.format), name="word"))
        return m


def _product(m: Module, a: Value, a_format: Format, b: Value, b_format: Format, y_format: Format) -> Value:
    """Word of a·b: one register stage after the multiplier; the rounded word is not registered.

    ``b`` and the result have the same bias.
    """
    left = unpack(m, a, a_format, name="a")
    right = unpack(m, b, b_format, name="b")
    nan = left.nan | right.nan | (left.inf & right.zero) | (left.zero & right.inf)
    special = register(m, Cat(nan, left.inf | right.inf, left.zero | right.zero), name="special", cycles=2)
    sign = register(m, left.sign ^ right.sign, name="sign", cycles=2)
    exponent = register(m, left.exponent + right.exponent, name="exponent", cycles=2)
    # Of a zero the significand does not matter.
    a, b = Cat(a[:a_format.fraction_bits], 1), Cat(b[:b_format.fraction_bits], 1)
    exact = register(m, product(m, a, b, name="digit"), name="product", shape=len(a) + len(b))

    # The product is in [1, 4): its top bit weighs two.
    high = exact[-1]
    top = net(m, exponent + high - FP32.bias, shape=signed(10), name="top")
    normal = net(m, Mux(high, exact, Cat(C(0, 1), exact[:-1])), name="normal")
    rounded = round_word(m, sign, top, normal, y_format, name="round")
    infinity, zero = (word_of(sign, C(body, y_format.magnitude_bits), y_format) for body in (y_format.infinity, 0))
    return Mux(special[0], y_format.nan, Mux(special[1], infinity, Mux(special[2], zero, rounded)))
