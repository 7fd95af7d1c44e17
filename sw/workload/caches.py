"""Paged caches in every format: keys in shuffled pages, all else poisoned."""

import ml_dtypes
import numpy as np
from amla.model.cache.fp8_cache import quantize_fp8
from amla.model.cache.fp8_pages import page_parts, quantize_fp8_pages
from amla.model.fp.formats import OPERANDS, dtype_of

__all__ = ["UNUSED_PAGE", "paged"]

#: What poisoned entries of the block table hold.
UNUSED_PAGE = 2147480000

#: A byte that makes NaN of every part of an FP8 key: e4m3 values, FP32 and e8m0 scales, BF16 columns.
_NAN_BYTE = 0xFF


def paged(
    rng: np.random.Generator, keys: list[np.ndarray], *, cache: str, page_size: int, poison: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Spread the keys over pages in shuffled order; one page more than needed, and one table entry.

    Parameters
    ----------
    keys:      float32[n, d] of each request
    cache:     "bf16", "fp16", "fp8-656" or "fp8-584"
    page_size: slots of a page
    poison:    NaN in unused slots, UNUSED_PAGE in unused entries of the table; else zeros

    Returns
    -------
    the cache, [blocks, page_size, 1, d] in its type or uint8 [blocks, page_size, 1, 656 or 584], and the block table,
    int32[requests, max_blocks]
    """
    counts = [-(-len(rows) // page_size) for rows in keys]
    values = np.zeros((sum(counts) + 1, page_size, keys[0].shape[1]),
                      dtype_of(OPERANDS[cache]) if cache in OPERANDS else ml_dtypes.bfloat16)
    used = np.zeros(values.shape[:2], bool)
    table = np.full((len(keys), max(counts) + 1), UNUSED_PAGE if poison else 0, np.int32)
    free = rng.permutation(len(values)).astype(np.int32)
    start = 0
    for request, (count, rows) in enumerate(zip(counts, keys, strict=True)):
        table[request, :count] = free[start:start + count]
        start += count
        for index in range(count):
            part = rows[index * page_size:(index + 1) * page_size]
            values[table[request, index], :len(part)] = part.astype(values.dtype)
            used[table[request, index], :len(part)] = True
    if cache in OPERANDS:
        stored, parts, nothing = values, [values], np.nan
    elif cache == "fp8-656":
        stored = quantize_fp8(values)
        parts, nothing = [stored], _NAN_BYTE
    else:
        stored = quantize_fp8_pages(values)
        parts, nothing = [*page_parts(stored)], _NAN_BYTE
    if poison:
        for part in parts:
            part[~used] = nothing
    return stored[:, :, None], table
