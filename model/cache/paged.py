"""A batch of decode requests over a paged KV cache: checked once, read tile by tile.

The argument conventions are FlashMLA's. Slots of the cache that no request uses are never read, so they may
hold NaN; block-table entries past a request's last page are never looked at, so they may hold any number.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import as_integer, check_array
from ..fp.formats import Format
from ..tensors import as_array, int32_array, operand_words
from .kv_cache import FP8_TYPES, KVCache

__all__ = ["PagedBatch", "check_pages"]


@dataclass(frozen=True, kw_only=True, eq=False)
class PagedBatch:
    """Validated inputs of one MLA decode call; BF16 and FP16 as words.

    Attributes
    ----------
    q:             uint16[b, s_q, h_q, d]
    format:        of q and of the keys
    cache:         of one KV head
    block_table:   int32[b, max_blocks]
    cache_seqlens: int32[b]
    head_dim_v:    columns of V
    """

    q: np.ndarray
    format: Format
    cache: KVCache
    block_table: np.ndarray
    cache_seqlens: np.ndarray
    head_dim_v: int

    @classmethod
    def build(
        cls, q: Any, kv_cache: Any, block_table: Any, cache_seqlens: Any, *, head_dim_v: int,
    ) -> "PagedBatch":
        """Check and wrap the arguments of :func:`amla.model.mla_decode`; nothing large is copied.

        Parameters
        ----------
        q:             [b, s_q, h_q, d], bfloat16 or float16 (a NumPy array, ``ml_dtypes.bfloat16`` for the
                       former, a CPU torch tensor, or anything NumPy turns into an array)
        kv_cache:      [blocks, page, 1, d] or [blocks, page, d], q's type; or, with bfloat16 q, FP8 of
                       656 (d = 576) or 584 bytes (d = 512) in place of d (``model/cache/fp8_cache.py``,
                       ``fp8_pages.py``): float8_e4m3fn, uint8 or int8
        block_table:   [b, max_blocks], int32
        cache_seqlens: [b], int32
        head_dim_v:    columns of V, 1 ... d

        Raises
        ------
        TypeError:  a dtype is wrong.
        ValueError: a rank, a shape, a length or a used page index is wrong.
        """
        words, format = operand_words("q", q)
        cache = as_array("kv_cache", kv_cache)
        fp8 = cache.dtype in FP8_TYPES
        if not fp8:
            operand_words("kv_cache", cache, (format,))
        table = int32_array("block_table", block_table, 2)
        lengths = int32_array("cache_seqlens", cache_seqlens, 1)
        if words.ndim != 4:
            raise ValueError(f"q must have shape [b, s_q, h_q, d], not {words.shape!r}")
        if cache.ndim == 4:
            if cache.shape[2] != 1:
                raise ValueError(f"kv_cache must have one KV head (MLA), not {cache.shape[2]!r}")
            cache = cache[:, :, 0]
        if cache.ndim != 3 or cache.shape[1] == 0:
            raise ValueError("kv_cache must have shape [blocks, page, 1, d] or [blocks, page, d], page > 0, "
                             f"not {cache.shape!r}")
        batch, tokens, heads, width = words.shape
        if not (tokens and heads and width):
            raise ValueError(f"q must have s_q, h_q and d of at least 1, not shape {words.shape!r}")
        if not fp8 and cache.shape[2] != width:
            raise ValueError(f"kv_cache must have q's head dimension d = {width}, not {cache.shape[2]!r}")
        slots = KVCache.build("kv_cache", cache[:, :, None], width=width, fp8=fp8, format=format)
        head_dim_v = as_integer("head_dim_v", head_dim_v)
        if not 1 <= head_dim_v <= width:
            raise ValueError(f"head_dim_v must be from 1 to d = {width}, not {head_dim_v!r}")
        if len(table) != batch:
            raise ValueError(f"block_table must have {batch} rows, the batch size of q, not {len(table)!r}")
        if len(lengths) != batch:
            raise ValueError(
                f"cache_seqlens must have {batch} entries, the batch size of q, not {len(lengths)!r}"
            )
        check_pages(table, lengths, blocks=len(cache), page=cache.shape[1])
        return cls(q=words, format=format, cache=slots, block_table=table, cache_seqlens=lengths,
                   head_dim_v=head_dim_v)

    def __len__(self) -> int:
        return len(self.q)

    def rows(self, request: int) -> np.ndarray:
        """Query rows of a request, uint16[s_q · h_q, d]; row = token · h_q + head."""
        return np.ascontiguousarray(self.q[request]).reshape(-1, self.q.shape[3])

    def keys(self, request: int, start: int, stop: int) -> np.ndarray:
        """Keys `start` ... `stop` - 1 of a request, uint16[stop - start, d]."""
        page, offset = np.divmod(np.arange(start, stop), self.cache.page)
        return self.cache.read(self.block_table[request, page].astype(np.int64) * self.cache.page + offset, 0)

    def limits(self, request: int, *, causal: bool) -> np.ndarray:
        """Keys that each row of a request may see, int64[s_q · h_q]; below 1 where it sees none."""
        _, tokens, heads, _ = self.q.shape
        length = int(self.cache_seqlens[request])
        if not causal:
            return np.full(tokens * heads, length, np.int64)
        return np.repeat(length - tokens + 1 + np.arange(tokens, dtype=np.int64), heads)


def check_pages(block_table: np.ndarray, cache_seqlens: np.ndarray, *, blocks: int, page: int) -> None:
    """Raise ValueError unless every request's length fits its table row and its pages are in the cache.

    Parameters
    ----------
    block_table:   int32[b, max_blocks]; entries past a request's last page may hold any number
    cache_seqlens: int32[b]
    blocks:        pages in the cache
    page:          slots of a page
    """
    check_array("block_table", block_table, np.int32, (None, None))
    check_array("cache_seqlens", cache_seqlens, np.int32, (len(block_table),))
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
