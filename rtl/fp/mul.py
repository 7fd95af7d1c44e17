"""Multiplication: FP32 × FP32 → FP32, FP32 × a narrower format → that format, and FP32 × e4m3 → BF16.

Golden twin: ``amla.model.fp.mul``.
"""

from dataclasses import replace

from amaranth import C, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .nets import net, register
from .product import product
from .word import BF16, FP32, Format, round_word, unpack, word_of

__all__ = ["Dequantize", "Mul", "MulNarrow"]

#: FP8 of a KV cache; its highest exponent is an ordinary one but for NaN.
_E4M3 = Format(name="e4m3", exponent_bits=4, fraction_bits=3, subnormals=True)


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


class Dequantize(wiring.Component):
    """y = code · scale, or half of that, of an e4m3 code (no infinity; NaN 0x7F and 0xFF): ``mul_bf16`` of its value.

    **Latency:** 4 cycles. **Throughput:** one result per cycle.

    Stages: the code as a BF16 word; then those of :class:`MulNarrow`, with a significand of four bits.

    Members
    -------
    scale : In(32), FP32 word
    halve : In(1), take half of the code's value: with scale = 2^-126 that is the smallest e8m0 scale
    code :  In(8)
    y :     Out(16), BF16 word
    """

    scale: In(32)
    halve: In(1)
    code: In(8)
    y: Out(16)

    latency = 4

    def elaborate(self, platform):
        m = Module()
        view = data.View(_E4M3.layout, self.code)
        fraction, exponent = Signal(_E4M3.fraction_bits), Signal(BF16.exponent_bits)
        one = BF16.bias - _E4M3.bias + 1  # BF16's field where e4m3's is 1, or 0 before normalisation
        m.d.comb += [fraction.eq(view.fraction), exponent.eq(view.exponent + (one - 1) - self.halve)]
        with m.If(view.exponent == 0):
            with m.If(view.fraction == 0):
                m.d.comb += exponent.eq(0)
            for shift in range(1, _E4M3.fraction_bits + 1):  # the top bit moves to the place of the leading one
                with m.Elif(view.fraction[-shift]):
                    m.d.comb += [fraction.eq(view.fraction << shift), exponent.eq(one - shift - self.halve)]
        with m.If(self.code[:-1].all()):
            m.d.comb += exponent.eq(BF16.special)
        value = register(m, Cat(C(0, BF16.fraction_bits - _E4M3.fraction_bits), fraction, exponent, view.sign),
                         name="value")
        scale = register(m, self.scale, name="scale_1")
        m.d.comb += self.y.eq(register(m, _product(m, scale, FP32, value, BF16, BF16), name="word"))
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
