"""FlashMLA's decode call over lists of keys and over FP8 caches."""

import ml_dtypes
import numpy as np
import pytest
from amla.model import flash_mla_with_kvcache, get_mla_metadata
from amla.model.cache.fp8_cache import dequantize_fp8
from amla.model.cache.fp8_pages import dequantize_fp8_pages, quantize_fp8_pages

BF16 = ml_dtypes.bfloat16


def test_where_invalid_indices_stand_changes_no_bit(cases):
    q, cache, indices = cases.sparse_arguments()
    spread = np.full((2, 2, 130), -1, np.int32)
    spread[:, :, np.sort(np.random.default_rng(1).permutation(130)[:40])] = indices
    results = [
        flash_mla_with_kvcache(q, cache, None, None, 48, None, indices=rows) for rows in (indices, spread)
    ]
    assert cases.bits(results[0]) == cases.bits(results[1])


def test_sparse_requests_and_tokens_do_not_depend_on_each_other(cases):
    q, cache, indices = cases.sparse_arguments(fp8=True)
    options = {"is_fp8_kvcache": True, "attn_sink": np.array([0, 1, -1], np.float32)}
    counts = np.array([40, 11], np.int32)

    def decode(requests, tokens):
        plan = get_mla_metadata(np.zeros(len(requests), np.int32), topk=40, keys_per_split=64)
        return flash_mla_with_kvcache(
            q[requests][:, tokens], cache, None, None, 512, *plan, indices=indices[requests][:, tokens],
            topk_length=counts[requests], **options)

    out, lse = decode([0, 1], [0, 1])
    for requests, tokens in (([1, 0], [1, 0]), ([1], [0, 1]), ([0], [1])):
        wanted = out[requests][:, tokens], lse[requests][:, :, tokens]
        assert cases.bits(decode(requests, tokens)) == cases.bits(wanted)


def test_sparse_over_all_keys_is_dense(cases):
    q, cache, table, lengths, _ = cases.small_case([50])
    slots = (table[0, np.arange(50) // 16] * 16 + np.arange(50) % 16).astype(np.int32)
    sparse = flash_mla_with_kvcache(q, cache, None, None, 48, None, indices=np.tile(slots, (1, 2, 1)))
    assert cases.bits(sparse) == cases.bits(flash_mla_with_kvcache(q, cache, table, lengths, 48, None))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, ml_dtypes.float8_e4m3fn])
def test_an_fp8_cache_is_its_dequantised_bf16_cache(cases, dtype):
    q, cache, indices = cases.sparse_arguments(fp8=True)
    wide = dequantize_fp8(cache.reshape(-1, 656)).view(BF16).reshape(4, 16, 1, 576)
    fp8 = flash_mla_with_kvcache(
        q, cache.view(dtype), None, None, 512, None, indices=indices, is_fp8_kvcache=True)
    assert cases.bits(fp8) == cases.bits(flash_mla_with_kvcache(q, wide, None, None, 512, None, indices=indices))


def test_pages_of_584_bytes_are_their_dequantised_bf16_cache(cases):
    """FlashMLA's quantised tensor as it comes, pages at multiples of 576 bytes, dense and sparse, with an extra one."""
    rng = np.random.default_rng(9)
    q, keys = cases.values(rng, (2, 3, 4, 512)), cases.values(rng, (5, 17, 512))
    pages = quantize_fp8_pages(keys)[:, :, None]
    assert not pages.flags.c_contiguous
    wide = dequantize_fp8_pages(pages[:, :, 0], np.arange(5 * 17)).view(BF16).reshape(5, 17, 1, 512)
    indices = rng.integers(-1, 5 * 17, (2, 3, 40)).astype(np.int32)
    dense = np.array([[4, 0], [2, 2]], np.int32), np.array([30, 17], np.int32), 512, None
    sparse = None, None, 512, None
    for arguments, options in (
        (dense, lambda cache: {"causal": True}),
        (sparse, lambda cache: {"indices": indices, "extra_k_cache": cache[1:],
                                "extra_indices_in_kvcache": indices[:, :, :7] // 2}),
    ):
        fp8 = flash_mla_with_kvcache(q, pages.view(ml_dtypes.float8_e4m3fn), *arguments, is_fp8_kvcache=True,
                                     **options(pages))
        assert cases.bits(fp8) == cases.bits(flash_mla_with_kvcache(q, wide, *arguments, **options(wide)))


@pytest.mark.parametrize("rows", [None, 1, 9])
def test_a_plan_of_topk_length_is_enough(cases, rows):
    """FlashMLA plans for topk_length (at least one key), rounded up to whole blocks, and the extra cache's after it."""
    rng = np.random.default_rng(8)
    q, cache, _ = cases.sparse_arguments()
    indices = rng.integers(0, 64, (2, 2, 500)).astype(np.int32)
    options = {"indices": indices, "topk_length": np.array([70, 0], np.int32), "extra_k_cache": cache,
               "extra_indices_in_kvcache": indices[:, :, :90], "extra_topk_length": np.array([60, 65], np.int32)}
    plan = get_mla_metadata(np.array([128 + 60, 64 + 65], np.int32), keys_per_split=1024, num_sm_parts=rows)
    result = cases.bits(flash_mla_with_kvcache(q, cache, None, None, 48, *plan, **options))
    assert result == cases.bits(flash_mla_with_kvcache(q, cache, None, None, 48, None, **options))
    plan = get_mla_metadata(np.array([130, 65], np.int32), keys_per_split=1024, num_sm_parts=rows)
    assert result == cases.bits(flash_mla_with_kvcache(q, cache, None, None, 48, *plan, **options))
