"""The fused dot product against exact rationals, and the matrix product against the chain of fused steps."""

from fractions import Fraction

import numpy as np
import pytest
from amla.model.corners import bf16_corners, fp32_corners
from amla.model.fdpa import fdpa_word, matmul
from amla.model.formats import NEG_INF, ONE, POS_INF, QUIET_NAN


def _fields(word, fraction_bits):
    """(sign, unbiased exponent, significand in units of 2^-fraction_bits or 'inf' or 'nan') of a word."""
    word = int(word)
    sign, field = word >> (8 + fraction_bits), (word >> fraction_bits) & 255
    fraction = word & ((1 << fraction_bits) - 1)
    if field == 255:
        return sign, 0, "nan" if fraction else "inf"
    return sign, field - 127, Fraction(0) if field == 0 else 1 + Fraction(fraction, 1 << fraction_bits)


def _round(value):
    """FP32 word nearest to a rational, ties to even, exponent range unbounded until the end."""
    sign, value = value < 0, abs(value)
    if value == 0:
        return 0
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    if Fraction(2) ** exponent > value:
        exponent -= 1
    integer = round(value / Fraction(2) ** (exponent - 23))
    if integer == 1 << 24:
        integer, exponent = 1 << 23, exponent + 1
    if exponent < -126:
        return sign << 31
    if exponent > 127:
        return sign << 31 | 0x7F800000
    return sign << 31 | exponent + 127 << 23 | integer - (1 << 23)


def _reference(a, b, c, frac_bits):
    """The word of the definition, and (exact sum, unit of truncation) if finite and not all zero."""
    terms, infinities = [], set()
    for x, y in zip(a, b, strict=True):
        (sign_x, exponent_x, x), (sign_y, exponent_y, y) = _fields(x, 7), _fields(y, 7)
        if "nan" in (x, y) or {x, y} == {"inf", Fraction(0)}:
            return int(QUIET_NAN), None
        if "inf" in (x, y):
            infinities.add(sign_x ^ sign_y)
        else:
            terms.append((sign_x ^ sign_y, exponent_x + exponent_y, x * y))
    sign, exponent, significand = _fields(c, 23)
    if significand == "nan":
        return int(QUIET_NAN), None
    if significand == "inf":
        infinities.add(sign)
    else:
        terms.append((sign, exponent, significand))
    if infinities:
        return int(QUIET_NAN if len(infinities) == 2 else NEG_INF if 1 in infinities else POS_INF), None
    terms = [term for term in terms if term[2]]
    if not terms:
        return 0, None
    top = max(exponent for _, exponent, _ in terms)
    unit = Fraction(2) ** (top - frac_bits)
    exact = [significand * Fraction(2) ** exponent for _, exponent, significand in terms]
    truncated = [(-1) ** term[0] * (value // unit) for term, value in zip(terms, exact, strict=True)]
    total = sum((-1) ** term[0] * value for term, value in zip(terms, exact, strict=True))
    return _round(sum(truncated) * unit), (total, unit)


def _check(a, b, c, frac_bits):
    a, b = np.asarray(a, dtype=np.uint16), np.asarray(b, dtype=np.uint16)
    expected, finite = _reference(a, b, c, frac_bits)
    got = int(fdpa_word(a, b, np.uint32(c), frac_bits))
    operands = a.tolist(), b.tolist(), int(c), frac_bits
    assert got == expected, f"{got:#010x} for {expected:#010x}: {operands}"
    if finite and 0 < got & 0x7F800000 < 0x7F800000:
        total, unit = finite
        value = Fraction(float(np.uint32(got).view(np.float32)))
        half_ulp = Fraction(2) ** ((got >> 23 & 0xFF) - 127 - 24)
        assert abs(value - total) <= (len(a) + 1) * unit + half_ulp
    return got


def _bf16(rng, count, spread):
    """BF16 words around 1.0 with exponents ± ``spread``."""
    field = np.clip(127 + rng.integers(-spread, spread + 1, count), 0, 254)
    return (rng.integers(0, 2, count) << 15 | field << 7 | rng.integers(0, 128, count)).astype(np.uint16)


def _fp32(rng, spread):
    field = int(np.clip(127 + rng.integers(-spread, spread + 1), 0, 254))
    return int(rng.integers(0, 2)) << 31 | field << 23 | int(rng.integers(0, 1 << 23))


@pytest.mark.smoke
@pytest.mark.parametrize("frac_bits", [8, 14, 20, 24, 30, 40])
def test_random_sums(frac_bits):
    rng = np.random.default_rng(frac_bits)
    for case in range(250):
        k = (1, 4, 16, 32)[case % 4]
        spread = (0, 2, 12, 40, 120)[case % 5]
        _check(_bf16(rng, k, spread), _bf16(rng, k, spread), _fp32(rng, 2 * spread), frac_bits)


@pytest.mark.smoke
def test_cancellation():
    """Sums that cancel but for one small term, or altogether."""
    rng = np.random.default_rng(60)
    zeros = 0
    for _ in range(300):
        a, b = _bf16(rng, 4, 20), _bf16(rng, 4, 20)
        small = _bf16(rng, 1, 30), _bf16(rng, 1, 30) if rng.random() < 0.8 else np.zeros(1, dtype=np.uint16)
        order = rng.permutation(9)
        left = np.concatenate([a, a ^ 0x8000, small[0]])[order]
        right = np.concatenate([b, b, small[1]])[order]
        zeros += _check(left, right, 0x80000000 * int(rng.integers(0, 2)), 30) == 0
    assert zeros > 20


@pytest.mark.smoke
def test_ties():
    """c + half an ulp of c, above and below by the last aligned bit and by a bit that is truncated."""
    rng = np.random.default_rng(61)
    for _ in range(100):
        c = 0x3F800000 | int(rng.integers(0, 1 << 23))
        half, last, lost = ((127 - shift) << 7 for shift in (24, 30, 31))
        one = 0x3F80
        for sign in (0, 0x8000):
            tie = _check([half], [one | sign], c, 30)
            assert tie & 1 == 0
            for extra in (last, last | 0x8000, lost, lost | 0x8000):
                got = _check([half, extra], [one | sign, one], c, 30)
                assert extra & 0x7FFF == last or got == tie


@pytest.mark.smoke
def test_corners():
    """All pairs of corners as one product with every kind of c, and mixed vectors of corners."""
    corners = bf16_corners()
    for c in (0, 0x80000000, 0x80000001, ONE, POS_INF, NEG_INF, QUIET_NAN, 0x7F7FFFFF, 0x00800000):
        for a in corners[::3]:
            for b in corners[1::5]:
                _check([a], [b], c, 30)
    rng = np.random.default_rng(62)
    finite = corners[corners & 0x7F80 != 0x7F80]
    for case in range(300):
        pool = corners if case % 3 == 0 else finite
        _check(rng.choice(pool, 4), rng.choice(pool, 4), rng.choice(fp32_corners()), 30)


@pytest.mark.smoke
def test_zero_sums():
    assert _check([0, 0x8000], [0x3F80, 0x3F80], 0x80000000, 30) == 0
    assert _check([0x3F80, 0xBF80], [0x3F80, 0x3F80], 0x80000000, 30) == 0
    assert _check([0x0080], [0x8080], 0, 30) == 0x80000000  # a flushed sum keeps its sign


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
