"""FP32 add and subtract against the host's floating-point unit."""

import numpy as np
import pytest
from amla.model.fp.add import add, sub
from amla.model.fp.corners import fp32_corners, random_pairs
from amla.model.fp.formats import NEG_ZERO, POS_ZERO, QUIET_NAN, SIGN


def _flush(words):
    """Subnormals as signed zero."""
    return np.where(words & 0x7F800000 == 0, words & SIGN, words)


def _host(a, b):
    """a + b by the host: a sum below the normal range is exact there, so that flushing it is enough."""
    with np.errstate(all="ignore"):
        total = (_flush(a).view(np.float32) + _flush(b).view(np.float32)).view(np.uint32)
    return np.where(total & 0x7FFFFFFF > 0x7F800000, QUIET_NAN, _flush(total))


def _assert_equal(a, b, operation, expected):
    got = operation(a, b)
    bad = np.flatnonzero(got != expected)
    assert not len(bad), [f"{int(w[bad[0]]):#010x}" for w in (a, b, got, expected)]


@pytest.mark.smoke
def test_all_pairs_of_corners():
    corners = fp32_corners()
    a, b = (side.ravel() for side in np.meshgrid(corners, corners))
    _assert_equal(a, b, add, _host(a, b))
    _assert_equal(a, b, sub, _host(a, b ^ SIGN))


@pytest.mark.smoke
def test_ten_million_random_pairs():
    rng = np.random.default_rng(20)
    for _ in range(5):
        a, b = random_pairs(rng, 2_000_000)
        _assert_equal(a, b, add, _host(a, b))


@pytest.mark.smoke
def test_cancellation():
    """Equal and neighbouring exponents with opposite signs: massive cancellation down to the flush."""
    rng = np.random.default_rng(21)
    a = rng.integers(0x00800000, 0x04000000, 1_000_000, dtype=np.uint32)
    b = (a + rng.integers(-4096, 4097, len(a)).astype(np.uint32)) | SIGN
    _assert_equal(a, b, add, _host(a, b))
    assert (add(a, b) == SIGN).any()
    assert (add(a, a | SIGN) == POS_ZERO).all()


@pytest.mark.smoke
def test_zeros():
    assert add(NEG_ZERO, NEG_ZERO) == NEG_ZERO
    assert add(POS_ZERO, NEG_ZERO) == POS_ZERO
    assert add(np.uint32(0x80000001), np.uint32(0x807FFFFF)) == NEG_ZERO
    assert sub(NEG_ZERO, POS_ZERO) == NEG_ZERO
