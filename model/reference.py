"""The float64 oracle: MLA decode by the textbook, and the error of a result against it."""

from typing import Any

import numpy as np

from .attention.batch import DecodeBatch
from .attention.softmax import softmax_scale_word
from .fp.formats import Format, dtype_of
from .tensors import as_real

__all__ = ["error_metrics", "mla_reference"]


def mla_reference(
    q: Any, kv_cache: Any, block_table: Any = None, cache_seqlens: Any = None, *,
    head_dim_v: int = 512, softmax_scale: float | None = None, causal: bool = False, attn_sink: Any = None,
    indices: Any = None, topk_length: Any = None, extra_k_cache: Any = None, extra_indices_in_kvcache: Any = None,
    extra_topk_length: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """MLA decode in float64: one softmax over all keys, no tiles, no rounding between.

    Parameters and shapes are those of :func:`~amla.model.mla_decode`.

    Returns
    -------
    out: float64[b, s_q, h_q, head_dim_v]; 0 in rows that see no key with a score above -inf
    lse: float64[b, h_q, s_q], natural logarithm; +inf in those rows
    """
    batch = DecodeBatch.mla(
        q, kv_cache, block_table, cache_seqlens, head_dim_v=head_dim_v, causal=causal, attn_sink=attn_sink,
        indices=indices, topk_length=topk_length, extra_k_cache=extra_k_cache,
        extra_indices_in_kvcache=extra_indices_in_kvcache, extra_topk_length=extra_topk_length)
    requests, tokens, heads, width = batch.q.shape
    scale = width**-0.5 if softmax_scale is None else as_real("softmax_scale", softmax_scale)
    softmax_scale_word(scale)  # refuses what mla_decode refuses
    sink = None if batch.sink is None else batch.sink.view(np.float32).astype(np.float64)
    out = np.zeros((requests, tokens, heads, batch.head_dim_v))
    lse = np.full((requests, heads, tokens), np.inf)
    for group in batch.groups:
        if not len(group.keys):
            continue
        keys = _to_float64(group.keys.read(0, 0, len(group.keys)), batch.format)
        for token, seen in enumerate(group.limits, group.tokens.start):
            if seen > 0:
                scores = scale * (_to_float64(batch.q[group.request, token], batch.format) @ keys[:seen].T)
                maximum = scores.max(axis=1, keepdims=True)
                some = maximum[:, 0] != -np.inf
                with np.errstate(invalid="ignore"):  # +inf or NaN among the scores gives NaN, as it should
                    weights = np.exp(scores - maximum)[some]
                    total = weights.sum(axis=1, keepdims=True)
                    values = (weights / total) @ keys[:seen, :batch.head_dim_v]
                    sums = (maximum[some] + np.log(total))[:, 0]
                    if sink is not None:
                        with np.errstate(over="ignore"):
                            values /= 1 + np.exp(sink[some] - sums)[:, None]
                out[group.request, token, some], lse[group.request, some, token] = values, sums
    return out, lse


def error_metrics(out: Any, lse: Any, ref_out: Any, ref_lse: Any) -> dict[str, float]:
    """Error of a result against the oracle's.

    Returns
    -------
    relative_frobenius: norm of the difference of the outputs over the norm of the reference (0 if both are 0)
    max_abs:            largest absolute difference of the outputs
    lse_max_abs:        largest absolute difference of the LSE; equal infinities (rows without key) differ by
                        0, an infinity on one side only by inf
    """
    ref_out, ref_lse = np.asarray(ref_out, np.float64), np.asarray(ref_lse, np.float64)
    out, lse = np.asarray(out).astype(np.float64), np.asarray(lse).astype(np.float64)
    if out.shape != ref_out.shape or lse.shape != ref_lse.shape:
        raise ValueError(f"out and lse must have the reference's shapes {ref_out.shape!r} and "
                         f"{ref_lse.shape!r}, not {out.shape!r} and {lse.shape!r}")
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = out - ref_out
        lse_error = np.where(lse == ref_lse, 0.0, np.abs(lse - ref_lse))
        error, norm = np.linalg.norm(difference), np.linalg.norm(ref_out)
        relative = 0.0 if error == 0 else error / norm
    return {
        "relative_frobenius": float(relative),
        "max_abs": float(np.max(np.abs(difference), initial=0.0)),
        "lse_max_abs": float(np.max(lse_error, initial=0.0)),
    }


def _to_float64(words: np.ndarray, format: Format) -> np.ndarray:
    return np.ascontiguousarray(words).view(dtype_of(format)).astype(np.float64)
