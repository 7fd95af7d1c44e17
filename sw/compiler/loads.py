"""The loads of a program: Q row tiles and KV blocks into L1, page by page."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from amla.rtl.isa import SEMAPHORE_MAX, Opcode, Semaphore

from .drafts import Draft, Drafts
from .items import Item
from .plan import Piece, Plan, split

__all__ = ["Addresses", "Layout", "Loader"]


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the arrays lie in GM (byte addresses)."""

    q: int
    kv: int
    o: int
    lse: int


@dataclass(frozen=True)
class Layout:
    """A row-major matrix in L1: column panels one after the other, each in row groups of chunks of k columns.

    A chunk is a fractal's width.
    """

    base: int
    groups: int
    panels: tuple[Piece, ...]

    def panel(self, chunk: int) -> int:
        """Index of the panel that holds a chunk."""
        return next(index for index, panel in enumerate(self.panels) if chunk < panel.stop)

    def locate(self, chunk: int, group: int = 0) -> tuple[int, int]:
        """Word of a fractal, and words from one row group to the next."""
        panel = self.panels[self.panel(chunk)]
        return self.base + self.groups * panel.start + group * panel.size + chunk - panel.start, panel.size


class Loader:
    """Emits LOADs in the order in which FEED needs their data.

    LOADs form units; the last of a unit signals KV_READY, and the FEED that first needs the unit's data waits
    for it. A unit is a key sub-tile as long as the tokens that may pile up allow it, else several.

    Before the first C2 the cube computes as fast as memory loads, so it lags behind by what it has to wait for at a
    time. Q and the blocks up to there come in column panels, each panel of a sub-tile a unit; a unit waits
    (KV_FREE) until there is room for its token. All else comes in whole rows, which makes longer bursts.
    """

    def __init__(self, drafts: Drafts, addresses: Addresses, block_table: np.ndarray):
        self._drafts, self._addresses, self._table = drafts, addresses, block_table
        self._plan: Plan = drafts.plan
        self._row_bytes = 2 * self._plan.workload.head_dim
        self._whole = (Piece(0, self._plan.workload.head_dim // self._plan.config.k),)
        self._units: list[int] = []  # of each block so far
        self._signalled = 0
        self._consumers: list[Draft] = []
        self._rooms: list[int] = []  # units whose feed makes room for a later one

    def q_layout(self, item: Item) -> Layout:
        """Where the item's row tile of Q lies."""
        return Layout(self._drafts.slot("Q", item.tile_sequence), item.tile.groups,
                      self._panels(item.tile_sequence == 0))

    def kv_layout(self, item: Item) -> Layout:
        """Where the item's block lies while it is resident."""
        return Layout(self._drafts.slot("KV", item.block_sequence),
                      self._plan.config.kv_block // self._plan.config.n,
                      self._panels(self._is_early(item)))

    def load_resident(self, together: Sequence[Item], sub_tiles: tuple[Piece, ...]) -> set[tuple[int, int]]:
        """Load a block for the items that share it, and Q before their first one.

        Returns the (sub-tile, panel) at which FEED, in the first of the items, waits for a unit.
        """
        item, layout = together[0], self.kv_layout(together[0])
        early, q_panels = self._is_early(item), self.q_layout(item).panels
        starts = self._unit_starts(len(sub_tiles), len(layout.panels))
        parts: list[tuple[tuple[int, int], list[Draft]]] = []
        for index, keys in enumerate(sub_tiles):
            for number, panel in enumerate(layout.panels):
                if item.first and index == 0:
                    loads = [self._load_q(item, part) for part in q_panels if part.start == panel.start]
                    if number == 0:
                        self._drafts.take("Q", loads[0])
                else:
                    loads = []
                base, _ = layout.locate(panel.start, keys.start // self._plan.config.n)
                key_loads = self._load_keys(item, keys, panel, base)
                if index == 0 and number == 0:
                    self._drafts.take("KV", key_loads[0])
                unit = (index, number) if early else (max(start for start in starts if start <= index), 0)
                parts.append((unit, loads + key_loads))
        if item.first:
            for other in together[1:]:
                parts[-1][1].append(self._load_q(other, self._whole[0]))
                self._drafts.take("Q", parts[-1][1][-1])
        units = set()
        for unit, group in groupby(parts, key=lambda part: part[0]):
            loads = [load for _, part in group for load in part]
            self._signal(loads, early=early)
            units.add(unit)
        return units

    def load_streamed(self, item: Item, keys: Piece, columns: Piece, *, with_q: bool) -> tuple[int, int]:
        """Load the operand of one slab, after Q if asked; returns its first word and words per row group."""
        if with_q:
            self._drafts.take("Q", self._load_q(item, self._whole[0]))
        base = self._drafts.next("KV")
        loads = self._load_keys(item, keys, columns, base)
        self._drafts.take("KV", loads[0])
        loads[-1].signals(Semaphore.KV_READY)
        return base, columns.size

    def consume(self, feed: Draft) -> None:
        """``feed`` waits for the oldest unit that no other waited for."""
        self._consumers.append(feed)

    def close(self) -> None:
        """All is emitted: settle which feeds signal that there is room for a unit."""
        for unit in self._rooms:
            self._consumers[unit].signals(Semaphore.KV_FREE)

    def _signal(self, loads: Sequence[Draft], *, early: bool) -> None:
        """Signal a unit. Beyond the tokens that fit it first waits for the feed of an earlier unit.

        Only before the first slot of KV is used again: from there on its token bounds the units.
        """
        if len(self._units) <= self._plan.regions["KV"].slots and self._signalled >= SEMAPHORE_MAX:
            self._rooms.append(self._signalled - SEMAPHORE_MAX)
            loads[0].waits_for(Semaphore.KV_FREE)
        loads[-1].signals(Semaphore.KV_READY)
        self._signalled += 1

    def _is_early(self, item: Item) -> bool:
        """The item's block is used before the first C2."""
        return self._plan.resident and item.block_sequence <= self._plan.ahead // self._plan.resident_tiles

    def _panels(self, early: bool) -> tuple[Piece, ...]:
        return self._plan.panels if early and self._plan.resident else self._whole

    def _unit_starts(self, sub_tiles: int, panels: int) -> list[int]:
        """Sub-tiles at which the next block's units begin; each panel of a block in panels is a unit of its own.

        As many units as leave one to each block that may be in L1 beside it.
        """
        others = self._plan.regions["KV"].slots - 1
        recent = self._units[-others:] if others else []
        room = SEMAPHORE_MAX - sum(recent) - (others - len(recent))
        parts = sub_tiles if panels > 1 else max(min(sub_tiles, room), 1)
        starts = [piece.start for piece in split(sub_tiles, -(-sub_tiles // parts))]
        self._units.append(len(starts) * panels)
        return starts

    def _load_q(self, item: Item, panel: Piece) -> Draft:
        k, tile = self._plan.config.k, item.tile
        row = item.request * self._plan.workload.rows + tile.row
        return self._drafts.emit(
            Opcode.LOAD, a_side=True, address=self._addresses.q + row * self._row_bytes + 2 * k * panel.start,
            pitch=self._row_bytes, rows=tile.rows, rows_padded=tile.groups * self._plan.config.m,
            cols=k * panel.size,
            l1=self.q_layout(item).locate(panel.start)[0], row0=0,
        )

    def _load_keys(self, item: Item, keys: Piece, columns: Piece, base: int) -> list[Draft]:
        """Load a range of the block's keys (from a multiple of n on), row groups from word ``base`` on.

        One LOAD per page; the last one pads with zeros.
        """
        k, page = self._plan.config.k, self._plan.workload.page_size
        pieces = []
        key, stop = keys.start, max(min(keys.stop, item.keys.size), keys.start)
        while key < stop:
            entry, slot = divmod(item.keys.start + key, page)
            count = min(page - slot, stop - key)
            pieces.append((key, count, int(self._table[item.request, entry]) * page + slot))
            key += count
        if not pieces:
            pieces.append((keys.start, 0, 0))
        loads = []
        for index, (key, count, place) in enumerate(pieces):
            group, row0 = divmod(key - keys.start, self._plan.config.n)
            loads.append(self._drafts.emit(
                Opcode.LOAD, address=self._addresses.kv + place * self._row_bytes + 2 * k * columns.start,
                pitch=self._row_bytes, rows=count, cols=k * columns.size, l1=base + group * columns.size,
                row0=row0,
                rows_padded=keys.stop - key if index == len(pieces) - 1 else count,
            ))
        return loads
