"""Inputs of the accuracy study: settled by the seed, and what their purpose says."""

import ml_dtypes
import numpy as np
import pytest
from amla.sw.errors import AmlaError
from amla.sw.workload.distributions import DISTRIBUTIONS, Shape, draw

SHAPE = Shape(rows=8, head_dim=48, head_dim_v=32, kv_block=32)


def _scores(key, length=256, shape=SHAPE):
    q, keys = (array.astype(np.float64) for array in draw(key, shape, length, 0))
    return shape.scale * q @ keys.T, keys


@pytest.mark.parametrize("key", DISTRIBUTIONS)
def test_the_seed_settles_every_bit(key):
    first, again, other = (draw(key, SHAPE, 100, seed) for seed in (1, 1, 2))
    assert first[0].shape == (8, 48) and first[1].shape == (100, 48)
    for array, same in zip(first, again, strict=True):
        assert array.dtype == ml_dtypes.bfloat16 and np.isfinite(array.astype(np.float32)).all()
        assert np.array_equal(array.view(np.uint16), same.view(np.uint16))
    assert not np.array_equal(first[1].view(np.uint16), other[1].view(np.uint16))


@pytest.mark.parametrize("key, variance", [("normal-1", 1), ("normal-4", 4), ("normal-10", 10), ("normal-25", 25),
                                           ("uniform-1", 1 / 3), ("uniform-10", 100 / 3)])
def test_variance(key, variance):
    q, keys = draw(key, Shape(), 512, 0)
    for array in (q, keys):
        assert array.astype(np.float64).var() == pytest.approx(variance, rel=0.03)
    if key.startswith("uniform"):
        assert np.abs(keys.astype(np.float64)).max() <= float(key.split("-")[1])


def test_distributions_and_lengths_draw_apart():
    values = [draw(key, SHAPE, length, 0)[1][:10].astype(np.float64) for key, length in
              (("normal-1", 64), ("normal-1", 65), ("needle", 64))]
    assert not np.array_equal(values[0], values[1]) and not np.array_equal(values[0], values[2])


@pytest.mark.parametrize("length", [2048, 16384])
def test_the_needle_takes_most_of_the_weight(length):
    scores, _ = _scores("needle", length, Shape())
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    share = (weights / weights.sum(axis=1, keepdims=True))[:, length * 3 // 4]
    assert 0.6 < np.median(share) < 0.9


def test_constant_scores_differ_between_rows_only():
    scores, _ = _scores("constant")
    assert (np.ptp(scores, axis=1) == 0).all() and np.ptp(scores[:, 0]) > 0.1 and (scores > 0).all()


def test_all_equal_scores_are_zero():
    scores, keys = _scores("equal")
    assert not scores.any() and keys[:, :32].std() > 0.9


def test_rising_scores_move_the_maximum_in_most_tiles():
    scores, _ = _scores("rising", 2048)
    tiles = scores.reshape(8, -1, SHAPE.kv_block).max(axis=2)
    assert (tiles[:, 1:] > np.maximum.accumulate(tiles, axis=1)[:, :-1]).mean() > 0.5


def test_zero_columns_fill_later():
    _, keys = _scores("zero-columns", 100)
    assert not keys[:50, :8].any() and keys[50:, :8].all() and keys[:50, 8:].all()


@pytest.mark.parametrize("call, message", [
    (lambda: draw("cauchy", SHAPE, 8, 0), "distribution must be one of normal-1, .*, not 'cauchy'"),
    (lambda: draw("equal", SHAPE, 0, 0), "keys must be a positive integer, not 0"),
    (lambda: Shape(rows=0), "rows must be a positive integer, not 0"),
    (lambda: Shape(head_dim=513), "head_dim must be head_dim_v plus an even number of columns, not 513"),
])
def test_bad_arguments(call, message):
    with pytest.raises(AmlaError, match=message):
        call()
