"""Fixed point against exact integers and rationals."""

from fractions import Fraction

import numpy as np
import pytest
from amla.model.fp.corners import fp32_corners, random_words
from amla.model.fp.fixed import from_fixed, to_fixed


@pytest.mark.smoke
def test_to_fixed_is_the_floor():
    words = np.concatenate([fp32_corners(), random_words(np.random.default_rng(40), 20_000)])
    rng = np.random.default_rng(41)
    fractions = rng.integers(0, 1 << 23, 20_000, dtype=np.uint32)
    words = np.concatenate([words, rng.integers(80, 128, 20_000).astype(np.uint32) << 23 | fractions])
    inside = words[(words >> 23 & 0xFF) < 128]
    flushed = np.where(inside & 0x7F800000 == 0, 0, inside).view(np.float32)
    expected = [int(abs(Fraction(float(value))) * 2**32) for value in flushed]
    got = to_fixed(inside)
    assert got.dtype == np.uint64
    assert got.tolist() == expected
    assert max(expected) == 2**33 - 2**9  # just below 2
    assert (to_fixed(words[(words >> 23 & 0xFF) >= 128]) == (1 << 33) - 1).all()


def _exact(integers):
    """s·2^-32 rounded by the host: 48 bits are exact in float64, and float32 conversion rounds once."""
    return (integers.astype(np.float64) * 2.0**-32).astype(np.float32).view(np.uint32)


@pytest.mark.smoke
def test_from_fixed_rounds_once():
    rng = np.random.default_rng(42)
    lengths = rng.integers(1, 49, 1_000_000).astype(np.uint64)
    integers = rng.integers(0, 1 << 48, len(lengths), dtype=np.uint64) >> (np.uint64(48) - lengths)
    odd = rng.integers(1 << 23, 1 << 24, 100_000, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    ties = odd << np.uint64(20)
    edges = np.array([0, 1, 2**24 - 1, 2**24, 2**24 + 1, 2**25 - 1, 2**32, 2**48 - 1], dtype=np.uint64)
    for part in (integers, ties, ties - np.uint64(1), ties + np.uint64(1), edges):
        np.testing.assert_array_equal(from_fixed(part), _exact(part))


@pytest.mark.smoke
def test_round_trip_of_bf16_probabilities():
    words = np.arange(112 << 7, 128 << 7, dtype=np.uint32) << 16
    np.testing.assert_array_equal(from_fixed(to_fixed(words)), words)
