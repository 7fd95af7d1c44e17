"""Which keys each query token attends to: through the block table (dense) or by indices (sparse)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cache.kv_cache import KeyList, KVCache
from ..fp.formats import Format
from ..tensors import int32_array

__all__ = ["QueryGroup", "dense_groups", "sparse_groups"]


@dataclass(frozen=True, eq=False)
class QueryGroup:
    """Query tokens of a request that share their keys.

    Attributes
    ----------
    request: index in the batch
    tokens:  the query tokens
    keys:    their keys, in order
    limits:  int64[tokens], keys that each token sees, a prefix; below 1 where it sees none
    """

    request: int
    tokens: slice
    keys: KeyList
    limits: np.ndarray


def dense_groups(
    cache: KVCache, block_table: Any, cache_seqlens: Any, batch: int, tokens: int, *, causal: bool,
) -> tuple[list[QueryGroup], list[int]]:
    """One group per request, for dense attention.

    Parameters
    ----------
    cache:         the cache
    block_table:   [b, max_blocks], int32; entries past a request's last page may hold any number
    cache_seqlens: [b], int32
    batch, tokens: b and s_q
    causal:        query token t sees the keys below s_k - s_q + 1 + t

    Returns
    -------
    the groups, and the number of keys of each request

    Raises
    ------
    TypeError, ValueError: an argument breaks its rule; the message names it.
    """
    for name, value in (("block_table", block_table), ("cache_seqlens", cache_seqlens)):
        if value is None:
            raise ValueError(f"{name} must be given without indices (dense attention), not None")
    table, lengths = int32_array("block_table", block_table, 2), int32_array("cache_seqlens", cache_seqlens, 1)
    if len(table) != batch:
        raise ValueError(f"block_table must have {batch} rows, the batch size of q, not {len(table)!r}")
    if len(lengths) != batch:
        raise ValueError(f"cache_seqlens must have {batch} entries, the batch size of q, not {len(lengths)!r}")
    _check_pages(table, lengths, blocks=cache.data.shape[0], page=cache.page)
    groups = []
    for request, length in enumerate(lengths.tolist()):
        page, offset = np.divmod(np.arange(length, dtype=np.int64), cache.page)
        keys = KeyList(((cache, table[request, page].astype(np.int64) * cache.page + offset),))
        limits = np.full(tokens, length, np.int64)
        if causal:
            limits += 1 - tokens + np.arange(tokens, dtype=np.int64)
        groups.append(QueryGroup(request, slice(0, tokens), keys, limits))
    return groups, lengths.tolist()


def sparse_groups(
    cache: KVCache, batch: int, tokens: int, *, width: int, format: Format, indices: Any, topk_length: Any = None,
    extra_k_cache: Any = None, extra_indices_in_kvcache: Any = None, extra_topk_length: Any = None,
) -> tuple[list[QueryGroup], list[int]]:
    """One group per query token, for sparse attention: its valid indices in order, the extra cache's last.

    Parameters
    ----------
    cache:         the cache, of one KV head
    batch, tokens: b and s_q
    width, format: columns of a key, and their format
    The others are those of :func:`~amla.model.flash_mla_with_kvcache`.

    Returns
    -------
    the groups, and how many indices of each request's query tokens count: the most keys that one can have

    Raises
    ------
    TypeError, ValueError: an argument breaks its rule; the message names it.
    """
    if cache.heads != 1:
        raise ValueError(f"k_cache must have one KV head with indices (sparse attention), not {cache.heads!r}")
    selections = [_Selection.build("", cache, indices, topk_length, batch, tokens)]
    if (extra_k_cache is None) != (extra_indices_in_kvcache is None):
        raise ValueError("extra_k_cache and extra_indices_in_kvcache must be given together, not "
                         f"{'the former' if extra_indices_in_kvcache is None else 'the latter'} alone")
    if extra_k_cache is not None:
        extra = KVCache.build("extra_k_cache", extra_k_cache, width=width, fp8=cache.fp8, format=format)
        if extra.heads != 1:
            raise ValueError(f"extra_k_cache must have one KV head, not {extra.heads!r}")
        selections.append(_Selection.build("extra_", extra, extra_indices_in_kvcache, extra_topk_length, batch, tokens))
    elif extra_topk_length is not None:
        raise ValueError(f"extra_topk_length must be None without extra_k_cache, not {type(extra_topk_length)!r}")
    groups = []
    for request in range(batch):
        for token in range(tokens):
            keys = KeyList(tuple((selection.cache, selection.slots(request, token)) for selection in selections))
            groups.append(QueryGroup(request, slice(token, token + 1), keys, np.full(1, len(keys), np.int64)))
    return groups, [sum(int(selection.counts[request]) for selection in selections) for request in range(batch)]


def _check_pages(block_table: np.ndarray, cache_seqlens: np.ndarray, *, blocks: int, page: int) -> None:
    """ValueError unless every request's length fits its table row and its pages are among the cache's `blocks`."""
    capacity = block_table.shape[1] * page
    for request, length in enumerate(cache_seqlens.tolist()):
        if length < 0:
            raise ValueError(f"cache_seqlens[{request}] must be at least 0, not {length!r}")
        if length > capacity:
            raise ValueError(
                f"cache_seqlens[{request}] must be at most {capacity}, the slots of its block-table row, "
                f"not {length!r}"
            )
        used = block_table[request, : -(-length // page)]
        bad = np.flatnonzero((used < 0) | (used >= blocks))
        if bad.size:
            raise ValueError(
                f"block_table[{request}, {bad[0]}] must be a page from 0 to {blocks - 1}, "
                f"not {int(used[bad[0]])!r}"
            )


@dataclass(frozen=True, eq=False)
class _Selection:
    """Checked indices into a cache, and how many of each request's count."""

    cache: KVCache
    indices: np.ndarray
    counts: np.ndarray

    @classmethod
    def build(
        cls, prefix: str, cache: KVCache, indices: Any, topk_length: Any, batch: int, tokens: int,
    ) -> "_Selection":
        name, count_name = ("extra_indices_in_kvcache" if prefix else "indices"), f"{prefix}topk_length"
        array = int32_array(name, indices, 3)
        if array.shape[:2] != (batch, tokens):
            raise ValueError(f"{name} must have shape [{batch}, {tokens}, topk], not {array.shape!r}")
        topk = array.shape[2]
        counts = np.full(batch, topk, np.int32)
        if topk_length is not None:
            counts = int32_array(count_name, topk_length, 1)
            if len(counts) != batch:
                raise ValueError(f"{count_name} must have {batch} entries, the batch size of q, not {len(counts)!r}")
            wrong = np.flatnonzero((counts < 0) | (counts > topk))
            if wrong.size:
                raise ValueError(f"{count_name}[{wrong[0]}] must be from 0 to topk = {topk}, "
                                 f"not {int(counts[wrong[0]])!r}")
        bad = np.argwhere((np.arange(topk) < counts[:, None, None]) & ((array < -1) | (array >= cache.slots)))
        if bad.size:
            place = tuple(map(int, bad[0]))
            raise ValueError(f"{name}[{', '.join(map(str, place))}] must be -1 or a slot from 0 to {cache.slots - 1}, "
                             f"not {int(array[place])!r}")
        return cls(cache, array, counts)

    def slots(self, request: int, token: int) -> np.ndarray:
        """Slots that a query token attends to, in order, int64[n]."""
        chosen = self.indices[request, token, : self.counts[request]]
        return chosen[chosen >= 0].astype(np.int64)
