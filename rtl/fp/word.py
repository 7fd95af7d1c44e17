"""Floating-point words: formats, and the unpack, normalise, round and pack steps that the operators share.

The rules are those of ``docs/numerics.md``: subnormal inputs are signed zeros; a result is rounded to
nearest, ties to even, with an unbounded exponent, then flushed to signed zero below the normal range or
turned into infinity above it; there is one NaN. Only FP16 keeps its subnormals.
"""

from dataclasses import dataclass

from amaranth import C, Cat, Module, Mux, Value, signed
from amaranth.lib import data

from .nets import net

__all__ = [
    "BF16", "FP16", "FP32", "ONE", "OPERANDS", "U6_10", "Format", "Unpacked", "normalise", "pack", "round_word",
    "unpack", "widen", "word_of",
]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A binary format: sign (if it has one), biased exponent, fraction, from the top bit down.

    ``excess`` is how far the exponents' bias is above that of an interchange format.
    """

    name: str
    exponent_bits: int
    fraction_bits: int
    subnormals: bool = False
    signed: bool = True
    excess: int = 0

    @property
    def width(self) -> int:
        """Bits of a word."""
        return self.signed + self.magnitude_bits

    @property
    def magnitude_bits(self) -> int:
        """Bits of a word without its sign."""
        return self.exponent_bits + self.fraction_bits

    @property
    def bias(self) -> int:
        """What the exponent field of 1.0 holds."""
        return 2 ** (self.exponent_bits - 1) - 1 + self.excess

    @property
    def one(self) -> int:
        """The word of 1.0."""
        return self.bias << self.fraction_bits

    @property
    def special(self) -> int:
        """The exponent field of infinities and NaN."""
        return 2**self.exponent_bits - 1

    @property
    def infinity(self) -> int:
        """The word of +inf."""
        return self.special << self.fraction_bits

    @property
    def nan(self) -> int:
        """The word of NaN."""
        return self.infinity | 1 << (self.fraction_bits - 1)

    @property
    def layout(self) -> data.StructLayout:
        """A view of a word's fields."""
        return data.StructLayout({"fraction": self.fraction_bits, "exponent": self.exponent_bits,
                                  **({"sign": 1} if self.signed else {})})


FP32 = Format(name="fp32", exponent_bits=8, fraction_bits=23)
BF16 = Format(name="bf16", exponent_bits=8, fraction_bits=7)
FP16 = Format(name="fp16", exponent_bits=5, fraction_bits=10, subnormals=True)
#: Format of P, from 2^-61 to below 2.
U6_10 = Format(name="u6_10", exponent_bits=6, fraction_bits=10, signed=False, excess=31)

#: Formats of the cube's operands and of the output, by name.
OPERANDS = {format.name: format for format in (BF16, FP16)}

#: The FP32 word of 1.
ONE = 0x3F800000


@dataclass(frozen=True)
class Unpacked:
    """What a word means. ``significand`` has its leading one explicit and is zero when the value is.

    A subnormal that counts has exponent 1 and no leading one.
    """

    sign: Value
    exponent: Value
    significand: Value
    zero: Value
    inf: Value
    nan: Value


def unpack(m: Module, word: Value, format: Format, *, name: str) -> Unpacked:
    """Fields and class of ``word``; nets are named after ``name``."""
    view = data.View(format.layout, word)
    special = net(m, view.exponent == format.special, name=f"{name}_special")
    if format.subnormals:
        zero = net(m, word[:-1] == 0, name=f"{name}_zero")
        subnormal = net(m, view.exponent == 0, name=f"{name}_subnormal")
        exponent = net(m, view.exponent | subnormal, name=f"{name}_exponent")
        significand = net(m, Cat(view.fraction, ~subnormal), name=f"{name}_significand")
    else:
        zero = net(m, view.exponent == 0, name=f"{name}_zero")
        exponent = view.exponent
        significand = net(m, Mux(zero, 0, Cat(view.fraction, 1)), name=f"{name}_significand")
    return Unpacked(
        sign=view.sign if format.signed else C(0, 1), exponent=exponent, significand=significand, zero=zero,
        inf=net(m, special & (view.fraction == 0), name=f"{name}_inf"),
        nan=net(m, special & (view.fraction != 0), name=f"{name}_nan"),
    )


