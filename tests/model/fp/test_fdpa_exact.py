"""``fdpa_word`` against exact integers: the bits of its definition, and the error bound of ``docs/numerics.md``.

Every class of operands states what must happen in it and how often, so that it cannot miss what it is for.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from amla.model.fp.corners import bf16_corners, fp32_corners
from amla.model.fp.fdpa import fdpa_word
from amla.model.fp.formats import U6_10

SHAPES = [(k, frac_bits) for k in (1, 16) for frac_bits in (24, 30, 40)]
COUNT = 1600  # cases of a class for each of SHAPES: more than 10^5 in all
NAN, INFINITY = 0x7FC00000, 0x7F800000


class Sum(NamedTuple):
    """A finite case. ``exact`` and ``cut``, the sum of the truncated terms, are in units of 2^base."""

    exact: int
    cut: int
    base: int
    unit: int  # 2^unit is the last place kept


def _decode(word: int, fraction_bits: int) -> tuple[int, int, int | None]:
    """Sign, exponent of the last place, and significand (zero for subnormals, None for infinities, -1 for NaN)."""
    fraction, field = word & ((1 << fraction_bits) - 1), word >> fraction_bits & 0xFF
    sign = -1 if word >> (fraction_bits + 8) else 1
    if field == 255:
        return sign, 0, -1 if fraction else None
    return sign, field - 127 - fraction_bits, fraction + (1 << fraction_bits) if field else 0


_BF16 = [_decode(word, 7) for word in range(1 << 16)]


def _decode_p(word: int) -> tuple[int, int, int | None]:
    """The same of a U6.10 word."""
    field, fraction = word >> 10, word & 1023
    if field == 63:
        return 1, 0, -1 if fraction else None
    return 1, field - 62 - 10, fraction + 1024 if field else 0


_U6_10 = [_decode_p(word) for word in range(1 << 16)]


def _toward_zero(sign: int, magnitude: int, places: int) -> int:
    return sign * (magnitude >> places << places)


def _floor(sign: int, magnitude: int, places: int) -> int:
    return sign * magnitude >> places << places


def define(
    a, b, c: int, frac_bits: int, cut: Callable[[int, int, int], int] = _toward_zero, left=_BF16,
    fraction_bits: int = 14,
) -> int | Sum:
    """The definition: a finite case with a term that is not zero, or the word of any other.

    ``left`` decodes a; a product has so many ``fraction_bits``.
    """
    terms, infinities = [], set()
    operands = [(left[x], _BF16[y], fraction_bits) for x, y in zip(a, b, strict=True)]
    operands.append((_decode(c, 23), (1, 0, 1), 23))
    for (sign_x, place_x, x), (sign_y, place_y, y), fraction_bits in operands:
        if -1 in (x, y) or (None in (x, y) and 0 in (x, y)):
            return NAN
        if x is None or y is None:
            infinities.add(sign_x * sign_y)
        elif x * y:
            terms.append((sign_x * sign_y, place_x + place_y, x * y, place_x + place_y + fraction_bits))
    if infinities:
        return NAN if len(infinities) == 2 else INFINITY if 1 in infinities else 1 << 31 | INFINITY
    if not terms:
        return 0
    unit = max(exponent for *_, exponent in terms) - frac_bits
    base = min(unit, *(place for _, place, _, _ in terms))
    aligned = [(sign, significand << place - base) for sign, place, significand, _ in terms]
    return Sum(exact=sum(sign * magnitude for sign, magnitude in aligned),
               cut=sum(cut(sign, magnitude, unit - base) for sign, magnitude in aligned), base=base, unit=unit)


def rounded(value: int, base: int) -> tuple[int, Counter]:
    """value·2^base as an FP32 word, and what happened."""
    sign, magnitude = (1 << 31 if value < 0 else 0), abs(value)
    if not magnitude:
        return 0, Counter(["zero"])
    events = Counter(["finite"])
    drop = magnitude.bit_length() - 24
    significand, rest = divmod(magnitude << max(-drop, 0), 1 << max(drop, 0))
    if drop > 0 and 2 * rest == 1 << drop:
        events["tie"] += 1
    significand += 2 * rest > 1 << max(drop, 0) or (events["tie"] and significand & 1)
    if significand == 1 << 24:
        significand, drop = 1 << 23, drop + 1
        events["carry"] += 1
    exponent = drop + base + 23
    if exponent > 127:
        return sign | INFINITY, events | Counter(["overflow"])
    if exponent < -126:
        return sign, events | Counter(["flush"])
    return sign | exponent + 127 << 23 | significand - (1 << 23), events


def error_and_bound(word: int, case: Sum, terms: int) -> tuple[int, int]:
    """|y − exact| of y = ``word`` and what it may be where ``terms`` terms are cut, both in one unit.

    An infinity may not be further above the exact sum than the numbers that round to it.
    """
    field = word >> 23 & 0xFF
    lowest = min(case.base, field - 127 - 24, -126)
    exact, loss = case.exact << case.base - lowest, terms << case.unit - lowest
    if field == 255:
        return max((1 << 128 - lowest) - (1 << 103 - lowest) - abs(exact), 0), loss
    value = ((word & 0x7FFFFF) + (1 << 23)) << field - 127 - 23 - lowest if field else 0
    half_ulp = 1 << (field - 127 - 24 if field else -126) - lowest  # flushed: all of the smallest normal number
    return abs((-value if word >> 31 else value) - exact), loss + (half_ulp if case.cut else 0)


def check(a, b, c: int, frac_bits: int, fdpa=fdpa_word, **format) -> tuple[Counter, float]:
    """Compare one case; return what happened in it, and which part of the bound its error takes."""
    got, case = int(fdpa(a, b, np.uint32(c), frac_bits)), define(a.tolist(), b.tolist(), c, frac_bits, **format)
    operands = f"a = {a.tolist()}, b = {b.tolist()}, c = {c:#010x}, F = {frac_bits}"
    if not isinstance(case, Sum):
        assert got == case, f"{got:#010x} for {case:#010x}: {operands}"
        return Counter(["nan" if case == NAN else "infinity" if case & INFINITY else "no term"]), 0
    error, bound = error_and_bound(got, case, len(a) + (frac_bits < 23))
    assert error <= bound, f"bound missed by {got:#010x}: {operands}"
    expected, events = rounded(case.cut, case.base)
    assert got == expected, f"{got:#010x} for {expected:#010x}: {operands}"
    events["inexact"] = case.exact != case.cut
    events["cancelled"] = abs(case.exact) < 1 << max(case.unit + frac_bits - 12 - case.base, 0)
    events["hidden tie"] = events["tie"] and case.exact != case.cut
    return events, error / bound


# Classes of operands: each takes (generator, count, k, F) and returns a, b [count, k] and c [count].

def _words(rng, exponent, fraction_bits):
    """Words of any sign and fraction with these exponents, clipped to the normal range."""
    field = np.clip(127 + exponent, 1, 254)
    sign, fraction = rng.integers(0, 2, field.shape), rng.integers(0, 1 << fraction_bits, field.shape)
    return sign << fraction_bits + 8 | field << fraction_bits | fraction


def _products(rng, exponent):
    """BF16 operands whose products have these exponents, split at random between the two."""
    share = exponent // 2 + rng.integers(-20, 21, exponent.shape)
    share = np.clip(share, np.maximum(-126, exponent - 127), np.minimum(127, exponent + 126))
    return _words(rng, share, 7), _words(rng, exponent - share, 7)


def _power(exponent):
    """BF16 operands whose product is 2^exponent."""
    return 127 + exponent // 2 << 7, 127 + exponent - exponent // 2 << 7


def _cancel(a, b):
    """Make the second half of the products the first with the sign inverted."""
    half = a.shape[1] // 2
    a[:, half:2 * half], b[:, half:2 * half] = a[:, :half] ^ 0x8000, b[:, :half]


def _minus_sum(a, b):
    """−Σ a·b as FP32 words; exponents are close, so that float64 holds the sum."""
    x, y = ((words.astype(np.uint32) << 16).view(np.float32).astype(np.float64) for words in (a, b))
    return (-(x * y).sum(axis=1)).astype(np.float32).view(np.uint32).astype(np.int64)


def scattered(rng, count, k, frac_bits):
    spread = rng.choice([0, 2, 12, 40], (count, 1))
    a, b = _products(rng, rng.integers(-spread, spread + 1, (count, k)))
    return a, b, _words(rng, rng.integers(-spread[:, 0], spread[:, 0] + 1), 23)


def far_apart(rng, count, k, frac_bits):
    a, b = _products(rng, rng.integers(-250, 127, (count, k)))
    return a, b, _words(rng, rng.integers(-126, 128, count), 23)


def at_the_cut(rng, count, k, frac_bits):
    """One term leads; the others reach to just above, at or below the last place kept."""
    a, b = _products(rng, rng.integers(-3, 16, (count, k)) - frac_bits)
    c = _words(rng, np.zeros(count, dtype=np.int64), 23)
    product_leads = rng.random(count) < 0.5
    a[product_leads, 0], b[product_leads, 0] = 0x3FB5, 0x3F80
    return a, b, np.where(product_leads, _words(rng, rng.integers(-3, 25, count) - frac_bits, 23), c)


def cancel_altogether(rng, count, k, frac_bits):
    a, b = _products(rng, rng.integers(-8, 9, (count, k)))
    if k == 1:
        return a, b, _minus_sum(a, b)
    _cancel(a, b)
    return a, b, rng.integers(0, 2, count) << 31


def cancel_but_for_one(rng, count, k, frac_bits):
    """A unit of c's last places stays, or a small product."""
    a, b = _products(rng, rng.integers(-4, 5, (count, k)))
    if k == 1:
        return a, b, _minus_sum(a, b) + rng.integers(-2, 3, count)
    _cancel(a, b)
    a[:, -1], b[:, -1] = _products(rng, rng.integers(-3, 14, count) - frac_bits)
    b[:, k // 2 - 1] = 0
    return a, b, rng.integers(0, 2, count) << 31


def c_cancels_the_products(rng, count, k, frac_bits):
    """What stays is what c, rounded, lacks: nothing of one product, mostly something of several."""
    a, b = _products(rng, rng.integers(-16, 5, (count, k)))
    return a, b, _minus_sum(a, b)


def ties(rng, count, k, frac_bits):
    """c and half of its last place; the other products are below the last place kept, but one that may be at it."""
    c = _words(rng, np.zeros(count, dtype=np.int64), 23)
    a, b = _products(rng, rng.integers(-9, -2, (count, k)) - frac_bits)
    if k > 1:
        a[:, 1], b[:, 1] = _power(np.full(count, -frac_bits))
        b[:, 1] *= rng.random(count) < 0.3
    a[:, 0], b[:, 0] = _power(np.full(count, -24))
    return a ^ rng.integers(0, 2, a.shape) << 15, b, c


def to_overflow(rng, count, k, frac_bits):
    """Sums around the largest finite number; half of them c at it and a product around half its last place."""
    a, b = _products(rng, rng.integers(120, 128, (count, k)))
    c = _words(rng, rng.integers(124, 128, count), 23)
    edge = rng.random(count) < 0.5
    a[edge], b[edge] = _products(rng, rng.integers(-3, 3, (edge.sum(), k)) + 127 - frac_bits)
    a[edge, 0], b[edge, 0] = _power(rng.integers(102, 105, edge.sum()))
    return a, b, np.where(edge, c & 1 << 31 | 0x7F7FFFFF, c)


def to_flush(rng, count, k, frac_bits):
    """Sums around the smallest normal number; half of them c at it less a product around half its last place."""
    a, b = _products(rng, rng.integers(-134, -125, (count, k)))
    c = _words(rng, rng.integers(-126, -124, count), 23) * (rng.random(count) < 0.5)
    edge = rng.random(count) < 0.5
    b[edge] = 0
    a[edge, 0], b[edge, 0] = _power(rng.integers(-154, -147, edge.sum()))
    b[edge, 0] |= 0x8000
    return a, b, np.where(edge, 0x00800000, c)


def no_terms(rng, count, k, frac_bits):
    """Zeros and subnormals meet any number."""
    a, b = _words(rng, rng.integers(-127, 128, (count, k)), 7), rng.integers(0, 128, (count, k))
    swap = rng.random((count, k)) < 0.5
    sign = rng.integers(0, 2, count) << 31
    return np.where(swap, b, a), np.where(swap, a, b | 0x8000), sign | rng.integers(0, 1 << 23, count)


def specials(rng, count, k, frac_bits):
    """One or two infinities or NaN among numbers and zeros."""
    a, b, c = scattered(rng, count, k, frac_bits)
    a[rng.random((count, k)) < 0.1] = 0
    kinds = np.array([0x7F80, 0xFF80, 0x7F80, 0xFF80, 0x7F80, 0xFF80, 0x7FC0, 0xFF81])
    rows = np.arange(count)
    b[rows, rng.integers(0, k, count)] = rng.choice(kinds, count)
    second = rng.random(count) < 0.3
    a[second, rng.integers(0, k, second.sum())] = rng.choice(kinds, second.sum())
    return a, b, np.where(rng.random(count) < 0.3, rng.choice(kinds, count) << 16, c)


def corners(rng, count, k, frac_bits):
    """Corners of every class; in three cases of four only finite ones."""
    words = bf16_corners().astype(np.int64)
    finite = words[words & 0x7F80 != 0x7F80]
    pool = (rng.random(count) < 0.75)[:, None]
    a, b = (np.where(pool, rng.choice(finite, (count, k)), rng.choice(words, (count, k))) for _ in range(2))
    return a, b, rng.choice(fp32_corners().astype(np.int64), count)


def losing(rng, count, k, frac_bits):
    """Every product just below a multiple of the last place kept, and then a tie that rounds the same way."""
    c = _words(rng, np.zeros(count, dtype=np.int64), 23) & ~1
    a, b = np.full((count, k), 0x3FFF), np.full((count, k), 0x3FFF - (frac_bits + 2 << 7))
    if frac_bits <= 24:
        b[:, 0] += 1 << 7
    else:
        a[:, 0], b[:, 0] = _power(np.full(count, -24))
    return a, b | (c >> 31 << 15)[:, None], c


#: What must happen in a class, and in which part of its cases at least.
CLASSES = {
    scattered: {"finite": 0.9, "inexact": 0.3},
    far_apart: {"finite": 0.9, "inexact": 0.7},
    at_the_cut: {"inexact": 0.5},
    cancel_altogether: {"zero": 0.9},
    cancel_but_for_one: {"finite": 0.7, "cancelled": 0.7},
    c_cancels_the_products: {"cancelled": 0.9, "zero": 0.4, "finite": 0.2},
    ties: {"tie": 0.6, "hidden tie": 0.2},
    to_overflow: {"overflow": 0.2, "finite": 0.9, "tie": 0.05},
    to_flush: {"flush": 0.3, "carry": 0.05, "tie": 0.05},
    no_terms: {"no term": 1},
    specials: {"nan": 0.2, "infinity": 0.2},
    corners: {"nan": 0.05, "finite": 0.3, "overflow": 0.05},
    losing: {"tie": 0.9, "inexact": 0.6},
}


def _cases(rng, operands, count, k, frac_bits):
    a, b, c = operands(rng, count, k, frac_bits)
    return zip(a.astype(np.uint16), b.astype(np.uint16), c.tolist(), strict=True)


@pytest.mark.smoke
@pytest.mark.parametrize("operands", CLASSES, ids=lambda operands: operands.__name__)
def test_bits_and_bound(operands, seed):
    """More than 10^5 cases over all classes; in `losing` the error comes within 2 % of the bound."""
    rng = np.random.default_rng([seed, list(CLASSES).index(operands)])
    events: Counter = Counter()
    for k, frac_bits in SHAPES:
        closest = 0.0
        for a, b, c in _cases(rng, operands, COUNT, k, frac_bits):
            happened, part = check(a, b, c, frac_bits)
            events += happened
            closest = max(closest, part)
        if operands is losing:
            assert closest > 0.98, f"k = {k}, F = {frac_bits}: the bound is loose"
    for event, share in CLASSES[operands].items():
        assert events[event] >= share * COUNT * len(SHAPES), f"too few: {event}, of {events}"


@pytest.mark.smoke
@pytest.mark.parametrize("frac_bits", [8, 14, 20, 23])
@pytest.mark.parametrize("k", [4, 32])
@pytest.mark.parametrize("operands", [scattered, at_the_cut, c_cancels_the_products])
def test_few_bits(operands, k, frac_bits, seed):
    """F below that of any core, for studies of accuracy: c is cut, too."""
    for a, b, c in _cases(np.random.default_rng(seed), operands, 300, k, frac_bits):
        check(a, b, c, frac_bits)


def _with_p(a, b):
    """BF16 operands with a in U6.10: its sign, and what its exponent has too much or too little, go to b."""
    field, fraction = (a >> 7 & 255).astype(int), a & 127
    inside = np.clip(field, 66, 127)
    low = np.where(fraction == 127, 7, np.where(fraction % 2, a >> 7 & 7, 0))  # of the same a the same
    p = inside - 65 << 10 | fraction << 3 | low
    p = np.where(field == 255, 63 << 10 | fraction, np.where(field == 0, 0, p))
    plain = (b >> 7 & 255) % 255 > 0
    exponent = np.clip((b >> 7 & 255) + np.where((field % 255 > 0) & plain, field - inside, 0), plain, 254)
    b = (b ^ a & 0x8000) & 0x807F | np.where(plain, exponent, b >> 7 & 255) << 7
    return p.astype(np.uint16), b.astype(np.uint16)


@pytest.mark.smoke
@pytest.mark.parametrize("operands", CLASSES, ids=lambda operands: operands.__name__)
def test_bits_and_bound_with_p(operands, seed):
    """The same with a in U6.10; in `losing` the error comes within 2 % of the bound."""
    rng = np.random.default_rng([seed, list(CLASSES).index(operands), 6, 10])
    fdpa = partial(fdpa_word, a_format=U6_10)
    events: Counter = Counter()
    for k, frac_bits in SHAPES:
        closest = 0.0
        for a, b, c in _cases(rng, operands, COUNT, k, frac_bits):
            happened, part = check(*_with_p(a, b), c, frac_bits, fdpa, left=_U6_10, fraction_bits=17)
            events += happened
            closest = max(closest, part)
        if operands is losing:
            assert closest > 0.98, f"k = {k}, F = {frac_bits}: the bound is loose"
    for event, share in CLASSES[operands].items():
        assert events[event] >= share / 4 * COUNT * len(SHAPES), f"too few: {event}, of {events}"


def test_there_are_enough_cases():
    assert COUNT * len(SHAPES) * len(CLASSES) >= 100_000


def _defined(cut):
    """``fdpa_word`` as this file defines it, with another truncation."""
    def fdpa(a, b, c, frac_bits):
        case = define(a.tolist(), b.tolist(), int(c), frac_bits, cut)
        return rounded(case.cut, case.base)[0] if isinstance(case, Sum) else case
    return fdpa


def _nearest(sign, magnitude, places):
    return sign * (magnitude + (1 << places >> 1) >> places << places)


def _losing_more(rng, count, k, frac_bits):
    return losing(rng, count, k, frac_bits - 2)


#: Other arithmetics, with operands that show the difference and the check that must refuse them.
MUTANTS = {
    "two places fewer": (_losing_more, "bound missed", lambda a, b, c, frac_bits: fdpa_word(a, b, c, frac_bits - 2)),
    "floor of negative terms": (scattered, "for 0x", _defined(_floor)),
    "terms rounded": (at_the_cut, "for 0x", _defined(_nearest)),
}


@pytest.mark.smoke
@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize("k", [1, 16])
def test_other_arithmetic_is_noticed(mutant, k):
    operands, message, fdpa = MUTANTS[mutant]
    with pytest.raises(AssertionError, match=message):
        for a, b, c in _cases(np.random.default_rng(66), operands, COUNT, k, 24):
            check(a, b, c, 24, fdpa)
