"""The matrix product against the chain of fused steps. The fused step itself: ``test_fdpa_exact.py``."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from amla.model.fp.corners import fp32_corners
from amla.model.fp.fdpa import NEAREST, TOWARD_ZERO, Profile, _special_rows, chain, fdpa_word, matmul
from amla.model.fp.formats import BF16, FP16, NEG_INF, ONE, POS_INF, QUIET_NAN, U6_10, Format


def _bf16(rng, count, spread):
    """BF16 words around 1.0 with exponents ± ``spread``."""
    field = np.clip(127 + rng.integers(-spread, spread + 1, count), 0, 254)
    return (rng.integers(0, 2, count) << 15 | field << 7 | rng.integers(0, 128, count)).astype(np.uint16)


def _fp32(rng, spread):
    field = int(np.clip(127 + rng.integers(-spread, spread + 1), 0, 254))
    return int(rng.integers(0, 2)) << 31 | field << 23 | int(rng.integers(0, 1 << 23))


def _word(a, b, c):
    return int(fdpa_word(np.array(a, dtype=np.uint16), np.array(b, dtype=np.uint16), np.uint32(c), 30))


@pytest.mark.smoke
def test_zero_sums():
    assert _word([0, 0x8000], [0x3F80, 0x3F80], 0x80000000) == 0
    assert _word([0x3F80, 0xBF80], [0x3F80, 0x3F80], 0x80000000) == 0
    assert _word([0x0080], [0x8080], 0) == 0x80000000  # a flushed sum keeps its sign


def _chain(a, b, k, frac_bits, c):
    out = c.copy()
    padding = ((0, 0), (0, -a.shape[1] % k))
    a, b = np.pad(a, padding), np.pad(b, padding)
    for row, column in np.ndindex(*out.shape):
        for start in range(0, a.shape[1], k):
            x, y = a[row, start:start + k], b[column, start:start + k]
            out[row, column] = fdpa_word(x, y, out[row, column], frac_bits)
    return out


@pytest.mark.smoke
@pytest.mark.parametrize("frac_bits", [8, 24, 30, 40])
@pytest.mark.parametrize("k", [1, 4, 16, 100])
@pytest.mark.parametrize("spread", [3, 60, 126])
def test_matmul_is_the_chain(k, frac_bits, spread):
    """Ordinary, wide and overflowing exponents, zeros; more columns than a block; K not a multiple of k."""
    rng = np.random.default_rng([k, frac_bits, spread])
    m, n, length = 5, 261, 70
    a, b = (_bf16(rng, rows * length, spread).reshape(rows, length) for rows in (m, n))
    a[rng.random(a.shape) < 0.1] = 0
    b[rng.random(b.shape) < 0.1] = 0x8000
    a[0], b[7] = 0x8000, 0
    c = np.array([_fp32(rng, spread) for _ in range(m * n)], dtype=np.uint32).reshape(m, n)
    c[1, ::9] = rng.choice(fp32_corners(), c[1, ::9].shape)
    got = matmul(a, b, k=k, acc_frac_bits=frac_bits, c=c)
    np.testing.assert_array_equal(got, _chain(a, b, k, frac_bits, c))
    got = matmul(a, b, k=k, acc_frac_bits=frac_bits)
    np.testing.assert_array_equal(got, _chain(a, b, k, frac_bits, np.zeros_like(c)))


@pytest.mark.smoke
def test_matmul_near_the_flush_and_overflow():
    """Sums on both sides of the smallest normal and of the largest finite number."""
    rng = np.random.default_rng(63)
    for offset in (-63, 63):
        a, b = _bf16(rng, 64 * 16, 1).reshape(64, 16), _bf16(rng, 64 * 16, 1).reshape(64, 16)
        a, b = ((x.astype(np.int64) + (offset << 7)).astype(np.uint16) for x in (a, b))
        got = matmul(a, b, k=4, acc_frac_bits=30)
        np.testing.assert_array_equal(got, _chain(a, b, 4, 30, np.zeros_like(got)))
        field = got >> 23 & 0xFF
        assert (field == (0 if offset < 0 else 255)).any() and ((field > 0) & (field < 255)).any()


@pytest.mark.smoke
def test_matmul_with_specials():
    rng = np.random.default_rng(64)
    a, b = _bf16(rng, 20 * 24, 5).reshape(20, 24), _bf16(rng, 30 * 24, 5).reshape(30, 24)
    a[3, 5], a[4, 0], a[9, 23] = 0x7F80, 0xFF80, 0x7FC1
    b[2, 5], b[2, 6], b[8, 1], b[29, 7] = 0, 0xFF80, 0x7F81, 0x7F80
    c = np.zeros((20, 30), dtype=np.uint32)
    c[0, 0], c[1, 1], c[5, 29], c[6, 29], c[7] = POS_INF, 0x7F800001, NEG_INF, POS_INF, ONE
    got = matmul(a, b, k=8, acc_frac_bits=30, c=c)
    np.testing.assert_array_equal(got, _chain(a, b, 8, 30, c))
    assert got[3, 2] == got[1, 1] == QUIET_NAN and got[0, 0] == POS_INF
    assert (got[9] == QUIET_NAN).all() and (got[:, 8] == QUIET_NAN).all()


@pytest.mark.smoke
def test_matmul_uses_both_threads_to_the_same_bits():
    rng = np.random.default_rng(65)
    a, b = _bf16(rng, 33 * 576, 4).reshape(33, 576), _bf16(rng, 40 * 576, 4).reshape(40, 576)
    whole = matmul(a, b, k=16, acc_frac_bits=30)
    rows = [matmul(a[row:row + 1], b, k=16, acc_frac_bits=30)[0] for row in range(33)]
    np.testing.assert_array_equal(whole, rows)


@pytest.mark.smoke
def test_matmul_rejects():
    words = np.zeros((2, 4), dtype=np.uint16)
    with pytest.raises(TypeError, match=r"a must be .* words \(uint16\), not dtype\('float32'\)"):
        matmul(words.astype(np.float32), words, k=4, acc_frac_bits=30)
    with pytest.raises(TypeError, match=r"c must be .* FP32 words \(uint32\), not dtype\('int64'\)"):
        matmul(words, words, k=4, acc_frac_bits=30, c=np.zeros((2, 2), dtype=np.int64))
    for change, message in (
        ({"b": np.zeros(4, dtype=np.uint16)}, "b must have two dimensions, not 1"),
        ({"b": np.zeros((2, 5), dtype=np.uint16)}, r"a and b must have rows of one length, not \(4, 5\)"),
        ({"k": 0}, "k must be from 1 to 1024, not 0"),
        ({"acc_frac_bits": 41}, "acc_frac_bits must be from 8 to 40, not 41"),
        ({"c": np.zeros((2, 3), dtype=np.uint32)}, r"c must have the shape \(2, 2\), not \(2, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            matmul(**{"a": words, "b": words, "k": 4, "acc_frac_bits": 30, **change})


#: Every way to round, with and without subnormals, results of fewer bits, F below and above that of the operands.
PROFILES = [Profile(k=k, acc_frac_bits=frac_bits, align=align, round=round, fraction_bits=bits, subnormals=keep,
                    nan=nan) for k, frac_bits, align, round, bits, keep, nan in (
                (16, 25, TOWARD_ZERO, TOWARD_ZERO, 23, True, 0x7FFFFFFF),
                (32, 13, TOWARD_ZERO, TOWARD_ZERO, 13, True, 0x7FFFFFFF),
                (16, 30, NEAREST, NEAREST, 23, False, 0x7FC00000),
                (8, 12, NEAREST, NEAREST, 10, True, 0x7FC00001),
                (4, 40, NEAREST, TOWARD_ZERO, 20, False, 0x7FC00000),
                (16, 24, TOWARD_ZERO, NEAREST, 23, True, 0x7FC00000))]


def _rounded(value, unit, way):
    """|value| / unit as an integer, for exact fractions."""
    quotient, rest = divmod(abs(value), unit)
    return int(quotient + (way == NEAREST and (2 * rest > unit or (2 * rest == unit and quotient % 2))))


def _step(products, c, profile):
    """One step by its definition, on exact fractions: products and their exponents, c and its exponent."""
    terms = [(value, exponent) for value, exponent in [*products, c] if value]
    if not terms:
        return 0
    unit = Fraction(2) ** (max(exponent for _, exponent in terms) - profile.acc_frac_bits)
    total = sum(_rounded(value, unit, profile.align) * (1 if value > 0 else -1) for value, _ in terms) * unit
    if not total:
        return 0
    sign, exponent = int(total < 0) << 31, 0
    while abs(total) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while abs(total) < Fraction(2) ** exponent:
        exponent -= 1
    if profile.subnormals:
        exponent = max(exponent, -126)
    significand = _rounded(total, Fraction(2) ** (exponent - profile.fraction_bits), profile.round)
    if significand == 2 << profile.fraction_bits:
        significand, exponent = significand >> 1, exponent + 1
    if exponent > 127:
        return sign | 0x7F800000
    if exponent < -126:
        return sign
    if not significand and profile.round == TOWARD_ZERO:
        return 0
    significand <<= 23 - profile.fraction_bits
    return sign | (exponent + 127 << 23) + significand - (1 << 23) if significand >> 23 else sign | significand


def _value(word, exponent_bits, fraction_bits, subnormals, excess=0):
    """Value and exponent of a finite word."""
    word, bias = int(word), (1 << exponent_bits - 1) - 1 + excess
    field = word >> fraction_bits & (1 << exponent_bits) - 1
    significand = (word & (1 << fraction_bits) - 1) + (1 << fraction_bits if field else 0)
    if not field and not subnormals:
        significand = 0
    exponent = max(field, 1) - bias
    sign = -1 if word >> exponent_bits + fraction_bits else 1
    return sign * significand * Fraction(2) ** (exponent - fraction_bits), exponent


@pytest.mark.smoke
@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: f"{profile.align}, {profile.round}, {profile.k}")
@pytest.mark.parametrize(("a_format", "format"), [
    (BF16, BF16), (Format(8, 7, subnormals=True),) * 2, (FP16, FP16), (U6_10, BF16), (U6_10, FP16),
], ids=["bf16", "subnormals", "fp16", "u6.10-bf16", "u6.10-fp16"])
@pytest.mark.parametrize("spread", [3, 14, 126])
def test_a_profile_is_its_definition(profile, a_format, format, spread, seed):
    """Chains of two steps against exact fractions, FP16 with other biases too, ordinary and extreme exponents."""
    rng = np.random.default_rng([seed, spread])
    m, n, length = 3, 30, 2 * profile.k
    a, b = _bf16(rng, m * length, spread).reshape(m, length), _bf16(rng, n * length, spread).reshape(n, length)
    if format == FP16:
        a, b = ((words & 0x8000) | rng.integers(0, 0x7C00, words.shape).astype(np.uint16) for words in (a, b))
    elif spread == 126:
        a, b = (words & 0x80FF | rng.integers(50, 80, words.shape).astype(np.uint16) << 7 for words in (a, b))
    if a_format == FP16:
        a_format = format = replace(format, excess={3: 0, 14: -8, 126: 115}[spread])
    elif a_format == U6_10:
        field = rng.integers(max(62 - spread, 0), min(62 + spread, 63), a.shape)
        a = (field << 10 | rng.integers(0, 1024, a.shape)).astype(np.uint16)
    a[rng.random(a.shape) < 0.1] = 0
    c = np.array([_fp32(rng, spread) for _ in range(m * n)], dtype=np.uint32).reshape(m, n)
    c = np.where(c >> 23 & 0xFF == 255, 0x3F800000, c).astype(np.uint32)
    got = chain(a, b, profile=profile, c=c, format=format, a_format=a_format)
    by_step = c.copy()
    _special_rows(a, b, profile.k, a_format.fields, format.fields, *profile.fields, np.arange(m), np.arange(n), by_step)
    happened = Counter()
    for row, column in np.ndindex(m, n):
        word = int(c[row, column])
        for start in range(0, length, profile.k):
            part = slice(start, start + profile.k)
            if word >> 23 & 0xFF != 255:
                pairs = [(_value(x, *a_format.fields), _value(y, *format.fields))
                         for x, y in zip(a[row, part], b[column, part], strict=True)]
                products = [(x * y, ex + ey) for (x, ex), (y, ey) in pairs]
                wanted = _step(products, _value(word, 8, 23, profile.subnormals), profile)
                word = wanted
        assert got[row, column] == word
        assert by_step[row, column] == word
        happened["flushed" if word << 1 & 0xFFFFFFFF == 0 else "subnormal" if not word >> 23 & 0xFF else "normal"] += 1
    if spread == 3:
        assert happened["normal"] > 80


@pytest.mark.smoke
def test_a_profile_with_specials():
    """Its own NaN in place of every other, infinities, subnormals of c."""
    profile = PROFILES[0]
    a, b = np.full((4, 16), 0x3F80, np.uint16), np.full((3, 16), 0x3F80, np.uint16)
    a[1, 3], a[2, 5], b[1, 5] = 0x7FC1, 0x7F80, 0
    c = np.zeros((4, 3), np.uint32)
    c[3] = 0xFF800001, NEG_INF, 0x00000001
    got = chain(a, b, profile=profile, c=c)
    assert (got[1] == 0x7FFFFFFF).all() and got[2].tolist() == [POS_INF, 0x7FFFFFFF, POS_INF]
    assert got[3].tolist() == [0x7FFFFFFF, NEG_INF, 0x41800000]
    assert chain(a[:, :0], b[:, :0], profile=profile, c=c)[3, 2] == 1


@pytest.mark.smoke
def test_profile_rejects():
    for change, message in (
        ({"k": 0}, "k must be from 1 to 1024, not 0"),
        ({"acc_frac_bits": 7}, "acc_frac_bits must be from 8 to 40, not 7"),
        ({"fraction_bits": 24}, "fraction_bits must be from 1 to 23, not 24"),
        ({"align": "up"}, "align must be 'nearest' or 'toward zero', not 'up'"),
        ({"round": None}, "round must be 'nearest' or 'toward zero', not None"),
    ):
        with pytest.raises(ValueError, match=message):
            Profile(**change)
    with pytest.raises(TypeError, match=r"fraction_bits must be an int, not 2\.0"):
        Profile(fraction_bits=2.0)
