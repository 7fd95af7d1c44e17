"""FlashMLA's own tables and outputs, recorded on a GPU: every table is followed, and the splits give its results.

`model/hopper/flashmla_h200.npz` holds three tables of a release of April 2026 (132 partitions), and what its kernel
gave for the cases `ragged` (300 and 1,024 keys), `causal` (77 and 1,024 keys, two query tokens) and `edges` (1, 63,
64, 65, 129 and 0 keys): 16 heads, 576/512, pages of 64, scale 576^-1/2, BF16 as words. Here four heads of `edges` and
of the first request of `causal` go through the core's arithmetic with P in BF16, as the GPU has it;
`hopper/test_flash_mla.py` repeats all of it bit by bit.
"""

import ml_dtypes
import numpy as np
import pytest
from amla.model import Numerics, flash_mla_with_kvcache, get_mla_metadata
from amla.model.hopper.recorded import CASES, load
from amla.model.tile_scheduler import read_splits

BF16 = ml_dtypes.bfloat16
DATA = {case: load(case) for case in CASES}
HEADS = 4


def recorded(case, name):
    return DATA[case][name]


@pytest.mark.parametrize("case", CASES)
def test_every_recorded_table_is_followed(case):
    table, counts, lengths = (recorded(case, name) for name in ("sched_meta", "num_splits", "lens"))
    splits = read_splits(table, counts, lengths.tolist())
    for request, length in enumerate(lengths.tolist()):
        assert len(splits[request]) == counts[request + 1] - counts[request]
        assert splits[request][0][0] == 0 and splits[request][-1][1] == length
        if len(splits[request]) > 1:  # on a GPU that is nearly idle every block is a split
            assert splits[request] == [(start, min(start + 64, length)) for start in range(0, length, 64)]


@pytest.mark.parametrize("case", CASES)
def test_the_older_layout_of_a_table_says_the_same(case):
    table, counts, lengths = (recorded(case, name) for name in ("sched_meta", "num_splits", "lens"))
    older = table[:, [0, 2, 1, 3, 4, 5, 6, 7]]
    older[older[:, 0] >= len(lengths), 0] = -1  # how late releases of that layout marked rows without work
    older[:, 5:] = 1234567  # which no release of that layout wrote
    assert read_splits(older, counts, lengths.tolist()) == read_splits(table, counts, lengths.tolist())


def decode(case, requests, table, counts):
    out, lse = flash_mla_with_kvcache(
        recorded(case, "q").view(BF16)[:requests, :, :HEADS], recorded(case, "pages").view(BF16)[:, :, None],
        recorded(case, "table")[:requests], recorded(case, "lens")[:requests], 512, table, counts, None,
        case == "causal", mode="mul", numerics=Numerics(p_format="operand"))
    return out, lse.transpose(0, 2, 1)


@pytest.mark.parametrize(("case", "requests"), [("edges", 6), ("causal", 1)])
def test_the_splits_of_a_gpu_give_its_results(case, requests):
    table, counts = recorded(case, "sched_meta"), recorded(case, "num_splits")[: requests + 1]
    out, lse = decode(case, requests, table[table[:, 0] < requests], counts)
    wanted = recorded(case, "out").view(BF16)[:requests, :, :HEADS]
    wanted_lse = recorded(case, "lse")[:requests, :, :HEADS]
    assert np.array_equal(np.isposinf(lse), np.isposinf(wanted_lse))
    seen = np.isfinite(wanted_lse)
    assert np.abs(lse[seen] - wanted_lse[seen]).max() <= 2e-6
    assert (out.view(np.uint16) == wanted.view(np.uint16)).mean() >= 0.999
    error = np.linalg.norm(out.astype(float) - wanted.astype(float)) / np.linalg.norm(wanted.astype(float))
    assert error <= 2e-4
    unsplit, _ = decode(case, requests, *get_mla_metadata())
    assert (unsplit.view(np.uint16) == wanted.view(np.uint16)).mean() < 0.99  # the cuts do reach the result
