"""The arrays of a decode step, and the .npz files that hold them."""

from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from amla.model.attention.batch import DecodeBatch
from amla.model.fp.formats import OPERANDS
from amla.rtl.errors import reason

from ..errors import AmlaError

__all__ = ["Inputs", "KeySequence", "load_npz", "save_npz"]


@dataclass(frozen=True, kw_only=True, eq=False)
class KeySequence:
    """The keys of some query rows of a request: slots of one cache, then of the other.

    Attributes
    ----------
    request: index in the batch
    token:   the first query token whose rows these are
    rows:    query rows from that token's first on: all of the request (dense), or one token's heads (sparse)
    slots:   int64[n] of kv_cache, page · slots of a page + offset, in order; entries of -1 and those that do not count
             left out
    extra:   int64[n'] of extra_k_cache; empty without one
    """

    request: int
    token: int
    rows: int
    slots: np.ndarray
    extra: np.ndarray

    @property
    def length(self) -> int:
        """Keys in all."""
        return len(self.slots) + len(self.extra)


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """Checked arrays of a decode step, under FlashMLA's names and in its layout.

    Attributes
    ----------
    q:                        bfloat16 or float16 [b, s_q, h_q, d]
    kv_cache:                 q's type [blocks, page, 1, d]; or FP8 with bfloat16 q: uint8, int8 or float8_e4m3fn
                              [blocks, page, 1, 656] (d = 576) or [blocks, page, 1, 584] (d = 512)
    block_table:              int32 [b, max_blocks]; sparse: None, as it is not read
    cache_seqlens:            int32 [b]; sparse: None, as it is not read
    indices:                  sparse: int32 [b, s_q, topk], slots of kv_cache or -1
    topk_length:              sparse: int32 [b], how many of the indices count; or None
    extra_k_cache:            sparse: a second cache like kv_cache, of other pages; or None
    extra_indices_in_kvcache: int32 [b, s_q, topk'], its slots or -1
    extra_topk_length:        int32 [b], how many of these count; or None
    attn_sink:                float32 [h_q], or None

    Raises
    ------
    AmlaError: a dtype, a shape, a length, a page index or a listed slot is wrong.
    """

    q: np.ndarray
    kv_cache: np.ndarray
    block_table: np.ndarray | None = None
    cache_seqlens: np.ndarray | None = None
    indices: np.ndarray | None = None
    topk_length: np.ndarray | None = None
    extra_k_cache: np.ndarray | None = None
    extra_indices_in_kvcache: np.ndarray | None = None
    extra_topk_length: np.ndarray | None = None
    attn_sink: np.ndarray | None = None
    _batch: DecodeBatch = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.indices is not None:
            object.__setattr__(self, "block_table", None)
            object.__setattr__(self, "cache_seqlens", None)
        try:
            object.__setattr__(self, "_batch", DecodeBatch.mla(**{name: getattr(self, name) for name in _NAMES},
                                                               head_dim_v=1))
        except (TypeError, ValueError) as error:
            raise AmlaError(str(error)) from None
        if len(self.q) == 0:
            raise AmlaError("q must have at least one request (axis 0), not 0")
        for name in ("kv_cache", "extra_k_cache"):
            cache = getattr(self, name)
            if cache is not None and cache.ndim == 3:
                object.__setattr__(self, name, cache[:, :, None])

    @property
    def cache(self) -> str:
        """The caches' format: "bf16", "fp16", "fp8-656" or "fp8-584"."""
        if self._batch.cache.fp8:
            return f"fp8-{self._batch.cache.data.shape[3]}"
        return next(name for name, format in OPERANDS.items() if format == self._batch.format)

    @cached_property
    def sequences(self) -> tuple[KeySequence, ...]:
        """The sequences of keys to attend to: one a request (dense), or one a query token of each (sparse)."""
        _, _, heads, _ = self.q.shape
        none = np.zeros(0, np.int64)
        found = []
        for group in self._batch.groups:
            slots, extra = [*(slots for _, slots in group.keys.pieces), none][:2]
            found.append(KeySequence(request=group.request, token=group.tokens.start, slots=slots, extra=extra,
                                     rows=heads * len(group.limits)))
        return tuple(found)

    def arguments(self) -> dict[str, Any]:
        """The arrays as keyword arguments of :func:`amla.model.mla_decode` and :func:`amla.model.mla_reference`."""
        return {name: getattr(self, name) for name in _NAMES}


#: The arrays by name.
_NAMES = tuple(field.name for field in fields(Inputs) if field.init)


def load_npz(path: str | Path) -> Inputs:
    """Read the arrays of :class:`Inputs` from an .npz file, by their names; ``k_cache`` is another for ``kv_cache``.

    NumPy stores ``ml_dtypes.bfloat16`` as two raw bytes (``|V2``), which are taken for bfloat16 again; the
    words as ``uint16`` are accepted too. So are the raw bytes (``|V1``) of ``ml_dtypes.float8_e4m3fn``. Other arrays
    are left alone.

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
            stored = {"kv_cache": "k_cache"} if "kv_cache" not in archive.files else {}
            arrays = {key: archive[stored.get(key, key)] for key in _NAMES
                      if stored.get(key, key) in archive.files}
    except AmlaError:
        raise
    except Exception as error:  # NumPy and zipfile raise a dozen kinds for what is no archive of arrays
        raise AmlaError(f"cannot read {path}: {reason(error)}") from None
    needed = ("q", "kv_cache", *(() if "indices" in arrays else ("block_table", "cache_seqlens")))
    for key in needed:
        if key not in arrays:
            raise AmlaError(f"{name}: missing array {key!r}; it must hold {', '.join(needed)}")
    for key in arrays.keys() & {"q", "kv_cache", "extra_k_cache"}:
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
    np.savez(path, **{key: array for key, array in inputs.arguments().items() if array is not None})
