"""The matrix product against the chain of fused steps. The fused step itself: ``test_fdpa_exact.py``."""

import numpy as np
import pytest
from amla.model.fp.corners import fp32_corners
from amla.model.fp.fdpa import fdpa_word, matmul
from amla.model.fp.formats import NEG_INF, ONE, POS_INF, QUIET_NAN


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
