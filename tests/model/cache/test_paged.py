"""The paged batch: what is read, what is not, and every rule of its arguments."""

from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from amla.model.cache.fp8_cache import dequantize_fp8, quantize_fp8
from amla.model.cache.paged import PagedBatch
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


def test_keys_follow_the_block_table():
    values = arguments()
    batch = PagedBatch.build(**values)
    cache = values["kv_cache"].view(np.uint16)[:, :, 0]
    wanted = np.concatenate([cache[4], cache[2, :2]])
    assert len(batch) == 2
    assert batch.keys(0, 0, 7).tolist() == wanted.tolist()
    assert batch.keys(0, 3, 6).tolist() == wanted[3:6].tolist()
    assert batch.keys(1, 0, 0).shape == (0, 4)


def test_page_zero_is_a_page_like_others():
    values = arguments(block_table=np.array([[0, 5, -1], [0, 3, 0]], np.int32),
                       cache_seqlens=np.array([7, 5], np.int32))
    batch = PagedBatch.build(**values)
    cache = values["kv_cache"].view(np.uint16)[:, :, 0]
    assert batch.keys(0, 0, 7).tolist() == np.concatenate([cache[0], cache[5, :2]]).tolist()
    assert batch.keys(1, 0, 5).tolist() == cache[0].tolist()


def test_float16():
    values = {name: array.astype(np.float16) if name in ("q", "kv_cache") else array
              for name, array in arguments().items()}
    batch = PagedBatch.build(**values)
    assert batch.format == FP16
    assert batch.keys(0, 0, 5).tolist() == values["kv_cache"].view(np.uint16)[4, :, 0].tolist()


def test_an_fp8_cache_is_dequantised_where_it_is_read():
    rng = np.random.default_rng(1)
    tokens = quantize_fp8(rng.normal(size=(6, 5, 1, 576)).astype(BF16))
    values = arguments(q=rng.normal(size=(2, 2, 3, 576)).astype(BF16), kv_cache=tokens)
    batch = PagedBatch.build(**values)
    assert batch.keys(0, 3, 7).tolist() == dequantize_fp8(tokens[[4, 4, 2, 2], [3, 4, 0, 1], 0]).tolist()


def test_rows_are_token_major():
    values = arguments()
    rows = PagedBatch.build(**values).rows(1)
    assert rows.tolist() == [values["q"].view(np.uint16)[1, r // 3, r % 3].tolist() for r in range(6)]


def test_limits():
    batch = PagedBatch.build(**arguments(cache_seqlens=np.array([7, 0], np.int32)))
    assert batch.limits(0, causal=False).tolist() == [7] * 6
    assert batch.limits(0, causal=True).tolist() == [6] * 3 + [7] * 3
    assert batch.limits(1, causal=True).tolist() == [-1] * 3 + [0] * 3


def test_the_cache_may_come_without_head_axis_and_strided():
    values = arguments()
    flat = values["kv_cache"][:, :, 0]
    doubled = np.repeat(flat, 2, axis=1)[:, ::2]
    wanted = PagedBatch.build(**values).keys(0, 0, 7).tolist()
    for cache in (flat, doubled, np.asfortranarray(flat)):
        assert PagedBatch.build(**{**values, "kv_cache": cache}).keys(0, 0, 7).tolist() == wanted


def test_the_cache_is_not_copied():
    values = arguments()
    assert np.shares_memory(PagedBatch.build(**values).cache.data, values["kv_cache"])


class FakeTensor:
    """What `PagedBatch` uses of a torch tensor."""

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
    batch, wanted = PagedBatch.build(**tensors, head_dim_v=4), PagedBatch.build(**values)
    assert np.shares_memory(batch.cache.data, values["kv_cache"])
    assert batch.keys(0, 0, 7).tolist() == wanted.keys(0, 0, 7).tolist()
    assert batch.q.tolist() == wanted.q.tolist()
    with pytest.raises(ValueError, match="q must be on the CPU, not on "):
        PagedBatch.build(**{**tensors, "q": FakeTensor(values["q"], torch, device="cuda")}, head_dim_v=4)


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
        PagedBatch.build(**arguments(**change))


@pytest.mark.parametrize(("change", "message"), [
    ({"q": np.zeros((2, 3, 4), BF16)}, r"q must have shape \[b, s_q, h_q, d\], not \(2, 3, 4\)"),
    ({"q": np.zeros((2, 0, 3, 4), BF16)},
     r"q must have s_q, h_q and d of at least 1, not shape \(2, 0, 3, 4\)"),
    ({"kv_cache": np.zeros((6, 5, 2, 4), BF16)}, r"kv_cache must have one KV head \(MLA\), not 2"),
    ({"kv_cache": np.zeros((6, 4), BF16)}, r"kv_cache must have shape .*, not \(6, 4\)"),
    ({"kv_cache": np.zeros((6, 0, 4), BF16)}, r"kv_cache must have shape .*, not \(6, 0, 4\)"),
    ({"kv_cache": np.zeros((6, 5, 656), np.uint8)}, "head dimension d must be 576 or 512 with an FP8 cache, not 4"),
    ({"kv_cache": np.zeros((6, 5, 8), BF16)}, "kv_cache must have q's head dimension d = 4, not 8"),
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
        PagedBatch.build(**arguments(**change))
