"""How the keys of a cache lie in GM, and what a LOAD needs to say of them."""

from dataclasses import dataclass

import numpy as np
from amla.model.cache import fp8_cache, fp8_pages
from amla.rtl.isa import LAYOUTS, MOST_ROWS, Opcode

from ..workload.workload import Workload

__all__ = ["FP8_FLAGS", "KeyCache", "bytes_of_row"]

#: Flag of LOAD by the cache of a workload; the others lie as LOAD takes them without.
FP8_FLAGS = {"fp8-656": "fp8_656", "fp8-584": "fp8_584"}

_MOST_ROWS = (1 << LAYOUTS[Opcode.LOAD]["rows"].width) - 1


def bytes_of_row(flags: frozenset[str], cols: int) -> int:
    """Bytes of GM that a row of a LOAD is made from."""
    return fp8_cache.BYTES if "fp8_656" in flags else fp8_pages.BYTES if "fp8_584" in flags else 2 * cols


@dataclass(frozen=True, kw_only=True)
class KeyCache:
    """A paged cache in GM, its pages one behind the other; slot = page · slots of a page + offset.

    Attributes
    ----------
    base:      byte address of the first page, a multiple of 16
    page_size: slots of a page
    head_dim:  columns of a key
    flag:      of LOAD, for an FP8 layout
    """

    base: int
    page_size: int
    head_dim: int
    flag: str | None

    @classmethod
    def of(cls, workload: Workload, base: int) -> "KeyCache":
        """The cache of a workload."""
        return cls(base=base, page_size=workload.page_size, head_dim=workload.head_dim,
                   flag=FP8_FLAGS.get(workload.cache or ""))

    @property
    def fp8(self) -> bool:
        """Its keys come whole, not in panels of columns."""
        return self.flag is not None

    @property
    def flags(self) -> dict[str, bool]:
        """Flags of LOAD."""
        return {} if self.flag is None else {self.flag: True}

    @property
    def most_rows(self) -> int:
        """Rows that one LOAD can bring."""
        return MOST_ROWS if self.fp8 else _MOST_ROWS

    @property
    def page_bytes(self) -> int:
        """Bytes from one page to the next. Those of 584 bytes per token begin at multiples of 576, as FlashMLA's do."""
        count = self.page_size * bytes_of_row(frozenset(self.flags), self.head_dim)
        return -(-count // fp8_pages.VALUE_BYTES) * fp8_pages.VALUE_BYTES if self.flag == "fp8_584" else count

    def locate(self, slot: int) -> tuple[int, int]:
        """Address and pitch of a LOAD whose first row is this slot."""
        page, offset = divmod(slot, self.page_size)
        start = self.base + page * self.page_bytes
        if self.flag == "fp8_584":
            address = start + offset * fp8_pages.VALUE_BYTES
            scales = start + self.page_size * fp8_pages.VALUE_BYTES
            return address, scales + offset * (fp8_pages.BYTES - fp8_pages.VALUE_BYTES) - address
        pitch = bytes_of_row(frozenset(self.flags), self.head_dim)
        return start + offset * pitch, pitch

    def image(self, cache: np.ndarray) -> np.ndarray:
        """The bytes in GM of a cache [blocks, page, 1, d, 656 or 584], uint8[blocks · page_bytes]."""
        pages = np.ascontiguousarray(cache).view(np.uint8).reshape(len(cache), -1)
        image = np.full((len(cache), self.page_bytes), 0xA5, np.uint8)
        image[:, :pages.shape[1]] = pages
        return image.reshape(-1)
