"""Proofs of long products and of the multiplier, in pieces that a solver decides: digits, then rounding.

That a·b is the sum of a times each digit of b, each in its place, is the arithmetic that ties them: no solver is asked.
"""

import types
from functools import partial, reduce
from operator import add

from amaranth import C, Cat, Module, Mux, Value
from amaranth.lib.wiring import In
from amla.rtl.fp.product import DIGIT_BITS
from amla.rtl.fp.word import BF16, FP32, Format

from .proof import Bug, Proof, Wrapper
from .rounding import NARROW, nearest

__all__ = ["PROOFS", "by_digits"]

_MOST_BITS = 32


def by_digits(a: Value, b: Value) -> Value:
    """The sum of a·digit·2^place over the digits of b."""
    return reduce(add, ((a * b[low:low + DIGIT_BITS]) << low for low in range(0, len(b), DIGIT_BITS)))


class _Product(Wrapper):
    """The sum of the digits' registers is a·b of the cycle before, for every width of b below that of a."""

    def __init__(self, rtl: types.ModuleType):
        self.rtl = rtl
        super().__init__({"a": In(_MOST_BITS), "b": In(_MOST_BITS)})

    def check(self, m):
        for width in range(1, _MOST_BITS):
            b = self.b[:width]
            for order, operands in (("wide", (self.a, b)), ("narrow", (b, self.a))):
                product = self.rtl.product(m, *operands, name=f"{order}{width}_")
                self.follows(m, product, by_digits(self.a, b), 1)


class _Multiplier(Wrapper):
    """The multiplier of FP32 and a format. Claims end or begin at its registers behind the exact product."""

    def __init__(self, rtl: types.ModuleType, format: Format):
        self.format = format
        self.unit = rtl.Mul() if format == FP32 else rtl.MulNarrow(format=format)
        super().__init__({"a": In(32), "b": In(format.width)}, {
            "special": 3, "sign": 1, "exponent": 9, "product": FP32.fraction_bits + 1 + format.fraction_bits + 1,
        })

    def place(self, m: Module) -> None:
        """Connect the unit."""
        m.submodules.unit = unit = self.unit
        m.d.comb += [unit.a.eq(self.a), unit.b.eq(self.b)]


class _Operands(_Multiplier):
    """Two cycles after a and b the registers hold the product's class, sign, exponent and digits' sum."""

    def check(self, m):
        self.place(m)
        a, b = _Word(self.a, FP32), _Word(self.b, self.format)
        nan = a.nan | b.nan | a.infinite & b.zero | a.zero & b.infinite
        self.follows(m, self.at("special"), Cat(nan, a.infinite | b.infinite, a.zero | b.zero), 2)
        self.follows(m, self.at("sign"), a.sign ^ b.sign, 2)
        self.follows(m, self.at("exponent"), (a.exponent + b.exponent)[:9], 2)
        self.follows(m, self.at("product"), by_digits(a.significand, b.significand), 2)


class _Word:
    """The fields of a word, by IEEE 754; a subnormal is a zero, whose significand does not matter."""

    def __init__(self, word: Value, format: Format):
        fraction, self.exponent = word[:format.fraction_bits], word[format.fraction_bits:format.magnitude_bits]
        self.sign = word[-1] if format.signed else C(0, 1)
        self.significand = Cat(fraction, C(1, 1))
        self.zero = self.exponent == 0
        self.infinite = (self.exponent == format.special) & (fraction == 0)
        self.nan = (self.exponent == format.special) & (fraction != 0)


class _Result(_Multiplier):
    """A cycle after any product that two significands can have, y is that product rounded once."""

    def check(self, m):
        self.place(m)
        format = self.format
        # A product of significands, in [1, 4), has this many bits below the point.
        below = FP32.fraction_bits + format.fraction_bits
        sign, product, exponent = self.at("sign"), self.at("product"), self.at("exponent")
        rounded = nearest(m, sign, product, exponent - FP32.bias - below, format, name="exact")
        infinity = Cat(C(format.infinity, format.magnitude_bits), sign)
        zero = Cat(C(0, format.magnitude_bits), sign)
        nan, infinite, is_zero = self.at("special")
        word = Mux(nan, format.nan, Mux(infinite, infinity, Mux(is_zero, zero, rounded)))[:format.width]
        self.follows(m, self.unit.y, word, 1, when=product >> below != 0)


def _bug(module: str, old: str, new: str, says: str) -> Bug:
    return Bug(module=f"amla.rtl.fp.{module}", old=old, new=new, says=says)


_EARLY = _bug("mul", 'left.exponent + right.exponent, name="exponent", cycles=2',
              'left.exponent + right.exponent, name="exponent"', "the exponents' sum is a cycle early")
_LATE = _bug("mul", 'name="product", shape', 'name="product", cycles=2, shape', "the product is a cycle late")
_UNFLUSHED = _bug("mul", "flushing = replace(self.format, subnormals=False)", "flushing = self.format",
                  "a subnormal operand counts")
_NO_NAN = _bug("mul", "(left.inf & right.zero) | ", "", "infinity times zero is infinite")
_UNSHIFTED = _bug("mul", "Mux(high, exact, Cat(C(0, 1), exact[:-1]))", "exact", "a product below 2 is not normalised")
_LOW = _bug("mul", "exponent + high - FP32.bias", "exponent - FP32.bias", "a product above 2 keeps its exponent")

PROOFS = (
    Proof(name="product-digits", build=_Product, cycles=2, induction=1,
          bug=_bug("product", "b[low:low + DIGIT_BITS]", "b[low:low + DIGIT_BITS - 1]",
                   "every digit's top bit is lost"),
          says=f"a·b is the sum of a·digit·2^place over all digits of b; a of {_MOST_BITS} bits, every narrower b"),
    *(Proof(name=f"mul-operands-{format.name}", build=partial(_Operands, format=format), cycles=3, induction=2,
            bug=bug,
            says=f"fp32 × {format.name}: class, sign, exponent and exact product (the sum over digits), of every word")
      for format, bug in zip((FP32, *NARROW), (_LATE, _EARLY, _UNFLUSHED, _NO_NAN), strict=True)),
    *(Proof(name=f"mul-round-{format.name}", build=partial(_Result, format=format), cycles=4, induction=1,
            quick=format == BF16, bug=bug,
            says=f"fp32 × {format.name}: y is the nearest {format.name} of any exact product, or its class's word")
      for format, bug in zip((FP32, *NARROW), (_UNSHIFTED, _LOW, _UNSHIFTED, _LOW), strict=True)),
)
