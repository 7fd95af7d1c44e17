"""Proofs of the rescale unit, against a specification written from IEEE 754, not from the unit."""

import types
from functools import partial

from amaranth import C, Cat, Module, Mux, Signal, signed
from amaranth.hdl import Assert, Assume
from amaranth.lib.wiring import In
from amla.rtl.fp.mul import Mul

from .proof import Bug, Proof, Wrapper

__all__ = ["PROOFS"]

_FRACTION = 23
_INFINITY = 0xFF
_COMP_BITS = (0, 1, 2, 3)


def _field(word):
    return word[_FRACTION:31]


def _units(m: Module, rtl: types.ModuleType, comp_bits: int, name: str, x, offsets):
    """Place a rescale unit on ``x`` and return its output."""
    unit = rtl.Rescale(comp_bits=comp_bits)
    m.submodules[name] = unit
    m.d.comb += [unit.x.eq(x), unit.offsets.eq(offsets)]
    return unit.y


class _Exact(Wrapper):
    """y = x·2^Δ by the exponents of IEEE 754: no rounding can occur, the product is flushed below 2^−126."""

    def __init__(self, rtl: types.ModuleType):
        self.rtl = rtl
        super().__init__({"x": In(32), "delta": In(signed(9))})

    def check(self, m):
        m.d.comb += Assume((self.delta >= -255) & (self.delta <= 255))
        # x = ±1.fraction·2^exponent; subnormal inputs are zeros, so a normal significand never moves.
        exponent = Signal(signed(12))
        zero, special, product = Signal(), Signal(), Signal(32)
        m.d.comb += [
            zero.eq(_field(self.x) == 0),
            special.eq(_field(self.x) == _INFINITY),
            exponent.eq(_field(self.x) - 127 + self.delta),
        ]
        with m.If(special):
            m.d.comb += product.eq(self.x)
        with m.Elif(zero | (exponent < -126)):
            m.d.comb += product.eq(self.x & 0x80000000)
        with m.Elif(exponent > 127):
            m.d.comb += product.eq(Cat(C(0x7F800000, 31), self.x[31]))
        with m.Else():
            m.d.comb += product.eq(Cat(self.x[:_FRACTION], (exponent + 127)[:8], self.x[31]))
        for comp_bits in _COMP_BITS:
            offset = Cat(C(0, _FRACTION), self.delta)
            y = _units(m, self.rtl, comp_bits, f"unit{comp_bits}", self.x, offset.replicate(1 << comp_bits))
            m.d.comb += Assert(y == product)


class _Multiplier(Wrapper):
    """y = the FP32 multiplier's product with the word of 2^Δ, for every Δ that has one and every x but NaN."""

    def __init__(self, rtl: types.ModuleType):
        self.rtl = rtl
        super().__init__({"x": In(32), "delta": In(signed(9))})

    def check(self, m):
        m.d.comb += [
            Assume((self.delta >= -126) & (self.delta <= 127)),
            Assume((_field(self.x) != _INFINITY) | (self.x[:_FRACTION] == 0)),
        ]
        m.submodules.mul = mul = Mul()
        m.d.comb += [mul.a.eq(self.x), mul.b.eq(Cat(C(0, _FRACTION), (self.delta + 127)[:8], C(0, 1)))]
        y = _units(m, self.rtl, 0, "unit", self.x, Cat(C(0, _FRACTION), self.delta))
        self.follows(m, mul.y, y, Mul.latency)


class _Guards(Wrapper):
    """Any offsets at all: sign, NaN, infinity, zero."""

    def __init__(self, rtl: types.ModuleType, comp_bits: int):
        self.rtl, self.comp_bits = rtl, comp_bits
        super().__init__({"x": In(32), "offsets": In(32 << comp_bits)})

    def check(self, m):
        y = _units(m, self.rtl, self.comp_bits, "unit", self.x, self.offsets)
        # The wide sum that decides whether leaving the finite range is right.
        chosen, wide = Signal(signed(32)), Signal(signed(40))
        for segment in range(1 << self.comp_bits):
            low = segment << (_FRACTION - self.comp_bits)
            high = (segment + 1) << (_FRACTION - self.comp_bits)
            with m.If((self.x[:_FRACTION] >= low) & (self.x[:_FRACTION] < high)):
                m.d.comb += chosen.eq(self.offsets.word_select(segment, 32))
        m.d.comb += wide.eq(self.x[:31] + chosen)
        special, zero = _field(self.x) == _INFINITY, _field(self.x) == 0
        normal = ~special & ~zero
        m.d.comb += [
            Assert(y[31] == self.x[31], "keeps the sign"),
            Assert(~special | (y == self.x), "infinities and NaN pass"),
            Assert(~zero | (y[:31] == 0), "a zero stays one"),
            Assert(special | (_field(y) != _INFINITY) | (y[:_FRACTION] == 0), "no NaN out of a finite word"),
            Assert(~normal | ((y[:31] == 0x7F800000) == (wide >= 0x7F800000)), "infinity is overflow"),
            Assert(~normal | ((y[:31] == 0) == (wide < 0x00800000)), "zero is underflow"),
            Assert((_field(y) != 0) | (y[:_FRACTION] == 0), "no subnormal"),
        ]


