"""What a workload costs at least: useful MACs, bytes that must move, and the bound of a core beside its memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil

from amla.rtl.config import CoreConfig

from ..memory.preset import IDEAL, Memory
from ..workload.inputs import KeySequence
from ..workload.workload import Workload

__all__ = ["Bound", "bound_of", "bytes_of", "macs_of"]


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The fewest cycles that a core can take beside its memory.

    Attributes
    ----------
    by:     "compute" or "memory": what fills the time between start and end
    cycles: in all
    start:  of these, before the first bytes have come or while too few have come to keep the cube busy
    end:    of these, after the last useful MAC (compute) or the last key (memory)
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


def bytes_of(workload: Workload) -> tuple[int, int]:
    """Bytes that must be read (queries, and every key once) and written (O in BF16, LSE in FP32)."""
    rows = workload.rows * len(workload.lengths)
    return 2 * workload.head_dim * (rows + sum(workload.lengths)), rows * (2 * workload.head_dim_v + 4)


def bound_of(workload: Workload, config: CoreConfig, memory: Memory = IDEAL) -> Bound:
    """The bound of a workload on a core beside a memory; every part of it is unavoidable.

    * Memory: the program is fetched, then the first bytes are: two latencies. The bus moves all that is read, keys once
      for the rows that O holds; then O of the rows that waited for the last key is written. Or memory moves all bytes
      at the sustained rate, which both directions share. The last write is answered a latency later.
    * Compute: with q rows of queries and k of keys there, at most q k (d + dv) MACs can have been done. After the time
      of q + k = 2 q rows that is q^2 (d + dv) at best, and the difference to the cube's peak is lost; it is largest for
      q = 2 d / rate * peak / (d + dv).

    A workload without keys is bound by its writes.
    """
    read, written = bytes_of(workload)
    in_o = config.o_words // (workload.head_dim_v // config.lanes) * config.m
    passes = -(-workload.rows // max(in_o, 1))
    read += (passes - 1) * 2 * workload.head_dim * sum(workload.lengths)
    rate = memory.sustained(config.axi_data_bytes)
    rows = workload.rows * len(workload.lengths) + sum(workload.lengths)
    per_row = 2 * workload.head_dim / rate  # cycles for a row of queries or keys to come
    per_pair = (workload.head_dim + workload.head_dim_v) / config.macs_per_cycle
    queries = min(per_row / per_pair, rows / 2)
    computed = macs_of(workload) / config.macs_per_cycle
    lost = max(2 * queries * per_row - queries**2 * per_pair, 0) if computed else 0
    last = min(workload.rows, config.max_rows) * (2 * workload.head_dim_v + 4)
    bounds = [
        ("compute", 2 * memory.latency + lost, computed, memory.latency),
        ("memory", 2 * memory.latency, max(read, written - last) / rate, last / rate + memory.latency),  # the bus
        ("memory", 2 * memory.latency, (read + written) / memory.sustained(), memory.latency),
    ]
    by, start, middle, end = max(bounds, key=lambda bound: sum(bound[1:]))
    return Bound(by=by, cycles=ceil(start + middle + end), start=ceil(start), end=ceil(end))
