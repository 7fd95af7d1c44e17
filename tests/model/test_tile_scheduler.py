"""Tile-scheduler metadata: its cuts, that they depend on the request alone, and what is refused."""

from itertools import pairwise

import numpy as np
import pytest
from amla.model import get_mla_metadata
from amla.model.tile_scheduler import BLOCK, KEYS_PER_SPLIT, plan_splits, read_splits


def lengths_of(*lengths):
    return np.array(lengths, np.int32)


def test_rows_are_flashmlas():
    metadata, num_splits = get_mla_metadata(lengths_of(130, 0, 300), 16, 1, keys_per_split=128)
    assert metadata.dtype == num_splits.dtype == np.int32
    assert metadata.tolist() == [
        [0, 0, 0, 2, 0, 0, 0, 0], [0, 2, 0, 3, 1, 0, 0, 0],
        [1, 0, 1, 0, 0, 0, 0, 0],
        [2, 0, 2, 2, 0, 0, 0, 0], [2, 2, 2, 4, 1, 0, 0, 0], [2, 4, 2, 5, 2, 0, 0, 0],
    ]
    assert num_splits.tolist() == [0, 2, 3, 6]


@pytest.mark.parametrize("keys_per_split", [64, 192, 2048])
def test_reading_gives_back_what_was_planned(keys_per_split):
    rng = np.random.default_rng(keys_per_split)
    lengths = rng.integers(0, 3000, 40).astype(np.int32)
    lengths[:6] = 0, 1, 63, 64, 65, keys_per_split
    splits = read_splits(*get_mla_metadata(lengths, keys_per_split=keys_per_split), lengths.tolist())
    assert splits == [plan_splits(length, keys_per_split=keys_per_split) for length in lengths.tolist()]
    for length, parts in zip(lengths.tolist(), splits, strict=True):
        assert parts[0][0] == 0 and parts[-1][1] == length
        assert all(stop == start for (_, stop), (start, _) in pairwise(parts))
        assert all(start % keys_per_split == 0 and (stop - start <= keys_per_split) for start, stop in parts)


def test_the_cuts_of_a_request_depend_on_it_alone():
    lengths = lengths_of(5000, 17, 0, 2049)
    alone = [read_splits(*get_mla_metadata(lengths[[i]]), [int(lengths[i])])[0] for i in range(4)]
    assert read_splits(*get_mla_metadata(lengths), lengths.tolist()) == alone


def test_topk_takes_the_place_of_the_lengths():
    metadata, num_splits = get_mla_metadata(lengths_of(0, 99999), 128, 1, 128, True, 2048)
    assert metadata[:, :4].tolist() == [[0, 0, 0, 32], [1, 0, 1, 32]] and num_splits.tolist() == [0, 1, 2]
    assert KEYS_PER_SPLIT % BLOCK == 0


def test_without_lengths_the_decode_call_plans():
    assert get_mla_metadata() == (None, None)


def test_a_plan_for_more_keys_is_cut_to_the_request():
    metadata = np.array([[0, 0, 0, 4, 0, 0, 0, 0], [0, 4, 0, 8, 1, 0, 0, 0]], np.int32)
    assert read_splits(metadata, None, [130]) == [[(0, 130), (130, 130)]]


def test_a_partition_spans_requests():
    metadata = np.array([[0, 0, 2, 1, 0, 0, 0, 0], [2, 1, 2, 2, 1, 0, 0, 0], [3, 0, 0, 0, 0, 0, 0, 0]], np.int32)
    assert read_splits(metadata, lengths_of(0, 1, 2, 4), [70, 0, 100]) == [[(0, 70)], [(0, 0)], [(0, 64), (64, 100)]]


def test_an_empty_batch():
    metadata, num_splits = get_mla_metadata(lengths_of())
    assert metadata.shape == (0, 8) and num_splits.tolist() == [0]
    assert read_splits(metadata, num_splits, []) == []


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"keys_per_split": 100}, ValueError, "keys_per_split must be a multiple of 64, not 100"),
    ({"keys_per_split": 0}, ValueError, "keys_per_split must be at least 1, not 0"),
    ({"topk": 2.5}, TypeError, "topk must be an int, not 2.5"),
    ({"num_heads_k": 0}, ValueError, "num_heads_k must be at least 1, not 0"),
    ({"num_heads_per_head_k": "16"}, TypeError, "num_heads_per_head_k must be an int, not '16'"),
    ({"cache_seqlens": lengths_of(3, -1)}, ValueError, "cache_seqlens must be at least 0, not -1"),
    ({"cache_seqlens": np.zeros(3)}, TypeError, "cache_seqlens must be an array of int32, not of float64"),
])
def test_rejects_arguments(options, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        get_mla_metadata(**{"cache_seqlens": lengths_of(3), **options})


@pytest.mark.parametrize(("rows", "counts", "error", "message"), [
    (np.zeros((1, 8)), None, TypeError, "tile_scheduler_metadata must be an array of int32, not of float64"),
    (np.zeros((1, 5), np.int32), None, ValueError, "tile_scheduler_metadata must have 8 columns, not 5"),
    ([[0, 0, 0, 1]], None, ValueError, "tile_scheduler_metadata must cover the 3 blocks of request 0, not 1"),
    ([[0, 0, 0, 3]], None, ValueError, "tile_scheduler_metadata must cover the 0 blocks of request 1, not 0"),
    ([[0, 1, 0, 3]], None, ValueError,
     r"tile_scheduler_metadata\[0\] must go on with block 0 of request 0, not with blocks 1 to 3"),
    ([[0, 0, 0, 2], [0, 1, 1, 0]], None, ValueError,
     r"tile_scheduler_metadata\[1\] must go on with block 2 of request 0, not with blocks 1 to 3"),
    ([[0, 0, 2, 1]], None, ValueError,
     r"tile_scheduler_metadata\[0\] must name requests from 0 to 1 in order, not 0 to 2"),
    ([[1, 0, 0, 1]], None, ValueError,
     r"tile_scheduler_metadata\[0\] must name requests from 0 to 1 in order, not 1 to 0"),
    ([[0, 0, 1, 0]], [0, 2, 3], ValueError,
     r"num_splits must be \[0, 1, 2\], the splits of tile_scheduler_metadata, not \[0, 2, 3\]"),
])
def test_rejects_metadata(rows, counts, error, message):
    if isinstance(rows, list):
        rows = np.array([row + [0] * 4 for row in rows], np.int32)
    if counts is not None:
        counts = np.array(counts, np.int32)
    with pytest.raises(error, match=f"^{message}$"):
        read_splits(rows, counts, [130, 0])
