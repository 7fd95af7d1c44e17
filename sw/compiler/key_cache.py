"""How the keys of a cache lie in GM, and the runs of them that one command brings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Protocol

import numpy as np
from amla.model.cache import fp8_cache, fp8_pages
from amla.rtl.isa import LAYOUTS, MOST_ROWS, Opcode

from ..workload.inputs import KeySequence
from ..workload.workload import Workload
from .plan import Piece

__all__ = ["ENTRY_BYTES", "FP8_FLAGS", "SCALE_BYTES", "KeyCache", "KeyRun", "KeySource", "Listed", "Paged",
           "bytes_of_row", "gathered_bytes", "row_pitch"]

#: Flag of LOAD and GATHER by the cache of a workload; the others lie as these take them without.
FP8_FLAGS = {"fp8-656": "fp8_656", "fp8-584": "fp8_584"}

_MOST_ROWS = (1 << LAYOUTS[Opcode.LOAD]["rows"].width) - 1
#: Bytes of an entry of a list.
ENTRY_BYTES = 4
#: Bytes of a token's scales where they lie apart.
SCALE_BYTES = fp8_pages.BYTES - fp8_pages.VALUE_BYTES


def bytes_of_row(flags: frozenset[str], cols: int) -> int:
    """Bytes of GM that a row of a LOAD or GATHER is made from."""
    return fp8_cache.BYTES if "fp8_656" in flags else fp8_pages.BYTES if "fp8_584" in flags else 2 * cols


def gathered_bytes(flags: frozenset[str], cols: int, beat: int) -> int:
    """Bytes that the bus moves for a row of a GATHER: whole beats, wherever it begins; and its entry."""
    size = row_pitch(flags, cols)
    beats = -(-(size + beat - gcd(size, beat)) // beat) + ("fp8_584" in flags)
    return beats * beat + ENTRY_BYTES


def row_pitch(flags: frozenset[str], cols: int) -> int:
    """Bytes from one key of a page to the next: without the scales that lie apart."""
    return fp8_pages.VALUE_BYTES if "fp8_584" in flags else bytes_of_row(flags, cols)


@dataclass(frozen=True, kw_only=True)
class KeyCache:
    """A paged cache in GM, its pages one behind the other; slot = page · slots of a page + offset.

    Attributes
    ----------
    base:      byte address of the first page, a multiple of 16
    page_size: slots of a page
    head_dim:  columns of a key
    flag:      of LOAD and GATHER, for an FP8 layout
    """

    base: int
    page_size: int
    head_dim: int
    flag: str | None

    @classmethod
    def of(cls, workload: Workload, base: int = 0, *, page_size: int | None = None) -> "KeyCache":
        """The cache of a workload, or its extra cache, of other pages."""
        return cls(base=base, page_size=page_size or workload.page_size, head_dim=workload.head_dim,
                   flag=FP8_FLAGS.get(workload.cache or ""))

    @property
    def flags(self) -> dict[str, bool]:
        """Flags of LOAD and GATHER."""
        return {} if self.flag is None else {self.flag: True}

    @property
    def key_bytes(self) -> int:
        """Bytes of a key."""
        return bytes_of_row(frozenset(self.flags), self.head_dim)

    @property
    def row_bytes(self) -> int:
        """Bytes from one key of a page to the next: without the scales that lie apart."""
        return row_pitch(frozenset(self.flags), self.head_dim)

    @property
    def page_bytes(self) -> int:
        """Bytes from one page to the next. Those of 584 bytes per token begin at multiples of 576, as FlashMLA's do."""
        count = self.page_size * self.key_bytes
        return -(-count // fp8_pages.VALUE_BYTES) * fp8_pages.VALUE_BYTES if self.flag == "fp8_584" else count

    def gathered_bytes(self, beat: int) -> int:
        """Bytes that the bus moves for a key by its entry in a list."""
        return gathered_bytes(frozenset(self.flags), self.head_dim, beat)

    def locate(self, slot: int) -> tuple[int, int]:
        """Address and pitch of a LOAD whose first row is this slot."""
        page, offset = divmod(slot, self.page_size)
        start = self.base + page * self.page_bytes
        address = start + offset * self.row_bytes
        if self.flag == "fp8_584":
            return address, start + self.page_size * self.row_bytes + offset * SCALE_BYTES - address
        return address, self.row_bytes

    def entries(self, slots: np.ndarray) -> np.ndarray:
        """Slots as entries of a GATHER's list, int32."""
        page, offset = np.divmod(slots, self.page_size)
        return (page * (1 << (self.page_size - 1).bit_length()) + offset).astype("<i4")

    def image(self, cache: np.ndarray) -> np.ndarray:
        """The bytes in GM of a cache [blocks, page, 1, d, 656 or 584], uint8[blocks · page_bytes]."""
        pages = np.ascontiguousarray(cache).view(np.uint8).reshape(len(cache), -1)
        image = np.full((len(cache), self.page_bytes), 0xA5, np.uint8)
        image[:, :pages.shape[1]] = pages
        return image.reshape(-1)


@dataclass(frozen=True)
class KeyRun:
    """Keys of a block that one command brings.

    Attributes
    ----------
    key, count: the first one's place in the block; how many
    opcode:     LOAD or GATHER
    operands:   where they are: address and pitch, or list and cache; flags
    """

    key: int
    count: int
    opcode: Opcode
    operands: dict[str, int]


class KeySource(Protocol):
    """Where the keys of each sequence are."""

    @property
    def whole(self) -> bool:
        """Keys come with all of their columns, not in panels."""

    def runs(self, sequence: int, keys: Piece) -> Iterator[KeyRun]:
        """The runs of a block's keys, in order."""


@dataclass(frozen=True)
class Paged:
    """Keys in the pages of a block table: LOADs, page by page."""

    cache: KeyCache
    table: np.ndarray

    @property
    def whole(self) -> bool:
        return self.cache.flag is not None

    def runs(self, sequence: int, keys: Piece) -> Iterator[KeyRun]:
        page, most = self.cache.page_size, MOST_ROWS if self.whole else _MOST_ROWS
        key = 0
        while key < keys.size:
            entry, offset = divmod(keys.start + key, page)
            count = min(page - offset, keys.size - key, most)
            address, pitch = self.cache.locate(int(self.table[sequence, entry]) * page + offset)
            yield KeyRun(key, count, Opcode.LOAD, {"address": address, "pitch": pitch, **self.cache.flags})
            key += count


@dataclass
class Listed:
    """Keys by lists of slots of two caches: GATHERs, whose lists are put into GM as they are asked for.

    Attributes
    ----------
    caches:    of ``slots`` and of ``extra``
    sequences: in the order of the program's
    base:      byte address of the lists, a multiple of the beat
    beat:      bytes
    image:     the lists, each from a beat's begin on
    """

    caches: Sequence[KeyCache]
    sequences: Sequence[KeySequence]
    base: int
    beat: int
    image: bytearray = field(default_factory=bytearray)
    _places: dict[tuple[int, int, int], int] = field(default_factory=dict)

    whole = True

    def runs(self, sequence: int, keys: Piece) -> Iterator[KeyRun]:
        key = begin = 0
        found = self.sequences[sequence]
        for number, slots in enumerate((found.slots, found.extra)):
            stop = begin + len(slots)
            while begin <= keys.start + key < min(stop, keys.stop):
                first = keys.start + key - begin
                count = min(MOST_ROWS, min(stop, keys.stop) - begin - first)
                cache = self.caches[number]
                place = self._place((sequence, number, first), cache.entries(slots[first:first + count]))
                yield KeyRun(key, count, Opcode.GATHER, {
                    "list": place, "address": cache.base, "page_bytes": cache.page_bytes,
                    "page_size": cache.page_size, **cache.flags})
                key += count
            begin = stop

    def _place(self, name: tuple[int, int, int], entries: np.ndarray) -> int:
        """Address of a list; row tiles that do not share a block read it again."""
        if name not in self._places:
            self._places[name] = self.base + len(self.image)
            self.image += entries.tobytes()
            self.image += bytes(-len(self.image) % self.beat)
        return self._places[name]
