"""Proofs of the dot unit, stage by stage: terms and their largest exponent, alignment, sums, rounding.

Claims begin and end at the registers between the stages, which may hold anything; each one is about whole numbers. What
ties them is that integers may be added in any order.
"""

import types
from functools import reduce
from operator import add
from typing import ClassVar

from amaranth import C, Cat, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2
from amla.rtl.config import CoreConfig
from amla.rtl.fp.fdpa import Fdpa, element_layout
from amla.rtl.fp.nets import register
from amla.rtl.fp.word import FP32

from .proof import Bug, Proof, Wrapper
from .rounding import nearest

__all__ = ["PROOFS"]

_CORE = CoreConfig.load("deepseek")
_K, _FRAC_BITS = _CORE.k, _CORE.acc_frac_bits
_TERMS = _K + 1
_PARTIALS = -(-_TERMS // 4)
#: Bits of each term's significand below the point: the products', and the addend's.
_BELOW = [_CORE.p.fraction_bits + _CORE.operand.fraction_bits] * _K + [FP32.fraction_bits]
#: Bits of an aligned term's magnitude, and of the sum.
_TERM_BITS = _FRAC_BITS + 2
_TOTAL_BITS = _FRAC_BITS + ceil_log2(4 * _K + 2) + 1


def _of_terms(fields: dict[str, list[int]]) -> dict[str, int]:
    """Registers of all terms, with their widths: ``{}`` in a field's name is the number of the term."""
    return {name.format(i): widths[i] for name, widths in fields.items() for i in range(_TERMS)}


class _Dot(Wrapper):
    """The dot unit of the full-size core.

    Attributes
    ----------
    registers: where its claims begin and end
    """

    registers: ClassVar[dict[str, int]]

    def __init__(self, rtl: types.ModuleType):
        self.unit = rtl.Fdpa(k=_K, acc_frac_bits=_FRAC_BITS, format=_CORE.operand, p_format=_CORE.p)
        ports = {name: In(len(getattr(self.unit, name))) for name in "abc"}
        super().__init__(ports, self.registers)

    def place(self, m: Module) -> None:
        """Connect the unit."""
        m.submodules.unit = unit = self.unit
        m.d.comb += [getattr(unit, name).eq(getattr(self, name)) for name in "abc"]


_TERM_REGISTERS = _of_terms({"term{}_sign": [1] * _TERMS, "term{}_exponent": [9] * _TERMS,
                             "term{}_significand": [below + 2 for below in _BELOW[:-1]] + [_BELOW[-1] + 1]})
_ALIGNED_REGISTERS = _of_terms({"sign{}": [1] * _TERMS, "aligned{}": [_TERM_BITS] * _TERMS})


class _Element:
    """An operand of a product, by its fields: an element of a, or a BF16 word, whose subnormals are zeros."""

    def __init__(self, view):
        self.sign, self.exponent, fraction = view.sign, view.exponent, view.fraction
        self.zero = self.exponent == 0
        self.significand = Cat(fraction, view.hidden if "hidden" in view.shape().members else C(1, 1))
        self.special = self.exponent.all()
        self.nan = self.special & (fraction != 0)


class _FromOperands(_Dot):
    """Claims that begin at the operands."""

    def operands(self) -> tuple[list[list[_Element]], _Element]:
        """The pairs, and the addend."""
        a_layout, b_layout = element_layout(self.unit.a_fraction_bits), _CORE.operand.layout
        pairs = [[_Element(data.View(layout, words.word_select(i, layout.size)))
                  for layout, words in ((a_layout, self.a), (b_layout, self.b))] for i in range(_K)]
        return pairs, _Element(data.View(FP32.layout, self.c))


class _Terms(_FromOperands):
    """Three cycles after the operands: sign, exponent and significand of each term."""

    registers = _TERM_REGISTERS

    def check(self, m):
        self.place(m)
        pairs, c = self.operands()
        terms = [(x.sign ^ y.sign, x.exponent + y.exponent, x.significand * y.significand, x.zero | y.zero)
                 for x, y in pairs] + [(c.sign, c.exponent + FP32.bias, c.significand, c.zero)]
        for i, (sign, exponent, significand, zero) in enumerate(terms):
            self.follows(m, self.at(f"term{i}_sign"), sign, 3)
            self.follows(m, self.at(f"term{i}_exponent"), Mux(zero, 0, exponent)[:9], 3)
            self.follows(m, self.at(f"term{i}_significand"), Mux(zero, 0, significand), 3)


class _Largest(_Dot):
    """With the terms comes the largest of their exponents."""

    registers = {"e_max": 9, **_of_terms({"term{}_exponent": [9] * _TERMS})}

    def check(self, m):
        self.place(m)
        e_max, exponents = self.at("e_max"), [self.at(f"term{i}_exponent") for i in range(_TERMS)]
        largest = Cat(e_max >= exponent for exponent in exponents).all() & Cat(e_max == e for e in exponents).any()
        self.follows(m, largest, C(1, 1), 2)


class _Specials(_FromOperands):
    """Eight cycles after the operands: NaN; infinite, if it is not; and whether then negative."""

    registers = {"special": 3}

    def check(self, m):
        self.place(m)
        pairs, c = self.operands()
        nan, infinities = c.nan, [(c.special, c.sign)]
        for x, y in pairs:
            nan |= x.nan | y.nan | x.special & y.zero | x.zero & y.special
            infinities.append((x.special | y.special, x.sign ^ y.sign))
        plus = Cat(special & ~sign for special, sign in infinities).any()
        minus = Cat(special & sign for special, sign in infinities).any()
        nan |= plus & minus
        self.follows(m, self.at("special")[0], nan, 8)
        self.follows(m, self.at("special")[1:], Cat(plus | minus, minus), 8, when=~nan)


class _Align(_Dot):
    """A term's two registers, a signed number and one more if negative, are ± its significand cut at the last bit."""

    registers = {"e_max": 9, **_TERM_REGISTERS, **_ALIGNED_REGISTERS}

    def check(self, m):
        self.place(m)
        for i in range(_TERMS):
            sign, exponent, significand = (self.at(f"term{i}_{field}") for field in ("sign", "exponent", "significand"))
            places = Signal(signed(11), name=f"places{i}")
            m.d.comb += places.eq(self.at("e_max") - exponent)
            magnitude = (significand << (_FRAC_BITS - _BELOW[i])) >> places[:9]
            value = Cat(self.at(f"aligned{i}"), self.at(f"sign{i}")).as_signed() + self.at(f"sign{i}")
            self.follows(m, value, Mux(sign, -magnitude, magnitude), 1, when=places >= 0)


class _Sums(_Dot):
    """Four terms at a time, then all: no sum wraps."""

    registers = {**_ALIGNED_REGISTERS, **{f"partial{i}": _TERM_BITS + 3 for i in range(_PARTIALS)},
                 "negative": _TERMS.bit_length(), "total": _TOTAL_BITS}

    def check(self, m):
        self.place(m)
        signs = [self.at(f"sign{i}") for i in range(_TERMS)]
        terms = [Cat(self.at(f"aligned{i}"), sign).as_signed() for i, sign in enumerate(signs)]
        partials = [self.at(f"partial{i}").as_signed() for i in range(_PARTIALS)]
        for i, partial in enumerate(partials):
            self.follows(m, partial, reduce(add, terms[4 * i:4 * i + 4]), 1)
        self.follows(m, self.at("negative"), reduce(add, signs), 1)
        self.follows(m, self.at("total").as_signed(), reduce(add, partials) + self.at("negative"), 1)


class _Result(_Dot):
    """Three cycles after any sum, y is the nearest number of it, or the word of its class."""

    registers = {"e_max": 9, "e_total_2": 9, "total": _TOTAL_BITS, "special": 3}

    def check(self, m):
        self.place(m)
        total = self.at("total").as_signed()
        negative, magnitude = total < 0, Mux(total < 0, -total, total)[:_TOTAL_BITS - 1]
        # The sum's lowest bit weighs 2^−acc_frac_bits of what the largest exponent says, which is biased twice.
        exponent = self.at("e_total_2") - _FRAC_BITS - FP32.bias
        rounded = register(m, nearest(m, negative, magnitude, exponent, FP32, name="exact"), name="rounded", cycles=2)
        possible = register(m, (total == 0) | (magnitude != 0), name="possible", cycles=2)
        nan, infinite, minus = self.at("special")
        infinity = Cat(C(FP32.infinity, 31), minus)
        self.follows(m, self.at("e_total_2"), self.at("e_max"), 3)
        self.follows(m, self.unit.y, Mux(nan, FP32.nan, Mux(infinite, infinity, rounded)), 1, when=possible)


def _bug(old: str, new: str, says: str) -> Bug:
    return Bug(module="amla.rtl.fp.fdpa", old=old, new=new, says=says)


def _proof(name: str, build: type[_Dot], induction: int, bug: Bug, says: str) -> Proof:
    return Proof(name=f"dot-{name}", build=build, cycles=Fdpa.latency + 2, induction=induction, bug=bug,
                 says=f"k {_K}: {says}")


PROOFS = (
    _proof("terms", _Terms, 3, _bug("Mux(nonzero, Cat(x.fraction", "Mux(x.exponent != 0, Cat(x.fraction",
                                    "a product by a subnormal counts"),
           "every term's sign, exponent and significand, of any operands"),
    _proof("largest", _Largest, 2, _bug("Mux(x > y, Mux(x > z, x, z),", "Mux(x > y, x,",
                                        "of three exponents the first wins over the last"),
           "the largest of the terms' exponents, of any operands"),
    _proof("specials", _Specials, 8, _bug('name="special", cycles=6', 'name="special", cycles=5',
                                          "the class is a cycle early"),
           "NaN and infinities, of any operands"),
    _proof("align", _Align, 1, _bug("distance < 1 << shift_bits", "distance < 2 << shift_bits",
                                    "a term far below comes back"),
           "the registers of a term are its significand, shifted and cut, with its sign"),
    _proof("sums", _Sums, 1, _bug("[*partial, negative]", "partial", "negative terms are added as ones' complement"),
           "sums of four and the sum of all are those of integers, for any terms"),
    _proof("round", _Result, 3, _bug('name="e_total", cycles=5', 'name="e_total", cycles=4',
                                     "the exponent is the next sum's"),
           "y is the nearest FP32 number of any sum, or the word of its class"),
)
