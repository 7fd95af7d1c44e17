"""The work of a program as a list of items: one KV block of one row tile each, or of half of one."""

from collections.abc import Iterator
from dataclasses import dataclass

from .plan import Piece, Plan, RowTile, split

__all__ = ["Item", "work_items"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One KV block of one row tile of one request.

    Attributes
    ----------
    sequence:       running number of the item
    tile_sequence:  running number of the row tile: picks its slots of Q, O and row state
    group0:         row groups of the row tile before the item's
    block_sequence: running number of the block's stay in L1
    index:          index of the row tile in its request
    tile:           its rows
    keys:           the block's range of keys; empty in a request without keys
    loads_block, frees_block: first, last user of the block in L1
    first, last:    first, last block of the row tile
    """

    sequence: int
    tile_sequence: int
    group0: int
    block_sequence: int
    request: int
    index: int
    tile: RowTile
    block: int
    keys: Piece
    loads_block: bool
    frees_block: bool
    first: bool
    last: bool


def work_items(plan: Plan) -> Iterator[Item]:
    """Items in the cube's order: requests, row tiles resident together, KV blocks, row tiles.

    So row tiles that are in O together use a KV block one after the other while it is in L1. The first row tile takes
    its first block half by half, unless it is its last as well: products begin when half of Q has come, and C2 of the
    first half before all of it has.
    """
    sequence = tile_sequence = block_sequence = 0
    for request, length in enumerate(plan.workload.lengths):
        blocks = list(plan.blocks(length))
        for group in plan.together:
            together = plan.tiles[group.start:group.stop]
            for block, keys in enumerate(blocks):
                pieces = [(index, 0, tile) for index, tile in enumerate(together)]
                if sequence == 0 and plan.preload and len(blocks) > 1 and together[0].groups > 1:
                    pieces[:1] = [(0, half.start, _part(plan, together[0], half))
                                  for half in split(together[0].groups, -(-together[0].groups // 2))]
                for number, (index, group0, tile) in enumerate(pieces):
                    yield Item(
                        sequence=sequence, tile_sequence=tile_sequence + index, group0=group0,
                        block_sequence=block_sequence, request=request, index=group.start + index, tile=tile,
                        block=block, keys=keys, loads_block=number == 0, frees_block=number == len(pieces) - 1,
                        first=block == 0, last=block == len(blocks) - 1,
                    )
                    sequence += 1
                block_sequence += 1
            tile_sequence += len(together)


def _part(plan: Plan, tile: RowTile, groups: Piece) -> RowTile:
    """Some row groups of a row tile."""
    start = tile.row // plan.config.m + groups.start
    return RowTile.of(Piece(start, groups.size), plan.workload, plan.config)