def normalise(m: Module, value: Value, *, name: str, most: int | None = None, least: int = 1) -> tuple[Value, Value]:
    """Shift ``value`` left until its top bit is set; return it and the shift (all ones' worth for zero).

    A logarithmic shifter that decides as it goes: each step looks at the top bits only. A value that is not zero has
    at most ``most`` leading zeros (by default all bits but one). With a ``least`` step, a power of two, the shift is
    the largest multiple of it that fits, and is counted in its units.
    """
    width = len(value)
    count: list[Value] = []
    for step in reversed(range(least.bit_length() - 1, (width - 1 if most is None else most).bit_length())):
        amount = 1 << step
        clear = net(m, value[width - amount:] == 0, name=f"{name}_clear{amount}")
        shifted = Cat(C(0, amount), value[:width - amount])  # not <<, whose result is wider
        value = net(m, Mux(clear, shifted, value), name=f"{name}_shift{amount}")
        count.insert(0, clear)
    return value, Cat(count)


def word_of(sign: Value, magnitude: Value, format: Format) -> Value:
    """Word of a sign, which a format may not have, and a magnitude."""
    return Cat(magnitude, sign) if format.signed else magnitude


def pack(m: Module, sign: Value, body: Value, format: Format, *, name: str) -> Value:
    """Word of ``sign`` and the signed integer ``body`` = exponent·2^fraction_bits + fraction.

    The exponent is unbounded: below the smallest normal word the result is zero, past the largest infinity. With
    subnormals ``body`` is not negative, and what is below the smallest normal word is one of them.
    """
    below = body[:format.magnitude_bits]
    limited = net(m, Mux(body >= format.infinity, format.infinity, below), name=f"{name}_limited")
    if format.subnormals:
        return word_of(sign, limited, format)
    return word_of(sign, Mux(body < 1 << format.fraction_bits, 0, limited), format)


def round_word(
    m: Module, sign: Value, exponent: Value, significand: Value, format: Format, *, name: str
) -> Value:
    """Round a normalised ``significand`` (top bit set, every lower bit counts) and pack it.

    ``exponent`` is the biased exponent of the top bit, signed and unbounded.
    """
    bits = format.fraction_bits
    if format.subnormals:
        exponent, significand = _denormalise(m, exponent, significand, name=name)
    drop = len(significand) - 1 - bits
    fraction = significand[drop:-1]
    above_half = (significand[:drop - 1] != 0) | significand[drop]  # or at a half beside an odd fraction
    up = net(m, significand[drop - 1] & above_half, name=f"{name}_up")
    # The carry out of the fraction is the exponent's increment.
    body = net(m, Cat(fraction, exponent).as_signed() + up, shape=signed(len(exponent) + bits),
               name=f"{name}_body")
    return pack(m, sign, body, format, name=name)


def _denormalise(m: Module, exponent: Value, significand: Value, *, name: str) -> tuple[Value, Value]:
    """Below the normal range: exponent field 0 and the significand shifted down to it; lost bits as a sticky bit."""
    width = len(significand)
    low = net(m, exponent < 1, name=f"{name}_low")
    distance = net(m, 1 - exponent, name=f"{name}_distance")
    places = net(m, Mux(low, Mux(distance > width, width, distance), 0), shape=range(width + 1), name=f"{name}_places")
    shifted = net(m, Cat(C(0, width), significand) >> places, name=f"{name}_shifted")
    field = net(m, Mux(low, 0, exponent), shape=signed(len(exponent)), name=f"{name}_field")
    return field, Cat(shifted[:width].any(), shifted[width:])


def widen(word: Value, format: Format) -> Value:
    """The FP32 word of a word of a narrower format; a subnormal counts as zero."""
    view = data.View(format.layout, word)
    exponent = view.exponent
    if format.bias != FP32.bias:
        moved = Mux(exponent == format.special, FP32.special, exponent + (FP32.bias - format.bias))
        exponent = Mux(exponent == 0, 0, moved)[:FP32.exponent_bits]
    sign = view.sign if format.signed else C(0, 1)
    return Cat(C(0, FP32.fraction_bits - format.fraction_bits), view.fraction, exponent, sign)
