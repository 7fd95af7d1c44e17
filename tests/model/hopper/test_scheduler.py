"""FlashMLA's cuts against its recorded tables, and what any plan must have."""

import numpy as np
import pytest
from amla.model import FlashMLASchedMeta, get_mla_metadata
from amla.model.hopper.recorded import CASES, load
from amla.model.hopper.scheduler import partition
from amla.model.tile_scheduler import read_splits


@pytest.mark.parametrize("case", CASES)
def test_every_recorded_table(case):
    lengths, table, counts = (load(case)[name] for name in ("lens", "sched_meta", "num_splits"))
    got_table, got_counts = get_mla_metadata(lengths, sm_parts=132)
    np.testing.assert_array_equal(got_table, table)
    np.testing.assert_array_equal(got_counts, counts)
    assert got_table.dtype == table.dtype and got_counts.dtype == counts.dtype
    assert not np.array_equal(get_mla_metadata(lengths, sm_parts=2)[1], counts)


@pytest.mark.parametrize("sm_parts", [1, 2, 7, 66, 132])
def test_every_plan_covers_its_batch_evenly(sm_parts, seed):
    rng = np.random.default_rng([seed, sm_parts])
    for requests in (1, 2, 9, 200):
        lengths = rng.choice([0, 1, 64, 65, 300, 4096, 20000], requests).tolist()
        table, counts = partition(lengths, sm_parts)
        splits = read_splits(table, counts, lengths)
        blocks = [-(-length // 64) for length in lengths]
        mean = (sum(max(size, 1) for size in blocks) + 5 * requests) / sm_parts
        for part in range(sm_parts):
            first, last, begin, end, *_ = table[part].tolist()
            if first < requests:
                work = sum(max(blocks[request], 1) + 5 for request in range(first, last + 1)) - begin
                assert work - max(blocks[last], 1) + max(end, 1) <= mean + 6
        for request, parts in enumerate(splits):
            rows = [row for row in table.tolist() if row[0] <= request <= row[1] and row[0] < requests]
            assert len(rows) == len(parts)
            for row in rows:
                assert request not in (row[0], row[1]) or row[5 if request == row[0] else 6] == (len(parts) > 1)


def test_an_object_is_filled_with_these_cuts():
    plan, nothing = get_mla_metadata(sm_parts=132)
    assert nothing is None and plan.sm_parts == 132
    shape = FlashMLASchedMeta.Config(2, 1, 16, 64, 1, False, False, None, None, None)
    splits = plan.splits(shape, [300, 1024], np.zeros(1))
    np.testing.assert_array_equal(plan.tile_scheduler_metadata, load("ragged")["sched_meta"])
    assert [len(parts) for parts in splits] == [5, 16]


def test_rejects():
    lengths = np.array([5], np.int32)
    for change, message in (
        ({"sm_parts": 0}, "sm_parts must be at least 1, not 0"),
        ({"sm_parts": 132, "keys_per_split": 64}, "keys_per_split must be left out with sm_parts, not 64"),
        ({"sm_parts": 132, "num_sm_parts": 132}, "num_sm_parts must be left out with sm_parts, not 132"),
    ):
        with pytest.raises(ValueError, match=message):
            get_mla_metadata(lengths, **change)
    with pytest.raises(TypeError, match="sm_parts must be an int, not True"):
        get_mla_metadata(lengths, sm_parts=True)
