"""The work list: every block of every row tile once, in an order that shares blocks."""

import pytest
from amla.sw.compiler.items import work_items
from amla.sw.compiler.plan import Piece, RowTile
from amla.sw.compiler.tiling import plan_tiles
from amla.sw.workload.workload import Workload


@pytest.mark.parametrize("seed", range(40))
def test_items_cover_the_work(random_case, seed):
    workload, config, preload = random_case(seed)
    plan = plan_tiles(workload, config, preload=preload)
    items = list(work_items(plan))
    expected = {(request, tile, keys, group) for request, length in enumerate(workload.lengths)
                for tile, rows in enumerate(plan.tiles) for group in range(rows.groups) for keys in plan.blocks(length)}
    covered = [(item.request, item.index, item.keys, item.group0 + group)
               for item in items for group in range(item.tile.groups)]
    assert set(covered) == expected and len(covered) == len(expected)
    for item in items:
        whole = plan.tiles[item.index]
        assert item.tile == RowTile.of(Piece(whole.row // config.m + item.group0, item.tile.groups), workload, config)
    assert [item.sequence for item in items] == list(range(len(items)))
    for number in {item.tile_sequence for item in items}:
        of_tile = [item for item in items if item.tile_sequence == number and not item.group0]
        assert [item.block for item in of_tile] == list(range(len(of_tile)))
        assert [item.first for item in of_tile] == [True] + [False] * (len(of_tile) - 1)
        assert [item.last for item in of_tile] == [False] * (len(of_tile) - 1) + [True]
    for number in {item.block_sequence for item in items}:
        of_block = [item for item in items if item.block_sequence == number]
        assert len({(item.request, item.keys) for item in of_block}) == 1
        assert [item.sequence for item in of_block] == list(range(of_block[0].sequence,
                                                                  of_block[0].sequence + len(of_block)))
        assert [item.loads_block for item in of_block] == [True] + [False] * (len(of_block) - 1)
        assert [item.frees_block for item in of_block] == [False] * (len(of_block) - 1) + [True]


@pytest.mark.parametrize(("heads", "length", "preload", "halved"), [
    (32, 64, 1, True), (12, 64, 2, True), (4, 64, 1, False), (32, 4, 1, False), (32, 64, 0, False),
], ids=["even", "odd", "one row group", "one block", "serial"])
def test_the_first_block_is_taken_by_halves(tiny, heads, length, preload, halved):
    """Unless there is nothing to halve, or to follow, or to overlap with."""
    load = Workload(name="x", heads=heads, head_dim=24, head_dim_v=16, lengths=(length, 64))
    plan = plan_tiles(load, tiny, preload=preload)
    items, groups = list(work_items(plan)), plan.tiles[0].groups
    count = 2 if halved else 1
    half = -(-groups // count)
    assert [(item.group0, item.tile.groups) for item in items[:count]] == [(0, half), (half, groups - half)][:count]
    assert all(item.group0 == 0 and item.tile == plan.tiles[item.index] for item in items[count:])


def test_tiles_in_o_take_turns_on_a_block(tiny):
    load = Workload(name="x", heads=24, q_tokens=2, head_dim=24, head_dim_v=16, lengths=(64, 10))
    plan = plan_tiles(load, tiny)
    order = [(item.request, item.block, item.index) for item in work_items(plan) if not item.group0]
    assert plan.resident_tiles == 2
    assert order == [(request, block, index) for request, length in enumerate(load.lengths)
                     for block in range(-(-length // plan.kv_block)) for index in range(2)]
