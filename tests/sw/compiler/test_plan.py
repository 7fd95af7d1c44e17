"""The plan's pieces: even cuts, rings of slots, blocks and sub-tiles that cover all keys, the parts of an item."""

import itertools
import math
from dataclasses import replace

import pytest
from amla.sw.compiler.plan import Piece, Region, split
from amla.sw.compiler.tiling import plan_tiles

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize("total", [1, 2, 7, 31, 32, 33, 100])
@pytest.mark.parametrize("largest", [1, 4, 30, 32, 200])
@pytest.mark.parametrize("multiple", [1, 4])
def test_cuts_are_few_even_and_whole(total, largest, multiple):
    if largest % multiple:
        largest += multiple - largest % multiple
    pieces = split(total, largest, multiple=multiple)
    assert pieces[0].start == 0 and pieces[-1].stop == total
    assert all(before.stop == after.start for before, after in itertools.pairwise(pieces))
    assert all(0 < piece.size <= largest for piece in pieces)
    assert all(piece.size % multiple == 0 for piece in pieces[:-1])
    assert len(pieces) <= math.ceil(total / largest)
    assert len({piece.size for piece in pieces[:-1]}) <= 1 and pieces[-1].size <= pieces[0].size


def test_a_ring_comes_round():
    ring = Region("S", "S", base=40, slots=3, words=16)
    assert [ring.address(index) for index in range(5)] == [40, 56, 72, 40, 56]
    assert ring.stop == 88


@pytest.mark.parametrize("seed", range(12))
def test_blocks_and_tiles_cover_the_keys(random_case, seed):
    workload, config, preload = random_case(seed)
    plan = plan_tiles(workload, config, preload=preload)
    for length in (*workload.lengths, 0, 1, plan.kv_block, plan.kv_block + 1):
        blocks = list(plan.blocks(length))
        assert blocks[0].start == 0 and blocks[-1].stop == length
        assert [block.stop for block in blocks[:-1]] == [block.start for block in blocks[1:]]
        assert all(block.size == plan.kv_block for block in blocks[:-1]) and blocks[-1].size <= plan.kv_block
        assert (blocks == [Piece(0, 0)]) == (length == 0)
        for block in blocks:
            padded = plan.padded_keys(block.size)
            assert padded % config.k == 0 and max(block.size, 1) <= padded < max(block.size, 1) + config.k


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("final", [False, True])
def test_parts_cover_the_values_and_open_and_close_every_unit(random_case, seed, final):
    workload, config, preload = random_case(seed)
    plan = plan_tiles(workload, config, preload=preload)
    parts = plan.parts(final=final)
    tiles = [tile for part in parts for tile in part.tiles]
    assert tiles[0].start == 0 and tiles[-1].stop == workload.head_dim_v
    assert all(before.stop == after.start for before, after in itertools.pairwise(tiles))
    opened = False
    for part in parts:
        assert part.opens != opened
        opened = not part.closes
    assert not opened and sum(part.opens for part in parts) == len(plan.units)


def test_the_traffic_is_told(tiny, tiny_workload):
    assert plan_tiles(tiny_workload, tiny, preload=1).traffic == "KV read once"
    shallow = replace(tiny, o_bytes=2048)
    plan = plan_tiles(replace(tiny_workload, heads=40), shallow, preload=1)
    assert len(plan.together) > 1
    assert plan.traffic == (f"KV read {len(plan.together)} times: O holds {plan.resident_tiles} of "
                            f"{len(plan.tiles)} row tiles")
