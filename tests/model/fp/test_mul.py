"""FP32 and mixed multiplication against the host's floating-point unit."""

import numpy as np
import pytest
from amla.model.fp.corners import bf16_corners, fp32_corners, random_pairs, random_words
from amla.model.fp.formats import BF16, QUIET_NAN, SIGN
from amla.model.fp.mul import mul, mul_bf16, mul_u6_10

_ROUNDS_TO_NORMAL = 2.0**-126 - 2.0**-151


def _value(words):
    """Values of FP32 words, subnormals as signed zero."""
    return np.where(words & 0x7F800000 == 0, words & SIGN, words).view(np.float32)


def _host(a, b):
    """The host's float32 product, flushed where the product (exact in float64) is not normal."""
    with np.errstate(all="ignore"):
        product = _value(a) * _value(b)
        exact = _value(a).astype(np.float64) * _value(b)
    words = product.view(np.uint32)
    words = np.where(np.abs(exact) < _ROUNDS_TO_NORMAL, np.where(np.signbit(exact), SIGN, 0), words)
    return np.where(np.isnan(product), QUIET_NAN, words)


def _host_bf16(a, b):
    """The product, exact in float64, rounded there to 8 significant bits (``np.rint`` ties to even)."""
    with np.errstate(all="ignore"):
        exact = _value(a).astype(np.float64) * _value(b.astype(np.uint32) << 16)
        mantissa, exponent = np.frexp(exact)
        rounded = np.ldexp(np.rint(mantissa * 256), exponent - 8)
        flushed = np.where(np.abs(rounded) < 2.0**-126, rounded * 0, rounded)
        words = flushed.astype(np.float32).view(np.uint32)
    return np.where(np.isnan(exact), BF16.quiet_nan, words >> 16).astype(np.uint16)


def _host_u6_10(a, b):
    """The product of magnitudes, exact in float64, rounded there to 11 significant bits."""
    with np.errstate(all="ignore"):
        field, fraction = (b >> 10).astype(int), (b & 1023) / 1024
        factor = np.ldexp(1 + fraction, field - 62) * (field > 0)
        factor = np.where(field == 63, np.where(fraction, np.nan, np.inf), factor)
        mantissa, exponent = np.frexp(np.abs(_value(a).astype(np.float64) * factor))
        exact = mantissa.copy()
        whole = np.rint(mantissa * 2048)
        exponent, whole = exponent + (whole == 2048), np.where(whole == 2048, 1024, whole)
        words = (exponent + 61 << 10) + np.nan_to_num(whole - 1024, nan=0, posinf=0).astype(int)
    words = np.where((exponent < -60) | (exact == 0), 0, np.where((exponent > 1) | np.isinf(exact), 63 << 10, words))
    return np.where(np.isnan(exact), 0xFE00, words).astype(np.uint16)


def _assert_equal(a, b, got, expected):
    bad = np.flatnonzero(got != expected)
    assert not len(bad), [f"{int(w[bad[0]]):#x}" for w in (a, b, got, expected)]


@pytest.mark.smoke
def test_all_pairs_of_corners():
    a, b = (side.ravel() for side in np.meshgrid(fp32_corners(), fp32_corners()))
    _assert_equal(a, b, mul(a, b), _host(a, b))
    a, b = (side.ravel() for side in np.meshgrid(fp32_corners(), bf16_corners()))
    _assert_equal(a, b, mul_bf16(a, b), _host_bf16(a, b))


@pytest.mark.smoke
def test_ten_million_random_pairs():
    rng = np.random.default_rng(22)
    for _ in range(5):
        a, b = random_pairs(rng, 2_000_000)
        _assert_equal(a, b, mul(a, b), _host(a, b))


@pytest.mark.smoke
def test_products_around_the_smallest_normal():
    """Tininess is detected after rounding to 24 bits: what then reaches 2^-126 is kept, the rest flushed."""
    rng = np.random.default_rng(23)
    a = rng.integers(0x3F000000, 0x40000000, 1_000_000, dtype=np.uint32)
    near = (2.0**-126 / a.view(np.float32).astype(np.float64) * 2.0**60).astype(np.float32).view(np.uint32)
    for step in (-1, 0, 1):
        b = near - np.uint32((60 << 23) + step)
        _assert_equal(a, b, mul(a, b), _host(a, b))

    def product(x, y):
        return int(mul(*(np.float32(value).view(np.uint32) for value in (x, y))))

    assert product(31 * 2.0**-60, 1082401 * 2.0**-91) == 0x00800000  # (1 − 2⁻²⁵)·2⁻¹²⁶, a tie, to even
    assert product(12913 * 2.0**-60, 5197 * 2.0**-92) == 0  # (1 − 3·2⁻²⁶)·2⁻¹²⁶ is nearer to (1 − 2⁻²⁴)·2⁻¹²⁶
    assert product(-12913 * 2.0**-60, 5197 * 2.0**-92) == 0x80000000


@pytest.mark.smoke
def test_u6_10_random_and_ties():
    """Of any size, at both ends of the format's range, and halfway between its words."""
    rng = np.random.default_rng(25)
    b = rng.integers(0, 1 << 16, 2_000_000, dtype=np.uint16)
    field = np.clip(127 + 62 + rng.choice([0, -61, -30], len(b)) + rng.integers(-3, 4, len(b)) - (b >> 10), 0, 255)
    for a in (random_words(rng, len(b)), (field << 23 | rng.integers(0, 1 << 23, len(b))).astype(np.uint32)):
        _assert_equal(a, b, mul_u6_10(a, b), _host_u6_10(a, b))
        tie = a & np.uint32(0xFFFFF000) | np.uint32(0x1000), b & np.uint16(0xFC00)
        _assert_equal(*tie, mul_u6_10(*tie), _host_u6_10(*tie))
    happened = mul_u6_10(a, b) >> 10
    assert all((happened == edge).mean() > 0.01 for edge in (0, 1, 31, 62, 63))


@pytest.mark.smoke
def test_bf16_random_and_ties():
    rng = np.random.default_rng(24)
    a = random_words(rng, 2_000_000)
    b = rng.integers(0, 1 << 16, len(a), dtype=np.uint16)
    _assert_equal(a, b, mul_bf16(a, b), _host_bf16(a, b))
    a = a & np.uint32(0xFFFF8000) | np.uint32(0x8000)  # with b a power of two: a tie
    b = b & np.uint16(0xFF80)
    _assert_equal(a, b, mul_bf16(a, b), _host_bf16(a, b))
