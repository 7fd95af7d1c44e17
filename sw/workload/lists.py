"""Lists of keys as an indexer would pick them: the most recent ones and others from anywhere before."""

from collections.abc import Sequence

import numpy as np

__all__ = ["lists_of_slots"]

#: Most entries of -1 among the keys of a list.
_HOLES = 3


def lists_of_slots(
    rng: np.random.Generator, seen: np.ndarray, table: np.ndarray, *, page_size: int, topk: int,
    topk_lengths: Sequence[int] | None = None, window: int = 0, poison: bool = True,
) -> np.ndarray:
    """Draw a list of slots for every query token: no key twice, in any order, a few entries of -1 among them.

    Parameters
    ----------
    seen:         int64[b, s_q], keys of the request that each query token may pick from, a prefix
    table:        int32[b, max_blocks], block table
    page_size:    slots of a page
    topk:         entries of a list
    topk_lengths: entries that count, by request; None: all
    window:       the last keys that are always picked, as far as the entries that count go
    poison:       any number in the entries that do not count; else -1

    Returns
    -------
    int32[b, s_q, topk]; ends in -1 where a token sees fewer keys than it has entries
    """
    lists = np.full((*seen.shape, topk), -1, np.int32)
    for request, token in np.ndindex(seen.shape):
        keys = int(seen[request, token])
        count = topk if topk_lengths is None else topk_lengths[request]
        recent = min(window, count, keys)
        holes = min(int(rng.integers(_HOLES + 1)), count - recent)
        picked = min(count - holes, keys)
        older = rng.choice(keys - recent, picked - recent, replace=False)
        block, offset = np.divmod(rng.permutation(np.append(older, np.arange(keys - recent, keys))), page_size)
        places = np.sort(rng.choice(picked + holes, picked, replace=False))
        lists[request, token, places] = table[request, block] * page_size + offset
        if poison:
            lists[request, token, count:] = rng.integers(-2**31, 2**31, topk - count)
    return lists
