"""Fused dot product and accumulate: the unit of the cube. Golden twin: ``amla.model.fp.fdpa``.

y = c + Σ a[i]·b[i] over k pairs with one alignment and one rounding: products are exact, all terms are
aligned to the largest exponent and cut ``acc_frac_bits`` below it, summed as integers, and rounded once.

An element of a comes decoded, so that a row of units shares the decoders of Q and P: :func:`decode_row`.
"""

from dataclasses import dataclass, replace
from functools import reduce
from operator import add

from amaranth import C, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .nets import net, register
from .word import BF16, FP32, Format, normalise, round_word

__all__ = ["Fdpa", "decode_row", "element_layout"]

#: The sum's magnitude is shifted by so many bits at first.
_COARSE = 32


def element_layout(fraction_bits: int) -> data.StructLayout:
    """An element of a: FP32's exponent, 0 for a zero and 255 for specials, and the significand with its leading bit."""
    return data.StructLayout({"fraction": fraction_bits, "hidden": 1, "exponent": FP32.exponent_bits, "sign": 1})


def decode_row(words: Value, weights: Value, *, format: Format, p_format: Format) -> Value:
    """Elements of a from its words, which are P's with ``weights``: the decoders that a row of units shares."""
    fraction_bits = max(format.fraction_bits, p_format.fraction_bits)

    def element(word):
        q = _decode(word, format, fraction_bits)
        return q if p_format == format else Mux(weights, _decode(word, p_format, fraction_bits), q)

    return Cat(element(words.word_select(i, 16)) for i in range(len(words) // 16))


def _decode(word: Value, format: Format, fraction_bits: int) -> Value:
    """The element, with so many fraction bits, of a word of a narrower format. A subnormal has no leading bit."""
    view = data.View(format.layout, word)
    hidden, exponent = view.exponent != 0, view.exponent
    if format.bias != FP32.bias:
        moved = exponent + (FP32.bias - format.bias)
        below = Mux(view.fraction != 0, 1 + FP32.bias - format.bias, 0) if format.subnormals else 0
        exponent = Mux(exponent.all(), FP32.special, Mux(hidden, moved, below))[:FP32.exponent_bits]
    sign = view.sign if format.signed else C(0, 1)
    return Cat(C(0, fraction_bits - format.fraction_bits), view.fraction, hidden, exponent, sign)


@dataclass(frozen=True)
class _Term:
    """One summand. ``fraction_bits`` of the significand are below the point, where its exponent weighs."""

    sign: Value
    exponent: Value
    significand: Value
    fraction_bits: int


class Fdpa(wiring.Component):
    """Fused dot product and accumulate.

    **Latency:** 9 cycles. **Throughput:** one result per cycle. ``c`` is taken together with ``a`` and ``b``.

    Stages: operands; products, and the largest exponents of three; the largest one; align; sums of four; sum;
    magnitude, its shift by words of 32 bits; the rest of the shift; round.

    Written for a simulator, too: operands are registered before any logic, nothing is wider than 64 bits, and
    the class of special values is behind a condition that is rarely true.

    Parameters
    ----------
    k:             length of the dot product
    acc_frac_bits: bits kept below the largest exponent (F in ``docs/numerics.md``)
    format:        of b
    p_format:      of a, where it is not ``format`` alone: the significand of a must hold both

    Attributes
    ----------
    a_fraction_bits: fraction bits of an element of a

    Members
    -------
    a :    In, k elements of :func:`element_layout`, element 0 lowest
    b :    In(16·k), element i in bits [16i, 16i + 16), words of the format
    c :    In(32), FP32 word
    y :    Out(32), FP32 word

    Raises
    ------
    ValueError: ``k`` is below 1, or ``acc_frac_bits`` is outside [24, 40].
    """

    latency = 9

    def __init__(self, *, k: int, acc_frac_bits: int, format: Format = BF16, p_format: Format | None = None):
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k!r}")
        if not 24 <= acc_frac_bits <= 40:
            raise ValueError(f"acc_frac_bits must be from 24 to 40, not {acc_frac_bits!r}")
        self.k = k
        self.acc_frac_bits = acc_frac_bits
        self.format = format
        self.a_fraction_bits = max(format.fraction_bits, (p_format or format).fraction_bits)
        a_bits = element_layout(self.a_fraction_bits).size
        super().__init__({"a": In(a_bits * k), "b": In(16 * k), "c": In(32), "y": Out(32)})

    @property
    def leaf_name(self) -> str:
        """Name of the emitted module."""
        return f"fdpa_{self.format.name}_{self.a_fraction_bits}_{self.k}_{self.acc_frac_bits}"

    def elaborate(self, platform):
        m = Module()
        # Stage 1.
        a, b = ([data.View(layout, words.word_select(i, layout.size)) for i in range(self.k)]
                for layout, words in ((element_layout(self.a_fraction_bits), register(m, self.a, name="operands_a")),
                                      (self.format.layout, register(m, self.b, name="operands_b"))))
        c = data.View(FP32.layout, register(m, self.c, name="operand_c"))
        # Stages 2 and 3.
        terms = self._terms(m, a, b, c)
        largest = [register(m, value, name=f"largest{i}")
                   for i, value in enumerate(_of_three(m, [term.exponent for term in terms], name="first"))]
        while len(largest) > 1:
            largest = _of_three(m, largest, name=f"of{len(largest)}")
        e_max = register(m, largest[0], name="e_max")
        nan, infinite, negative = self._specials(m, a, b, c)
        # Stages 4 to 6. Bit acc_frac_bits of the sum weighs 2^e_max.
        total = self._sum(m, [_delayed(m, term, f"term{i}") for i, term in enumerate(terms)], e_max)
        e_total = register(m, e_max, name="e_total", cycles=5)

        # Stages 7 and 8, each a part of the shift.
        coarse, coarse_count = normalise(m, net(m, Mux(total[-1], -total, total)[:-1], name="absolute"),
                                         name="coarse", least=_COARSE)
        magnitude = register(m, coarse, name="magnitude")
        normal, count = normalise(m, magnitude, name="normal", most=_COARSE - 1)
        bias = len(magnitude) - 1 - self.acc_frac_bits - FP32.bias
        result_sign = register(m, total[-1], name="result_sign", cycles=2)
        count = register(m, Cat(count, register(m, coarse_count, name="coarse_count")), name="count")
        significand = register(m, normal, name="result_significand")

        # Stage 9.
        exponent = net(m, e_total - count + bias, shape=signed(10), name="exponent")
        rounded = round_word(m, result_sign, exponent, significand, FP32, name="round")
        finite = Mux(significand[-1], rounded, 0)
        infinity = Cat(C(FP32.infinity, 31), negative)
        m.d.comb += self.y.eq(register(m, Mux(nan, FP32.nan, Mux(infinite, infinity, finite)), name="result"))
        return m

    def _terms(self, m: Module, a, b, c) -> list[_Term]:
        """The products and the addend, unregistered.

        Exponents are biased by 254, so that a BF16 product's is the sum of the fields. A zero term has exponent
        and significand zero: it neither sets the largest exponent nor adds to the sum.
        """
        format = self.format
        terms = []
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            nonzero = net(m, (x.exponent != 0) & ~_zero(y, format), name=f"nonzero{i}")
            fields = x.exponent + y.exponent
            if format.bias != FP32.bias:
                fields += FP32.bias - format.bias
            hidden = C(1, 1)
            if format.subnormals:  # whose exponent is that of field 1
                hidden = y.exponent != 0
                fields += ~hidden
            exponent = net(m, Mux(nonzero, fields, 0), shape=9, name=f"exponent{i}")
            significand = Mux(nonzero, Cat(x.fraction, x.hidden) * Cat(y.fraction, hidden), 0)
            terms.append(_Term(x.sign ^ y.sign, exponent, significand, self.a_fraction_bits + format.fraction_bits))
        nonzero = net(m, c.exponent != 0, name="nonzero_c")
        exponent = net(m, Mux(nonzero, c.exponent + FP32.bias, 0), name="exponent_c")
        return [*terms, _Term(c.sign, exponent, Mux(nonzero, Cat(c.fraction, 1), 0), FP32.fraction_bits)]

    def _specials(self, m: Module, a, b, c) -> tuple[Value, Value, Value]:
        """Whether y is NaN, whether it is infinite otherwise, and whether that is −inf, for stage 9."""
        special_c = c.exponent.all()
        nan, plus, minus = special_c & (c.fraction != 0), special_c & ~c.sign, special_c & c.sign
        special = special_c
        for x, y in zip(a, b, strict=True):
            special_x, special_y = x.exponent.all(), y.exponent.all()
            nan |= special_x & ((x.fraction != 0) | _zero(y, self.format))
            nan |= special_y & ((y.fraction != 0) | (x.exponent == 0))
            plus |= (special_x | special_y) & ~(x.sign ^ y.sign)
            minus |= (special_x | special_y) & (x.sign ^ y.sign)
            special |= special_x | special_y
        special = net(m, special, name="is_special")
        kinds = Signal(3, reset_less=True)
        with m.If(special):
            m.d.sync += kinds.eq(Cat(nan, plus, minus))
        nan, plus, minus = kinds
        flags = Mux(register(m, special, name="was_special"), Cat(nan | plus & minus, 1, minus), 0)
        nan, infinite, negative = register(m, flags, name="special", cycles=6)
        return nan, infinite, negative

    def _sum(self, m: Module, terms: list[_Term], e_max: Value) -> Value:
        """The signed sum of the aligned terms, three stages later; its width holds any sum."""
        frac_bits = self.acc_frac_bits
        term_bits = frac_bits + 2  # a product's significand is in [1, 4)
        sum_bits = frac_bits + ceil_log2(4 * self.k + 2) + 1
        shift_bits = ceil_log2(term_bits)

        signs, aligned = [], []
        for i, term in enumerate(terms):
            distance = net(m, e_max - term.exponent, shape=9, name=f"distance{i}")
            left = frac_bits - term.fraction_bits
            wide = Cat(C(0, left), term.significand, C(0, term_bits))[:term_bits]
            # A negative term adds its complement and, later, one.
            fill = term.sign.replicate(term_bits)
            flipped = Cat(wide ^ fill, term.sign).as_signed()
            shifted = Mux(distance < 1 << shift_bits, flipped >> distance[:shift_bits], fill)
            sign = register(m, term.sign, name=f"sign{i}")
            signs.append(sign)
            aligned.append(Cat(register(m, shifted[:term_bits], name=f"aligned{i}"), sign).as_signed())
        partial = [register(m, reduce(add, aligned[i:i + 4]), shape=signed(term_bits + 3), name=f"partial{i // 4}")
                   for i in range(0, len(terms), 4)]
        negative = register(m, reduce(add, signs), shape=range(len(terms) + 1), name="negative")
        return register(m, reduce(add, [*partial, negative]), shape=sum_bits, name="total")


def _zero(x, format: Format) -> Value:
    """Whether an element of b counts as zero."""
    return (x.exponent == 0) & (x.fraction == 0) if format.subnormals else x.exponent == 0


def _delayed(m: Module, term: _Term, name: str) -> _Term:
    """The term, two cycles later."""
    return replace(term, **{field: register(m, getattr(term, field), name=f"{name}_{field}", cycles=2)
                            for field in ("sign", "exponent", "significand")})


def _of_three(m: Module, values: list[Value], *, name: str) -> list[Value]:
    """The largest of three at a time: their comparisons go side by side."""
    return [net(m, _largest(*values[i:i + 3]), name=f"{name}_{i}") for i in range(0, len(values), 3)]


def _largest(x: Value, *others: Value) -> Value:
    """The largest of one, two or three values."""
    if not others:
        return x
    y, *last = others
    if not last:
        return Mux(x > y, x, y)
    z, = last
    return Mux(x > y, Mux(x > z, x, z), Mux(y > z, y, z))
