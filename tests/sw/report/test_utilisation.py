"""Useful work and the roofline, against counting key by key."""

import pytest
from amla.sw.memory.preset import Memory
from amla.sw.report.utilisation import bytes_of, macs_of, roofline_of
from amla.sw.workload.workload import Workload

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize("causal", [False, True])
def test_macs_count_what_a_row_sees(causal):
    load = Workload(name="x", heads=5, q_tokens=3, causal=causal, lengths=(40, 2, 0), head_dim=48,
                    head_dim_v=32)
    expected = 0
    for length in load.lengths:
        for token in range(3):
            for key in range(length):
                expected += not causal or key < length - 3 + 1 + token
    assert macs_of(load) == expected * 5 * (48 + 32)


def test_single_on_small(small):
    load = Workload.load("single")
    roofline = roofline_of(load, small)
    assert macs_of(load) == 64 * 1024 * 1088 and roofline.compute_cycles == 69632
    assert roofline.bound == "compute" and roofline.cycles == 69632
    assert bytes_of(load) == (2 * 576 * (64 + 1024), 64 * (1024 + 4))


def test_few_heads_are_memory_bound(small):
    load = Workload(name="x", heads=8, lengths=(1000,))
    roofline = roofline_of(load, small)
    assert roofline.bound == "memory" and roofline.cycles == 1008 * 1152 // 64


def test_memory_may_be_slower_than_the_bus(small):
    """Both directions share its rate; the bus has a beat each way."""
    load = Workload(name="x", heads=8, lengths=(1000,))
    read, written = bytes_of(load)
    hbm = Memory.load("hbm")
    assert roofline_of(load, small, hbm).cycles == -(-(read + written) // 37)
    fast = Memory(name="fast", latency=20, bytes_per_cycle=128)
    assert roofline_of(load, small, fast) == roofline_of(load, small)
    assert roofline_of(Workload.load("single"), small, Memory.load("slow")).bound == "memory"
