"""Proofs of rounding, against its definition: the nearest number of a format, of two the one with an even fraction."""

import types
from functools import partial

from amaranth import C, Cat, Module, Mux, Signal, Value, signed
from amaranth.hdl import Assert, Assume
from amaranth.lib.wiring import In
from amla.rtl.fp.fixed import FRACTION_BITS
from amla.rtl.fp.nets import net
from amla.rtl.fp.word import BF16, FP16, FP32, U6_10, Format
from amla.rtl.softmax.row_sums import SUM_BITS

from .proof import Bug, Proof, Wrapper

__all__ = ["NARROW", "PROOFS", "nearest"]

#: Formats that are narrower than FP32.
NARROW = (BF16, FP16, U6_10)


def nearest(m: Module, sign: Value, value: Value, exponent: Value, format: Format, *, name: str) -> Value:
    """Word of ±``value``·2^(``exponent`` − bias), rounded once: quotient, remainder, and what of the two decides.

    ``value`` is an unsigned integer, of any number of leading zeros; ``exponent`` the biased one of its lowest bit,
    signed and unbounded.
    """
    width, bits = len(value), format.fraction_bits
    lead = Signal(range(width), name=f"{name}_lead")  # the place of the leading one
    for place in range(width):
        with m.If(value[place]):
            m.d.comb += lead.eq(place)
    top, field = Signal(signed(14), name=f"{name}_top"), Signal(signed(14), name=f"{name}_exponent")
    m.d.comb += top.eq(exponent + lead)
    # One unit in the last place is 2^places of value·2^bits. Subnormals share that of exponent 1.
    places = Signal(range(2 * width), name=f"{name}_places")
    m.d.comb += places.eq(lead)
    if format.subnormals:
        below = Mux(top < 1, 1 - top, 0)
        m.d.comb += places.eq(lead + Mux(below > bits + 2, bits + 2, below))  # all of them less than half a unit
    scaled, quotient, remainder, rounded = (Signal(width + bits + 2, name=f"{name}_{part}")
                                            for part in ("scaled", "quotient", "remainder", "rounded"))
    unit = Signal(width + bits + 4, name=f"{name}_unit")
    m.d.comb += [
        scaled.eq(value << bits), unit.eq(1 << places),
        quotient.eq(scaled >> places), remainder.eq(scaled & (unit - 1)),
        rounded.eq(quotient + ((remainder << 1 > unit) | (remainder << 1 == unit) & quotient[0])),
        field.eq(top + rounded[bits + 1]),  # rounded up to the next power of two, whose fraction is 0
    ]
    magnitude = Signal(format.magnitude_bits, name=f"{name}_magnitude")
    with m.If(value == 0):
        m.d.comb += magnitude.eq(0)
    with m.Elif(field >= format.special):
        m.d.comb += magnitude.eq(format.infinity)
    with m.Elif(field >= 1):
        m.d.comb += magnitude.eq(Cat(rounded[:bits], field[:format.exponent_bits]))
    if format.subnormals:
        with m.Else():
            m.d.comb += magnitude.eq(rounded)
    return Cat(magnitude, sign) if format.signed else magnitude


class _Round(Wrapper):
    """``round_word`` by itself: normalised significands of up to so many bits, exponents of ten bits."""

    def __init__(self, rtl: types.ModuleType, format: Format, most: int):
        self.rtl, self.format, self.most = rtl, format, most
        super().__init__({"sign": In(1), "exponent": In(signed(10)), "significand": In(most)})

    def check(self, m):
        # The largest exponent has no room for the increment when the significand is rounded up.
        m.d.comb += Assume(self.significand[-1] & (self.exponent != 511))
        for width in range(self.format.fraction_bits + 3, self.most + 1):
            significand = self.significand[-width:]
            word = self.rtl.round_word(m, self.sign, self.exponent, significand, self.format, name=f"round{width}")
            exact = nearest(m, self.sign, significand, self.exponent - (width - 1), self.format, name=f"exact{width}")
            m.d.comb += Assert(word == exact)


class _Narrow(Wrapper):
    """The nearest word of a narrower format of every FP32 word."""

    def __init__(self, rtl: types.ModuleType, format: Format):
        self.format, self.unit = format, rtl.Narrow(format=format)
        super().__init__({"a": In(32)})

    def check(self, m):
        m.submodules.unit = unit = self.unit
        format = self.format
        fraction, exponent, sign = self.a[:23], self.a[23:31], self.a[31]
        value = Mux(exponent == 0, 0, Cat(fraction, 1))
        word = nearest(m, sign, value, exponent - 23 - FP32.bias + format.bias, format, name="exact")
        special = Mux(fraction != 0, format.nan, Cat(C(format.infinity, format.magnitude_bits), sign))
        m.d.comb += [unit.a.eq(self.a), Assert(unit.y == Mux(exponent == FP32.special, special, word)[:format.width])]


