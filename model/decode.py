"""MLA decode on the golden model: FlashMLA's interface, the hardware's bits."""

from functools import partial
from typing import Any

import numpy as np

from .attention.attention import attend
from .attention.sink import sink_words
from .attention.softmax import softmax_scale_word
from .cache.paged import PagedBatch
from .checks import as_flag
from .fp.convert import narrow
from .fp.formats import Format, dtype_of
from .hopper import flash_mla as gpu
from .numerics import FLASHMLA, MODES, Numerics, check_mode
from .tensors import as_real

__all__ = ["mla_decode"]

_DEFAULT_NUMERICS = Numerics()


def mla_decode(
    q: Any, kv_cache: Any, block_table: Any, cache_seqlens: Any, *,
    head_dim_v: int = 512, softmax_scale: float | None = None, causal: bool = False, mode: str = "amla",
    out_dtype: Any = None, numerics: Numerics = _DEFAULT_NUMERICS, attn_sink: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Multi-head latent attention of a decode step over a paged KV cache, bit-exact to the RTL.

    K is a cache slot's d columns, V the first `head_dim_v` of them. The result of a request depends on that
    request alone.

    Parameters
    ----------
    q:             [b, s_q, h_q, d], bfloat16 or float16; NumPy (``ml_dtypes.bfloat16``) or a CPU torch tensor
    kv_cache:      [blocks, page, 1, d] or [blocks, page, d], q's type; or FlashMLA's FP8 cache, 656 bytes in
                   place of d = 576 (float8_e4m3fn, uint8 or int8; with bfloat16 q). Unused slots may hold NaN
    block_table:   [b, max_blocks], int32; unused entries may hold any number
    cache_seqlens: [b], int32; keys of each request, 0 included
    head_dim_v:    columns of V and of the output
    softmax_scale: factor of the scores, d**-0.5 by default
    causal:        query token t sees the keys below s_k - s_q + 1 + t
    mode:          "amla" (rescale by integer addition), "mul" (plain FP32 multiplication), "pow2" (integer
                   maxima); without RTL "paper" (the published FP32 sequence, unguarded) and "log" (log-domain sum);
                   "flashmla": the bits of FlashMLA on an H100 or H200 (BF16, 576/512, pages of 64), unsplit
    out_dtype:     None, or q's type; float32: the output before its last rounding
    numerics:      the numeric parameters of a core; "flashmla" has the GPU's instead
    attn_sink:     [h_q], float32: out is scaled by exp(lse) / (exp(lse) + exp(attn_sink)), lse is not; "flashmla": None

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
    batch = PagedBatch.build(q, kv_cache, block_table, cache_seqlens, head_dim_v=head_dim_v)
    dtype = _output_dtype(out_dtype, batch.format)
    requests, tokens, heads, width = batch.q.shape
    head_dim_v, causal = batch.head_dim_v, as_flag("causal", causal)
    if width % numerics.k:
        raise ValueError(f"head dimension d must be a multiple of k = {numerics.k}, not {width!r}")
    sinks = None if attn_sink is None else np.tile(sink_words(attn_sink, heads), tokens)
    scale_word = softmax_scale_word(width**-0.5 if softmax_scale is None else softmax_scale, mode=mode)

    out = np.empty((requests, tokens, heads, head_dim_v), dtype)
    lse = np.empty((requests, heads, tokens), np.float32)
    if mode == FLASHMLA:
        given = {"an FP8 cache": batch.cache.fp8, "attn_sink": sinks is not None}
        gpu.check_call(format=batch.format, width=width, head_dim_v=head_dim_v, page=batch.cache.page,
                       others=[name for name, value in given.items() if value])
        scale = gpu.scale_of(width**-0.5 if softmax_scale is None else as_real("softmax_scale", softmax_scale))
        for request in range(requests):
            length = int(batch.cache_seqlens[request])
            values, sums = gpu.attend(batch.rows(request), partial(batch.keys, request), length,
                                      batch.limits(request, causal=causal), scale, [(0, length)])
            rounded = values if dtype == np.float32 else gpu.to_bf16_words(values).view(dtype)
            out[request] = rounded.reshape(tokens, heads, head_dim_v)
            lse[request] = sums.reshape(tokens, heads).T
        return out, lse
    for request in range(requests):
        out_words, lse_words = attend(
            batch.rows(request), partial(batch.keys, request),
            int(batch.cache_seqlens[request]), batch.limits(request, causal=causal),
            head_dim_v=head_dim_v, scale_word=scale_word, mode=mode, numerics=numerics,
            format=batch.format, sinks=sinks,
        )
        words = out_words if dtype == np.float32 else narrow(out_words, batch.format)
        out[request] = words.view(dtype).reshape(tokens, heads, head_dim_v)
        lse[request] = lse_words.view(np.float32).reshape(tokens, heads).T
    return out, lse


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
