"""Coefficient tables of exp2, recip and log2, in integers, shared by the model and the RTL.

Each function is a quadratic per segment, with Horner's rule in integers. ``u`` is the offset within the
segment and every coefficient is non-negative; the evaluation is

    exp2          V = c0 + ((c1 + ((c2·u) >> SHIFT2)) · u >> SHIFT1)      (rising)
    recip, log2   V = c0 − ((c1 − ((c2·u) >> SHIFT2)) · u >> SHIFT1)      (falling)

with floor shifts of non-negative numbers and nothing else: two multiplications, two additions. Index, ``u``
and the units are documented at each table; :class:`Table` gives the widths for the hardware.

exp2 and recip interpolate at both ends and the middle of a segment (the curve is then continuous across
segments, which is what keeps it monotonic); log2, where neighbours need not meet, interpolates at the
Chebyshev nodes. The curves are evaluated with 40 decimal digits and rounded once to the coefficient's unit,
so the result does not depend on the machine.
"""

import decimal
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

__all__ = ["EXP2", "LOG2", "RECIP", "Table"]


@dataclass(frozen=True)
class Table:
    """One function's coefficients and how they are used.

    Attributes
    ----------
    name:           the function
    falling:        whether V = c0 − … rather than c0 + …
    index_bits:     log2 of the number of segments
    u_bits:         width of the offset within a segment
    value_bits:     V and c0 are in units of 2^−value_bits
    shift1, shift2: the two shifts of Horner's rule
    c0, c1, c2:     the coefficients, one per segment
    """

    name: str
    falling: bool
    index_bits: int
    u_bits: int
    value_bits: int
    shift1: int
    shift2: int
    c0: tuple[int, ...]
    c1: tuple[int, ...]
    c2: tuple[int, ...]

    @property
    def widths(self) -> tuple[int, int, int]:
        """Bits of c0, c1 and c2."""
        return tuple(max(column).bit_length() for column in (self.c0, self.c1, self.c2))  # type: ignore[return-value]

    @property
    def t_bits(self) -> int:
        """Bits of the bracket t = c1 ± ((c2·u) >> shift2)."""
        last = (1 << self.u_bits) - 1
        if self.falling:
            return max(self.c1).bit_length()
        rows = zip(self.c1, self.c2, strict=True)
        return max(c1 + (c2 * last >> self.shift2) for c1, c2 in rows).bit_length()

    def evaluate(self, index: int, u: int) -> int:
        """V of one point, in plain Python integers: the definition that model and RTL are tested against."""
        bend = self.c2[index] * u >> self.shift2
        if self.falling:
            return self.c0[index] - ((self.c1[index] - bend) * u >> self.shift1)
        return self.c0[index] + ((self.c1[index] + bend) * u >> self.shift1)


#: Decimal digits of the curve while it is fitted.
_CONTEXT = decimal.Context(prec=40)
_LN2 = _CONTEXT.ln(decimal.Decimal(2))


def _decimal(value: Fraction) -> decimal.Decimal:
    return _CONTEXT.divide(decimal.Decimal(value.numerator), decimal.Decimal(value.denominator))


def _exp2(x: Fraction) -> Fraction:
    return Fraction(_CONTEXT.exp(_CONTEXT.multiply(_decimal(x), _LN2)))


def _log2_ratio(t: Fraction) -> Fraction:
    """log2(1 + t) / t."""
    return Fraction(_CONTEXT.divide(_CONTEXT.divide(_CONTEXT.ln(_decimal(1 + t)), _LN2), _decimal(t)))


def _quadratic(curve: Callable[[Fraction], Fraction], nodes: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
    """(a0, a1, a2) with a0 + a1·w + a2·w² equal to ``curve(w)`` at three nodes (divided differences)."""
    x0, x1, x2 = nodes
    y0, y1, y2 = (curve(node) for node in nodes)
    slope = (y1 - y0) / (x1 - x0)
    bend = ((y2 - y1) / (x2 - x1) - slope) / (x2 - x0)
    return y0 - slope * x0 + bend * x0 * x1, slope - bend * (x0 + x1), bend


_ENDS = (Fraction(0), Fraction(1, 2), Fraction(1))
#: ½ ± √3/4 and ½ (rational to 9 digits: where exactly the nodes lie does not matter).
_CHEBYSHEV = (Fraction(66987298, 10**9), Fraction(1, 2), Fraction(933012702, 10**9))


def _fit(
    name: str, curve: Callable[[int, Fraction], Fraction], *, falling: bool, index_bits: int, u_bits: int,
    value_bits: int, c1_bits: int, c2_bits: int, nodes: tuple[Fraction, ...], continuous: bool,
) -> Table:
    """Fit ``curve(segment, w)``, w in [0, 1): c1 is in units of 2^−c1_bits per w, c2 of 2^−c2_bits per w²."""
    shift1, shift2 = c1_bits + u_bits - value_bits, c2_bits + u_bits - c1_bits
    sign = -1 if falling else 1
    rows = []
    for segment in range(1 << index_bits):
        a0, a1, a2 = _quadratic(lambda w, segment=segment: curve(segment, w), nodes)  # type: ignore[misc]
        rows.append([round(a0 * 2**value_bits), round(sign * a1 * 2**c1_bits), round(a2 * 2**c2_bits)])
    if continuous:  # the rounding of c1 and c2 must not carry a segment past the start of the next one
        last = (1 << u_bits) - 1
        for row, following in pairwise(rows):
            rise = sign * (following[0] - row[0])
            while ((row[1] + sign * (row[2] * last >> shift2)) * last >> shift1) > rise:
                row[1] -= 1
    c0, c1, c2 = (tuple(column) for column in zip(*rows, strict=True))
    return Table(name, falling, index_bits, u_bits, value_bits, shift1, shift2, c0, c1, c2)


#: V = 2^f in [1, 2), unit 2⁻³¹, of f in [0, 1) with 30 bits: index = its top 7, u = its low 23.
EXP2 = _fit(
    "exp2", lambda i, w: _exp2((i + w) / 128), falling=False, index_bits=7, u_bits=23,
    value_bits=31, c1_bits=33, c2_bits=34, nodes=_ENDS, continuous=True,
)

#: V = 1/m in (½, 1], unit 2⁻³², of m in [1, 2) with 23 fraction bits: index = their top 8, u = their low 15.
RECIP = _fit(
    "recip", lambda i, w: 1 / (1 + (i + w) / 256), falling=True, index_bits=8, u_bits=15,
    value_bits=32, c1_bits=34, c2_bits=35, nodes=_ENDS, continuous=True,
)


def _log2_curve(segment: int, w: Fraction) -> Fraction:
    significand = 1 + (segment + w) / 128
    return _log2_ratio(significand - 1 if segment < 64 else significand / 2 - 1)


#: V = log2(1 + t)/t in (1.16, 1.67), unit 2⁻³¹; a significand 1.f below 1.5 has t = 0.f, any other
#: t = 1.f/2 − 1. The index is the top 7 bits of the 23 of f, u the low 16.
LOG2 = _fit(
    "log2", _log2_curve, falling=True, index_bits=7, u_bits=16,
    value_bits=31, c1_bits=33, c2_bits=34, nodes=_CHEBYSHEV, continuous=False,
)
