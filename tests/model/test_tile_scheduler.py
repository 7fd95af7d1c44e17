"""Tile-scheduler metadata: its cuts, that they depend on the request alone, and what is refused."""

from itertools import pairwise

import numpy as np
import pytest
from amla.model import FlashMLASchedMeta, get_mla_metadata
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
    plan, num_splits = get_mla_metadata()
    assert isinstance(plan, FlashMLASchedMeta) and num_splits is None
    assert (plan.have_initialized, plan.config, plan.tile_scheduler_metadata, plan.num_splits) == (False, *3 * [None])
    assert get_mla_metadata(keys_per_split=128, num_sm_parts=5) == (
        FlashMLASchedMeta(keys_per_split=128, num_sm_parts=5), None)


def test_the_second_argument_has_two_names():
    arrays = [get_mla_metadata(lengths_of(99, 3), **{name: 16}, num_heads_k=1)
              for name in ("num_heads_per_head_k", "num_q_tokens_per_head_k")]
    assert all(np.array_equal(*pair) for pair in zip(*arrays, strict=True))
    with pytest.raises(ValueError, match=r"^num_q_tokens_per_head_k must be None beside num_heads_per_head_k, .* 8$"):
        get_mla_metadata(lengths_of(3), 16, num_q_tokens_per_head_k=8)


class Count:
    """An integer that is no int."""

    def __index__(self):
        return 2


@pytest.mark.parametrize("integer", [np.int64(2), np.uint8(2), np.array(2), Count()])
def test_integers_of_any_kind_are_counts(integer):
    names = ("num_heads_per_head_k", "num_heads_k", "num_heads_q", "topk", "num_sm_parts")
    metadata, num_splits = get_mla_metadata(lengths_of(9, 3), **{name: integer for name in names},
                                            keys_per_split=np.int16(64), is_fp8_kvcache=np.int8(1))
    assert metadata.shape == (2, 8) and num_splits.tolist() == [0, 1, 2]


def row_2025(first, begin, last, end, index):
    return [first, begin, last, end, index, 0, 0, 0]


def row_now(first, begin, last, end, index):
    return [first, last, begin, end, index, 0, 0, 0]


@pytest.mark.parametrize("row", [row_2025, row_now])
def test_both_layouts_are_read(row):
    """Partitions that end inside a request, at its end, and inside the next but one; rows without work."""
    work = [(0, 0, 0, 3, 0), (0, 3, 2, 2, 1), (2, 2, 2, 4, 1), (3, 0, 4, 0, 0)]
    idle = [(5, 0, 4, 7, 0), (-1, 3, 4, 7, 0)]
    metadata = np.array([row(*values) for values in work + idle], np.int32)
    assert read_splits(metadata, lengths_of(0, 2, 3, 5, 6, 7), [300, 70, 256, 40, 0]) == [
        [(0, 192), (192, 300)], [(0, 70)], [(0, 128), (128, 256)], [(0, 40)], [(0, 0)]]


@pytest.mark.parametrize("row", [row_2025, row_now])
def test_rows_of_zeros_after_the_last_are_no_work(row):
    metadata = np.zeros((6, 8), np.int32)
    metadata[:2] = row(0, 0, 0, 2, 0), row(0, 2, 1, 1, 1)
    assert read_splits(metadata, lengths_of(0, 2, 3), [200, 64]) == [[(0, 128), (128, 200)], [(0, 64)]]
    assert read_splits(metadata * 0, lengths_of(0, 1), [0]) == [[(0, 0)]]
    assert read_splits(metadata * 0, lengths_of(0), []) == []
    metadata[0] = 0  # a row of zeros that is not after the last one
    with pytest.raises(ValueError, match=r"^tile_scheduler_metadata\[1\] must "):
        read_splits(metadata, None, [200, 64])


