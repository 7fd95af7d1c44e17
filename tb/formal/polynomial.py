"""Proofs of the polynomial of exp2, log2 and recip, and of the long sum of log2.

As with the multiplier, a product is the sum over its digits; the rest is the textbook's expression.
"""

import types
from functools import partial

from amaranth import Mux, Value
from amaranth.lib.wiring import In
from amla.model.fp.tables import EXP2, LOG2, RECIP, Table
from amla.rtl.fp.nets import register
from amla.rtl.fp.quadratic import Quadratic
from amla.rtl.fp.word import FP32

from .multiplier import by_digits
from .proof import Bug, Proof, Wrapper

__all__ = ["PROOFS"]


class _Quadratic(Wrapper):
    """Both brackets as the formula has them: multiply, cut, add, each by itself, of any coefficients."""

    def __init__(self, rtl: types.ModuleType, table: Table):
        self.table, self.unit = table, rtl.Quadratic(table=table)
        coefficients = {f"read__data.c{i}": width for i, width in enumerate(table.widths)}
        super().__init__({"index": In(table.index_bits), "u": In(table.u_bits)},
                         {**coefficients, "bracket": table.t_bits})

    def check(self, m):
        table = self.table
        m.submodules.unit = unit = self.unit
        m.d.comb += [unit.index.eq(self.index), unit.u.eq(self.u)]

        def bracket(c: Value, factor: Value, age: int, shift: int) -> Value:
            u = register(m, self.u, name="u", cycles=age)
            wide, narrow = (factor, u) if len(factor) >= len(u) else (u, factor)
            term = by_digits(wide, narrow) >> shift
            return c - term if table.falling else c + term

        # The memory takes a cycle, each bracket two.
        c0, c1, c2 = (self.at(f"read__data.c{i}") for i in range(3))
        self.follows(m, self.at("bracket"), bracket(c1, c2, 1, table.shift2)[:table.t_bits], 2)
        outer = bracket(register(m, c0, name="c0", cycles=2), self.at("bracket"), 3, table.shift1)
        self.follows(m, unit.v, outer[:len(unit.v)], 2)


class _Log2Sum(Wrapper):
    """e + t·g as one number of fixed point: three partial sums, each by itself, of any registers.

    With t = ``low bits`` + 2^half·``high bits`` − 2^bits·``top bit``, the sums add up to (e << point) + t·g.
    """

    def __init__(self, rtl: types.ModuleType):
        self.unit = rtl.Log2()
        self.half = FP32.fraction_bits // 2
        self.bits = FP32.fraction_bits
        g_bits = LOG2.value_bits + 1
        self.point = self.bits + g_bits
        total = self.point + 9
        super().__init__({"x": In(32)}, {"e": 9, "t": self.bits + 1, "quadratic.value": g_bits,
                                         "low": self.half + g_bits, "high": total - self.half, "exact": total})

    def check(self, m):
        m.submodules.unit = unit = self.unit
        m.d.comb += unit.x.eq(self.x)
        e, t, g, low, high, exact = map(self.at, ("e", "t", "quadratic.value", "low", "high", "exact"))
        top = (e << self.point - self.bits) - Mux(t[-1], g, 0)
        self.follows(m, low, by_digits(g, t[:self.half])[:len(low)], 2)
        self.follows(m, high, (by_digits(g, t[self.half:-1]) + (top << self.bits - self.half))[:len(high)], 2)
        self.follows(m, exact, (low + (high << self.half))[:len(exact)], 1)


def _bug(module: str, old: str, new: str, says: str) -> Bug:
    return Bug(module=f"amla.rtl.fp.{module}", old=old, new=new, says=says)


_EARLY = _bug("quadratic", 'name="u3", cycles=2', 'name="u3", cycles=1', "the outer bracket takes the next u")
_BORROW = _bug("quadratic", "Cat(C(-1, shift), c) - product", "Cat(C(0, shift), c) - product",
               "what the shift drops of the product is borrowed from c")
_LATE = _bug("quadratic", 'name="c1_1"', 'name="c1_1", cycles=2', "c1 is a cycle late")

PROOFS = (
    *(Proof(name=f"quadratic-{table.name}", build=partial(_Quadratic, table=table), cycles=8,
            induction=Quadratic.latency, bug=bug,
            says=f"{table.name}: both brackets are c ± (product >> shift), any coefficients; products by digits")
      for table, bug in ((EXP2, _EARLY), (LOG2, _BORROW), (RECIP, _LATE))),
    Proof(name="log2-sum", build=_Log2Sum, cycles=10, induction=3,
          bug=_bug("log2", "Mux(t[-1], quadratic.v, 0)", "Mux(t[-2], quadratic.v, 0)",
                   "the sign of t is read a bit below"),
          says="e + t·g: the three partial sums, any e, t and g, products as sums over digits"),
)
