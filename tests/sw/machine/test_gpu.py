"""FlashMLA's model: partitions, limits, that every cost costs, and every recorded row within 15 %."""

from dataclasses import replace

import pytest
from amla.sw.machine.gpu import KERNEL, estimate, partitions_of
from amla.sw.machine.machine import load_machine
from amla.sw.machine.prediction import predict
from amla.sw.machine.study import workload
from amla.sw.workload.workload import Workload

pytestmark = pytest.mark.smoke

H200 = load_machine("h200")
SHAPES = sorted({(one.heads, one.q_tokens, one.lengths) for one in H200.published})


def seconds(machine=H200, **shape):
    return estimate(workload(**{"batch": 4, "keys": 4096, "tokens": 1, **shape}), machine).seconds


def test_partitions_cover_the_batch():
    found, splits = partitions_of([300, 0, 5000, 64], 7)
    # An empty request counts for the blocks that the scheduler's own table gives it.
    assert sum(blocks for blocks, _ in found) == 5 + 0 + 79 + 1 and len(found) <= 7
    assert sum(requests for _, requests in found) == sum(splits) and splits[1] == 1


@pytest.mark.parametrize(("heads", "q_tokens", "lengths"), SHAPES, ids=lambda value: str(value)[:20])
def test_recorded_rows_are_within_15_percent(heads, q_tokens, lengths):
    load = Workload(name="recorded", heads=heads, q_tokens=q_tokens, lengths=lengths, inputs="normal")
    found = predict(load, H200).published
    assert {one.what for one in found} >= {"whole call", KERNEL}
    for one in found:
        assert one.used or 0.85 < one.ratio < 1.15


def test_h800_is_within_15_percent_of_its_best():
    h800 = load_machine("h800")
    shapes = ({"heads": 128, "tokens": 2, "keys": 32768}, {"heads": 16, "tokens": 1, "keys": 4096})
    ratios = {one.what: one for shape in shapes for one in predict(workload(batch=128, **shape), h800).published}
    assert len(ratios) == 2 and all(0.85 < one.ratio < 1.15 for one in ratios.values())


def test_without_costs_the_tensor_cores_are_the_bound():
    free = replace(H200, tensor_share=1.0, launch_us=0.0, round_trip_ns=0.0, memory_bytes_per_second=1e18)
    found = estimate(workload(batch=66, keys=64 * 10_000, tokens=1), free)
    rate = 132 * 4096 * free.clock_hz
    assert found.seconds == pytest.approx(2 * 66 * 640_000 * 128 * 1088 / rate, rel=2e-3)
    assert found.bound_by == "compute" and found.cores == 132


def test_without_bandwidth_memory_is_the_bound():
    slow = replace(H200, memory_bytes_per_second=1e11)
    found = estimate(workload(batch=128, keys=4096, tokens=1, heads=16), slow)
    moved = 128 * (4096 * 1152 + 16 * 1088 * 2)
    assert found.bound_by == "memory" and found.bound_seconds == pytest.approx(moved / 1e11)
    assert found.stages[KERNEL] == pytest.approx(moved / (1e11 * slow.memory_share) + slow.launch_us / 1e6)


@pytest.mark.parametrize(("key", "factor"), [
    ("clock_hz", 0.5), ("tensor_share", 0.5), ("flops_per_cycle", 0.5), ("memory_bytes_per_second", 0.1),
    ("memory_share", 0.1), ("launch_us", 2), ("round_trip_ns", 2)])
def test_every_cost_costs(key, factor):
    assert seconds(replace(H200, **{key: getattr(H200, key) * factor})) > seconds()


def test_more_work_takes_longer():
    assert seconds(keys=1024) < seconds(keys=4096) < seconds(keys=16384) < seconds(keys=16384, tokens=2)
    assert seconds(heads=64, batch=128) < seconds(heads=128, batch=128)
    assert seconds(heads=1024, tokens=16, batch=1) > 2 * 16384 * 4096 * 1088 / H200.peak_flops


def test_parts_sum_to_the_time_and_none_is_negative():
    for heads, q_tokens, lengths in SHAPES:
        found = estimate(Workload(name="x", heads=heads, q_tokens=q_tokens, lengths=lengths, inputs="normal"), H200)
        assert sum(found.parts.values()) == found.seconds > found.bound_seconds
        assert all(part > -1e-12 for part in found.parts.values())
