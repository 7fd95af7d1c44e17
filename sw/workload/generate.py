"""Realistic inputs: an MLA layer in DeepSeek-V3's form on random weights, cached in shuffled pages.

Hidden states -> low-rank query and key/value latents -> RMS norm -> rotary embedding by position; the key
up-projection is absorbed into the query, so that a query row meets the cached latent directly.
"""

import numpy as np
from amla.model.fp.formats import OPERANDS, dtype_of

from .inputs import Inputs, load_npz
from .workload import Workload

__all__ = ["UNUSED_PAGE", "make_inputs"]

#: What poisoned entries of the block table hold.
UNUSED_PAGE = 2147480000

#: Width of the hidden states and rank of the query projection. DeepSeek-V3 has 7168 and 1536; the statistics
#: of what reaches attention do not depend on them.
_HIDDEN = 512
_Q_RANK = 384

#: Spread of the scores over that of an untrained layer: trained attention is peaked, not flat.
_GAIN = 2.5

_ROPE_BASE = 10000.0


def make_inputs(workload: Workload, *, format: str = "bf16") -> Inputs:
    """The arrays of a workload: generated from its seed in a format (bf16 or fp16), or read from its .npz file."""
    if workload.inputs.endswith(".npz"):
        return load_npz(workload.inputs)
    rng = np.random.default_rng(workload.seed)
    if workload.inputs == "normal":
        parts = [_normal(rng, workload, length) for length in workload.lengths]
    else:
        layer = _Layer(rng, workload)
        parts = [layer.attention_inputs(length) for length in workload.lengths]
    dtype = dtype_of(OPERANDS[format])
    cache, table = _paged(rng, workload, [keys for _, keys in parts], dtype)
    q = np.stack([rows for rows, _ in parts]).astype(dtype)
    return Inputs(q=q, kv_cache=cache, block_table=table, cache_seqlens=np.array(workload.lengths, np.int32))


def _normal(rng: np.random.Generator, workload: Workload, length: int) -> tuple[np.ndarray, np.ndarray]:
    """FlashMLA's test data: normal / 10, clamped to [-1, 1]."""
    q = rng.standard_normal((workload.q_tokens, workload.heads, workload.head_dim), np.float32)
    keys = rng.standard_normal((length, workload.head_dim), np.float32)
    return np.clip(q / 10, -1, 1), np.clip(keys / 10, -1, 1)


class _Layer:
    """The projections of one MLA layer, random and fixed for all requests of a workload."""

    def __init__(self, rng: np.random.Generator, workload: Workload):
        self._rng = rng
        self._tokens, self._heads, self._latent = workload.q_tokens, workload.heads, workload.head_dim_v
        self._rotary = workload.head_dim - workload.head_dim_v
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
        total = max(length, self._tokens)
        hidden = self._rng.standard_normal((total, _HIDDEN), np.float32) + 0.5 * self._common
        positions = np.arange(total)

        latent, rotary = np.split(hidden @ self._down_kv, [self._latent], axis=1)
        keys = np.concatenate([_rms_norm(latent) * self._norm_kv, _rope(rotary, positions)], axis=1)

        rank = _rms_norm(hidden[-self._tokens:] @ self._down_q) * self._norm_q
        q = np.einsum("tr,rhd->thd", rank, self._up_q)
        plain, rotary = np.split(q, [2 * self._rotary], axis=2)
        absorbed = np.einsum("thd,lhd->thl", plain, self._up_k, optimize=True)
        rotary = _rope(rotary, positions[-self._tokens:, None])
        return np.concatenate([absorbed, rotary], axis=2), keys[:length]


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


def _paged(
    rng: np.random.Generator, workload: Workload, keys: list[np.ndarray], dtype: np.dtype,
) -> tuple[np.ndarray, np.ndarray]:
    """Spread the keys over pages in shuffled order; one page more than needed, and one table entry."""
    counts, page = workload.pages, workload.page_size
    fill = np.nan if workload.poison else 0.0
    cache = np.full((sum(counts) + 1, page, 1, workload.head_dim), fill, dtype)
    table = np.full((len(keys), max(counts) + 1), UNUSED_PAGE if workload.poison else 0, np.int32)
    free = rng.permutation(len(cache)).astype(np.int32)
    start = 0
    for request, (count, rows) in enumerate(zip(counts, keys, strict=True)):
        table[request, :count] = free[start:start + count]
        start += count
        for index in range(count):
            part = rows[index * page:(index + 1) * page]
            cache[table[request, index], :len(part), 0] = part.astype(dtype)
    return cache, table