class _Monotonic(Wrapper):
    """a ≤ b implies y(a) ≤ y(b), for two non-negative words that are not NaN."""

    def __init__(self, rtl: types.ModuleType, comp_bits: int):
        self.rtl, self.comp_bits = rtl, comp_bits
        super().__init__({"a": In(31), "b": In(31), "offset": In(signed(32))})

    def check(self, m):
        m.d.comb += Assume((self.a <= self.b) & (self.b <= 0x7F800000))
        if self.comp_bits:
            m.d.comb += Assume(self.offset[:_FRACTION] == 0)
        offsets = self.offset.replicate(1 << self.comp_bits)
        y_a = _units(m, self.rtl, self.comp_bits, "low", self.a, offsets)
        y_b = _units(m, self.rtl, self.comp_bits, "high", self.b, offsets)
        m.d.comb += Assert(y_a <= y_b)


class _Value(Wrapper):
    """What a normal result is worth: the line that ``rescale_error`` bounds against the exact product.

    With offset[s] = Δ·2^23 + d[s], |d[s]| < 2^19, in units of half an ulp of x·2^Δ: a result in the product's
    binade is worth 2·(2^23 + F + d), one binade up 4·(F + d), one down 2^24 + F + d; F the fraction of x.
    """

    def __init__(self, rtl: types.ModuleType, comp_bits: int):
        self.rtl, self.comp_bits = rtl, comp_bits
        super().__init__({"x": In(32), "delta": In(signed(9)), "d": In(20 << comp_bits)})

    def check(self, m):
        segments = range(1 << self.comp_bits)
        parts = [self.d.word_select(segment, 20).as_signed() for segment in segments]
        offsets = Cat(((self.delta << _FRACTION) + part)[:32] for part in parts)
        y = _units(m, self.rtl, self.comp_bits, "unit", self.x, offsets)
        m.d.comb += Assume((self.delta >= -255) & (self.delta <= 254))
        moved = Signal(signed(32))
        for segment, part in enumerate(parts):
            low = segment << (_FRACTION - self.comp_bits)
            with m.If(self.x[:_FRACTION] >= low):
                m.d.comb += moved.eq(self.x[:_FRACTION] + part)  # F + d of the last segment that begins below F
        binades = Signal(signed(12))
        m.d.comb += binades.eq(_field(y) - _field(self.x) - self.delta)
        significand, worth = Signal(24), Signal(signed(40))
        m.d.comb += [
            significand.eq(Cat(y[:_FRACTION], C(1, 1))),
            worth.eq(Mux(binades == 0, significand << 1, Mux(binades == 1, significand << 2, significand))),
        ]
        normal = (_field(self.x) != 0) & (_field(self.x) != _INFINITY) & (_field(y) != 0) & (_field(y) != _INFINITY)
        expected = Signal(signed(40))
        with m.If(moved < 0):
            m.d.comb += expected.eq((1 << 24) + moved)
        with m.Elif(moved >> _FRACTION == 0):
            m.d.comb += expected.eq(((1 << 23) + moved) << 1)
        with m.Else():
            m.d.comb += expected.eq(moved << 2)
        m.d.comb += [
            Assert(~normal | ((binades >= -1) & (binades <= 1))),
            Assert(~normal | (worth == expected)),
        ]


def _bug(old: str, new: str, says: str) -> Bug:
    return Bug(module="amla.rtl.rescale", old=old, new=new, says=says)


_UNGUARDED = _bug("negative | ~exponent.any())", "0)",
                  "no guard below: a small sum keeps its bits, a negative one wraps")
_ZERO_ADDED = _bug("x.exponent == 0,", "self.x[:31] == 1,", "zeros are added to like any word")
_WRONG_SEGMENT = _bug("x.fraction[bits - self.comp_bits:]",
                      "x.fraction[:self.comp_bits]", "the segment is taken from the low fraction bits")
_SHIFTED = _bug("x.fraction + offset[:bits],", "x.fraction + offset[:bits] + offset[31],",
                "negative offsets are added as ones' complement")

PROOFS = (
    Proof(name="rescale-exact", quick=True, build=_Exact, bug=_ZERO_ADDED,
          says="ε = 0: equals the IEEE product x·2^Δ flushed to zero, every word, Δ −255…255, comp_bits 0…3"),
    Proof(name="rescale-mul", build=_Multiplier, bug=_UNGUARDED, cycles=Mul.latency + 1,
          induction=Mul.latency,
          says="ε = 0: equals the FP32 multiplier by the word of 2^Δ, every word but NaN, Δ −126…127"),
    *(Proof(name=f"rescale-guards-{k}", quick=k == 0, build=partial(_Guards, comp_bits=k),
            bug=_WRONG_SEGMENT if k else _UNGUARDED,
            says=f"any offsets, comp_bits {k}: sign kept, inf and NaN pass, none made but inf and zero past the range")
      for k in _COMP_BITS),
    Proof(name="rescale-monotonic-0", build=partial(_Monotonic, comp_bits=0), bug=_UNGUARDED,
          says="comp_bits 0, any offset: a larger word never becomes the smaller one"),
    Proof(name="rescale-monotonic-2", build=partial(_Monotonic, comp_bits=2), bug=_UNGUARDED,
          says="comp_bits 2, ε = 0: a larger word never becomes the smaller one"),
    *(Proof(name=f"rescale-value-{k}", build=partial(_Value, comp_bits=k), bug=_WRONG_SEGMENT if k else _SHIFTED,
            says=f"comp_bits {k}: a normal result is worth the line that the error bound is computed from")
      for k in _COMP_BITS),
)
