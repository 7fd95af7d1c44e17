"""The program of a workload without inputs, for whatever only counts: pages in order, lists spread over their cache."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from amla.rtl.config import CoreConfig

from ..memory.preset import IDEAL, Memory
from ..workload.extra import ExtraCache
from ..workload.inputs import KeySequence
from ..workload.workload import Workload
from .key_cache import KeyCache, Listed, Paged
from .loads import Addresses
from .memory_map import check_cache, check_sinks, sequences_of
from .plan import Plan
from .program import Annotation, Command
from .schedule import schedule
from .tiling import plan_tiles

__all__ = ["outline"]

_KV, _EXTRA, _LISTS = 1 << 30, 5 << 29, 7 << 28


def outline(workload: Workload, config: CoreConfig, memory: Memory = IDEAL, *, preload: int = 1,
            kv_block: int | None = None) -> tuple[Plan, list[Command], list[Annotation]]:
    """Plan, commands and annotations as of :func:`~amla.sw.compiler.memory_map.build_job`, but for addresses.

    Lists are as long as they can be, their keys spread evenly over the cache.

    Parameters
    ----------
    kv_block: keys per KV block; None: the tiler's choice

    Raises
    ------
    AmlaError: the workload does not suit the core.
    """
    check_cache(workload, config)
    addresses = Addresses(q=0, o=1 << 31, lse=3 << 30, sink=3 << 29 if workload.sink else None)
    cache = KeyCache.of(workload, _KV)
    if workload.topk is None:
        pages = max(-(-max(workload.lengths) // workload.page_size), 1)
        requests = len(workload.lengths)
        keys: Paged | Listed = Paged(cache, np.arange(requests * pages, dtype=np.int32).reshape(requests, pages))
        seen = workload
    else:
        sequences = list(_lists(workload))
        caches = [cache]
        if workload.extra is not None:
            caches.append(replace(KeyCache.of(workload, page_size=workload.extra.page_size), base=_EXTRA))
        keys = Listed(caches, sequences, _LISTS, config.axi_data_bytes)
        seen = sequences_of(workload, sequences)
    plan = plan_tiles(seen, config, preload=preload, memory=memory, kv_block=kv_block, listed=workload.topk is not None)
    if workload.sink:
        check_sinks(plan)
    return plan, *schedule(plan, addresses, keys)


def _lists(workload: Workload) -> Iterator[KeySequence]:
    """The keys of each request's query tokens."""
    for request in range(len(workload.lengths)):
        slots, extra = (_spread(part, request) for part in (workload, workload.extra))
        for token in range(workload.q_tokens):
            yield KeySequence(request=request, token=token, rows=workload.heads, slots=slots, extra=extra)


def _spread(part: Workload | ExtraCache | None, request: int) -> np.ndarray:
    """Slots of a request's list in a cache that holds the requests one behind the other, pages of their own each."""
    if part is None or part.topk is None:
        return np.zeros(0, np.int64)
    length = part.lengths[request]
    count = min(part.topk_lengths[request] if part.topk_lengths else part.topk, length)
    first = sum(-(-earlier // part.page_size) for earlier in part.lengths[:request]) * part.page_size
    return first + np.arange(count, dtype=np.int64) * length // max(count, 1)
