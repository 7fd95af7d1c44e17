"""Cases of FlashMLA's call: arguments with all that is unused poisoned, and float64 attention to compare with."""

from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from amla.model.cache.fp8_cache import quantize_fp8
from amla.model.cache.fp8_pages import page_parts, quantize_fp8_pages

BF16 = ml_dtypes.bfloat16
POISON_ENTRY = 2147480000


@pytest.fixture(scope="session")
def cases():
    """The functions of this file by name."""
    functions = (values, seen_as, attention, dense_case, sparse_scope, small_case, sparse_arguments, bits)
    return SimpleNamespace(**{function.__name__: function for function in functions})


def values(rng, shape):
    """The scale of FlashMLA's own tests: normal / 10, clamped to [-1, 1]."""
    return np.clip(rng.normal(size=shape) / 10, -1, 1).astype(BF16)


def empty_cache(blocks, page, heads, d, fp8):
    """A cache with NaN in every slot (FP8: NaN codes, scales and rotary part)."""
    if fp8:
        return np.full((blocks, page, heads, {576: 656, 512: 584}[d]), 0xFF, np.uint8)
    return np.full((blocks, page, heads, d), np.nan, BF16)


def store(cache, slots, keys, fp8):
    """Put keys [n, h_kv, d] into slots of a cache."""
    if not fp8:
        cache.reshape(-1, *cache.shape[2:])[slots] = keys
    elif keys.shape[2] == 576:
        cache.reshape(-1, *cache.shape[2:])[slots] = quantize_fp8(keys)
    else:
        for part, tokens in zip(page_parts(cache[:, :, 0]), page_parts(quantize_fp8_pages(keys)), strict=True):
            part[np.divmod(slots, cache.shape[1])] = tokens[:, 0]


def seen_as(keys, fp8):
    """The keys [n, d] the decode step works with: for FP8 the product of value and scale, rounded to BF16."""
    if not fp8:
        return keys.astype(np.float64)
    if keys.shape[-1] == 576:
        tokens, nope = quantize_fp8(keys), 512
        scales = np.ascontiguousarray(tokens[..., 512:528]).view(np.float32).astype(np.float64)
    else:
        tokens, nope = quantize_fp8_pages(keys[:, None])[:, 0], 448
        scales = np.exp2(tokens[..., 576:583].astype(np.float64) - 127)
    values = tokens[..., :nope].view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    values *= np.repeat(scales, nope // scales.shape[-1], axis=-1)
    return np.concatenate([values.astype(BF16).astype(np.float64), keys[..., nope:].astype(np.float64)], axis=-1)


def attention(q, keys, scale, head_dim_v, sink):
    """Float64 softmax attention of q[h, d] over keys[n, d]: out[h, dv] and lse[h]."""
    if not len(keys):
        return np.zeros((len(q), head_dim_v)), np.full(len(q), np.inf)
    scores = scale * (q.astype(np.float64) @ keys.T)
    top = scores.max(axis=1, keepdims=True)
    weights = np.exp(scores - top)
    total = weights.sum(axis=1, keepdims=True)
    lse = (top + np.log(total))[:, 0]
    out = weights / total @ keys[:, :head_dim_v]
    return (out if sink is None else out / (1 + np.exp(sink.astype(np.float64) - lse))[:, None]), lse


def dense_case(rng, *, lengths, tokens, shared, kv_heads, page, d, fp8):
    """q, the cache and table with all that is unused poisoned, and each request's keys [n, h_kv, d]."""
    pages = [-(-length // page) for length in lengths]
    blocks = sum(pages) + 2
    cache = empty_cache(blocks, page, kv_heads, d, fp8)
    table = np.full((len(lengths), max([*pages, 1]) + 1), POISON_ENTRY, np.int32)
    free = iter(rng.permutation(blocks))
    keys = [values(rng, (length, kv_heads, d)) for length in lengths]
    for request in range(len(lengths)):
        for index in range(pages[request]):
            table[request, index] = block = next(free)
            part = keys[request][index * page : (index + 1) * page]
            store(cache, block * page + np.arange(len(part)), part, fp8)
    q = values(rng, (len(lengths), tokens, shared * kv_heads, d))
    return q, cache, table, np.array(lengths, np.int32), keys


def sparse_scope(rng, *, batch, tokens, topk, page, d, fp8, ragged):
    """A cache, indices with -1 among them and poison past the length, the lengths, and the keys of each token."""
    slots = page * (topk // page + 2)
    owned = values(rng, (slots, d))
    used = rng.random(slots) < 0.8
    used[0] = True
    cache = empty_cache(slots // page, page, 1, d, fp8)
    store(cache, np.flatnonzero(used), owned[used, None], fp8)
    indices = rng.choice(np.flatnonzero(used), (batch, tokens, topk)).astype(np.int32)
    indices[rng.random(indices.shape) < 0.2] = -1
    if batch * tokens > 1:
        indices[0, 0] = -1
    counts = rng.integers(0, topk + 1, batch).astype(np.int32) if ragged else np.full(batch, topk, np.int32)
    for request in range(batch):
        indices[request, :, counts[request] :] = POISON_ENTRY
    keys = [[owned[row[: counts[request]][row[: counts[request]] >= 0]] for row in indices[request]]
            for request in range(batch)]
    return cache, indices, (counts if ragged else None), keys


def small_case(lengths, *, tokens=2, kv_heads=1, seed=0):
    return dense_case(np.random.default_rng(seed), lengths=lengths, tokens=tokens, shared=3, kv_heads=kv_heads, page=16,
                      d=64, fp8=False)


def bits(result):
    return result[0].view(np.uint16).tolist(), result[1].view(np.uint32).tolist()


def sparse_arguments(*, fp8=False, tokens=2):
    rng = np.random.default_rng(6)
    d = 576 if fp8 else 64
    keys = values(rng, (64, d))
    cache = (quantize_fp8(keys) if fp8 else keys).reshape(4, 16, 1, -1)
    indices = rng.integers(0, 64, (2, tokens, 40)).astype(np.int32)
    return values(rng, (2, tokens, 3, d)), cache, indices
