"""Partitions: everything is done once, cuts are where they were asked for, work is even."""

import pytest
from amla.rtl.config import CoreConfig
from amla.sw.cluster.partition import partition
from amla.sw.errors import AmlaError
from amla.sw.workload.workload import Workload

pytestmark = pytest.mark.smoke

LOADS = [Workload(name="one", heads=128, lengths=(4096,)), Workload(name="over", heads=128, lengths=(*(4096,) * 26, 0)),
         Workload(name="few", heads=16, lengths=(500, 64, 0)),
         Workload(name="batch", heads=128, lengths=(4096,) * 48), Workload(name="ragged", heads=64, q_tokens=2,
                                                                        lengths=(17, 8191, 640, 3000))]


def _cells(shares, rows, columns):
    """(request, row, key or column) once each."""
    return sorted((share.request, row, column) for own in shares for share in own
                  for row in range(rows(share).start, rows(share).stop, 16)
                  for column in range(columns(share).start, max(columns(share).stop, 1), 16))


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
@pytest.mark.parametrize("cores", [1, 4, 24])
def test_everything_is_done_once(load, cores):
    config = CoreConfig.load("deepseek")
    found = partition(load, config, cores, rate=64, total_rate=1000)
    assert len(found.shares) == len(found.merges) == cores
    cells = _cells(found.shares, lambda share: share.rows, lambda share: share.keys)
    assert cells == sorted({(request, row, key) for request, length in enumerate(load.lengths)
                            for row in range(0, load.rows, 16) for key in range(0, max(length, 1), 16)})
    cut = {share.request for own in found.shares for share in own if share.partial}
    assert cut == {request for request, length in enumerate(load.lengths) if found.cuts and length > found.cuts[0]}
    merged = _cells(found.merges, lambda share: share.rows, lambda share: share.columns)
    assert merged == [(request, row, column) for request in sorted(cut) for row in range(0, load.rows, 16)
                      for column in range(0, load.head_dim_v, 16)]


def test_whole_requests_where_there_are_enough():
    found = partition(LOADS[3], CoreConfig.load("deepseek"), 24, rate=64, total_rate=1000)
    assert not found.cuts and not any(found.merges) and {len(own) for own in found.shares} == {2}


def test_requests_over_a_round_of_all_cores_are_cut_by_rows():
    """Thirty on 24 cores: 24 whole, of the other six a row tile for each core; a core that has none stays free."""
    load = Workload(name="thirty", heads=128, lengths=(4096,) * 30)
    found = partition(load, CoreConfig.load("deepseek"), 24, rate=64, total_rate=1894)
    assert not found.cuts
    for own in found.shares:
        assert sorted(share.rows.size for share in own) == [128 // len(found.rows), 128]
    assert len(found.rows) == 4


def test_the_shortest_requests_are_cut():
    load = Workload(name="five", heads=128, lengths=(4096, 3000, 4096, 4096, 4096))
    found = partition(load, CoreConfig.load("deepseek"), 4, rate=64, total_rate=500)
    assert {share.request for own in found.shares for share in own if share.rows.size < load.rows} == {1}


def test_one_request_keeps_all_cores_busy():
    found = partition(LOADS[0], CoreConfig.load("deepseek"), 24, rate=64, total_rate=2000)
    assert found.cores == 24 and all(found.merges)


def test_what_is_asked_for():
    config = CoreConfig.load("deepseek")
    found = partition(LOADS[0], config, 4, rate=64, total_rate=64, row_parts=2, cut=1024)
    assert found.cuts == (1024, 2048, 3072) and [piece.size for piece in found.rows] == [64, 64]
    for options, words in (({"cut": 24}, "cut must be a multiple of k = 16, not 24"),
                           ({"row_parts": 9}, "row_parts must be from 1 to the 8 row groups")):
        with pytest.raises(AmlaError, match=words):
            partition(LOADS[0], config, 4, rate=64, total_rate=64, **options)
