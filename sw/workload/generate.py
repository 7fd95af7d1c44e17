"""Realistic inputs: an MLA layer in DeepSeek-V3's form on random weights, cached in shuffled pages.

Hidden states -> low-rank query and key/value latents -> RMS norm -> rotary embedding by position; the key
up-projection is absorbed into the query, so that a query row meets the cached latent directly.
"""

from typing import Any

import numpy as np
from amla.model.fp.formats import OPERANDS, dtype_of

from ..errors import AmlaError
from .caches import paged
from .extra import ExtraCache
from .inputs import Inputs, load_npz
from .lists import lists_of_slots
from .workload import Workload

__all__ = ["make_inputs"]

#: Width of the hidden states and rank of the query projection. DeepSeek-V3 has 7168 and 1536; the statistics
#: of what reaches attention do not depend on them.
_HIDDEN = 512
_Q_RANK = 384

#: Spread of the scores over that of an untrained layer: trained attention is peaked, not flat.
_GAIN = 2.5

_ROPE_BASE = 10000.0


def make_inputs(workload: Workload, *, format: str = "bf16") -> Inputs:
    """The arrays of a workload: generated from its seed for a core of a format (bf16 or fp16), or read from its .npz.

    Raises
    ------
    AmlaError: the cache does not go with the core's format, or the .npz file is unreadable or wrong.
    """
    if workload.inputs.endswith(".npz"):
        return load_npz(workload.inputs)
    cache = workload.cache or format
    if format != ("bf16" if workload.fp8 else cache):
        raise AmlaError(f"cache must be one of a core that computes in {format}, not {cache!r}")
    rng = np.random.default_rng(workload.seed)
    source = _Normal(rng, workload) if workload.inputs == "normal" else _Layer(rng, workload)
    parts = [source.attention_inputs(length) for length in workload.lengths]
    format_of_pages: dict[str, Any] = {"cache": cache, "poison": workload.poison}
    kv_cache, table = paged(rng, [keys for _, keys in parts], page_size=workload.page_size, **format_of_pages)
    arrays = {"q": np.stack([rows for rows, _ in parts]).astype(dtype_of(OPERANDS[format])), "kv_cache": kv_cache}
    lengths = np.array(workload.lengths, np.int32)
    if workload.topk is None:
        arrays |= {"block_table": table, "cache_seqlens": lengths}
    else:
        later = np.arange(workload.q_tokens)[::-1]
        arrays["indices"] = lists_of_slots(
            rng, np.maximum(lengths[:, None] - later, 0), table, page_size=workload.page_size, topk=workload.topk,
            topk_lengths=workload.topk_lengths, window=workload.window, poison=workload.poison)
        arrays |= _counts("topk_length", workload.topk_lengths)
    if workload.extra is not None:
        arrays |= _extra_arrays(rng, workload, workload.extra, source, format_of_pages)
    if workload.sink:
        arrays["attn_sink"] = _sinks(rng, workload.heads)
    return Inputs(**arrays)


def _extra_arrays(
    rng: np.random.Generator, workload: Workload, extra: ExtraCache, source: "_Normal | _Layer",
    format_of_pages: dict[str, Any],
) -> dict[str, np.ndarray]:
    """The second cache, and its lists of which every query token may pick any key."""
    keys = [source.keys(length) for length in extra.lengths]
    cache, table = paged(rng, keys, page_size=extra.page_size, **format_of_pages)
    lists = lists_of_slots(
        rng, np.tile(np.array(extra.lengths)[:, None], workload.q_tokens), table, page_size=extra.page_size,
        topk=extra.topk, topk_lengths=extra.topk_lengths, poison=workload.poison)
    counts = _counts("extra_topk_length", extra.topk_lengths)
    return {"extra_k_cache": cache, "extra_indices_in_kvcache": lists, **counts}


def _counts(name: str, counts: tuple[int, ...] | None) -> dict[str, np.ndarray]:
    return {} if counts is None else {name: np.array(counts, np.int32)}


