"""Shares of a workload and their merge, by the command simulator: the golden split merge; no races, no waits."""

import random
from dataclasses import replace

import numpy as np
import pytest
from amla.rtl.config import CoreConfig
from amla.rtl.isa import Opcode
from amla.sw.cluster.merge import Merge, schedule_merge
from amla.sw.cluster.share import RowsResult, schedule_share
from amla.sw.compiler.hazards import find_hazards
from amla.sw.compiler.key_cache import KeyCache, Paged
from amla.sw.compiler.plan import Piece, Share
from amla.sw.errors import AmlaError
from amla.sw.workload.workload import Workload
from amla.tb.core.random_jobs import random_job
from amla.tb.split.split_jobs import SplitJob, random_cuts


@pytest.mark.parametrize("seed", range(30))
def test_shares_and_their_merge_are_the_golden_split_decode(tiny, seed):
    rng = random.Random(seed)
    case = random_job(rng, tiny)
    split = SplitJob.build(case.job, case.inputs, random_cuts(rng, tiny, case.job.plan.workload.lengths), rng)
    out, lse = split.unpack(split.simulate())
    wanted, wanted_lse = split.golden()
    assert (lse.view(np.uint32) == wanted_lse.view(np.uint32)).all()
    assert (out.view(np.uint16) == wanted.view(np.uint16)).all()
    for program in split.programs:
        assert not find_hazards(program.commands, tiny)
    merges = [any(command.opcode == Opcode.MERGE for command in program.commands) for program in split.programs]
    assert any(merges) == any(length > split.cuts[0] for length in case.job.plan.workload.lengths)


ROWS, COLUMNS = Piece(0, 64), Piece(0, 512)


def merge_of(splits, *, rows=ROWS, columns=COLUMNS):
    part = RowsResult(Piece(0, 64), 0x100000, 0x300000)
    return Merge(request=0, parts=[part] * splits, rows=rows, columns=columns, width=512, o=0x400000, lse=0x500000)


@pytest.mark.parametrize(("splits", "tiles"), [(2, 2), (12, 4), (15, 4)])
def test_a_merge_on_a_large_core(splits, tiles):
    """Row tiles as the row state allows, every column of every tile once, no race; each tile's factors once."""
    config = CoreConfig.load("deepseek")
    commands, notes = schedule_merge(merge_of(splits), config)
    merges = [command for command in commands if command.opcode == Opcode.MERGE]
    assert len(notes) == len(commands) and not find_hazards(commands, config)
    assert sum("first" in command.flags for command in merges) == tiles
    assert sum(command["mt"] * command["nt"] for command in merges) * config.m * config.beat_elements == 64 * 512
    stored = [command["address"] for command in commands if command.opcode == Opcode.STORE and "lse" in command.flags]
    assert stored == [0x500000 + 64 * group for group in range(0, 4, 4 // tiles)]


def test_lse_of_even_pitch_are_one_load():
    """Of a row group's splits; of several row groups, or where the pitch changes, there are more."""
    config = CoreConfig.load("deepseek")

    def loads(places, rows):
        merge = replace(merge_of(1, rows=rows), parts=[RowsResult(ROWS, 0x100000, lse) for lse in places])
        return [(command["address"], command["pitch"], command["rows"]) for command in schedule_merge(merge, config)[0]
                if command.opcode == Opcode.LOAD and "sinks" in command.flags]

    even, second = [0x300000 + 0x1000 * split for split in range(4)], Piece(16, 16)
    assert loads(even, second) == [(0x300040, 0x1000, 4)]
    assert loads([*even, 0x200000], second) == [(0x300040, 0x1000, 4), (0x200040, 64, 1)]
    assert loads(even[:2], Piece(0, 32)) == [(0x300000, 64, 2), (0x301000, 64, 2)]


def test_pieces_of_a_merge_are_loaded_ahead():
    """No load waits for a MERGE where L1 holds all pieces."""
    commands, _ = schedule_merge(merge_of(12, rows=Piece(0, 16), columns=Piece(0, 192)), CoreConfig.load("deepseek"))
    merges = [command for command in commands if command.opcode == Opcode.MERGE]
    assert len({command["l1"] for command in merges}) == len(merges) == 6
    assert not any(command.wait for command in commands if command.opcode == Opcode.LOAD)


@pytest.mark.parametrize(("merge", "message"), [
    (merge_of(0), "a merge must have at least one split"),
    (merge_of(16), "deepseek is too small to merge 16 splits: a row group of them needs 272 rows of row state, of 256"),
    (merge_of(2, rows=Piece(8, 16)), "rows of a merge must begin with a row group of 16, not with 8"),
    (merge_of(2, rows=Piece(0, 80)), "a split must have the rows 0 to 80 of the merge, not 0 to 64"),
    (merge_of(2, columns=Piece(16, 32)), "columns of a merge must be whole beats of 32 elements, not 16 to 48"),
])
def test_merges_that_are_refused(merge, message):
    with pytest.raises(AmlaError, match=f"^{message}"):
        schedule_merge(merge, CoreConfig.load("deepseek"))


SHARE = Share(0, Piece(0, 32), Piece(0, 64), 100)


@pytest.mark.parametrize(("changes", "sink", "message"), [
    ({"rows": Piece(8, 24)}, None, "rows of a share must be whole row groups of 16 of the 128 rows of a request, not"),
    ({"rows": Piece(0, 24)}, None, "rows of a share must be whole row groups of 16"),
    ({"keys": Piece(0, 65)}, None, "keys of a share must be a multiple of k = 16, or end with the request's 100, not"),
    ({"keys": Piece(64, 64)}, None, "keys of a share must be a multiple of k"),
    ({"partial": False}, None, "a share that is not partial must have all 100 keys of its request, not 0 to 64"),
    ({}, 0x1000, "sinks must be left to the merge of partial results"),
])
def test_shares_that_are_refused(changes, sink, message):
    share = replace(SHARE, **changes)
    workload = Workload(name="one", heads=128, lengths=(100,), head_dim=576, head_dim_v=512)
    with pytest.raises(AmlaError, match=f"^{message}"):
        schedule_share(workload, share, CoreConfig.load("deepseek"), Paged(KeyCache.of(workload), np.zeros((1, 2))),
                       q=0x1000, result=RowsResult(share.rows, 0x100000, 0x200000), sink=sink)
