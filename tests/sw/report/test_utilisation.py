"""Useful work and its bound, against counting key by key and cycle by cycle."""

import pytest
from amla.sw.memory.preset import Memory
from amla.sw.report.utilisation import Bound, bound_of, bytes_of, macs_of
from amla.sw.workload.extra import ExtraCache
from amla.sw.workload.generate import make_inputs
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


def test_macs_of_lists_count_valid_entries():
    load = Workload(name="x", heads=3, q_tokens=2, lengths=(40, 2), head_dim=48, head_dim_v=32, topk=8,
                    topk_lengths=(8, 5), extra=ExtraCache(lengths=(9, 3), topk=4))
    inputs = make_inputs(load)
    counted = inputs.indices[0, :, :8], inputs.indices[1, :, :5], inputs.extra_indices_in_kvcache
    assert macs_of(load, inputs.sequences) == sum((some >= 0).sum() for some in counted) * 3 * (48 + 32)
    assert macs_of(load) == 2 * (8 + 2 + 4 + 3) * 3 * (48 + 32)


def test_single_on_small(small):
    """18 cycles bring a row, 1.0625 multiply a pair: 16.9 rows of queries and as many of keys are a loss of 304.9."""
    load = Workload.load("single")
    assert macs_of(load) == 64 * 1024 * 1088 and bytes_of(load, small) == (2 * 576 * (64 + 1024), 64 * (1024 + 4))
    assert bound_of(load, small) == Bound(by="compute", cycles=20 + 20 + 305 + 69632 + 20, start=345, end=20)


def test_the_loss_at_the_start_is_the_largest_gap_between_peak_and_what_has_come(small):
    """Counted cycle by cycle: the best share of queries and keys among the rows that have come."""
    load = Workload.load("single")
    per_pair = (576 + 512) / small.macs_per_cycle
    lost = 0.0
    for cycle in range(10_000):
        rows = cycle * 64 / (2 * 576)
        queries = min(rows / 2, load.rows)
        lost = max(lost, cycle - queries * (rows - queries) * per_pair)
    found = bound_of(load, small)
    assert 0 <= found.start - 40 - lost < 1


def test_few_heads_are_memory_bound(small):
    """All keys, then O of the rows that waited for the last one."""
    load = Workload(name="x", heads=8, lengths=(1000,))
    read, written = 1008 * 1152 // 64, -(-8 * (1024 + 4) // 64)
    assert bound_of(load, small) == Bound(
        by="memory", cycles=60 + read + written, start=40, end=20 + written)


def test_keys_are_read_once_for_the_rows_that_o_holds(small):
    """O of `small` holds 64 rows of 512 columns: 65 rows are two passes."""
    slow = Memory.load("slow")
    one, two = (bound_of(Workload(name="x", heads=heads, lengths=(1000,)), small, slow) for heads in (64, 65))
    assert two.by == one.by == "memory"
    assert two.cycles - one.cycles == pytest.approx((1152 * 1001 + 1028) / slow.sustained(), abs=1)


def test_no_keys_at_all(small):
    found = bound_of(Workload(name="x", heads=8, lengths=(0,)), small)
    assert found.by == "memory" and found.start == 40


def test_memory_may_be_slower_than_the_bus(small):
    """Both directions share its rate, less refresh; where it is twice the bus's the bus alone limits."""
    load = Workload(name="x", heads=8, lengths=(1000,))
    moved, hbm = sum(bytes_of(load, small)), Memory.load("hbm")
    assert hbm.sustained(64) == 37 * (1 - 468 / 7020)
    assert bound_of(load, small, hbm).cycles == -int(-(moved / hbm.sustained(64) + 3 * hbm.latency) // 1)
    fast = Memory(name="fast", latency=20, bytes_per_cycle=128)
    assert bound_of(load, small, fast) == bound_of(load, small)
    assert bound_of(Workload.load("single"), small, Memory.load("slow")).by == "memory"


def test_latency_is_paid_three_times(small):
    """To fetch the program, to load the first bytes, to write the last."""
    load = Workload.load("single")
    near, far = (bound_of(load, small, Memory.load(name)) for name in ("ideal", "far"))
    assert far.cycles - near.cycles == 3 * 480


def test_fp8_of_few_heads_is_bound_by_l1(small):
    """656 bytes come in 10.25 beats, their 576 columns go into L1 in 18."""
    load = Workload(name="x", heads=8, lengths=(1000,), cache="fp8-656")
    assert bytes_of(load, small)[0] == 8 * 1152 + 1000 * 656
    end = 20 + -(-8 * (1024 + 4) // 64)
    assert bound_of(load, small) == Bound(by="L1", cycles=40 + 1008 * 18 + end, start=40, end=end)


def test_listed_keys_come_in_whole_beats(small):
    """A key of 656 bytes lies in 11 beats wherever it begins, one of 584 in 9 and one of scales; entries of 4."""
    for cache, width, size in (("fp8-656", 576, 11 * 64 + 4), ("fp8-584", 512, 10 * 64 + 4), ("bf16", 576, 1156)):
        load = Workload(name="x", heads=8, q_tokens=2, lengths=(500,), head_dim=width, cache=cache, topk=100,
                        extra=ExtraCache(lengths=(50,), topk=20, page_size=2))
        sequences = make_inputs(load).sequences
        keys = sum(sequence.length for sequence in sequences)
        assert bytes_of(load, small, sequences)[0] == 16 * 2 * width + keys * size
        assert bytes_of(load, small)[0] == 16 * 2 * width + 2 * 120 * size
        assert bound_of(load, small, Memory.load("hbm"), sequences).cycles > keys * size / 37
