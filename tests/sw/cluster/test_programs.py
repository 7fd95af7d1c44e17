"""Programs of a partition: the KV block of partial shares."""

import numpy as np
import pytest
from amla.rtl.config import CoreConfig
from amla.sw.cluster.partition import partition
from amla.sw.cluster.programs import programs_of
from amla.sw.compiler.key_cache import KeyCache, Paged
from amla.sw.compiler.loads import Addresses
from amla.sw.cycles.model import simulate
from amla.sw.memory.preset import Memory
from amla.sw.workload.workload import Workload

pytestmark = pytest.mark.smoke


def test_the_block_of_partial_shares_is_the_fastest_of_those_tried():
    load = Workload(name="one", heads=128, lengths=(1024,))
    config, memory = CoreConfig.load("deepseek"), Memory(name="port", latency=370, bytes_per_cycle=64)
    shared = partition(load, config, 6, rate=64, total_rate=384, row_parts=2, cut=352)

    def phases(block=None):
        return programs_of(shared, load, config, Paged(KeyCache.of(load, 1 << 32), np.arange(16, dtype=np.int32)[None]),
                           Addresses(q=0, o=1 << 30, lse=1 << 31), partials=1 << 33, memory=memory, kv_block=block)

    def cycles(found):
        return max(simulate(program, config, memory).cycles for program in found.shares)

    found = phases()
    assert found.kv_block % config.k == 0
    assert cycles(found) <= min(cycles(phases(block)) for block in (32, 64, 128))
