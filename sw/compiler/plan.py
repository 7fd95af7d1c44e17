"""The plan of a workload on a core: tiles, slots, buffer map."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import gcd

from amla.rtl.config import CoreConfig

from ..memory.preset import Memory
from ..workload.workload import Workload

__all__ = ["Part", "Piece", "Plan", "Region", "RowTile", "Share", "split"]


@dataclass(frozen=True)
class Piece:
    """A range [start, start + size)."""

    start: int
    size: int

    @property
    def stop(self) -> int:
        return self.start + self.size


def split(total: int, largest: int, *, multiple: int = 1) -> tuple[Piece, ...]:
    """Cut ``total`` into few, even pieces of at most ``largest``, all but the last a ``multiple``."""
    count = -(-total // largest)
    size = -(-total // (count * multiple)) * multiple
    return tuple(Piece(start, min(size, total - start)) for start in range(0, total, size))


@dataclass(frozen=True)
class Share:
    """A part of a request's work: some of its rows over some of its keys.

    Attributes
    ----------
    request: in the workload
    rows:    range of its query rows; it begins with a row group, and ends with one or with the request's last row
    keys:    range of its keys
    length:  keys of the request
    partial: the result is one of several to be merged: FP32 rows, normalised by themselves, and their LSE
    """

    request: int
    rows: Piece
    keys: Piece
    length: int
    partial: bool = True


@dataclass(frozen=True)
class RowTile:
    """Consecutive query rows of a request that pass through the core together.

    ``token`` and ``head`` place the first row; ``groups`` counts its row groups of m rows, padding included.
    """

    row: int
    rows: int
    groups: int
    token: int
    head: int

    @classmethod
    def of(cls, groups: Piece, workload: Workload, config: CoreConfig) -> "RowTile":
        """The row tile of a range of a request's row groups."""
        row = groups.start * config.m
        return cls(row, min(groups.size * config.m, workload.rows - row), groups.size, *divmod(row, workload.heads))


@dataclass(frozen=True)
class Region:
    """A ring of equal slots in a buffer."""

    name: str
    buffer: str
    base: int
    slots: int
    words: int

    def address(self, index: int) -> int:
        """First word of the slot that the index-th user gets."""
        return self.base + index % self.slots * self.words

    @property
    def stop(self) -> int:
        return self.base + self.slots * self.words


@dataclass(frozen=True)
class Part:
    """Value sub-tiles that are normalised and stored by one command each: a unit, or a range of one.

    ``opens``, ``closes``: first, last of its unit.
    """

    tiles: tuple[Piece, ...]
    opens: bool = True
    closes: bool = True


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a workload runs on a core.

    Attributes
    ----------
    memory:         what tiles and order of the program expect
    preload:        depth that was asked for
    kv_block:       keys per KV block (rescale interval), at most the core's
    why:            what decided the KV block, in words
    lag:            cube cycles from the end of an item's C1 to the start of its C2, filled with what else there is
    pressed:        C2 of an item ends before the C1 of the item after next begins, as KV has no slot more
    tiles:          row tiles of every request
    resident_tiles: row tiles that are in O together and share each KV block
    panels:         chunks of k columns that Q, and the first KV blocks of a row tile, are loaded in
    early_blocks:   how many those are: until cube or memory is a block ahead of the other, each panel counts
    score_slabs:    chunks of the head dimension taken per score slab, each in one panel
    value_tiles:    columns of each value sub-tile
    value_chunks:   chunks of keys taken per value slab, at most
    units:          value sub-tiles that are normalised and stored together
    tail:           value sub-tiles of the last unit in the program's last item, each a part of its own: ever
                    narrower, as nothing hides the end of the last one
    regions:        buffer map
    share:          the workload is one request, of which only this share is computed
    """

    config: CoreConfig
    workload: Workload
    memory: Memory
    preload: int
    kv_block: int
    why: str
    lag: int
    pressed: bool
    tiles: tuple[RowTile, ...]
    resident_tiles: int
    panels: tuple[Piece, ...]
    early_blocks: int
    score_slabs: tuple[Piece, ...]
    value_tiles: tuple[Piece, ...]
    value_chunks: int
    units: tuple[Piece, ...]
    tail: tuple[Piece, ...]
    regions: dict[str, Region] = field(repr=False)
    share: Share | None = None

    @property
    def halves(self) -> int:
        """Halfwords of a column of the output: those of a partial result are FP32."""
        return 2 if self.share is not None and self.share.partial else 1

    @property
    def together(self) -> tuple[Piece, ...]:
        """The row tiles of a request in the groups that are resident together."""
        return split(len(self.tiles), self.resident_tiles)

    @property
    def sink_words(self) -> int:
        """Words of SINK: the sinks of each row group that rows of a request can begin with, and of those behind it."""
        return min(self._groups, self._sink_period + self.tiles[0].groups - 1)

    def sink_word(self, tile: RowTile) -> int:
        """Word of SINK with the sinks of a row tile's first row group; its other ones follow."""
        group = tile.row // self.config.m
        return group if self._groups <= self.sink_words else group % self._sink_period

    @property
    def _groups(self) -> int:
        return -(-self.workload.rows // self.config.m)

    @property
    def _sink_period(self) -> int:
        """Row groups until one begins with the same head again."""
        return self.workload.heads // gcd(self.workload.heads, self.config.m)

    def parts(self, *, final: bool) -> list[Part]:
        """The value product of an item, part by part; ``final``: of the program's last item."""
        parts = [Part(self.value_tiles[unit.start:unit.stop]) for unit in self.units]
        if final:
            parts[-1:] = [Part((tile,), tile is self.tail[0], tile is self.tail[-1]) for tile in self.tail]
        return parts

    @property
    def traffic(self) -> str:
        """One line: how often each KV byte is read."""
        passes = len(self.together)
        if passes > 1:
            return f"KV read {passes} times: O holds {self.resident_tiles} of {len(self.tiles)} row tiles"
        return "KV read once"

    def blocks(self, length: int) -> Iterator[Piece]:
        """KV blocks of a request; a request without keys has one empty block, which writes its rows."""
        for start in range(0, max(length, 1), self.kv_block):
            yield Piece(start, min(self.kv_block, length - start))

    def padded_keys(self, keys: int) -> int:
        """Keys of a block as computed: whole chunks of k, at least one."""
        return max(-(-keys // self.config.k), 1) * self.config.k

    def buffer_map(self) -> str:
        """The buffer map as text, one line per ring of slots."""
        lines = [f"{'buffer':8} {'ring':8} {'words':>13}  {'slots':>5} x words"]
        for region in self.regions.values():
            lines.append(f"{region.buffer:8} {region.name:8} {region.base:6}..{region.stop - 1:5}  "
                         f"{region.slots:5} x {region.words}")
        return "\n".join(lines)
