"""Tile-scheduler metadata: which keys of which request make up each split.

The arrays are FlashMLA's. Row p of the metadata is the work of partition p, in blocks of 64 keys:

    [begin_idx, begin_block, end_idx, end_block (exclusive), begin_n_split_idx, 0, 0, 0]

Requests begin_idx … end_idx: the first from begin_block on, the last up to end_block, those between whole. The
part of a request that falls into one partition is one split of it. ``num_splits[i]`` counts the splits of the
requests before i.

FlashMLA packs the batch into as many partitions as the GPU has for it, so where a request is cut, and with it
its last bits, depends on its neighbours. Here every request is cut each `keys_per_split` keys from its own
start, one partition per split: the cuts, and the bits, depend on the request alone.
"""

from typing import Any

import numpy as np

from .tensors import int32_array, like

__all__ = ["BLOCK", "KEYS_PER_SPLIT", "get_mla_metadata", "plan_splits", "read_splits"]

#: Keys of a block, the unit of the metadata.
BLOCK = 64
#: Keys of a split unless asked otherwise: what the sparse attention of DeepSeek V3.2 selects, so that it is one split.
KEYS_PER_SPLIT = 2048

_FIELDS = 8


def get_mla_metadata(
    cache_seqlens: Any = None, num_heads_per_head_k: int | None = None, num_heads_k: int | None = None,
    num_heads_q: int | None = None, is_fp8_kvcache: bool = False, topk: int | None = None, *,
    keys_per_split: int = KEYS_PER_SPLIT,
) -> tuple[Any, Any]:
    """Split plan of a batch, for :func:`~amla.model.flash_mla_with_kvcache`.

    Parameters
    ----------
    cache_seqlens:        [b], int32, NumPy or CPU torch. Left out, as in FlashMLA's newest releases, the result is
                          (None, None), with which the decode call plans by itself
    num_heads_per_head_k: s_q · h_q / h_kv; like `num_heads_k`, `num_heads_q` and `is_fp8_kvcache` it changes
                          FlashMLA's number of partitions, but nothing here
    num_heads_k:          h_kv
    num_heads_q:          h_q
    is_fp8_kvcache:       the cache is FP8
    topk:                 sparse attention: keys per query token, which then take the place of the lengths
    keys_per_split:       keys of a split, a multiple of 64

    Returns
    -------
    tile_scheduler_metadata: int32[partitions, 8], of `cache_seqlens`' kind
    num_splits:              int32[b + 1], of `cache_seqlens`' kind

    Raises
    ------
    TypeError, ValueError: an argument breaks its rule; the message names it.
    """
    for name, value in (("num_heads_per_head_k", num_heads_per_head_k), ("num_heads_k", num_heads_k),
                        ("num_heads_q", num_heads_q), ("topk", topk)):
        if value is not None:
            _check_count(name, value)
    _check_count("keys_per_split", keys_per_split)
    if keys_per_split % BLOCK:
        raise ValueError(f"keys_per_split must be a multiple of {BLOCK}, not {keys_per_split!r}")
    if cache_seqlens is None:
        return None, None
    lengths = int32_array("cache_seqlens", cache_seqlens, 1).tolist()
    if any(length < 0 for length in lengths):
        raise ValueError(f"cache_seqlens must be at least 0, not {min(lengths)!r}")
    rows, counts = [], [0]
    for request, length in enumerate(lengths):
        splits = plan_splits(length if topk is None else topk, keys_per_split=keys_per_split)
        for index, (start, stop) in enumerate(splits):
            rows.append([request, start // BLOCK, request, -(-stop // BLOCK), index, 0, 0, 0])
        counts.append(len(rows))
    metadata = np.array(rows, np.int32).reshape(-1, _FIELDS)
    return like(cache_seqlens, metadata), like(cache_seqlens, np.array(counts, np.int32))


def plan_splits(length: int, *, keys_per_split: int = KEYS_PER_SPLIT) -> list[tuple[int, int]]:
    """(start, stop) of each split of `length` keys; one empty split if there are none."""
    starts = range(0, max(length, 1), keys_per_split)
    return [(start, min(start + keys_per_split, length)) for start in starts]


def read_splits(metadata: Any, num_splits: Any, lengths: list[int]) -> list[list[tuple[int, int]]]:
    """(start, stop) of each split of each request, from any metadata that covers the batch: also FlashMLA's own.

    Parameters
    ----------
    metadata:   int32[partitions, 8]; rows that begin past the batch are without work
    num_splits: int32[b + 1], or None
    lengths:    keys of each request; splits are cut there

    Raises
    ------
    TypeError, ValueError: dtype or shape is wrong, the splits of a request do not follow on each other from its
                           first key to its last, or `num_splits` does not count them.
    """
    table = int32_array("tile_scheduler_metadata", metadata, 2)
    if table.shape[1] != _FIELDS:
        raise ValueError(f"tile_scheduler_metadata must have {_FIELDS} columns, not {table.shape[1]!r}")
    blocks = [-(-length // BLOCK) for length in lengths]
    splits: list[list[tuple[int, int]]] = [[] for _ in lengths]
    reached = [0] * len(lengths)
    for row, (first, begin, last, end, *_) in enumerate(table.tolist()):
        if first >= len(lengths):
            continue
        if not 0 <= first <= last < len(lengths):
            raise ValueError(f"tile_scheduler_metadata[{row}] must name requests from 0 to {len(lengths) - 1} in "
                             f"order, not {first!r} to {last!r}")
        for request in range(first, last + 1):
            start = begin if request == first else 0
            stop = end if request == last else max(start, blocks[request])
            if start != reached[request] or stop < start:
                raise ValueError(f"tile_scheduler_metadata[{row}] must go on with block {reached[request]} of request "
                                 f"{request}, not with blocks {start!r} to {stop!r}")
            reached[request] = stop
            length = lengths[request]
            splits[request].append((min(start * BLOCK, length), min(stop * BLOCK, length)))
    for request, needed in enumerate(blocks):
        if reached[request] < needed or not splits[request]:
            raise ValueError(f"tile_scheduler_metadata must cover the {needed} blocks of request {request}, not "
                             f"{reached[request]!r}")
    if num_splits is not None:
        counts = int32_array("num_splits", num_splits, 1).tolist()
        wanted = np.cumsum([0, *map(len, splits)]).tolist()
        if counts != wanted:
            raise ValueError(f"num_splits must be {wanted}, the splits of tile_scheduler_metadata, not {counts!r}")
    return splits


def _check_count(name: str, value: object) -> None:
    if type(value) is not int:
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value!r}")
