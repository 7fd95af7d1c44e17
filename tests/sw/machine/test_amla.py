"""Machines of AMLA cores: parts that sum up, costs that count, bars on record."""

from dataclasses import replace

import numpy as np
import pytest
from amla.sw.cluster.partition import partition
from amla.sw.errors import AmlaError
from amla.sw.machine.amla import _pages
from amla.sw.machine.machine import AmlaMachine, load_machine
from amla.sw.machine.prediction import predict
from amla.sw.machine.study import floor, port_bound
from amla.sw.workload.workload import Workload

LOAD = Workload(name="long", heads=16, head_dim=48, head_dim_v=32, lengths=(400,), page_size=16)


@pytest.fixture
def machine():
    """Four `tiny` cores."""
    return AmlaMachine(
        name="four", about="tests", core="tiny", cores=4, clock_hz=1e9, peak_flops=4 * 128 * 1e9,
        memory_bytes_per_second=64e9, memory_share=1.0, launch_cycles=100, sync_cycles=50,
        memory={"latency": 60, "bytes_per_cycle": 64, "channels": 4, "out_of_order": True})


def test_parts_are_the_time(machine):
    found = predict(LOAD, machine)
    assert found.seconds == pytest.approx(sum(found.parts.values()))
    assert found.cores == 4 and found.bound["by"] == "compute" and found.bound["seconds"] < found.seconds
    assert found.parts["launch"] == pytest.approx(100e-9)
    assert found.parts["all cores wait for each other"] in (pytest.approx(50e-9), pytest.approx(100e-9))
    assert 0 < found.utilisation < 1 and not found.published


def test_more_cores_and_nearer_memory_are_faster(machine):
    seconds = predict(LOAD, machine).seconds
    far = replace(machine, memory={**machine.memory, "latency": 400})
    assert predict(LOAD, replace(machine, cores=1, peak_flops=128e9)).seconds > 1.5 * seconds
    assert predict(LOAD, far).seconds > seconds
    slow = replace(machine, memory={**machine.memory, "bytes_per_cycle": 4, "channels": 1})
    assert predict(LOAD, slow).seconds > 1.2 * seconds


def test_a_cache_gives_what_several_cores_read(machine):
    """Rows cut in four read every key four times."""
    slow = replace(machine, memory={**machine.memory, "bytes_per_cycle": 8, "channels": 1})
    load = replace(LOAD, heads=128, lengths=(200,))
    cached = replace(slow, cache_bytes=1 << 20, cache_bytes_per_cycle=64.0, cache_latency=30)
    assert predict(load, cached).seconds < 0.9 * predict(load, slow).seconds


def test_keys_that_are_read_once_push_no_result_out_of_the_cache(machine):
    """A cache that is smaller than the keys is as good as one that holds all."""
    slow = replace(machine, memory={**machine.memory, "bytes_per_cycle": 12, "channels": 2, "turnaround": 50})
    load = replace(LOAD, lengths=(100,) * 32)
    small, large = (predict(load, replace(slow, cache_bytes=1 << bits, cache_bytes_per_cycle=256.0, cache_latency=30))
                    for bits in (17, 24))
    assert small.seconds == pytest.approx(large.seconds, rel=1e-3)
    assert small.seconds < 0.7 * predict(load, slow).seconds  # which turns round for each result


@pytest.mark.parametrize(("key", "value", "words"), [
    ("core", "no such", "no such"), ("memory", {"latency": 0}, "latency must be"), ("memory", 3, "memory must be"),
    ("cores", 0, "cores must be"), ("cache_bytes", -1, "cache_bytes must be"),
    ("cache_bytes", 100, "cache_bytes must be 0, or at least interleave_bytes = 256")])
def test_bad_values(machine, key, value, words):
    with pytest.raises(AmlaError, match=words):
        replace(machine, **{key: value})


def test_a_block_of_the_cache_has_a_bit_for_each_beat(machine):
    with pytest.raises(AmlaError, match="interleave_bytes of at most 62 beats"):
        replace(machine, cache_bytes=1 << 20, memory={**machine.memory, "interleave_bytes": 1024, "row_bytes": 1024})


def test_requests_that_are_read_again_lie_behind_the_others(tiny):
    """Of five requests on four cores the second is cut by rows, so that its pages are not those that go around."""
    load = replace(LOAD, heads=32, lengths=(400, 390, 400, 400, 400))
    share = partition(load, tiny, 4, rate=16, total_rate=64)
    assert {one.request for own in share.shares for one in own if one.rows.size < load.rows} == {1}
    table, once = _pages(share, load, tiny, 25)
    assert once == 4 and sorted(table.ravel()) == list(range(5 * 25))
    assert table[1].min() == 4 * 25 and table[[0, 2, 3, 4]].max() == 4 * 25 - 1


def test_lists_are_refused(machine):
    with pytest.raises(AmlaError, match="topk must be None on four"):
        predict(replace(LOAD, topk=8), machine)


def test_one_request_on_a_die():
    """128 heads and 4,096 keys on all 24 cores: between what its ports allow and a quarter more."""
    load, machine = Workload.load("ds-1x4096"), load_machine("amla24")
    found, least = predict(load, machine), min(floor(load, machine, parts)["seconds"] for parts in (1, 2, 4, 8))
    assert found.cores == 24 and least < found.seconds < 5 / 4 * least


def test_no_spread_over_cores_beats_its_ports_and_cubes():
    """However many pairs of a row and a key each core has, with the best number of rows for so many: 18 cycles a key,
    50 a row, 4,096 pairs in 1,088 cycles of the cube. Uneven ones come near the bound, which forbids 4 µs."""
    load, machine = Workload.load("ds-1x4096"), load_machine("amla24")
    bound, pairs = port_bound(load, machine) * machine.clock_hz, 128 * 4096
    even, rng = np.ones(24), np.random.default_rng(1)
    spreads = [even, *(np.arange(24) < count for count in range(1, 24)), *(rng.random(24) ** at for at in range(20))]
    least = min(max((own := spread / spread.sum() * pairs).max() * 1088 / 4096,
                    np.mean(2 * np.sqrt(18 * 50 * own))) for spread in spreads)
    assert bound < least < 1.05 * bound and bound > 4e-6 * machine.clock_hz
    assert bound / machine.clock_hz < min(floor(load, machine, parts)["seconds"] for parts in (1, 2, 4, 8))
    long = port_bound(replace(load, lengths=(16 * 4096,)), machine) * machine.clock_hz
    assert long == pytest.approx(16 * pairs * 1088 / 4096 / 24)  # of the cubes alone


@pytest.mark.nightly
def test_a_batch_on_a_die():
    found = predict(replace(Workload.load("ds-1x4096"), lengths=(4096,) * 96), load_machine("amla24"))
    assert found.bound["seconds"] / found.seconds > 0.95
