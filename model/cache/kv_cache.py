"""A paged KV cache of several KV heads, 16 bits or FP8, that is read slot by slot and only where asked."""

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from ..fp.formats import BF16, Format
from ..tensors import as_array, operand_words
from . import fp8_cache, fp8_pages

__all__ = ["FP8_TYPES", "KVCache", "KeyList"]

#: Types that an FP8 cache may come in: its bytes per slot hold more than e4m3 values.
FP8_TYPES = (np.dtype(np.uint8), np.dtype(np.int8), np.dtype(ml_dtypes.float8_e4m3fn))

#: Bytes per token of the FP8 cache by d.
_FP8_BYTES = {layout.WIDTH: layout.BYTES for layout in (fp8_cache, fp8_pages)}


@dataclass(frozen=True, kw_only=True, eq=False)
class KVCache:
    """A checked cache; slot = page · slots of a page + offset.

    Attributes
    ----------
    data: uint16[blocks, page, h_kv, d], words; or uint8[blocks, page, h_kv, 656], or uint8[blocks, page, 1, 584]
    fp8:  one of the latter
    """

    data: np.ndarray
    fp8: bool

    @classmethod
    def build(cls, name: str, cache: Any, *, width: int, fp8: bool, format: Format = BF16) -> "KVCache":
        """Check and wrap a cache; nothing is copied or read.

        Parameters
        ----------
        name:   the argument's name, for errors
        cache:  [blocks, page, h_kv, d] of the format; or of float8_e4m3fn, uint8 or int8 [blocks, page, h_kv, 656]
                (d = 576) or [blocks, page, 1, 584] (d = 512), whose pages may lie apart
        width:  d
        fp8:    one of the latter
        format: format of the queries; FP8 is dequantised to BF16

        Raises
        ------
        TypeError, ValueError: another dtype or shape.
        """
        if fp8:
            array = as_array(name, cache)
            if array.dtype not in FP8_TYPES:
                raise TypeError(f"{name} must be an array of float8_e4m3fn, uint8 or int8, not of {array.dtype}")
            array = array.view(np.uint8)
            if width not in _FP8_BYTES:
                raise ValueError(f"head dimension d must be {' or '.join(map(str, _FP8_BYTES))} with an FP8 cache, "
                                 f"not {width!r}")
            if format != BF16:
                raise TypeError("q must be an array of bfloat16 with an FP8 cache, not of float16")
        else:
            array, _ = operand_words(name, cache, (format,))
        columns = _FP8_BYTES[width] if fp8 else width
        if array.ndim != 4 or array.shape[1] == 0 or array.shape[2] == 0 or array.shape[3] != columns:
            raise ValueError(f"{name} must have shape [blocks, page, h_kv, {columns}], page and h_kv of at least 1, "
                             f"not {array.shape!r}")
        if columns == fp8_pages.BYTES and fp8 and array.shape[2] != 1:
            raise ValueError(f"{name} must have one KV head with {columns} bytes per token, not {array.shape[2]!r}")
        return cls(data=array, fp8=fp8)

    @property
    def page(self) -> int:
        """Slots of a page."""
        return self.data.shape[1]

    @property
    def heads(self) -> int:
        """KV heads."""
        return self.data.shape[2]

    @property
    def slots(self) -> int:
        """Slots of the cache."""
        return self.data.shape[0] * self.page

    def read(self, slots: np.ndarray, head: int) -> np.ndarray:
        """Keys in these slots, uint16[n, d]; FP8 is dequantised here."""
        if self.fp8 and self.data.shape[3] == fp8_pages.BYTES:
            return fp8_pages.dequantize_fp8_pages(self.data[:, :, head], slots)
        page, offset = np.divmod(slots, self.page)
        rows = np.ascontiguousarray(self.data[page, offset, head])
        return fp8_cache.dequantize_fp8(rows) if self.fp8 else rows


@dataclass(frozen=True, eq=False)
class KeyList:
    """The keys of some query rows in their order: slots of one cache, then of another.

    Attributes
    ----------
    pieces: (cache, int64[n] slots) in order
    """

    pieces: tuple[tuple[KVCache, np.ndarray], ...]

    def __len__(self) -> int:
        return sum(len(slots) for _, slots in self.pieces)

    def read(self, head: int, start: int, stop: int) -> np.ndarray:
        """Keys `start` ... `stop` - 1 of a KV head, uint16[stop - start, d], for a non-empty range."""
        parts = []
        for cache, slots in self.pieces:
            chosen = slots[max(start, 0) : max(stop, 0)]
            if len(chosen):
                parts.append(cache.read(chosen, head))
            start, stop = start - len(slots), stop - len(slots)
        return np.concatenate(parts)
