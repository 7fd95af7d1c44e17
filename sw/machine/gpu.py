"""A Hopper GPU with FlashMLA's dense decode: a roofline with the partition of work that its scheduler makes.

Rows go in tiles of 64, one thread block on a multiprocessor each; the multiprocessors of all tiles of a request's rows
make one *partition* of the batch, which the tile scheduler fills (:func:`amla.model.hopper.scheduler.partition`). A
block of 64 keys costs a tile 2 x 64 x 64 x (576 + 512) FLOPs, at the share of the tensor cores' rate that the inner
loop reaches. A request in a partition costs five blocks more: the scheduler's own figure for its start and end. The
kernel lasts as long as its fullest partition, or as long as memory takes for keys, queries and results, and a launch.

Partial results of a request that was cut are merged by a second kernel, which is launched while the first one runs
(programmatic dependent launch). It adds a row's splits in order, each after a round trip to memory, and reads them
at memory's rate.
"""

from itertools import pairwise
from math import ceil

from amla.model.hopper.scheduler import partition

from ..report.utilisation import macs_of
from ..workload.workload import Workload
from .estimate import HEAD_DIM, HEAD_DIM_V, Estimate, require_dense
from .machine import GpuMachine

__all__ = ["KERNEL", "estimate", "partitions_of"]

#: The stage of an estimate that is the split-KV kernel alone.
KERNEL = "split-KV kernel alone"

_ROWS, _KEYS, _OVERHEAD = 64, 64, 5


def partitions_of(lengths: list[int], count: int) -> tuple[list[tuple[int, int]], list[int]]:
    """(blocks of keys, requests) of each partition that has work; and the splits of each request."""
    table, counts = partition(lengths, count)
    found = []
    for first, last, begin, end, *_ in table.tolist():
        if first < len(lengths):
            blocks = sum(ceil(length / _KEYS) for length in lengths[first:last]) + end - begin
            found.append((blocks, last - first + 1))
    return found, [int(after - before) for before, after in pairwise(counts)]


def estimate(workload: Workload, machine: GpuMachine) -> Estimate:
    """Time of a whole call: the split-KV kernel, then what the merge takes longer.

    Raises
    ------
    AmlaError: the workload is not dense, of 16 bits, 576/512 and without sinks.
    """
    require_dense(workload, machine)
    flops, rows = 2 * macs_of(workload), workload.rows
    tiles = ceil(rows / _ROWS)
    partitions, splits = partitions_of(list(workload.lengths), max(machine.multiprocessors // tiles, 1))
    waves = ceil(tiles / machine.multiprocessors)
    rate = machine.flops_per_cycle * machine.clock_hz
    block = waves * 2 * _ROWS * _KEYS * (HEAD_DIM + HEAD_DIM_V) / rate
    blocks, requests = max(partitions, key=lambda one: one[0] + _OVERHEAD * one[1])
    keys = 2 * HEAD_DIM * sum(workload.lengths)
    results = 2 * rows * (HEAD_DIM + HEAD_DIM_V) * len(workload.lengths)
    memory = machine.memory_bytes_per_second * machine.memory_share
    launch, ideal = machine.launch_us / 1e6, flops / machine.peak_flops
    loop, overhead = blocks * block / machine.tensor_share, _OVERHEAD * requests * block / machine.tensor_share
    waits = max((keys + results) / memory - loop - overhead, 0.0)
    partial = 4 * HEAD_DIM_V * rows * sum(count for count in splits if count > 1)
    merge = (max(splits) * machine.round_trip_ns / 1e9 + partial / memory) if max(splits) > 1 else 0.0
    parts = {
        "tensor cores at their peak": ideal,
        "clock under load": ideal * (machine.peak_flops / (machine.multiprocessors * rate) - 1),
        "multiprocessors without work, padding": blocks * block - flops / (machine.multiprocessors * rate),
        "inner loop below the tensor cores' rate": loop - blocks * block,
        "start and end of requests": overhead,
        "waits for the HBM": waits,
        "launch": launch,
        "merge of the splits": merge,
    }
    bounds = {"compute": ideal, "memory": (keys + results) / machine.memory_bytes_per_second}
    by = max(bounds, key=bounds.__getitem__)
    return Estimate(parts=parts, bound_seconds=bounds[by], bound_by=by,
                    cores=min(len(partitions) * tiles, machine.multiprocessors),
                    stages={KERNEL: sum(parts.values()) - merge})
