"""AMLA cores on one die: the programs themselves, on the cycle model of all cores beside one memory."""

from collections import Counter
from dataclasses import replace
from itertools import accumulate, chain

import numpy as np
from amla.rtl.config import CoreConfig

from ..cluster.partition import Partition, partition
from ..cluster.programs import Phases, programs_of
from ..compiler.key_cache import KeyCache, Paged
from ..compiler.loads import Addresses
from ..cycles.model import simulate_cores
from ..errors import AmlaError
from ..memory.preset import Memory
from ..memory.timing import Cache
from ..report.utilisation import bytes_of, macs_of
from ..workload.workload import Workload
from .estimate import Estimate
from .machine import AmlaMachine

__all__ = ["estimate"]

#: Where arrays begin in GM, one behind the other and each at a page, so that they do not take each other's places in
#: the L2, nor those of programs.
_ARRAYS, _PAGE = (1 << 37) + (1 << 25), 4096


def estimate(workload: Workload, machine: AmlaMachine) -> Estimate:
    """Time of a workload: of its shares on all cores, and of their merge.

    Raises
    ------
    AmlaError: lists or sinks, or a workload that does not suit the core.
    """
    for key, value, none in (("topk", workload.topk, None), ("sink", workload.sink, False)):
        if value != none:
            raise AmlaError(f"{workload.name}: {key} must be {none} on {machine.name}, not {value!r}")
    config = CoreConfig.load(machine.core)
    memory = machine.shared_memory
    phases, cache = _schedule(workload, config, machine, memory)
    runs = simulate_cores([phases.shares, *([phases.merges] if phases.merges else [])], config, memory, cache=cache)
    cycle = 1 / machine.clock_hz
    shares, *merges = [max(run.cycles for run in phase if run) for phase in runs]
    macs = macs_of(workload)
    ideal = macs / (machine.cores * config.macs_per_cycle)
    busy = [run.cube_active for run in runs[0] if run]
    work = sum(busy) / machine.cores
    parts = {
        "launch": machine.launch_cycles,
        "cube at its peak": ideal,
        "padding, masked columns": work - ideal,
        "cores without work": max(busy) - work,
        "start, end and waits of the longest core": shares - max(busy),
        "merge": sum(merges),
        "all cores wait for each other": machine.sync_cycles * (1 + len(merges)),
    }
    read, written = bytes_of(workload, config)
    limits = {"compute": macs / config.macs_per_cycle / machine.cores * cycle,
              "memory": (read + written) / machine.memory_bytes_per_second}
    by = max(limits, key=limits.__getitem__)
    return Estimate(parts={name: cycles * cycle for name, cycles in parts.items()}, bound_seconds=limits[by],
                    bound_by=by, cores=sum(run is not None for run in runs[0]), stages={})


def _schedule(
    workload: Workload, config: CoreConfig, machine: AmlaMachine, memory: Memory,
) -> tuple[Phases, Cache | None]:
    """The programs, and the cache as the host sets it up for them: keys that are read once go around it."""
    total = machine.cache.bytes_per_cycle if machine.cache else memory.sustained()
    share = partition(workload, config, machine.cores, rate=config.axi_data_bytes, total_rate=total)
    pages = max(-(-max(workload.lengths) // workload.page_size), 1)
    page_bytes = workload.page_size * KeyCache.of(workload).key_bytes
    table, once = _pages(share, workload, config, pages)
    # What each core's programs expect of memory: its share of the rate, times as many cores as read the same keys.
    readers = sum(one.keys.size for own in share.shares for one in own) / max(sum(workload.lengths), 1)
    own = replace(memory, name=f"{memory.name} / {machine.cores}",
                  channels=max(int(memory.channels * readers) // machine.cores, 1),
                  bytes_per_cycle=round(min(memory.rate(1 << 20) * readers, total) / machine.cores, 4))
    rows = len(workload.lengths) * workload.rows
    groups = len(workload.lengths) * -(-workload.rows // config.m)
    q, o, lse, kv, partials = accumulate(
        (2 * rows * workload.head_dim, 2 * rows * workload.head_dim_v, groups * config.axi_data_bytes,
         table.size * page_bytes),
        lambda end, size: end + -(-size // _PAGE) * _PAGE, initial=_ARRAYS)
    programs = programs_of(share, workload, config, Paged(KeyCache.of(workload, kv), table),
                           Addresses(q=q, o=o, lse=lse), partials=partials, memory=own)
    return programs, replace(machine.cache, around=(kv, kv + once * pages * page_bytes)) if machine.cache else None


def _pages(share: Partition, workload: Workload, config: CoreConfig, pages: int) -> tuple[np.ndarray, int]:
    """Page table, int32[requests, pages], requests whose keys are read once before the others; how many these are."""
    reads: Counter[int] = Counter()
    for one in chain.from_iterable(share.shares):
        reads[one.request] += one.keys.size * -(-one.rows.size // config.max_rows)
    again = np.array([reads[request] > length for request, length in enumerate(workload.lengths)])
    table = np.empty((len(again), pages), np.int32)
    table[np.argsort(again, kind="stable")] = np.arange(table.size).reshape(table.shape)
    return table, int((~again).sum())