class _Integral(Wrapper):
    """The nearest integer, or the smallest that is not below, of every FP32 word; zero results are +0."""

    def __init__(self, rtl: types.ModuleType, up: bool):
        self.up, self.unit = up, rtl.Ceil() if up else rtl.Rint()
        super().__init__({"a": In(32)})

    def check(self, m):
        m.submodules.unit = unit = self.unit
        fraction, exponent, sign = self.a[:23], self.a[23:31], self.a[31]
        whole = exponent >= FP32.bias + 23  # no bit is below the point
        places, quotient, remainder = Signal(8), Signal(25), Signal(24)
        m.d.comb += [
            places.eq(Mux(whole, 0, FP32.bias + 23 - exponent)),
            quotient.eq(Cat(fraction, 1) >> places), remainder.eq(Cat(fraction, 1) - (quotient << places)),
        ]
        half = (remainder << 1) - (1 << places)  # above 0: more than a half is cut off
        more = (remainder != 0) & ~sign if self.up else (half > 0) | (half == 0) & quotient[0]
        integer = net(m, quotient + more, name="integer")
        word = nearest(m, sign, integer, C(FP32.bias, 8), FP32, name="exact")
        expected = Mux((exponent == 0) | ~whole & (integer == 0), 0, Mux(whole, self.a, word))
        m.d.comb += unit.a.eq(self.a)
        self.follows(m, unit.y, Mux((exponent == FP32.special) & (fraction != 0), FP32.nan, expected), unit.latency)


class _FromFixed(Wrapper):
    """The nearest FP32 word of a·2^−32 for every integer a."""

    def __init__(self, rtl: types.ModuleType):
        self.unit = rtl.FromFixed(width=SUM_BITS)
        super().__init__({"a": In(SUM_BITS)})

    def check(self, m):
        m.submodules.unit = unit = self.unit
        exact = nearest(m, C(0, 1), self.a, C(FP32.bias - FRACTION_BITS, 9), FP32, name="exact")
        m.d.comb += unit.a.eq(self.a)
        self.follows(m, unit.y, exact, unit.latency)


def _bug(module: str, old: str, new: str, says: str) -> Bug:
    return Bug(module=f"amla.rtl.fp.{module}", old=old, new=new, says=says)


_BUGS = {
    "fp32": _bug("word", "(significand[:drop - 1] != 0) | significand[drop]", "(significand[:drop - 1] != 0)",
                 "every tie rounds down"),
    "bf16": _bug("word", "(significand[:drop - 1] != 0)", "(significand[1:drop - 1] != 0)",
                 "the lowest bit does not count"),
    "fp16": _bug("word", "Cat(shifted[:width].any(),", "Cat(C(0, 1),", "what a subnormal result loses does not count"),
    "u6_10": _bug("word", "body >= format.infinity", "body > format.infinity + 1", "the word past infinity is a NaN"),
}

PROOFS = (
    *(Proof(name=f"round-{format.name}", build=partial(_Round, format=format, most=most), bug=_BUGS[format.name],
            says=f"{format.name}: the nearest number, ties to even, of significands of {format.fraction_bits + 3} to "
                 f"{most} bits")
      for format, most in ((FP32, 64), *((format, 36) for format in NARROW))),
    *(Proof(name=f"narrow-{format.name}", quick=format == FP16, build=partial(_Narrow, format=format),
            bug=_bug("convert", "Mux(a.nan, self.format.nan, rounded)", "rounded", "a NaN is rounded"),
            says=f"the nearest {format.name} of every FP32 word")
      for format in NARROW),
    Proof(name="rint", build=partial(_Integral, up=False), cycles=3, induction=1,
          bug=_bug("convert", "below[1:] + odd", "below[1:]", "every tie rounds down"),
          says="the nearest integer, ties to even, of every FP32 word"),
    Proof(name="ceil", build=partial(_Integral, up=True), cycles=3, induction=1,
          bug=_bug("convert", "Mux(word[31], 0, below)", "below", "a negative word is rounded away from zero"),
          says="the smallest integer that is not below, of every FP32 word"),
    Proof(name="from-fixed", build=_FromFixed, cycles=4, induction=2,
          bug=_bug("fixed", "self.width - 1 - FRACTION_BITS", "self.width - FRACTION_BITS", "twice the number"),
          says=f"the nearest FP32 word of every integer of {SUM_BITS} bits by 2^−32"),
)
