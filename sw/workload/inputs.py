"""The arrays of a decode step, and the .npz files that hold them."""

from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from amla.model.cache.paged import PagedBatch
from amla.rtl.errors import reason

from ..errors import AmlaError

__all__ = ["Inputs", "load_npz", "save_npz"]

_KEYS = ("q", "kv_cache", "block_table", "cache_seqlens")


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """Checked arrays of a decode step, in FlashMLA's layout.

    Attributes
    ----------
    q:             bfloat16 or float16 [b, s_q, h_q, d]
    kv_cache:      q's type [blocks, page, 1, d]; or FP8, which the golden model alone takes (``mla_decode``)
    block_table:   int32 [b, max_blocks]
    cache_seqlens: int32 [b]

    Raises
    ------
    AmlaError: a dtype, a shape, a length or a page index is wrong.
    """

    q: np.ndarray
    kv_cache: np.ndarray
    block_table: np.ndarray
    cache_seqlens: np.ndarray

    def __post_init__(self) -> None:
        try:
            PagedBatch.build(self.q, self.kv_cache, self.block_table, self.cache_seqlens, head_dim_v=1)
        except (TypeError, ValueError) as error:
            raise AmlaError(str(error)) from None
        if len(self.q) == 0:
            raise AmlaError("q must have at least one request (axis 0), not 0")
        if self.kv_cache.ndim == 3:
            object.__setattr__(self, "kv_cache", self.kv_cache[:, :, None])


def load_npz(path: str | Path) -> Inputs:
    """Read ``q``, ``kv_cache``, ``block_table`` and ``cache_seqlens`` from an .npz file.

    NumPy stores ``ml_dtypes.bfloat16`` as two raw bytes (``|V2``), which are taken for bfloat16 again; the
    words as ``uint16`` are accepted too. So are the raw bytes (``|V1``) of ``ml_dtypes.float8_e4m3fn``.

    Raises
    ------
    AmlaError: the file is unreadable, an array is missing, or an array is wrong.
    """
    name = Path(path).name
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise AmlaError(f"{name} must be an .npz archive of several arrays, not a single array")
        with archive:
            missing = [key for key in _KEYS if key not in archive.files]
            if missing:
                raise AmlaError(f"{name}: missing array {missing[0]!r}; it must hold {', '.join(_KEYS)}")
            arrays = {key: archive[key] for key in _KEYS}
    except AmlaError:
        raise
    except Exception as error:  # NumPy and zipfile raise a dozen kinds for what is no archive of arrays
        raise AmlaError(f"cannot read {path}: {reason(error)}") from None
    for key in ("q", "kv_cache"):
        if arrays[key].dtype in (np.dtype("V2"), np.dtype(np.uint16)):
            arrays[key] = arrays[key].view(ml_dtypes.bfloat16)
        elif arrays[key].dtype == np.dtype("V1"):
            arrays[key] = arrays[key].view(np.uint8)
    try:
        return Inputs(**arrays)
    except AmlaError as error:
        raise AmlaError(f"{name}: {error}") from None


def save_npz(path: str | Path, inputs: Inputs) -> None:
    """Write the arrays to an .npz file that :func:`load_npz` reads."""
    np.savez(path, **{key: getattr(inputs, key) for key in _KEYS})
