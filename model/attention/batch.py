"""The arguments of a decode call, dense or sparse, checked once: which query rows attend to which keys."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cache.kv_cache import FP8_TYPES, KVCache
from ..checks import as_flag, as_integer
from ..fp.formats import Format
from ..tensors import as_array, operand_words
from .key_groups import QueryGroup, dense_groups, sparse_groups
from .sink import sink_words

__all__ = ["DecodeBatch"]


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodeBatch:
    """A checked decode call; BF16, FP16 and FP32 as words. Nothing large is copied, and no key is read.

    Attributes
    ----------
    q:          uint16[b, s_q, h_q, d]
    format:     of q, and of the keys as they are read
    cache:      the cache that `block_table` or `indices` point into
    head_dim_v: columns of V
    causal:     query tokens see the keys up to their own
    sparse:     each query token has a list of keys
    groups:     query tokens by the keys that they share, in order of requests and tokens
    counts:     for each request the most keys that one of its query tokens can have
    sink:       uint32[h_q], or None
    """

    q: np.ndarray
    format: Format
    cache: KVCache
    head_dim_v: int
    causal: bool
    sparse: bool
    groups: list[QueryGroup]
    counts: list[int]
    sink: np.ndarray | None

    @classmethod
    def build(
        cls, q: Any, cache: Any, block_table: Any, cache_seqlens: Any, *, name: str, fp8: bool, head_dim_v: Any,
        causal: Any = False, indices: Any = None, topk_length: Any = None, extra_k_cache: Any = None,
        extra_indices_in_kvcache: Any = None, extra_topk_length: Any = None, attn_sink: Any = None,
    ) -> "DecodeBatch":
        """Check and wrap the arguments of :func:`~amla.model.flash_mla_with_kvcache`.

        Parameters
        ----------
        cache: its `k_cache`, under this `name` in errors
        fp8:   the caches are FP8
        The others are those of that function.

        Raises
        ------
        TypeError, ValueError: an argument breaks its rule; the message names it.
        """
        causal = as_flag("causal", causal)
        words, format = operand_words("q", q)
        if words.ndim != 4 or not all(words.shape[1:]):
            raise ValueError(f"q must have shape [b, s_q, h_q, d], s_q, h_q and d of at least 1, not {words.shape!r}")
        batch, tokens, heads, width = words.shape
        head_dim_v = as_integer("head_dim_v", head_dim_v)
        if not 1 <= head_dim_v <= width:
            raise ValueError(f"head_dim_v must be from 1 to d = {width}, not {head_dim_v!r}")
        kv = KVCache.build(name, cache, width=width, fp8=fp8, format=format)
        if heads % kv.heads:
            raise ValueError(f"q must have a multiple of {name}'s h_kv = {kv.heads} heads, not {heads!r}")
        sink = None if attn_sink is None else sink_words(attn_sink, heads)
        sparse_only = {
            "extra_k_cache": extra_k_cache, "extra_indices_in_kvcache": extra_indices_in_kvcache,
            "topk_length": topk_length, "extra_topk_length": extra_topk_length,
        }
        if indices is None:
            for key, value in sparse_only.items():
                if value is not None:
                    raise ValueError(f"{key} must be None without indices (dense attention), not {type(value)!r}")
            groups, counts = dense_groups(kv, block_table, cache_seqlens, batch, tokens, causal=causal)
        else:
            if causal:
                raise ValueError(f"causal must be False with indices (sparse attention), not {causal!r}")
            groups, counts = sparse_groups(kv, batch, tokens, width=width, format=format, indices=indices,
                                           **sparse_only)
        return cls(q=words, format=format, cache=kv, head_dim_v=head_dim_v, causal=causal,
                   sparse=indices is not None, groups=groups, counts=counts, sink=sink)

    @classmethod
    def mla(cls, q: Any, kv_cache: Any, block_table: Any, cache_seqlens: Any, *, extra_k_cache: Any = None,
            **options: Any) -> "DecodeBatch":
        """Check and wrap the arguments of :func:`~amla.model.mla_decode`: one KV head, FP8 by the cache's type.

        Raises
        ------
        TypeError, ValueError: an argument breaks its rule; the message names it.
        """
        cache = _one_head("kv_cache", kv_cache)
        extra = None if extra_k_cache is None else _one_head("extra_k_cache", extra_k_cache)
        return cls.build(q, cache, block_table, cache_seqlens, name="kv_cache", fp8=cache.dtype in FP8_TYPES,
                         extra_k_cache=extra, **options)

    @property
    def extras(self) -> list[str]:
        """What the call has that a dense one over a cache of 16 bits has not, in words."""
        given = {"an FP8 cache": self.cache.fp8, "indices": self.sparse, "attn_sink": self.sink is not None}
        return [name for name, value in given.items() if value]

    def heads(self, head: int) -> slice:
        """Query heads that share a KV head."""
        shared = self.q.shape[2] // self.cache.heads
        return slice(head * shared, (head + 1) * shared)

    def rows(self, group: QueryGroup, head: int = 0) -> np.ndarray:
        """Query rows of a group under a KV head, uint16[tokens · heads, d], token by token."""
        return np.ascontiguousarray(self.q[group.request, group.tokens, self.heads(head)]).reshape(-1, self.q.shape[3])

    def limits(self, group: QueryGroup) -> np.ndarray:
        """Keys that each of these rows may see, int64[tokens · heads]; below 1 where it sees none."""
        return np.repeat(group.limits, self.q.shape[2] // self.cache.heads)

    def sinks(self, group: QueryGroup, head: int = 0) -> np.ndarray | None:
        """Sinks of these rows, uint32[tokens · heads], or None."""
        return None if self.sink is None else np.tile(self.sink[self.heads(head)], len(group.limits))


def _one_head(name: str, cache: Any) -> np.ndarray:
    """A cache with its axis of KV heads, which may be left out."""
    array = as_array(name, cache)
    if array.ndim not in (3, 4):
        raise ValueError(f"{name} must have shape [blocks, page, 1, d] or [blocks, page, d], not {array.shape!r}")
    if array.ndim == 4 and array.shape[2] != 1:
        raise ValueError(f"{name} must have one KV head (MLA), not {array.shape[2]!r}")
    return array if array.ndim == 4 else array[:, :, None]
