"""The comparison of the levels finds every changed bit and names its element and command."""

import random

import numpy as np
import pytest
from amla.rtl.config import CoreConfig
from amla.sw.run.compare import check_levels, expect
from amla.tb.core.random_jobs import random_job


@pytest.fixture(scope="module")
def expected():
    """A job whose last beat of LSE holds fewer words than it has room for."""
    config = CoreConfig.load("tiny")
    cases = (random_job(random.Random(seed), config) for seed in range(100))
    case = next(case for case in cases if case.job.workload.rows % config.m and case.finite)
    return expect(case.job, case.inputs)


def test_equal_levels_pass(expected):
    check_levels(expected, expected.region.copy())


def test_a_changed_word_of_o_is_named(expected):
    job = expected.job
    out, _ = job.unpack(expected.region)
    place = tuple(size - 1 for size in out.shape)
    region = expected.region.copy()
    region[2 * (out.size - 1)] ^= 1
    with pytest.raises(AssertionError) as caught:
        check_levels(expected, region)
    text = str(caught.value)
    word = int(out.view(np.uint16)[place])
    assert f"O of RTL and simulator differ in 1 of {out.size} words" in text
    assert f"= {place}: {word ^ 1:#x} (" in text and f"against {word:#x} (" in text
    assert "last written by command" in text and "STORE" in text


def test_a_changed_word_of_lse_is_named(expected):
    job = expected.job
    region = expected.region.copy()
    region[job.program.symbols["LSE"] - job.output_base + 3] ^= 0x80
    with pytest.raises(
        AssertionError, match=r"LSE of RTL and simulator differ in 1 of .* = \(0, 0, 0\).*STORE .*lse"
    ):
        check_levels(expected, region)


def test_a_byte_of_no_element_is_named(expected):
    job = expected.job
    region = expected.region.copy()
    region[-1] ^= 1
    with pytest.raises(
        AssertionError, match=f"byte {job.output_base + len(region) - 1:#x} .* belongs to no element"
    ):
        check_levels(expected, region)


def test_a_wrong_simulator_is_named(expected):
    out, lse = (array.copy() for array in expected.golden)
    out.view(np.uint16)[0, 0, 0, 0] ^= 1
    wrong = type(expected)(
        job=expected.job, golden=(out, lse), region=expected.region, simulated=expected.simulated
    )
    with pytest.raises(AssertionError, match="O of simulator and golden model differ in 1 of"):
        check_levels(wrong, expected.region)


def test_random_jobs_repeat(tiny):
    first, second = (random_job(random.Random("9/1"), tiny) for _ in range(2))
    assert str(first) == str(second)
    assert first.job.program.binary == second.job.program.binary
    assert np.array_equal(first.job.memory, second.job.memory)
