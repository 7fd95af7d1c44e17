"""Fused dot product and accumulate: the unit of the cube.

y = c + Σ a[i]·b[i] over k BF16 pairs, with one alignment and one rounding: products are exact, all terms are
aligned to the largest exponent and cut ``acc_frac_bits`` below it, summed as integers, and rounded once.
Golden twin: ``amla.model.fdpa``.
"""

from functools import reduce
from operator import or_

from amaranth import C, Cat, Module, Mux, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .nets import net, register
from .word import BF16, FP32, normalise, round_word, unpack

__all__ = ["Fdpa"]


class Fdpa(wiring.Component):
    """Fused dot product and accumulate.

    **Latency:** 6 cycles. **Throughput:** one result per cycle. ``c`` is taken together with ``a`` and ``b``.

    Stages: products and exponent sums; largest exponent; align and first adders; sum; normalise; round.

    Parameters
    ----------
    k:             length of the dot product
    acc_frac_bits: bits kept below the largest exponent (F in ``docs/numerics.md``)

    Members
    -------
    a, b : In(16·k), element i in bits [16i, 16i + 16), BF16 words
    c :    In(32), FP32 word
    y :    Out(32), FP32 word

    Raises
    ------
    ValueError: ``k`` is below 1, or ``acc_frac_bits`` is outside [24, 40].
    """

    latency = 6

    def __init__(self, *, k: int, acc_frac_bits: int):
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k!r}")
        if not 24 <= acc_frac_bits <= 40:
            raise ValueError(f"acc_frac_bits must be from 24 to 40, not {acc_frac_bits!r}")
        self.k = k
        self.acc_frac_bits = acc_frac_bits
        super().__init__({"a": In(16 * k), "b": In(16 * k), "c": In(32), "y": Out(32)})

    @property
    def leaf_name(self) -> str:
        """Name of the emitted module."""
        return f"fdpa_{self.k}_{self.acc_frac_bits}"

    def elaborate(self, platform):
        m = Module()
        frac_bits = self.acc_frac_bits
        magnitude_bits = frac_bits + 2  # a product's significand is in [1, 4)
        sum_bits = frac_bits + ceil_log2(4 * self.k + 2)

        # Stage 1: exact products. Exponents are biased by 254 (a product's is the sum of the fields); a zero
        # term has exponent 0 and significand 0, so that it neither sets the largest exponent nor adds to the sum.
        terms, nans, positive, negative = [], [], [], []
        for i in range(self.k):
            a = unpack(m, self.a.word_select(i, 16), BF16, name=f"a{i}")
            b = unpack(m, self.b.word_select(i, 16), BF16, name=f"b{i}")
            sign = net(m, a.sign ^ b.sign, name=f"sign{i}")
            infinite = net(m, a.inf | b.inf, name=f"infinite{i}")
            nans.append(a.nan | b.nan | a.inf & b.zero | a.zero & b.inf)
            positive.append(infinite & ~sign)
            negative.append(infinite & sign)
            terms.append((
                register(m, sign, name=f"product{i}_sign"),
                register(m, Mux(a.zero | b.zero, 0, a.exponent + b.exponent), name=f"product{i}_exponent"),
                register(m, a.significand * b.significand, name=f"product{i}_significand"),
            ))
        c = unpack(m, self.c, FP32, name="c")
        terms.append((
            register(m, c.sign, name="addend_sign"),
            register(m, Mux(c.zero, 0, c.exponent + FP32.bias), name="addend_exponent"),
            register(m, c.significand, name="addend_significand"),
        ))
        infinity = net(m, reduce(or_, positive, c.inf & ~c.sign), name="infinity")
        minus_infinity = net(m, reduce(or_, negative, c.inf & c.sign), name="minus_infinity")
        nan = reduce(or_, nans, c.nan | infinity & minus_infinity)
        special = register(m, Cat(nan, infinity, minus_infinity), name="special", cycles=5)

        # Stage 2: largest exponent.
        largest = [exponent for _, exponent, _ in terms]
        while len(largest) > 1:
            largest = [net(m, Mux(x > y, x, y), name=f"largest{len(largest)}_{i}")
                       for i, (x, y) in enumerate(zip(largest[::2], largest[1::2], strict=False))
                       ] + largest[len(largest) & ~1:]
        e_max = register(m, largest[0], name="e_max")
        terms = [(register(m, sign, name=f"term{i}_sign"), register(m, exponent, name=f"term{i}_exponent"),
                  register(m, significand, name=f"term{i}_significand"))
                 for i, (sign, exponent, significand) in enumerate(terms)]

        # Stage 3: align, apply the sign, add four by four, modulo 2^(sum_bits + 1).
        aligned = []
        shift_bits = ceil_log2(magnitude_bits)
        for i, (sign, exponent, significand) in enumerate(terms):
            distance = net(m, e_max - exponent, shape=9, name=f"distance{i}")
            fraction_bits = 14 if i < self.k else 23
            wide = net(m, significand << frac_bits - fraction_bits, shape=magnitude_bits, name=f"wide{i}")
            magnitude = net(m, Mux(distance[shift_bits:] == 0, wide >> distance[:shift_bits], 0), name=f"magnitude{i}",
                            shape=magnitude_bits)
            aligned.append(net(m, Mux(sign, -magnitude, magnitude), shape=signed(sum_bits + 1), name=f"aligned{i}"))
        partial = [register(m, sum(aligned[i:i + 4]), shape=signed(sum_bits + 1), name=f"partial{i // 4}")
                   for i in range(0, len(aligned), 4)]

        # Stage 4: sum.
        total = register(m, sum(partial), shape=signed(sum_bits + 1), name="total")
        e_total = register(m, e_max, name="e_total", cycles=2)

        # Stage 5: normalise. Bit frac_bits of the magnitude weighs 2^e_max.
        sign = net(m, total[-1], name="total_sign")
        magnitude = net(m, Mux(sign, -total, total), shape=sum_bits, name="total_magnitude")
        normal, count = normalise(m, magnitude, name="normal")
        bias = sum_bits - 1 - frac_bits - FP32.bias
        result_sign = register(m, sign, name="result_sign")
        result_exponent = register(m, e_total - count + bias, shape=signed(11), name="result_exponent")
        result_significand = register(m, normal, name="result_significand")

        # Stage 6: round.
        rounded = net(m, round_word(m, result_sign, result_exponent, result_significand, FP32, name="round"),
                      name="rounded")
        word = net(m, Mux(result_significand[-1], rounded, 0), name="word")
        infinite = Cat(C(FP32.infinity, 31), special[2])
        m.d.sync += self.y.eq(Mux(special[0], FP32.nan, Mux(special[1:] != 0, infinite, word)))
        return m
