"""FlashMLA's decode call on the golden model: its arguments and conventions, the hardware's arithmetic.

Each split of a request's keys goes through :func:`~amla.model.attention.attend` as if it were alone, and the
partial results are merged in FP32 (`model/split_kv.py`), so every bit is defined. `docs/flash_mla.md` lists what is
supported and where this differs from FlashMLA.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np

from .attention import attend
from .convert import to_bf16
from .kv_cache import KeyList, KVCache
from .numerics import Numerics, check_mode
from .paged import check_pages
from .softmax import softmax_scale_word
from .split_kv import apply_sink, merge_splits
from .tensors import as_array, bf16_words, int32_array, like
from .tile_scheduler import plan_splits, read_splits

__all__ = ["flash_mla_with_kvcache"]

_DEFAULT_NUMERICS = Numerics()


def flash_mla_with_kvcache(
    q: Any, k_cache: Any, block_table: Any, cache_seqlens: Any, head_dim_v: int,
    tile_scheduler_metadata: Any, num_splits: Any = None, softmax_scale: float | None = None,
    causal: bool = False, *,
    descale_q: None = None, descale_k: None = None, is_fp8_kvcache: bool = False, indices: Any = None,
    attn_sink: Any = None, extra_k_cache: Any = None, extra_indices_in_kvcache: Any = None,
    topk_length: Any = None, extra_topk_length: Any = None,
    mode: str = "amla", numerics: Numerics = _DEFAULT_NUMERICS,
) -> tuple[Any, Any]:
    """Multi-head latent attention of a decode step over a paged KV cache, dense or sparse.

    Arrays are NumPy's (bfloat16 and float8_e4m3fn from ``ml_dtypes``) or CPU torch tensors. With the metadata of
    :func:`~amla.model.get_mla_metadata`, the result of a request depends on that request alone. A request in
    one split has the bits of :func:`~amla.model.mla_decode`.

    Parameters
    ----------
    q:             [b, s_q, h_q, d], bfloat16; heads h·h_q/h_kv … share KV head h
    k_cache:       [blocks, page, h_kv, d], bfloat16; FP8: [blocks, page, h_kv, 656], float8_e4m3fn, uint8 or int8.
                   V is the first `head_dim_v` columns. Slots that are not in use may hold NaN
    block_table:   [b, max_blocks], int32; unused entries may hold any number. Sparse: not read, may be None
    cache_seqlens: [b], int32, 0 included. Sparse: not read, may be None
    head_dim_v:    columns of V and of the output
    tile_scheduler_metadata: of `get_mla_metadata`; None: planned here, to the same splits
    num_splits:    of `get_mla_metadata`, checked against the metadata; or None
    softmax_scale: factor of the scores, d**-0.5 by default
    causal:        query token t sees the keys below s_k - s_q + 1 + t; dense only
    descale_q, descale_k: None only
    is_fp8_kvcache: the caches are FP8, `model/fp8_cache.py`
    indices:       [b, s_q, topk], int32: sparse attention to these slots (page · slots of a page + offset);
                   -1: none
    attn_sink:     [h_q], float32: the output is scaled by exp(lse) / (exp(lse) + exp(attn_sink)); lse is not
    extra_k_cache, extra_indices_in_kvcache: sparse: a second cache and its indices, whose keys follow the others
    topk_length, extra_topk_length: [b], int32: only so many of the leftmost indices count, the others may hold any
                   number
    mode:          "amla" (rescale by integer addition) or another mode of :func:`~amla.model.mla_decode`
    numerics:      the numeric parameters of a core

    Returns
    -------
    out: [b, s_q, h_q, head_dim_v], bfloat16, of q's kind; 0 in rows that see no key
    lse: [b, h_q, s_q], float32, of q's kind, natural logarithm; +inf in rows that see no key

    Raises
    ------
    TypeError, ValueError: an argument breaks its rule; the message names it.
    """
    check_mode(mode)
    if not isinstance(numerics, Numerics):
        raise TypeError(f"numerics must be a Numerics, not {numerics!r}")
    for name, value in (("descale_q", descale_q), ("descale_k", descale_k)):
        if value is not None:
            raise ValueError(f"{name} must be None, as FP8 scales are in the cache, not {value!r}")
    for name, flag in (("causal", causal), ("is_fp8_kvcache", is_fp8_kvcache)):
        if not isinstance(flag, bool | np.bool_):
            raise TypeError(f"{name} must be a bool, not {flag!r}")
    words = bf16_words("q", q)
    if words.ndim != 4 or not all(words.shape[1:]):
        raise ValueError(f"q must have shape [b, s_q, h_q, d], s_q, h_q and d of at least 1, not {words.shape!r}")
    batch, tokens, heads, width = words.shape
    if width % numerics.k:
        raise ValueError(f"head dimension d must be a multiple of k = {numerics.k}, not {width!r}")
    if type(head_dim_v) is not int:
        raise TypeError(f"head_dim_v must be an int, not {head_dim_v!r}")
    if not 1 <= head_dim_v <= width:
        raise ValueError(f"head_dim_v must be from 1 to d = {width}, not {head_dim_v!r}")
    cache = KVCache.build("k_cache", k_cache, width=width, fp8=bool(is_fp8_kvcache))
    if heads % cache.heads:
        raise ValueError(f"q must have a multiple of k_cache's h_kv = {cache.heads} heads, not {heads!r}")
    sink = None if attn_sink is None else _sink_words(attn_sink, heads)
    scale_word = softmax_scale_word(width**-0.5 if softmax_scale is None else softmax_scale)
    sparse_only = {
        "extra_k_cache": extra_k_cache, "extra_indices_in_kvcache": extra_indices_in_kvcache,
        "topk_length": topk_length, "extra_topk_length": extra_topk_length,
    }
    if indices is None:
        for name, value in sparse_only.items():
            if value is not None:
                raise ValueError(f"{name} must be None without indices (dense attention), not {type(value)!r}")
        groups, lengths = _dense(cache, block_table, cache_seqlens, batch, tokens, causal=bool(causal))
    else:
        if causal:
            raise ValueError(f"causal must be False with indices (sparse attention), not {causal!r}")
        if cache.heads != 1:
            raise ValueError(f"k_cache must have one KV head with indices (sparse attention), not {cache.heads!r}")
        pieces = [_Selection.build("", cache, indices, topk_length, batch, tokens)]
        if (extra_k_cache is None) != (extra_indices_in_kvcache is None):
            raise ValueError("extra_k_cache and extra_indices_in_kvcache must be given together, not "
                             f"{'the former' if extra_indices_in_kvcache is None else 'the latter'} alone")
        if extra_k_cache is not None:
            extra = KVCache.build("extra_k_cache", extra_k_cache, width=width, fp8=bool(is_fp8_kvcache))
            if extra.heads != 1:
                raise ValueError(f"extra_k_cache must have one KV head, not {extra.heads!r}")
            pieces.append(
                _Selection.build("extra_", extra, extra_indices_in_kvcache, extra_topk_length, batch, tokens)
            )
        elif extra_topk_length is not None:
            raise ValueError(f"extra_topk_length must be None without extra_k_cache, not {type(extra_topk_length)!r}")
        groups, lengths = _sparse(pieces, batch, tokens)
    if tile_scheduler_metadata is None:
        if num_splits is not None:
            raise ValueError(f"num_splits must be None without tile_scheduler_metadata, not {type(num_splits)!r}")
        splits = [plan_splits(length) for length in lengths]
    else:
        splits = read_splits(tile_scheduler_metadata, num_splits, lengths)

    out = np.empty((batch, tokens, heads, head_dim_v), np.uint16)
    lse = np.empty((batch, heads, tokens), np.uint32)
    shared = heads // cache.heads
    for group in groups:
        rows_of_token = words[group.request, group.tokens]
        for head in range(cache.heads):
            chosen = slice(head * shared, (head + 1) * shared)
            rows = np.ascontiguousarray(rows_of_token[:, chosen]).reshape(-1, width)
            partial_out, partial_lse = _attend_splits(
                rows, group.keys, head, np.repeat(group.limits, shared), splits[group.request],
                head_dim_v=head_dim_v, scale_word=scale_word, mode=mode, numerics=numerics,
            )
            if sink is not None:
                sinks = np.tile(sink[chosen], len(group.limits))
                partial_out = apply_sink(partial_out, partial_lse, sinks)
            out[group.request, group.tokens, chosen] = to_bf16(partial_out).reshape(-1, shared, head_dim_v)
            lse[group.request, chosen, group.tokens] = partial_lse.reshape(-1, shared).T
    return like(q, out.view(ml_dtypes.bfloat16)), like(q, lse.view(np.float32))


@dataclass(frozen=True, eq=False)
class _Group:
    """Query tokens of a request that share their keys; each sees a prefix of them."""

    request: int
    tokens: slice
    keys: KeyList
    limits: np.ndarray


def _dense(
    cache: KVCache, block_table: Any, cache_seqlens: Any, batch: int, tokens: int, *, causal: bool,
) -> tuple[list[_Group], list[int]]:
    """One group per request, and the keys of each request."""
    for name, value in (("block_table", block_table), ("cache_seqlens", cache_seqlens)):
        if value is None:
            raise ValueError(f"{name} must be given without indices (dense attention), not None")
    table, lengths = int32_array("block_table", block_table, 2), int32_array("cache_seqlens", cache_seqlens, 1)
    if len(table) != batch:
        raise ValueError(f"block_table must have {batch} rows, the batch size of q, not {len(table)!r}")
    if len(lengths) != batch:
        raise ValueError(f"cache_seqlens must have {batch} entries, the batch size of q, not {len(lengths)!r}")
    check_pages(table, lengths, blocks=cache.data.shape[0], page=cache.page)
    groups = []
    for request, length in enumerate(lengths.tolist()):
        page, offset = np.divmod(np.arange(length, dtype=np.int64), cache.page)
        keys = KeyList(((cache, table[request, page].astype(np.int64) * cache.page + offset),))
        limits = np.full(tokens, length, np.int64)
        if causal:
            limits += 1 - tokens + np.arange(tokens, dtype=np.int64)
        groups.append(_Group(request, slice(0, tokens), keys, limits))
    return groups, lengths.tolist()


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
            wrong = counts[(counts < 0) | (counts > topk)]
            if wrong.size:
                raise ValueError(f"{count_name} must be from 0 to topk = {topk}, not {int(wrong[0])!r}")
        bad = (np.arange(topk) < counts[:, None, None]) & ((array < -1) | (array >= cache.slots))
        if bad.any():
            raise ValueError(f"{name} must be -1 or a slot from 0 to {cache.slots - 1}, not {int(array[bad][0])!r}")
        return cls(cache, array, counts)

    def slots(self, request: int, token: int) -> np.ndarray:
        """Slots that a query token attends to, in order, int64[n]."""
        chosen = self.indices[request, token, : self.counts[request]]
        return chosen[chosen >= 0].astype(np.int64)


def _sparse(selections: list[_Selection], batch: int, tokens: int) -> tuple[list[_Group], list[int]]:
    """One group per query token, and the most keys that one of each request may have."""
    groups = []
    for request in range(batch):
        for token in range(tokens):
            keys = KeyList(tuple((selection.cache, selection.slots(request, token)) for selection in selections))
            groups.append(_Group(request, slice(token, token + 1), keys, np.full(1, len(keys), np.int64)))
    return groups, [sum(selection.indices.shape[2] for selection in selections)] * batch


def _attend_splits(
    rows: np.ndarray, keys: KeyList, head: int, limits: np.ndarray, splits: list[tuple[int, int]], *,
    head_dim_v: int, **options: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Merged attention of the rows of one KV head over the splits of their keys: FP32 words of out and lse."""
    used = [(start, min(stop, len(keys))) for start, stop in splits if start < min(stop, len(keys))]
    outs = np.empty((len(used), len(rows), head_dim_v), np.uint32)
    lses = np.empty((len(used), len(rows)), np.uint32)
    for index, (start, stop) in enumerate(used):
        outs[index], lses[index] = attend(
            rows, partial(_shifted, keys, head, start), stop - start, limits - start, head_dim_v=head_dim_v, **options,
        )
    return merge_splits(outs, lses)


def _shifted(keys: KeyList, head: int, origin: int, start: int, stop: int) -> np.ndarray:
    return keys.read(head, origin + start, origin + stop)


def _sink_words(attn_sink: Any, heads: int) -> np.ndarray:
    array = as_array("attn_sink", attn_sink)
    if array.dtype != np.float32:
        raise TypeError(f"attn_sink must be an array of float32, not of {array.dtype}")
    if array.shape != (heads,):
        raise ValueError(f"attn_sink must have shape [{heads}], one entry for each head of q, not {array.shape!r}")
    return np.ascontiguousarray(array).view(np.uint32)
