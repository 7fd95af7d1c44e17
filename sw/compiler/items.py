"""The work of a program as a list of items: one KV block of one row tile each."""

from collections.abc import Iterator
from dataclasses import dataclass

from .plan import Piece, Plan, RowTile

__all__ = ["Item", "work_items"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One KV block of one row tile of one request.

    Attributes
    ----------
    sequence:       running number of the item
    tile_sequence:  running number of the row tile: picks its slots of Q, O and row state
    block_sequence: running number of the block's stay in L1
    index:          index of the row tile in its request
    keys:           the block's range of keys; empty in a request without keys
    loads_block, frees_block: first, last user of the block in L1
    first, last:    first, last block of the row tile
    """

    sequence: int
    tile_sequence: int
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

    So row tiles that are in O together use a KV block one after the other while it is in L1.
    """
    sequence = tile_sequence = block_sequence = 0
    for request, length in enumerate(plan.workload.lengths):
        blocks = list(plan.blocks(length))
        for group in plan.together:
            together = plan.tiles[group.start:group.stop]
            for block, keys in enumerate(blocks):
                for index, tile in enumerate(together):
                    yield Item(
                        sequence=sequence, tile_sequence=tile_sequence + index, block_sequence=block_sequence,
                        request=request, index=group.start + index, tile=tile, block=block, keys=keys,
                        loads_block=index == 0, frees_block=index == len(together) - 1,
                        first=block == 0, last=block == len(blocks) - 1,
                    )
                    sequence += 1
                block_sequence += 1
            tile_sequence += len(together)