def test_a_random_table_reads_the_same_in_both_layouts():
    """Packed as FlashMLA does: the batch in order, cut wherever a partition is full."""
    rng = np.random.default_rng(5)
    for _ in range(200):
        lengths = rng.choice([0, 1, 64, 65, 200, 700], rng.integers(1, 7)).tolist()
        units = [(request, block) for request, length in enumerate(lengths)
                 for block in range(max(-(-length // 64), 1))]
        cuts = sorted({0, len(units), *rng.integers(0, len(units), 3).tolist()})
        work, splits = [], [[] for _ in lengths]
        for start, stop in pairwise(cuts):
            (first, begin), (last, final) = units[start], units[stop - 1]
            work.append((first, begin, last, final + 1 if lengths[last] else 0, len(splits[first])))
            for request in range(first, last + 1):
                mine = [block for owner, block in units[start:stop] if owner == request]
                bounds = min(mine) * 64, (max(mine) + 1) * 64
                splits[request].append(tuple(min(bound, lengths[request]) for bound in bounds))
        counts = np.cumsum([0, *map(len, splits)]).astype(np.int32)
        for row in (row_2025, row_now):
            assert read_splits(np.array([row(*values) for values in work], np.int32), counts, lengths) == splits


@pytest.mark.parametrize("rows", [
    [(0, 0, 0, 192, 0), (0, 192, 1, 128, 1), (1, 128, 1, 1024, 1)],  # in keys, cut
    [(0, 0, 1, 1024, 0)],  # in keys, one partition
    [(0, 0, 0, 300, 0), (1, 0, 1, 1024, 0), (2, 0, 1, 1024, 0)],
])
def test_tables_in_keys_are_refused(rows):
    metadata = np.array([row_2025(*values) for values in rows], np.int32)
    with pytest.raises(ValueError, match=r"^tile_scheduler_metadata must count in blocks of 64 keys, not in keys "):
        read_splits(metadata, None, [300, 1024])


def test_a_block_of_one_key_is_no_table_in_keys():
    assert read_splits(np.array([row_2025(0, 0, 1, 1, 0)], np.int32), None, [0, 1]) == [[(0, 0)], [(0, 1)]]


def test_a_sparse_plan_may_be_for_more_keys():
    """topk = 4096, of which topk_length leaves 64 and none: no table in keys."""
    metadata = np.array([row_2025(0, 0, 1, 64, 0)], np.int32)
    assert read_splits(metadata, None, [64, 0], in_blocks=True) == [[(0, 64)], [(0, 0)]]


@pytest.mark.parametrize("lengths", [[5000, 17, 0, 2049], [1] * 9, [0], []])
def test_a_table_of_a_given_number_of_rows(lengths):
    lengths = lengths_of(*lengths)
    free, counts = get_mla_metadata(lengths, keys_per_split=1024)
    least = len(free) - len(lengths) + 1 if len(lengths) else 1
    for rows in range(least, len(free) + 4):
        metadata, num_splits = get_mla_metadata(lengths, keys_per_split=1024, num_sm_parts=rows)
        assert metadata.shape == (rows, 8) and np.array_equal(num_splits, counts)
        assert read_splits(metadata, num_splits, lengths.tolist()) == read_splits(free, counts, lengths.tolist())
        assert np.all(metadata[len(free):, 0] == len(lengths))
    if least > 1:
        with pytest.raises(ValueError, match=f"^num_sm_parts must be at least {least} for these lengths, not "):
            get_mla_metadata(lengths, keys_per_split=1024, num_sm_parts=least - 1)


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
    ({"num_sm_parts": 0}, ValueError, "num_sm_parts must be at least 1, not 0"),
    ({"is_fp8_kvcache": "no"}, TypeError, "is_fp8_kvcache must be a bool, not 'no'"),
    ({"topk": True}, TypeError, "topk must be an int, not True"),
    ({"cache_seqlens": None, "keys_per_split": 100}, ValueError, "keys_per_split must be a multiple of 64, not 100"),
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
