"""A decode call: what is read, what is not, and every rule of its arguments."""

from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from amla.model.attention.batch import DecodeBatch
from amla.model.cache.fp8_cache import dequantize_fp8, quantize_fp8
from amla.model.fp.formats import FP16

BF16 = ml_dtypes.bfloat16


def arguments(**change):
    """Two requests of 2 tokens and 3 heads, d = 4, pages of 5 slots; request 0 has 7 keys, request 1 none."""
    rng = np.random.default_rng(0)
    values = {
        "q": rng.normal(size=(2, 2, 3, 4)).astype(BF16),
        "kv_cache": rng.normal(size=(6, 5, 1, 4)).astype(BF16),
        "block_table": np.array([[4, 2, -1], [99, -7, 2147480000]], np.int32),
        "cache_seqlens": np.array([7, 0], np.int32),
        "head_dim_v": 4,
    }
    return {**values, **change}


def keys_of(batch, request, start, stop):
    return batch.groups[request].keys.read(0, start, stop)


def test_keys_follow_the_block_table():
    values = arguments()
    batch = DecodeBatch.mla(**values)
    cache = values["kv_cache"].view(np.uint16)[:, :, 0]
    wanted = np.concatenate([cache[4], cache[2, :2]])
    assert [group.request for group in batch.groups] == [0, 1] and batch.counts == [7, 0]
    assert keys_of(batch, 0, 0, 7).tolist() == wanted.tolist()
    assert keys_of(batch, 0, 3, 6).tolist() == wanted[3:6].tolist()
    assert len(batch.groups[1].keys) == 0


def test_page_zero_is_a_page_like_others():
    values = arguments(block_table=np.array([[0, 5, -1], [0, 3, 0]], np.int32),
                       cache_seqlens=np.array([7, 5], np.int32))
    batch = DecodeBatch.mla(**values)
    cache = values["kv_cache"].view(np.uint16)[:, :, 0]
    assert keys_of(batch, 0, 0, 7).tolist() == np.concatenate([cache[0], cache[5, :2]]).tolist()
    assert keys_of(batch, 1, 0, 5).tolist() == cache[0].tolist()


def test_float16():
    values = {name: array.astype(np.float16) if name in ("q", "kv_cache") else array
              for name, array in arguments().items()}
    batch = DecodeBatch.mla(**values)
    assert batch.format == FP16
    assert keys_of(batch, 0, 0, 5).tolist() == values["kv_cache"].view(np.uint16)[4, :, 0].tolist()


def test_an_fp8_cache_is_dequantised_where_it_is_read():
    rng = np.random.default_rng(1)
    tokens = quantize_fp8(rng.normal(size=(6, 5, 1, 576)).astype(BF16))
    values = arguments(q=rng.normal(size=(2, 2, 3, 576)).astype(BF16), kv_cache=tokens)
    batch = DecodeBatch.mla(**values)
    assert keys_of(batch, 0, 3, 7).tolist() == dequantize_fp8(tokens[[4, 4, 2, 2], [3, 4, 0, 1], 0]).tolist()


