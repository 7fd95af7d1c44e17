"""FP32 with flush to zero against exact fractions."""

from fractions import Fraction

import numpy as np
from amla.model.fp.corners import fp32_corners
from amla.model.hopper.float32 import add, fma, mul, to_bf16
from ml_dtypes import bfloat16


def _finite(rng, count):
    words = np.where(rng.random(count) < 0.3, rng.choice(fp32_corners(), count),
                     rng.integers(0, 2, count) << 31 | rng.integers(100, 150, count) << 23
                     | rng.integers(0, 1 << 23, count)).astype(np.uint32)
    return words[words >> 23 & 0xFF != 255].view(np.float32)


def _flushed(x):
    return np.copysign(np.float32(0), x) if abs(x) < np.float32(2.0**-126) else x


def _nearest(value):
    """The float32 next to a fraction, ties to even, flushed; its sign bit apart where it is zero."""
    near = np.float32(float(value)) if abs(value) < 2**128 else np.float32(np.inf if value > 0 else -np.inf)
    with np.errstate(over="ignore"):
        around = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    around = [x for x in around if np.isfinite(x)]
    if abs(value) >= 2**128 - 2**103:
        return np.float32(np.inf if value > 0 else -np.inf)
    best = min(around, key=lambda x: (abs(Fraction(float(x)) - value), int(x.view(np.uint32)) & 1))
    return _flushed(best)


def test_one_rounding_each(seed):
    rng = np.random.default_rng(seed)
    x, y, z = (_finite(rng, 4000)[:2500] for _ in range(3))
    half_way = 0
    for a, b, c in zip(x, y, z, strict=True):
        if rng.random() < 0.5:  # c near half a last place of the product: two roundings would show
            c = np.float32(a * b * np.float32(2.0) ** -rng.integers(20, 60)) if abs(float(a) * float(b)) < 1e30 else c
        fa, fb, fc = (Fraction(float(_flushed(v))) for v in (a, b, c))
        for got, exact in ((add(a, b), fa + fb), (mul(a, b), fa * fb), (fma(a, b, c), fa * fb + fc)):
            assert got == _nearest(exact), (a, b, c, got)
        if abs(float(a) * float(b)) < 1e30:
            half_way += np.float32(a * b) + c != fma(a, b, c)
    assert half_way > 100, "too few cases that two roundings get wrong"
    assert fma(np.float32(1 + 2.0**-23), np.float32(1 + 2.0**-23), np.float32(-1)) == np.float32(2.0**-22 + 2.0**-46)


def test_zeros_and_specials():
    small, zero, inf = np.float32(1e-39), np.float32(0), np.float32(np.inf)
    assert add(small, small) == mul(small, np.float32(2)) == fma(small, np.float32(1), small) == 0
    assert np.signbit(add(-small, -zero)) and not np.signbit(add(small, -small))
    assert np.signbit(mul(np.float32(-1e-30), np.float32(1e-30)))
    assert add(inf, zero) == inf and np.isnan(add(inf, -inf)) and np.isnan(fma(inf, zero, zero))


def test_to_bf16_is_to_nearest_and_keeps_subnormals(seed):
    words = np.r_[fp32_corners(), np.random.default_rng(seed).integers(0, 1 << 32, 5000)].astype(np.uint32)
    words = words[words & 0x7FFFFFFF <= 0x7F800000]
    wanted = words.view(np.float32).astype(bfloat16).view(np.uint16)
    np.testing.assert_array_equal([to_bf16(word) for word in words], wanted)
    assert to_bf16(np.uint32(0x7F800001)) == to_bf16(np.uint32(0xFFC00000)) == 0x7FFF
