"""MLA decode on the golden model: FlashMLA's interface, the hardware's bits."""

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from .attention.batch import DecodeBatch
from .attention.softmax import softmax_scale_word
from .attention.split_kv import attend_splits, key_splits
from .checks import as_integer
from .fp.convert import narrow
from .fp.formats import Format, dtype_of
from .hopper import flash_mla as gpu
from .numerics import FLASHMLA, MODES, Numerics, check_mode
from .tensors import as_real

__all__ = ["mla_decode"]

_DEFAULT_NUMERICS = Numerics()


def mla_decode(
    q: Any, kv_cache: Any, block_table: Any = None, cache_seqlens: Any = None, *,
    head_dim_v: int = 512, softmax_scale: float | None = None, causal: bool = False, mode: str = "amla",
    out_dtype: Any = None, numerics: Numerics = _DEFAULT_NUMERICS, attn_sink: Any = None, indices: Any = None,
    topk_length: Any = None, extra_k_cache: Any = None, extra_indices_in_kvcache: Any = None,
    extra_topk_length: Any = None, cuts: Any = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Multi-head latent attention of a decode step over a paged KV cache, dense or sparse, bit-exact to the RTL.

    K is a cache slot's d columns, V the first `head_dim_v` of them. The result of a request depends on that
    request alone, sparse that of a query token on that token alone.

    Parameters
    ----------
    q:             [b, s_q, h_q, d], bfloat16 or float16; NumPy (``ml_dtypes.bfloat16``) or a CPU torch tensor
    kv_cache:      [blocks, page, 1, d] or [blocks, page, d], q's type; or FlashMLA's FP8 cache, 656 bytes in place of
                   d = 576, 584 in place of d = 512 (float8_e4m3fn, uint8 or int8; with bfloat16 q). Unused slots may
                   hold NaN
    block_table:   [b, max_blocks], int32; unused entries may hold any number. Sparse: not read, may be None
    cache_seqlens: [b], int32; keys of each request, 0 included. Sparse: not read, may be None
    head_dim_v:    columns of V and of the output
    softmax_scale: factor of the scores, d**-0.5 by default
    causal:        query token t sees the keys below s_k - s_q + 1 + t; dense only
    mode:          "amla" (rescale by integer addition), "mul" (plain FP32 multiplication), "pow2" (integer
                   maxima); without RTL "paper" (the published FP32 sequence, unguarded) and "log" (log-domain sum);
                   "flashmla": the bits of FlashMLA on an H100 or H200 (BF16, 576/512, pages of 64), unsplit
    out_dtype:     None, or q's type; float32: the output before its last rounding
    numerics:      the numeric parameters of a core; "flashmla" has the GPU's instead
    attn_sink:     [h_q], float32: out is scaled by exp(lse) / (exp(lse) + exp(attn_sink)), lse is not; "flashmla": None
    indices:       [b, s_q, topk], int32: sparse attention to these slots (page · slots of a page + offset) in their
                   order, -1: none; the same slot may stand twice
    extra_k_cache, extra_indices_in_kvcache: sparse: a second cache and its indices, whose keys follow the others
    topk_length, extra_topk_length: [b], int32: only so many of the leftmost indices count, the others may hold any
                   number
    cuts:          keys, in rising order, at which the keys of every request (sparse: of every query token) are split;
                   the partial results are merged by their LSE (`model/attention/split_kv.py`). "flashmla": none

    Returns
    -------
    out: [b, s_q, h_q, head_dim_v]; 0 in rows that see no key with a score above -inf
    lse: float32[b, h_q, s_q], natural logarithm; +inf in those rows

    Raises
    ------
    TypeError, ValueError: an argument breaks its rule; the message names it.
    """
    check_mode(mode, (*MODES, FLASHMLA))
    if not isinstance(numerics, Numerics):
        raise TypeError(f"numerics must be a Numerics, not {numerics!r}")
    batch = DecodeBatch.mla(
        q, kv_cache, block_table, cache_seqlens, head_dim_v=head_dim_v, causal=causal, attn_sink=attn_sink,
        indices=indices, topk_length=topk_length, extra_k_cache=extra_k_cache,
        extra_indices_in_kvcache=extra_indices_in_kvcache, extra_topk_length=extra_topk_length)
    dtype = _output_dtype(out_dtype, batch.format)
    cuts = _cuts(cuts, mode)
    requests, tokens, heads, width = batch.q.shape
    head_dim_v = batch.head_dim_v
    if width % numerics.k:
        raise ValueError(f"head dimension d must be a multiple of k = {numerics.k}, not {width!r}")
    scale_word = softmax_scale_word(width**-0.5 if softmax_scale is None else softmax_scale, mode=mode)
    if mode == FLASHMLA:
        gpu.check_call(format=batch.format, width=width, head_dim_v=head_dim_v, page=batch.cache.page,
                       others=batch.extras)
        scale = gpu.scale_of(width**-0.5 if softmax_scale is None else as_real("softmax_scale", softmax_scale))

    out = np.empty((requests, tokens, heads, head_dim_v), dtype)
    lse = np.empty((requests, heads, tokens), np.float32)
    for group in batch.groups:
        keys, length = partial(group.keys.read, 0), len(group.keys)
        if mode == FLASHMLA:
            values, sums = gpu.attend(batch.rows(group), keys, length, batch.limits(group), scale, [(0, length)])
            rounded = values if dtype == np.float32 else gpu.to_bf16_words(values).view(dtype)
        else:
            out_words, lse_words = attend_splits(
                batch.rows(group), keys, batch.limits(group), key_splits(cuts, length), head_dim_v=head_dim_v,
                scale_word=scale_word, mode=mode, numerics=numerics, format=batch.format, sinks=batch.sinks(group))
            rounded = (out_words if dtype == np.float32 else narrow(out_words, batch.format)).view(dtype)
            sums = lse_words.view(np.float32)
        out[group.request, group.tokens] = rounded.reshape(-1, heads, head_dim_v)
        lse[group.request, :, group.tokens] = sums.reshape(-1, heads).T
    return out, lse


def _cuts(cuts: Any, mode: str) -> list[int]:
    keys = [as_integer("cuts", cut) for cut in cuts]
    if any(stop <= start for start, stop in pairwise([0, *keys])):
        raise ValueError(f"cuts must be positive and rise, not {cuts!r}")
    if keys and mode == FLASHMLA:
        raise ValueError(f"cuts must be empty with mode {FLASHMLA!r}, not {cuts!r}")
    return keys


def _output_dtype(out_dtype: Any, format: Format) -> np.dtype:
    own = dtype_of(format)
    rule = f"out_dtype must be None, {own} or float32, not {out_dtype!r}"
    try:
        dtype = np.dtype(own if out_dtype is None else out_dtype)
    except TypeError:
        raise TypeError(rule) from None
    if dtype not in (own, np.dtype(np.float32)):
        raise ValueError(rule)
    return dtype
