"""The paged cache of several heads: what a slot is, key lists over two caches, what is refused."""

import ml_dtypes
import numpy as np
import pytest
from amla.model.cache.fp8_cache import dequantize_fp8, quantize_fp8
from amla.model.cache.kv_cache import KeyList, KVCache

BF16 = ml_dtypes.bfloat16


def values(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(BF16)


def test_a_slot_is_page_times_slots_and_offset():
    data = values(4, 5, 2, 8)
    cache = KVCache.build("k_cache", data, width=8, fp8=False)
    assert (cache.page, cache.heads, cache.slots) == (5, 2, 20)
    slots = np.array([0, 19, 7, 7])
    for head in range(2):
        wanted = data.view(np.uint16)[[0, 3, 1, 1], [0, 4, 2, 2], head]
        assert cache.read(slots, head).tolist() == wanted.tolist()


@pytest.mark.parametrize("change", [lambda data: data, lambda data: np.repeat(data, 2, axis=1)[:, ::2],
                                    lambda data: np.asfortranarray(data)])
def test_any_strides(change):
    data = values(3, 4, 1, 8)
    cache = KVCache.build("k_cache", change(data), width=8, fp8=False)
    keys = cache.read(np.arange(12), 0)
    assert keys.flags.c_contiguous and keys.tolist() == data.view(np.uint16).reshape(12, 8).tolist()


def test_fp8_is_dequantised_when_read():
    tokens = quantize_fp8(values(3, 4, 2, 576))
    cache = KVCache.build("k_cache", tokens, width=576, fp8=True)
    assert np.shares_memory(cache.data, tokens)
    wanted = dequantize_fp8(tokens.reshape(12, 2, 656)[[11, 2], 1])
    assert cache.read(np.array([11, 2]), 1).tolist() == wanted.tolist()


def test_a_key_list_goes_from_one_cache_to_the_next():
    one = KVCache.build("k_cache", values(2, 4, 1, 8), width=8, fp8=False)
    two = KVCache.build("extra_k_cache", values(3, 2, 1, 8) + BF16(1), width=8, fp8=False)
    keys = KeyList(((one, np.array([5, 0, 7])), (two, np.array([], np.int64)), (two, np.array([1, 4]))))
    everything = np.concatenate([one.read(np.array([5, 0, 7]), 0), two.read(np.array([1, 4]), 0)])
    assert len(keys) == 5
    for start in range(5):
        for stop in range(start + 1, 6):
            assert keys.read(0, start, stop).tolist() == everything[start:stop].tolist()


@pytest.mark.parametrize(("cache", "width", "fp8", "error", "message"), [
    (values(2, 4, 8), 8, False, ValueError, r"k_cache must have shape \[blocks, page, h_kv, 8\], .*, not \(2, 4, 8\)"),
    (values(2, 4, 1, 9), 8, False, ValueError, r"k_cache must have shape .*, not \(2, 4, 1, 9\)"),
    (values(2, 0, 1, 8), 8, False, ValueError, r"k_cache must have shape .*, not \(2, 0, 1, 8\)"),
    (np.zeros((2, 4, 1, 656), np.uint8), 576, False, TypeError, "k_cache must be an array of bfloat16, not of uint8"),
    (values(2, 4, 1, 576), 576, True, TypeError,
     "k_cache must be an array of float8_e4m3fn, uint8 or int8, not of bfloat16"),
    (np.zeros((2, 4, 1, 576), np.uint8), 576, True, ValueError,
     r"k_cache must have shape \[blocks, page, h_kv, 656\], .*, not \(2, 4, 1, 576\)"),
    (np.zeros((2, 4, 1, 656), np.uint8), 64, True, ValueError,
     "head dimension d must be 576 or 512 with an FP8 cache, not 64"),
])
def test_rejects(cache, width, fp8, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        KVCache.build("k_cache", cache, width=width, fp8=fp8)
