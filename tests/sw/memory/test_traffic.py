"""Traffic over time: peaks, buckets, bursts that reach out of what is asked for."""

import numpy as np
import pytest
from amla.sw.memory.traffic import Traffic

pytestmark = pytest.mark.smoke


def test_peak_traffic():
    assert Traffic.peak([]) == 0
    assert Traffic.peak([(100, 163, 4096)]) == pytest.approx(64)
    assert Traffic.peak([(100, 131, 2048), (1000, 1000, 64)]) == pytest.approx(32)
    # Two bursts whose windows overlap by half.
    assert Traffic.peak([(0, 31, 1024), (32, 63, 2048), (64, 127, 64)]) == pytest.approx(48)
    assert Traffic.peak([(0, 0, 64), (1, 1, 64), (2, 2, 64)], cycles=2) == pytest.approx(64)


def test_traffic_over_time():
    traffic = Traffic(reads=[(100, 131, 2048), (160, 160, 64)], writes=[(109, 112, 40)])
    found = traffic.over_time(100, 70)
    assert found["bucket"] == 16
    assert found["read"] == pytest.approx([1024, 1024, 0, 64, 0])
    assert found["written"] == pytest.approx([40, 0, 0, 0, 0])
    # What lies outside of the cycles asked for is left out.
    assert traffic.over_time(116, 16)["read"] == pytest.approx([1024])
    assert Traffic().over_time(0, 100)["read"] == pytest.approx(np.zeros(7))
    long = Traffic(reads=[(0, 99_999, 200_000)]).over_time(0, 100_000)
    assert long["bucket"] == 32 and len(long["read"]) == 3125 and long["read"].sum() == pytest.approx(200_000)
