"""Tile-scheduler metadata: which keys of which request make up each split.

The arrays are FlashMLA's. Row p of the table is the work of partition p, in blocks of 64 keys, the end exclusive. Its
first five columns are, by release,

    2025:    begin_idx, begin_block, end_idx, end_block, begin_n_split_idx
    2026:    begin_idx, end_idx, begin_block, end_block, begin_n_split_idx, then whether the first and the last
             request are split

Requests begin_idx … end_idx: the first from begin_block on, the last up to end_block, those between whole. The
part of a request that falls into one partition is one split of it. ``num_splits[i]`` counts the splits of the
requests before i. A row that begins outside the batch is no work, nor are rows of zeros after the last one.

FlashMLA packs the batch into as many partitions as the GPU has for it, so where a request is cut, and with it
its last bits, depends on its neighbours. Here every request is cut each `keys_per_split` keys from its own
start: the cuts, and the bits, depend on the request alone. With `sm_parts` the cuts are FlashMLA's
(`model/hopper/scheduler.py`).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .checks import as_flag, as_integer
from .hopper.scheduler import partition
from .tensors import int32_array, like

__all__ = ["BLOCK", "KEYS_PER_SPLIT", "FlashMLASchedMeta", "get_mla_metadata", "plan_splits", "read_splits"]

#: Keys of a block, the unit of the metadata.
BLOCK = 64
#: Keys of a split unless asked otherwise: what the sparse attention of DeepSeek V3.2 selects, so that it is one split.
KEYS_PER_SPLIT = 2048

_FIELDS = 8
#: Where (first request, begin, last request, end) stand in a row: in 2025 and since. No table can be read both ways
#: with different splits: a row that fits both has equal numbers in columns 1 and 2.
_COLUMNS_2025, _COLUMNS = [0, 1, 2, 3], [0, 2, 1, 3]


@dataclass
class FlashMLASchedMeta:
    """The plan of FlashMLA's newest releases: empty at first, filled by the first decode call, reused by later ones.

    Attributes
    ----------
    have_initialized:        whether a call has filled it
    config:                  the shape of that call, which later ones must have
    tile_scheduler_metadata: int32[partitions, 8]
    num_splits:              int32[b + 1]
    keys_per_split, num_sm_parts, sm_parts: as in :func:`get_mla_metadata`, for the call that fills it
    """

    @dataclass
    class Config:
        """Shape of a decode call, in FlashMLA's names; None for what the call does not have."""

        b: int
        s_q: int
        h_q: int
        page_block_size: int
        h_k: int
        causal: bool
        is_fp8_kvcache: bool
        topk: int | None
        extra_page_block_size: int | None
        extra_topk: int | None

    have_initialized: bool = False
    config: Config | None = None
    tile_scheduler_metadata: Any = None
    num_splits: Any = None
    keys_per_split: int = field(default=KEYS_PER_SPLIT, kw_only=True)
    num_sm_parts: int | None = field(default=None, kw_only=True)
    sm_parts: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        self.keys_per_split = _count("keys_per_split", self.keys_per_split)
        if self.keys_per_split % BLOCK:
            raise ValueError(f"keys_per_split must be a multiple of {BLOCK}, not {self.keys_per_split!r}")
        if self.num_sm_parts is not None:
            self.num_sm_parts = _count("num_sm_parts", self.num_sm_parts)
        if self.sm_parts is not None:
            self.sm_parts = _count("sm_parts", self.sm_parts)
            if self.num_sm_parts is not None or self.keys_per_split != KEYS_PER_SPLIT:
                other = "keys_per_split" if self.num_sm_parts is None else "num_sm_parts"
                raise ValueError(f"{other} must be left out with sm_parts, not {getattr(self, other)!r}")

    def splits(self, config: Config, lengths: list[int], example: Any) -> list[list[tuple[int, int]]]:
        """(start, stop) of each split of each request of a decode call; the first call plans them.

        Parameters
        ----------
        config:  shape of the call
        lengths: keys of each request
        example: the arrays of a first call become of its kind

        Raises
        ------
        ValueError: the shape is not that of the first call, or its plan does not cover the lengths.
        """
        if not self.have_initialized:
            table, counts = self._plan(lengths, _COLUMNS)
            self.tile_scheduler_metadata, self.num_splits = like(example, table), like(example, counts)
            self.config, self.have_initialized = config, True
        for name, value in vars(config).items():
            planned = getattr(self.config, name)
            if value != planned:
                raise ValueError(f"{name} must be {planned!r}, as when tile_scheduler_metadata was planned, "
                                 f"not {value!r}")
        return read_splits(self.tile_scheduler_metadata, self.num_splits, lengths, in_blocks=True)

    def _plan(self, lengths: list[int], columns: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Table and `num_splits` of these lengths: a row for each split, unless there are fewer rows."""
        if self.sm_parts is not None and lengths:
            return partition(lengths, self.sm_parts)
        splits = [plan_splits(length, keys_per_split=self.keys_per_split) for length in lengths]
        counts = np.cumsum([0, *map(len, splits)], dtype=np.int32)
        surplus = 0 if self.num_sm_parts is None else int(counts[-1]) - self.num_sm_parts
        rows: list[list[int]] = []  # first request, begin, last request, end, begin split
        for request, parts in enumerate(splits):
            for index, (start, stop) in enumerate(parts):
                if index == 0 and rows and surplus > 0:  # a row holds one split of a request, but several requests
                    rows[-1][2:4] = request, -(-stop // BLOCK)
                    surplus -= 1
                else:
                    rows.append([request, start // BLOCK, request, -(-stop // BLOCK), index])
        if surplus > 0:
            raise ValueError(f"num_sm_parts must be at least {len(rows)} for these lengths, not {self.num_sm_parts!r}")
        table = np.zeros((self.num_sm_parts or len(rows), _FIELDS), np.int32)
        table[:, columns] = len(lengths), 0, len(lengths) - 1, 0  # no work, as FlashMLA says it
        for row, (*work, index) in zip(table, rows, strict=False):
            row[columns], row[4] = work, index
            if columns is _COLUMNS:
                row[5:7] = [len(splits[request]) > 1 for request in row[:2]]
        return table, counts


def get_mla_metadata(
    cache_seqlens: Any = None, num_heads_per_head_k: int | None = None, num_heads_k: int | None = None,
    num_heads_q: int | None = None, is_fp8_kvcache: bool = False, topk: int | None = None, *,
    num_q_tokens_per_head_k: int | None = None, keys_per_split: int = KEYS_PER_SPLIT, num_sm_parts: int | None = None,
    sm_parts: int | None = None,
) -> tuple[Any, Any]:
    """Split plan of a batch, for :func:`~amla.model.flash_mla_with_kvcache`.

    Parameters
    ----------
    cache_seqlens:        [b], int32, NumPy or CPU torch. Left out, as in FlashMLA's newest releases, the result is
                          (:class:`FlashMLASchedMeta`, None), which the first decode call fills
    num_heads_per_head_k: s_q · h_q / h_kv; like `num_heads_k`, `num_heads_q` and `is_fp8_kvcache` it changes
                          FlashMLA's number of partitions, but nothing here
    num_heads_k:          h_kv
    num_heads_q:          h_q
    is_fp8_kvcache:       the cache is FP8
    topk:                 sparse attention: keys per query token, which then take the place of the lengths
    num_q_tokens_per_head_k: the same as `num_heads_per_head_k`, by its later name
    keys_per_split:       keys of a split, a multiple of 64
    num_sm_parts:         rows of the table, for a buffer of fixed size; by default as many as there are splits
    sm_parts:             cut as FlashMLA does on a GPU that has so many partitions for the call: its multiprocessors
                          / h_kv / ceil(s_q · h_q / h_kv / 64), each rounded down and at least 1; 132 of an H100 or H200
                          for up to 64 rows, 66 for up to 128. In place of `keys_per_split` and `num_sm_parts`

    Returns
    -------
    tile_scheduler_metadata: int32[partitions, 8] in the layout of 2025 (with `sm_parts` 2026), of `cache_seqlens`' kind
    num_splits:              int32[b + 1], of `cache_seqlens`' kind

    Raises
    ------
    TypeError, ValueError: an argument breaks its rule; the message names it.
    """
    if num_heads_per_head_k is not None and num_q_tokens_per_head_k is not None:
        raise ValueError("num_q_tokens_per_head_k must be None beside num_heads_per_head_k, its other name, "
                         f"not {num_q_tokens_per_head_k!r}")
    for name, value in (("num_heads_per_head_k", num_heads_per_head_k), ("num_heads_k", num_heads_k),
                        ("num_heads_q", num_heads_q), ("num_q_tokens_per_head_k", num_q_tokens_per_head_k)):
        if value is not None:
            _count(name, value)
    as_flag("is_fp8_kvcache", is_fp8_kvcache)
    topk = None if topk is None else _count("topk", topk)
    plan = FlashMLASchedMeta(keys_per_split=keys_per_split, num_sm_parts=num_sm_parts, sm_parts=sm_parts)
    if cache_seqlens is None:
        return plan, None
    lengths = int32_array("cache_seqlens", cache_seqlens, 1).tolist()
    if any(length < 0 for length in lengths):
        raise ValueError(f"cache_seqlens must be at least 0, not {min(lengths)!r}")
    planned = lengths if topk is None else [topk] * len(lengths)
    table, counts = plan._plan(planned, _COLUMNS_2025)
    return like(cache_seqlens, table), like(cache_seqlens, counts)


def plan_splits(length: int, *, keys_per_split: int = KEYS_PER_SPLIT) -> list[tuple[int, int]]:
    """(start, stop) of each split of `length` keys; one empty split if there are none."""
    starts = range(0, max(length, 1), keys_per_split)
    return [(start, min(start + keys_per_split, length)) for start in starts]


def read_splits(
    metadata: Any, num_splits: Any, lengths: list[int], *, in_blocks: bool = False,
) -> list[list[tuple[int, int]]]:
    """(start, stop) of each split of each request, from any metadata that covers the batch: also FlashMLA's own.

    Parameters
    ----------
    metadata:   int32[partitions, 8], in either layout
    num_splits: int32[b + 1], or None
    lengths:    keys of each request; splits are cut there
    in_blocks:  the table is known to count in blocks, and may have some for a request without keys: it is our own, or
                for sparse attention, which no release knew that counted in keys

    Raises
    ------
    TypeError, ValueError: dtype or shape is wrong, the splits of a request do not follow on each other from its
                           first key to its last, they are in keys, or `num_splits` does not count them.
    """
    table = int32_array("tile_scheduler_metadata", metadata, 2)
    if table.shape[1] != _FIELDS:
        raise ValueError(f"tile_scheduler_metadata must have {_FIELDS} columns, not {table.shape[1]!r}")
    used = np.flatnonzero(table[:, :5].any(axis=1))
    table = table[: used[-1] + 1 if used.size else 1]
    blocks = [-(-length // BLOCK) for length in lengths]
    try:
        parts = _follow(table[:, _COLUMNS_2025], blocks, in_blocks)
    except _Misfit as misfit:
        try:
            parts = _follow(table[:, _COLUMNS], blocks, in_blocks)
        except _Misfit as other:
            raise (other if other.row > misfit.row else misfit) from None
    if not in_blocks and any(part[-1][1] > count for part, count in zip(parts, blocks, strict=True)):
        _refuse_keys(table[:, _COLUMNS_2025], lengths)
    if num_splits is not None:
        counts = int32_array("num_splits", num_splits, 1).tolist()
        wanted = np.cumsum([0, *map(len, parts)]).tolist()
        if counts != wanted:
            raise ValueError(f"num_splits must be {wanted}, the splits of tile_scheduler_metadata, not {counts!r}")
    return [[(min(start * BLOCK, length), min(stop * BLOCK, length)) for start, stop in part]
            for part, length in zip(parts, lengths, strict=True)]


class _Misfit(ValueError):
    """A table that does not cover the batch when read in some layout; `row` is where that shows."""

    def __init__(self, row: int, message: str):
        super().__init__(message)
        self.row = row


def _follow(table: np.ndarray, sizes: list[int], ahead: bool) -> list[list[tuple[int, int]]]:
    """(start, stop) of each split of each request of so many units; _Misfit unless they cover the batch in order.

    Parameters
    ----------
    table: int[rows, 4]: first request, begin, last request, end
    sizes: units of each request
    ahead: a request of no unit may have some in the table
    """
    splits: list[list[tuple[int, int]]] = [[] for _ in sizes]
    reached = [0] * len(sizes)
    for row, (first, begin, last, end) in enumerate(table.tolist()):
        if not 0 <= first < len(sizes):
            continue
        if not first <= last < len(sizes):
            raise _Misfit(row, f"tile_scheduler_metadata[{row}] must name requests from 0 to {len(sizes) - 1} in "
                               f"order, not {first!r} to {last!r}")
        for request in range(first, last + 1):
            start = begin if request == first else 0
            stop = end if request == last else max(start, sizes[request])
            if start != reached[request] or stop < start or (sizes[request] == 0 < stop and not ahead):
                raise _Misfit(row, f"tile_scheduler_metadata[{row}] must go on with block {reached[request]} of "
                                   f"request {request}, not with blocks {start!r} to {stop!r}")
            reached[request] = stop
            splits[request].append((start, stop))
    for request, size in enumerate(sizes):
        if reached[request] < size or not splits[request]:
            raise _Misfit(len(table), f"tile_scheduler_metadata must cover the {size} blocks of request {request}, not "
                                      f"{reached[request]!r}")
    return splits


def _refuse_keys(table: np.ndarray, lengths: list[int]) -> None:
    """Raise ValueError if the table, read in keys, ends each request at its last: FlashMLA's of early 2025."""
    try:
        parts = _follow(table, lengths, ahead=False)
    except _Misfit:
        return
    if all(part[-1][1] == length for part, length in zip(parts, lengths, strict=True)):
        raise ValueError(f"tile_scheduler_metadata must count in blocks of {BLOCK} keys, not in keys as FlashMLA did "
                         "until April 2025")


def _count(name: str, value: object) -> int:
    count = as_integer(name, value)
    if count < 1:
        raise ValueError(f"{name} must be at least 1, not {count!r}")
    return count
