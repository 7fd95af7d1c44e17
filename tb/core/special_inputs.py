"""Inputs with what no layer gives: lost keys, non-finite and huge numbers, odd codes and scales, keys listed twice."""

import random
from collections.abc import Sequence
from dataclasses import replace

import ml_dtypes
import numpy as np
from amla.model.cache.fp8_pages import page_parts
from amla.sw.workload.inputs import Inputs

__all__ = ["list_twice", "lose_keys", "with_special_sinks", "with_specials"]

_VALUES = (np.nan, np.inf, -np.inf, 3e38, -3e38)
_SINKS = (*_VALUES, 1e4, -1e4, 1e-40, -0.0)

#: e4m3: NaN of both signs, -0, the least and the largest.
_CODES = (0x7F, 0xFF, 0x80, 0x01, 0x7E)
#: FP32 scales: subnormal ones and negative ones, too. e8m0 scales: NaN, the largest, and 2^-127.
_SCALES = (np.nan, np.inf, -np.inf, 0.0, 1e-40, 1e-38, 3e38, -1.0)
_EXPONENTS = (255, 254, 0, 1)

#: Bytes of a key of 656 bytes before its scales, and before its rotary columns.
_SCALES_AT, _ROTARY_AT = 512, 528

#: Which cache, and which slot of it.
_Key = tuple[str, int]


def lose_keys(inputs: Inputs, counts: Sequence[int]) -> Inputs:
    """The inputs, but each sequence's first keys, as many as ``counts`` says, score -inf in every row.

    The last column of a key decides it, which must be no value: rotary. Of FP8 keys it has 16 bits, too. A key that is
    in the lists of several query tokens is lost to all of them.
    """
    q, caches = inputs.q.copy(), _caches(inputs)
    q[..., -1] = 4.0
    for keys, count in zip(_keys(inputs), counts, strict=True):
        for key in keys[:count]:
            _write_column(inputs, caches, key, -1, -3e38)  # finite in BF16, -inf in FP16
    return replace(inputs, q=q, **caches)


def with_specials(rng: random.Random, inputs: Inputs) -> Inputs:
    """Put infinities, NaN or huge numbers into valid places of q and the caches; into FP8 keys odd codes and scales."""
    q, caches = inputs.q.copy(), _caches(inputs)
    found = _keys(inputs)
    for _ in range(rng.randint(1, 4)):
        keys = rng.choice(found)
        if rng.random() < 0.5 or not keys:
            q.reshape(-1)[rng.randrange(q.size)] = rng.choice(_VALUES)
        elif inputs.cache.startswith("fp8") and rng.random() < 0.7:
            _write_fp8(rng, inputs, caches, rng.choice(keys))
        else:
            columns = range(-64, 0) if inputs.cache.startswith("fp8") else range(q.shape[-1])
            _write_column(inputs, caches, rng.choice(keys), rng.choice(columns), rng.choice(_VALUES))
    return replace(inputs, q=q, **caches)


def with_special_sinks(rng: random.Random, inputs: Inputs) -> Inputs:
    """Make some heads' sinks infinite, NaN, huge or tiny."""
    assert inputs.attn_sink is not None
    sinks = inputs.attn_sink.copy()
    for _ in range(rng.randint(1, 4)):
        sinks[rng.randrange(len(sinks))] = rng.choice(_SINKS)
    return replace(inputs, attn_sink=sinks)


def list_twice(rng: random.Random, inputs: Inputs) -> Inputs:
    """Copy entries that count over others of their list, whether keys or -1."""
    assert inputs.indices is not None
    lists = inputs.indices.copy()
    requests, tokens, topk = lists.shape
    for request in range(requests):
        count = topk if inputs.topk_length is None else int(inputs.topk_length[request])
        for _ in range(rng.randint(1, 4) if count else 0):
            token = rng.randrange(tokens)
            lists[request, token, rng.randrange(count)] = lists[request, token, rng.randrange(count)]
    return replace(inputs, indices=lists)


def _keys(inputs: Inputs) -> list[list[_Key]]:
    """The keys of each sequence, in order."""
    return [[*(("kv_cache", int(slot)) for slot in sequence.slots),
             *(("extra_k_cache", int(slot)) for slot in sequence.extra)] for sequence in inputs.sequences]


def _caches(inputs: Inputs) -> dict[str, np.ndarray]:
    """Copies of the caches by name; bytes if FP8."""
    caches = {name: np.array(cache, order="C") for name in ("kv_cache", "extra_k_cache")
              if (cache := getattr(inputs, name)) is not None}
    return {name: cache.view(np.uint8) if inputs.cache.startswith("fp8") else cache for name, cache in caches.items()}


def _write_column(inputs: Inputs, caches: dict[str, np.ndarray], key: _Key, column: int, value: float) -> None:
    """Write a column of a key that has 16 bits: of FP8 keys one of the last 64, counted from the end."""
    cache, page, offset = _place(caches, key)
    with np.errstate(over="ignore"):
        if inputs.cache == "fp8-656":
            cache[page, offset, 0, _ROTARY_AT:].view(ml_dtypes.bfloat16)[column] = value
        elif inputs.cache == "fp8-584":
            page_parts(cache[:, :, 0])[0][page, offset, -128:].view(ml_dtypes.bfloat16)[column] = value
        else:
            cache[page, offset, 0, column] = value


def _write_fp8(rng: random.Random, inputs: Inputs, caches: dict[str, np.ndarray], key: _Key) -> None:
    """Write a code or a scale of an FP8 key."""
    cache, page, offset = _place(caches, key)
    if inputs.cache == "fp8-656":
        token = cache[page, offset, 0]
        codes, scales = token[:_SCALES_AT], token[_SCALES_AT:_ROTARY_AT].view(np.float32)
        scale = rng.choice(_SCALES)
    else:
        values, exponents = page_parts(cache[:, :, 0])
        codes, scales = values[page, offset, :-128], exponents[page, offset, :-1]
        scale = rng.choice(_EXPONENTS)
    if rng.random() < 0.5:
        codes[rng.randrange(len(codes))] = rng.choice(_CODES)
    else:
        scales[rng.randrange(len(scales))] = scale


def _place(caches: dict[str, np.ndarray], key: _Key) -> tuple[np.ndarray, int, int]:
    name, slot = key
    return caches[name], *divmod(slot, caches[name].shape[1])
