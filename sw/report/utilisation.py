"""What a workload costs at least: useful MACs, bytes that must move, and the bound of a core beside its memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from amla.rtl.config import CoreConfig

from ..compiler.key_cache import KeyCache
from ..memory.preset import IDEAL, Memory
from ..workload.inputs import KeySequence
from ..workload.workload import Workload

__all__ = ["Bound", "bound_of", "bytes_of", "macs_of"]


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The fewest cycles that a core can take beside its memory.

    Attributes
    ----------
    by:     "compute", "memory" or "L1": what fills the time between start and end
    cycles: in all
    start:  of these, before the first bytes have come or while too few have come to keep the cube busy
    end:    of these, after the last useful MAC (compute) or the last key (memory, L1)
    """

    by: str
    cycles: int
    start: int
    end: int


def macs_of(workload: Workload, sequences: Iterable[KeySequence] | None = None) -> int:
    """Useful multiply-accumulates: (d + dv) for every key that a row sees. No padding, no masked column.

    Sparse: the keys of these sequences, those of the inputs; without them the most that the lists can have.
    """
    visible = 0
    if workload.topk is not None and sequences is not None:
        visible = sum(sequence.length for sequence in sequences)
    elif workload.topk is not None:
        visible = workload.q_tokens * sum(_most_listed(workload))
    else:
        for length in workload.lengths:
            for token in range(workload.q_tokens):
                hidden = workload.q_tokens - 1 - token if workload.causal else 0
                visible += max(length - hidden, 0)
    return visible * workload.heads * (workload.head_dim + workload.head_dim_v)


def _most_listed(workload: Workload) -> Iterator[int]:
    """For each request and cache the most keys of a list."""
    for part in (workload, workload.extra):
        if part is not None and part.topk is not None:
            counts = part.topk_lengths or (part.topk,) * len(part.lengths)
            yield from map(min, counts, part.lengths)


def bytes_of(workload: Workload, config: CoreConfig, sequences: Iterable[KeySequence] | None = None) -> tuple[int, int]:
    """Bytes that must be read (queries, and the keys of every sequence once) and written (O in BF16, LSE in FP32).

    Of a key in a list the bus moves the whole beats that hold it, and its entry.
    """
    rows = workload.rows * len(workload.lengths)
    return (2 * workload.head_dim * rows + _key_bytes(workload, config) * _keys(workload, sequences),
            rows * (2 * workload.head_dim_v + 4))


def _keys(workload: Workload, sequences: Iterable[KeySequence] | None) -> int:
    """Keys of all sequences, each of which O's rows take together."""
    if workload.topk is None:
        return sum(workload.lengths)
    if sequences is None:
        return workload.q_tokens * sum(_most_listed(workload))
    return sum(sequence.length for sequence in sequences)


def _key_bytes(workload: Workload, config: CoreConfig) -> int:
    cache = KeyCache.of(workload)
    return cache.key_bytes if workload.topk is None else cache.gathered_bytes(config.axi_data_bytes)


def bound_of(workload: Workload, config: CoreConfig, memory: Memory = IDEAL,
             sequences: Sequence[KeySequence] | None = None) -> Bound:
    """The bound of a workload on a core beside a memory; every part of it is unavoidable.

    * Memory: the program is fetched, then the first bytes are: two latencies. The bus moves all that is read, keys once
      for the rows that O holds; then O of the rows that waited for the last key is written. Or memory moves all bytes
      at the sustained rate, which both directions share. The last write is answered a latency later.
    * L1: a beat of 16-bit columns a cycle, whatever the cache.
    * Compute: with q rows of queries and k of keys there, at most q k (d + dv) MACs have been done. A row of queries
      takes a cycles to come, one of keys b. After the time of q a + k b = 2 q a that is at best q² a / b (d + dv), and
      the difference to the cube's peak is lost; it is largest for q = b * peak / (d + dv).

    A workload without keys is bound by its writes.

    Parameters
    ----------
    sequences: sparse: those of the inputs; without them the most that the lists can have
    """
    read, written = bytes_of(workload, config, sequences)
    together = workload.rows if workload.topk is None else workload.heads  # rows of queries that share their keys
    in_o = config.o_words // (workload.head_dim_v // config.lanes) * config.m
    passes = -(-together // max(in_o, 1))
    queries, keys = workload.rows * len(workload.lengths), _keys(workload, sequences)
    key_bytes = _key_bytes(workload, config)
    read += (passes - 1) * key_bytes * keys
    rate = memory.sustained(config.axi_data_bytes)
    row_beats = workload.head_dim / config.beat_elements
    per_query, per_key = (max(count / rate, row_beats) for count in (2 * workload.head_dim, key_bytes))
    per_pair = (workload.head_dim + workload.head_dim_v) / config.macs_per_cycle
    at_once = min(per_key / per_pair, (queries + keys) / 2)
    computed = macs_of(workload, sequences) / config.macs_per_cycle
    lost = max(2 * at_once * per_query - at_once**2 * per_pair * per_query / per_key, 0) if computed else 0
    last = min(together, config.max_rows) * (2 * workload.head_dim_v + 4)
    bounds = [
        ("compute", 2 * memory.latency + lost, computed, memory.latency),
        ("memory", 2 * memory.latency, max(read, written - last) / rate, last / rate + memory.latency),  # the bus
        ("memory", 2 * memory.latency, (read + written) / memory.sustained(), memory.latency),
        ("L1", 2 * memory.latency, (queries + passes * keys) * row_beats, last / rate + memory.latency),
    ]
    by, start, middle, end = max(bounds, key=lambda bound: sum(bound[1:]))
    return Bound(by=by, cycles=ceil(start + middle + end), start=ceil(start), end=ceil(end))