def test_rows_are_token_major():
    values = arguments()
    batch = DecodeBatch.mla(**values)
    rows = batch.rows(batch.groups[1])
    assert rows.tolist() == [values["q"].view(np.uint16)[1, r // 3, r % 3].tolist() for r in range(6)]


def test_limits():
    batch, causal = (DecodeBatch.mla(**arguments(), causal=flag) for flag in (False, True))
    assert batch.limits(batch.groups[0]).tolist() == [7] * 6
    assert causal.limits(causal.groups[0]).tolist() == [6] * 3 + [7] * 3
    assert causal.limits(causal.groups[1]).tolist() == [-1] * 3 + [0] * 3


def listed(**change):
    """The two requests by lists: entries of -1, some that do not count, and a second cache of pages of 2 slots."""
    return arguments(block_table=None, cache_seqlens=None, **{
        "indices": np.array([[[7, -1, 7], [29, 0, 99]], [[-1, -1, -1], [1, 2, 3]]], np.int32),
        "topk_length": np.array([2, 3], np.int32),
        "extra_k_cache": np.random.default_rng(5).normal(size=(3, 2, 4)).astype(BF16),
        "extra_indices_in_kvcache": np.array([[[5], [-1]], [[0], [5]]], np.int32),
        "attn_sink": np.array([0, 1, -np.inf], np.float32), **change})


def test_lists_are_one_group_a_query_token():
    values = listed()
    batch = DecodeBatch.mla(**values)
    assert [(group.request, group.tokens) for group in batch.groups] == [
        (0, slice(0, 1)), (0, slice(1, 2)), (1, slice(0, 1)), (1, slice(1, 2))]
    assert [[slots.tolist() for _, slots in group.keys.pieces] for group in batch.groups] == [
        [[7], [5]], [[29, 0], []], [[], [0]], [[1, 2, 3], [5]]]
    assert batch.counts == [3, 4] and [batch.limits(group).tolist() for group in batch.groups[:2]] == [[2] * 3] * 2
    assert batch.rows(batch.groups[1]).tolist() == values["q"].view(np.uint16)[0, 1].tolist()
    keys = [values["kv_cache"].view(np.uint16)[1, 2, 0], values["extra_k_cache"].view(np.uint16)[2, 1]]
    assert batch.groups[0].keys.read(0, 0, 2).tolist() == [key.tolist() for key in keys]
    assert batch.sink.view(np.float32).tolist() == [0, 1, -np.inf]


def test_the_cache_may_come_without_head_axis_and_strided():
    values = arguments()
    flat = values["kv_cache"][:, :, 0]
    doubled = np.repeat(flat, 2, axis=1)[:, ::2]
    wanted = keys_of(DecodeBatch.mla(**values), 0, 0, 7).tolist()
    for cache in (flat, doubled, np.asfortranarray(flat)):
        assert keys_of(DecodeBatch.mla(**{**values, "kv_cache": cache}), 0, 0, 7).tolist() == wanted


def test_the_cache_is_not_copied():
    values = arguments()
    assert np.shares_memory(DecodeBatch.mla(**values).cache.data, values["kv_cache"])


class FakeTensor:
    """What `DecodeBatch` uses of a torch tensor."""

    def __init__(self, array, torch, device="cpu"):
        self.array, self.torch, self.device = array, torch, SimpleNamespace(type=device)
        self.dtype = torch.bfloat16 if array.dtype == BF16 else array.dtype

    def detach(self):
        return self

    def view(self, dtype):
        return FakeTensor(self.array.view(dtype), self.torch)

    def numpy(self):
        if self.array.dtype == BF16:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.array


def test_torch_tensors_are_viewed(monkeypatch):
    torch = SimpleNamespace(Tensor=FakeTensor, bfloat16=object(), int16=np.int16)
    monkeypatch.setitem(__import__("sys").modules, "torch", torch)
    values = arguments()
    tensors = {name: FakeTensor(value, torch) for name, value in values.items() if name != "head_dim_v"}
    batch, wanted = DecodeBatch.mla(**tensors, head_dim_v=4), DecodeBatch.mla(**values)
    assert np.shares_memory(batch.cache.data, values["kv_cache"])
    assert keys_of(batch, 0, 0, 7).tolist() == keys_of(wanted, 0, 0, 7).tolist()
    assert batch.q.tolist() == wanted.q.tolist()
    with pytest.raises(ValueError, match="q must be on the CPU, not on "):
        DecodeBatch.mla(**{**tensors, "q": FakeTensor(values["q"], torch, device="cuda")}, head_dim_v=4)


@pytest.mark.parametrize(("change", "message"), [
    ({"q": np.zeros((2, 2, 3, 4), np.uint16)}, "q must be an array of bfloat16 or float16, not of uint16"),
    ({"q": np.zeros((2, 2, 3, 4), np.float32)}, "q must be an array of bfloat16 or float16, not of float32"),
    ({"q": np.zeros((2, 2, 3, 576), np.float16), "kv_cache": np.zeros((6, 5, 1, 656), np.uint8)},
     "q must be an array of bfloat16 with an FP8 cache, not of float16"),
    ({"kv_cache": np.zeros((6, 5, 1, 4), np.float16)},
     "kv_cache must be an array of bfloat16, not of float16"),
    ({"block_table": np.zeros((2, 3), np.int64)}, "block_table must be an array of int32, not of int64"),
    ({"cache_seqlens": np.zeros(2, np.float32)}, "cache_seqlens must be an array of int32, not of float32"),
    ({"head_dim_v": 4.0}, "head_dim_v must be an int, not 4.0"),
])
def test_rejects_types(change, message):
    with pytest.raises(TypeError, match=f"^{message}$"):
        DecodeBatch.mla(**arguments(**change))


@pytest.mark.parametrize(("change", "message"), [
    ({"q": np.zeros((2, 3, 4), BF16)}, r"q must have shape \[b, s_q, h_q, d\], .*, not \(2, 3, 4\)"),
    ({"q": np.zeros((2, 0, 3, 4), BF16)},
     r"q must have shape \[b, s_q, h_q, d\], s_q, h_q and d of at least 1, not \(2, 0, 3, 4\)"),
    ({"kv_cache": np.zeros((6, 5, 2, 4), BF16)}, r"kv_cache must have one KV head \(MLA\), not 2"),
    ({"kv_cache": np.zeros((6, 4), BF16)}, r"kv_cache must have shape .*, not \(6, 4\)"),
    ({"kv_cache": np.zeros((6, 0, 4), BF16)}, r"kv_cache must have shape .*, not \(6, 0, 1, 4\)"),
    ({"kv_cache": np.zeros((6, 5, 656), np.uint8)}, "head dimension d must be 576 or 512 with an FP8 cache, not 4"),
    ({"kv_cache": np.zeros((6, 5, 8), BF16)},
     r"kv_cache must have shape \[blocks, page, h_kv, 4\], .*, not \(6, 5, 1, 8\)"),
    ({"block_table": np.zeros(2, np.int32)}, r"block_table must have 2 dimensions, not shape \(2,\)"),
    ({"block_table": np.zeros((3, 3), np.int32)},
     "block_table must have 2 rows, the batch size of q, not 3"),
    ({"cache_seqlens": np.zeros((2, 1), np.int32)},
     r"cache_seqlens must have 1 dimension, not shape \(2, 1\)"),
    ({"cache_seqlens": np.zeros(1, np.int32)},
     "cache_seqlens must have 2 entries, the batch size of q, not 1"),
    ({"cache_seqlens": np.array([7, -1], np.int32)}, r"cache_seqlens\[1\] must be at least 0, not -1"),
    ({"cache_seqlens": np.array([16, 0], np.int32)},
     r"cache_seqlens\[0\] must be at most 15, the slots of its block-table row, not 16"),
    ({"cache_seqlens": np.array([11, 0], np.int32)},
     r"block_table\[0, 2\] must be a page from 0 to 5, not -1"),
    ({"cache_seqlens": np.array([0, 1], np.int32)},
     r"block_table\[1, 0\] must be a page from 0 to 5, not 99"),
    ({"head_dim_v": 0}, "head_dim_v must be from 1 to d = 4, not 0"),
    ({"head_dim_v": 5}, "head_dim_v must be from 1 to d = 4, not 5"),
])
def test_rejects_values(change, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        DecodeBatch.mla(**arguments(**change))


@pytest.mark.parametrize(("change", "message"), [
    ({"causal": True}, r"causal must be False with indices \(sparse attention\), not True"),
    ({"indices": None}, "extra_k_cache must be None without indices .*"),
    ({"extra_k_cache": np.zeros((3, 2, 2, 4), BF16)}, r"extra_k_cache must have one KV head \(MLA\), not 2"),
    ({"extra_k_cache": np.zeros((3, 2), BF16)}, "extra_k_cache must have shape .*"),
    ({"extra_indices_in_kvcache": np.full((2, 2, 1), 6, np.int32)},
     r"extra_indices_in_kvcache\[0, 0, 0\] must be -1 or a slot from 0 to 5, not 6"),
    ({"topk_length": np.array([2, 4], np.int32)}, r"topk_length\[1\] must be from 0 to topk = 3, not 4"),
    ({"topk_length": None}, r"indices\[0, 1, 2\] must be -1 or a slot from 0 to 29, not 99"),
])
def test_rejects_lists(change, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        DecodeBatch.mla(**listed(**change))
