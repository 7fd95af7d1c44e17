"""FlashMLA's decode call on the golden model: its arguments and conventions, the hardware's arithmetic.

Each split of a request's keys goes through :func:`~amla.model.attention.attention.attend` as if it were alone, and the
partial results are merged in FP32 (`model/attention/split_kv.py`), so every bit is defined. `docs/flash_mla.md` lists
what is supported and where this differs from FlashMLA.
"""

from functools import partial
from typing import Any

import numpy as np

from .attention.batch import DecodeBatch
from .attention.softmax import softmax_scale_word
from .attention.split_kv import attend_splits
from .checks import as_flag
from .fp.convert import narrow
from .fp.formats import dtype_of
from .hopper import flash_mla as gpu
from .numerics import FLASHMLA, MODES, Numerics, check_mode
from .tensors import as_real, like
from .tile_scheduler import FlashMLASchedMeta, read_splits

__all__ = ["flash_mla_with_kvcache"]

_DEFAULT_NUMERICS = Numerics()


def flash_mla_with_kvcache(
    q: Any, k_cache: Any, block_table: Any, cache_seqlens: Any, head_dim_v: int,
    tile_scheduler_metadata: Any, num_splits: Any = None, softmax_scale: float | None = None,
    causal: bool = False, is_fp8_kvcache: bool = False, indices: Any = None, attn_sink: Any = None,
    extra_k_cache: Any = None, extra_indices_in_kvcache: Any = None, topk_length: Any = None,
    extra_topk_length: Any = None, *,
    descale_q: None = None, descale_k: None = None, mode: str = "amla", numerics: Numerics = _DEFAULT_NUMERICS,
) -> tuple[Any, Any]:
    """Multi-head latent attention of a decode step over a paged KV cache, dense or sparse.

    Arrays are NumPy's (bfloat16 and float8_e4m3fn from ``ml_dtypes``) or CPU torch tensors. With the metadata of
    :func:`~amla.model.get_mla_metadata`, the result of a request depends on that request alone. A request in
    one split has the bits of :func:`~amla.model.mla_decode`.

    Parameters
    ----------
    q:             [b, s_q, h_q, d], bfloat16 or float16; heads h·h_q/h_kv … share KV head h
    k_cache:       [blocks, page, h_kv, d], q's type; FP8 (with bfloat16 q): [blocks, page, h_kv, 656] for d = 576,
                   [blocks, page, 1, 584] for d = 512, float8_e4m3fn, uint8 or int8; pages may lie apart. V is the first
                   `head_dim_v` columns. Slots that are not in use may hold NaN
    block_table:   [b, max_blocks], int32; unused entries may hold any number. Sparse: not read, may be None
    cache_seqlens: [b], int32, 0 included. Sparse: not read, may be None
    head_dim_v:    columns of V and of the output
    tile_scheduler_metadata: of `get_mla_metadata`: a table, or a FlashMLASchedMeta, which the first call fills; None:
                   planned here, to the same splits
    num_splits:    of `get_mla_metadata`, checked against the table; or None
    softmax_scale: factor of the scores, d**-0.5 by default
    causal:        query token t sees the keys below s_k - s_q + 1 + t; dense only
    is_fp8_kvcache: the caches are FP8, `model/cache/fp8_cache.py` and `fp8_pages.py`
    indices:       [b, s_q, topk], int32: sparse attention to these slots (page · slots of a page + offset);
                   -1: none
    attn_sink:     [h_q], float32: the output is scaled by exp(lse) / (exp(lse) + exp(attn_sink)); lse is not
    extra_k_cache, extra_indices_in_kvcache: sparse: a second cache and its indices, whose keys follow the others
    topk_length, extra_topk_length: [b], int32: only so many of the leftmost indices count, the others may hold any
                   number
    descale_q, descale_k: None only
    mode:          "amla" (rescale by integer addition) or another mode of :func:`~amla.model.mla_decode`; "flashmla":
                   the bits of FlashMLA on a GPU for these splits, its own with `get_mla_metadata(sm_parts=)`
    numerics:      the numeric parameters of a core

    Returns
    -------
    out: [b, s_q, h_q, head_dim_v], q's type, of q's kind; 0 in rows that see no key with a score above -inf
    lse: [b, h_q, s_q], float32, of q's kind, natural logarithm; +inf in those rows

    Raises
    ------
    TypeError, ValueError: an argument breaks its rule; the message names it.
    """
    check_mode(mode, (*MODES, FLASHMLA))
    if not isinstance(numerics, Numerics):
        raise TypeError(f"numerics must be a Numerics, not {numerics!r}")
    for name, value in (("descale_q", descale_q), ("descale_k", descale_k)):
        if value is not None:
            raise ValueError(f"{name} must be None, as FP8 scales are in the cache, not {value!r}")
    fp8 = as_flag("is_fp8_kvcache", is_fp8_kvcache)
    batch = DecodeBatch.build(
        q, k_cache, block_table, cache_seqlens, name="k_cache", fp8=fp8, head_dim_v=head_dim_v, causal=causal,
        indices=indices, attn_sink=attn_sink, topk_length=topk_length, extra_k_cache=extra_k_cache,
        extra_indices_in_kvcache=extra_indices_in_kvcache, extra_topk_length=extra_topk_length)
    requests, tokens, heads, width = batch.q.shape
    if width % numerics.k:
        raise ValueError(f"head dimension d must be a multiple of k = {numerics.k}, not {width!r}")
    head_dim_v, cache = batch.head_dim_v, batch.cache
    scale_word = softmax_scale_word(width**-0.5 if softmax_scale is None else softmax_scale, mode=mode)
    if tile_scheduler_metadata is None or isinstance(tile_scheduler_metadata, FlashMLASchedMeta):
        if num_splits is not None:
            kind = "without" if tile_scheduler_metadata is None else "with a FlashMLASchedMeta as"
            raise ValueError(f"num_splits must be None {kind} tile_scheduler_metadata, not {type(num_splits)!r}")
        plan = FlashMLASchedMeta() if tile_scheduler_metadata is None else tile_scheduler_metadata
        config = FlashMLASchedMeta.Config(
            requests, tokens, heads, cache.page, cache.heads, batch.causal, fp8, _length(indices, 2),
            _length(extra_k_cache, 1), _length(extra_indices_in_kvcache, 2),
        )
        splits = plan.splits(config, batch.counts, q)
    else:
        splits = read_splits(tile_scheduler_metadata, num_splits, batch.counts, in_blocks=batch.sparse)

    if mode == FLASHMLA:
        gpu.check_call(format=batch.format, width=width, head_dim_v=head_dim_v, page=cache.page, others=batch.extras)
        scale = gpu.scale_of(width**-0.5 if softmax_scale is None else as_real("softmax_scale", softmax_scale))
    out = np.empty((requests, tokens, heads, head_dim_v), np.uint16)
    lse = np.empty((requests, heads, tokens), np.uint32)
    for group in batch.groups:
        for head in range(cache.heads):
            rows, limits, chosen = batch.rows(group, head), batch.limits(group), batch.heads(head)
            if mode == FLASHMLA:
                values, sums = gpu.attend(rows, partial(group.keys.read, head), len(group.keys), limits, scale,
                                          splits[group.request])
                out_words, lse_words = gpu.to_bf16_words(values), sums.view(np.uint32)
            else:
                length = len(group.keys)
                used = [(start, min(stop, length)) for start, stop in splits[group.request]
                        if start < min(stop, length)]
                wide, lse_words = attend_splits(
                    rows, partial(group.keys.read, head), limits, used, sinks=batch.sinks(group, head),
                    head_dim_v=head_dim_v, scale_word=scale_word, mode=mode, numerics=numerics, format=batch.format)
                out_words = narrow(wide, batch.format)
            shared = chosen.stop - chosen.start
            out[group.request, group.tokens, chosen] = out_words.reshape(-1, shared, head_dim_v)
            lse[group.request, chosen, group.tokens] = lse_words.reshape(-1, shared).T
    return like(q, out.view(dtype_of(batch.format))), like(q, lse.view(np.float32))


def _length(array: Any, axis: int) -> int | None:
    """Length of an array along an axis; None without array."""
    return None if array is None else np.shape(array)[axis]