def _sinks(rng: np.random.Generator, heads: int) -> np.ndarray:
    """A sink for every head, float32: normal, one in eight large enough to take most of the weight."""
    sinks = rng.standard_normal(heads, np.float32)
    return np.where(rng.random(heads) < 1 / 8, 10 + 4 * sinks, sinks).astype(np.float32)


class _Normal:
    """FlashMLA's test data: normal / 10, clamped to [-1, 1]."""

    def __init__(self, rng: np.random.Generator, workload: Workload):
        self._rng, self._width = rng, workload.head_dim
        self._shape = workload.q_tokens, workload.heads, workload.head_dim

    def _draw(self, *shape: int) -> np.ndarray:
        return np.clip(self._rng.standard_normal(shape, np.float32) / 10, -1, 1)

    def attention_inputs(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Query rows [s_q, h_q, d] and cached keys [length, d] of a request."""
        return self._draw(*self._shape), self.keys(length)

    def keys(self, length: int) -> np.ndarray:
        """Cached keys [length, d] of a request."""
        return self._draw(length, self._width)


class _Layer:
    """The projections of one MLA layer, random and fixed for all requests of a workload."""

    def __init__(self, rng: np.random.Generator, workload: Workload):
        self._rng = rng
        self._tokens, self._heads, self._rotary = workload.q_tokens, workload.heads, workload.rotary
        self._latent = workload.head_dim - workload.rotary
        plain = 2 * self._rotary  # head dimension without position; 128 beside 64 rotary in DeepSeek-V3
        self._down_q = self._weights(_HIDDEN, _Q_RANK)
        self._norm_q = _norm_weights(rng, _Q_RANK) * _GAIN
        self._up_q = self._weights(_Q_RANK, self._heads, plain + self._rotary)
        self._down_kv = self._weights(_HIDDEN, self._latent + self._rotary)
        self._norm_kv = _norm_weights(rng, self._latent)
        self._up_k = self._weights(self._latent, self._heads, plain)
        self._common = rng.standard_normal(_HIDDEN, np.float32)

    def _weights(self, rows: int, *columns: int) -> np.ndarray:
        return self._rng.standard_normal((rows, *columns), np.float32) / np.float32(rows**0.5)

    def attention_inputs(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Query rows [s_q, h_q, d] and cached keys [length, d] of a request; its last tokens query."""
        hidden = self._hidden(max(length, self._tokens))
        keys = self._keys(hidden)

        rank = _rms_norm(hidden[-self._tokens:] @ self._down_q) * self._norm_q
        q = np.einsum("tr,rhd->thd", rank, self._up_q)
        plain, rotary = np.split(q, [2 * self._rotary], axis=2)
        absorbed = np.einsum("thd,lhd->thl", plain, self._up_k, optimize=True)
        rotary = _rope(rotary, np.arange(len(hidden))[-self._tokens:, None])
        return np.concatenate([absorbed, rotary], axis=2), keys[:length]

    def keys(self, length: int) -> np.ndarray:
        """Cached keys [length, d] of a request."""
        return self._keys(self._hidden(length))

    def _hidden(self, tokens: int) -> np.ndarray:
        return self._rng.standard_normal((tokens, _HIDDEN), np.float32) + 0.5 * self._common

    def _keys(self, hidden: np.ndarray) -> np.ndarray:
        latent, rotary = np.split(hidden @ self._down_kv, [self._latent], axis=1)
        return np.concatenate([_rms_norm(latent) * self._norm_kv, _rope(rotary, np.arange(len(hidden)))], axis=1)


def _norm_weights(rng: np.random.Generator, width: int) -> np.ndarray:
    """Scales of an RMS norm: positive, a few channels much larger, as trained ones are."""
    return np.exp(0.4 * rng.standard_normal(width, np.float32))


def _rms_norm(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + 1e-6)


def _rope(x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Rotate neighbouring pairs of columns by angles proportional to the position."""
    pairs = x.shape[-1] // 2
    angles = positions[..., None] * _ROPE_BASE ** -(np.arange(pairs) / pairs)
    even, odd, cos, sin = x[..., 0::2], x[..., 1::2], np.cos(angles), np.sin(angles)
    rotated = np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
    return rotated.reshape(x.shape).astype(np.float32)
