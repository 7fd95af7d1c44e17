"""Arguments of FlashMLA's decode call: tensors, scalars of any kind, and one line for each that is wrong."""

from fractions import Fraction
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from amla.model import FlashMLASchedMeta, Numerics, flash_mla_with_kvcache, get_mla_metadata, mla_decode, mla_reference

BF16 = ml_dtypes.bfloat16
INDICES = np.zeros((2, 2, 8), np.int32)


class FakeTensor:
    """What the interface uses of a torch tensor."""

    def __init__(self, array):
        self.array, self.device = array, SimpleNamespace(type="cpu")
        self.dtype = "bf16" if array.dtype == BF16 else array.dtype

    def detach(self):
        return self

    def view(self, dtype):
        return FakeTensor(self.array.view(BF16 if dtype == "bf16" else dtype))

    def numpy(self):
        if self.array.dtype == BF16:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.array


FAKE_TORCH = SimpleNamespace(
    Tensor=FakeTensor, bfloat16="bf16", int16=np.int16, uint8=np.uint8, from_numpy=FakeTensor)


def test_tensors_in_tensors_out(cases, monkeypatch):
    *arguments, _ = cases.small_case([40, 0])
    sink = np.zeros(3, np.float32)
    wanted = flash_mla_with_kvcache(*arguments, 48, *get_mla_metadata(arguments[3]), attn_sink=sink)
    monkeypatch.setitem(__import__("sys").modules, "torch", FAKE_TORCH)
    tensors = [FakeTensor(argument) for argument in arguments]
    plan = get_mla_metadata(tensors[3])
    assert all(isinstance(part, FakeTensor) for part in plan)
    out, lse = flash_mla_with_kvcache(*tensors, 48, *plan, attn_sink=FakeTensor(sink))
    assert isinstance(out, FakeTensor) and out.dtype == "bf16" and isinstance(lse, FakeTensor)
    assert cases.bits((out.array, lse.array)) == cases.bits(wanted)


def test_real_torch_tensors(cases):
    torch = pytest.importorskip("torch")
    *arguments, _ = cases.small_case([40, 0])
    wanted = flash_mla_with_kvcache(*arguments, 48, None)
    tensors = [
        torch.from_numpy(argument.view(np.int16)).view(torch.bfloat16) if argument.dtype == BF16
        else torch.from_numpy(argument) for argument in arguments
    ]
    out, lse = flash_mla_with_kvcache(*tensors, 48, *get_mla_metadata(tensors[3]))
    assert out.dtype == torch.bfloat16 and lse.dtype == torch.float32
    assert cases.bits((out.view(torch.int16).numpy(), lse.numpy())) == cases.bits(wanted)


SCALARS = [np.float32(0.25), np.float64(0.25), np.array(0.25), np.array([0.25], np.float16), np.array([[0.25]], BF16),
           Fraction(1, 4)]


@pytest.mark.parametrize("scale", SCALARS, ids=lambda scale: f"{type(scale).__name__}-{np.shape(scale)}")
def test_scalars_of_any_kind(cases, scale):
    *arguments, _ = cases.small_case([40, 0])
    wanted = {flag: flash_mla_with_kvcache(*arguments, 48, None, None, 0.25, flag) for flag in (False, True)}
    for flag in (0, 1, np.bool_(0), np.bool_(1), np.int64(1)):
        got = flash_mla_with_kvcache(*arguments, np.int64(48), None, None, scale, flag)
        assert cases.bits(got) == cases.bits(wanted[bool(flag)])
        options = {"head_dim_v": np.uint8(48), "softmax_scale": scale, "causal": flag}
        assert cases.bits(mla_decode(*arguments, **options)) == cases.bits(wanted[bool(flag)])
        plain = mla_reference(*arguments, head_dim_v=48, softmax_scale=0.25, causal=bool(flag))
        assert all(map(np.array_equal, mla_reference(*arguments, **options), plain))


@pytest.mark.parametrize("function", [mla_decode, mla_reference])
@pytest.mark.parametrize(("change", "error", "message"), [
    ({"head_dim_v": "48"}, TypeError, "head_dim_v must be an int, not '48'"),
    ({"causal": "no"}, TypeError, "causal must be a bool, not 'no'"),
    ({"softmax_scale": "1"}, TypeError, "softmax_scale must be a real number, not '1'"),
    ({"softmax_scale": [0.1]}, TypeError, r"softmax_scale must be a real number, not \[0.1\]"),
    ({"softmax_scale": 1j}, TypeError, "softmax_scale must be a real number, not 1j"),
    ({"softmax_scale": -1}, ValueError, "softmax_scale must be positive .*, not -1"),
])
def test_scalars_that_are_none(cases, function, change, error, message):
    *arguments, _ = cases.small_case([40, 0])
    with pytest.raises(error, match=f"^{message}"):
        function(*arguments, **{"head_dim_v": 48, **change})


def test_torch_scalars_and_types(cases):
    torch = pytest.importorskip("torch")
    *arguments, _ = cases.small_case([40, 0])
    wanted = flash_mla_with_kvcache(*arguments, 48, None, None, 0.25, True)
    for scale in (torch.tensor(0.25), torch.tensor([0.25], dtype=torch.bfloat16),
                  torch.tensor(0.25, requires_grad=True)):
        got = flash_mla_with_kvcache(*arguments, torch.tensor([48]), None, None, scale, torch.tensor(True))
        assert cases.bits(got) == cases.bits(wanted)
    plan, _ = get_mla_metadata()
    tensors = [torch.from_numpy(array.view(np.int16)).view(torch.bfloat16) if array.dtype == BF16
               else torch.from_numpy(array) for array in arguments]
    flash_mla_with_kvcache(*tensors, 48, plan)
    assert isinstance(plan.tile_scheduler_metadata, torch.Tensor) and isinstance(plan.num_splits, torch.Tensor)
    for index, name in enumerate(("q", "k_cache", "block_table", "cache_seqlens")):
        changed = [*tensors]
        changed[index] = torch.zeros(tensors[index].shape, dtype=torch.float8_e5m2)
        with pytest.raises(TypeError, match=f"^{name} must be an array of a type that NumPy has, not a tensor of "
                                            "torch.float8_e5m2 in layout torch.strided$"):
            flash_mla_with_kvcache(*changed, 48, None)


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"mode": "fast"}, ValueError, "mode must be one of .*, not 'fast'"),
    ({"numerics": None}, TypeError, "numerics must be a Numerics, not None"),
    ({"numerics": Numerics(k=128)}, ValueError, "head dimension d must be a multiple of k = 128, not 64"),
    ({"descale_q": 1.0}, ValueError, "descale_q must be None, as FP8 scales are in the cache, not 1.0"),
    ({"descale_k": 1.0}, ValueError, "descale_k must be None, as FP8 scales are in the cache, not 1.0"),
    ({"causal": "yes"}, TypeError, "causal must be a bool, not 'yes'"),
    ({"causal": 2}, TypeError, "causal must be a bool, not 2"),
    ({"softmax_scale": "0.1"}, TypeError, "softmax_scale must be a real number, not '0.1'"),
    ({"softmax_scale": np.ones(2)}, TypeError, r"softmax_scale must be a real number, not array\(\[1., 1.\]\)"),
    ({"head_dim_v": "48"}, TypeError, "head_dim_v must be an int, not '48'"),
    ({"head_dim_v": True}, TypeError, "head_dim_v must be an int, not True"),
    ({"tile_scheduler_metadata": FlashMLASchedMeta(), "num_splits": np.zeros(3, np.int32)}, ValueError,
     "num_splits must be None with a FlashMLASchedMeta as tile_scheduler_metadata, not "),
    ({"is_fp8_kvcache": True, "q": np.zeros((2, 2, 3, 512), BF16), "k_cache": np.zeros((6, 16, 1, 656), np.uint8)},
     ValueError, r"k_cache must have shape \[blocks, page, h_kv, 584\], .*, not \(6, 16, 1, 656\)"),
    ({"is_fp8_kvcache": True, "q": np.zeros((2, 2, 4, 512), BF16), "k_cache": np.zeros((6, 16, 2, 584), np.uint8)},
     ValueError, "k_cache must have one KV head with 584 bytes per token, not 2"),
    ({"is_fp8_kvcache": None}, TypeError, "is_fp8_kvcache must be a bool, not None"),
    ({"q": np.zeros((2, 2, 3, 64), np.float32)}, TypeError,
     "q must be an array of bfloat16 or float16, not of float32"),
    ({"q": np.zeros((2, 2, 64), BF16)}, ValueError, r"q must have shape \[b, s_q, h_q, d\], .*, not \(2, 2, 64\)"),
    ({"q": np.zeros((2, 0, 3, 64), BF16)}, ValueError, r"q must have shape .*, not \(2, 0, 3, 64\)"),
    ({"k_cache": np.zeros((6, 16, 1, 64), np.float16)}, TypeError,
     "k_cache must be an array of bfloat16, not of float16"),
    ({"k_cache": np.zeros((6, 16, 1, 32), BF16)}, ValueError,
     r"k_cache must have shape \[blocks, page, h_kv, 64\], .*, not \(6, 16, 1, 32\)"),
    ({"k_cache": np.zeros((6, 16, 2, 64), BF16)}, ValueError,
     "q must have a multiple of k_cache's h_kv = 2 heads, not 3"),
    ({"is_fp8_kvcache": True, "k_cache": np.zeros((6, 16, 1, 656), np.uint8)}, ValueError,
     "head dimension d must be 576 or 512 with an FP8 cache, not 64"),
    ({"head_dim_v": 65}, ValueError, "head_dim_v must be from 1 to d = 64, not 65"),
    ({"head_dim_v": 8.0}, TypeError, "head_dim_v must be an int, not 8.0"),
    ({"softmax_scale": 0}, ValueError, "softmax_scale must be positive .*, not 0"),
    ({"attn_sink": np.zeros(3)}, TypeError, "attn_sink must be an array of float32, not of float64"),
    ({"attn_sink": np.zeros(2, np.float32)}, ValueError, r"attn_sink must have shape \[3\], .*, not \(2,\)"),
    ({"block_table": None}, ValueError, r"block_table must be given without indices \(dense attention\), not None"),
    ({"cache_seqlens": None}, ValueError, "cache_seqlens must be given without indices .*, not None"),
    ({"block_table": np.zeros((3, 3), np.int32)}, ValueError, "block_table must have 2 rows, .*, not 3"),
    ({"cache_seqlens": np.zeros(3, np.int32)}, ValueError, "cache_seqlens must have 2 entries, .*, not 3"),
    ({"cache_seqlens": np.array([1000, 0], np.int32)}, ValueError, r"cache_seqlens\[0\] must be at most .*, not 1000"),
    ({"topk_length": INDICES}, ValueError, r"topk_length must be None without indices .*, not <class 'numpy.ndarray'>"),
    ({"extra_k_cache": INDICES}, ValueError, "extra_k_cache must be None without indices .*, not .*"),
    ({"num_splits": np.zeros(3, np.int32)}, ValueError,
     "num_splits must be None without tile_scheduler_metadata, not "),
    ({"tile_scheduler_metadata": np.zeros((0, 8), np.int32)}, ValueError,
     "tile_scheduler_metadata must cover the 1 blocks of request 0, not 0"),
    ({"indices": INDICES, "causal": True}, ValueError, r"causal must be False with indices .*, not True"),
    ({"indices": INDICES[0]}, ValueError, r"indices must have 3 dimensions, not shape \(2, 8\)"),
    ({"indices": INDICES[:1]}, ValueError, r"indices must have shape \[2, 2, topk\], not \(1, 2, 8\)"),
    ({"indices": INDICES - 2}, ValueError, r"indices\[0, 0, 0\] must be -1 or a slot from 0 to 95, not -2"),
    ({"indices": INDICES + 96}, ValueError, r"indices\[0, 0, 0\] must be -1 or a slot from 0 to 95, not 96"),
    ({"indices": INDICES, "topk_length": np.array([9, 0], np.int32)}, ValueError,
     r"topk_length\[0\] must be from 0 to topk = 8, not 9"),
    ({"indices": INDICES, "topk_length": np.zeros(1, np.int32)}, ValueError,
     "topk_length must have 2 entries, .*, not 1"),
    ({"indices": INDICES, "extra_k_cache": np.zeros((1, 1, 1, 64), BF16)}, ValueError,
     "extra_k_cache and extra_indices_in_kvcache must be given together, not the former alone"),
    ({"indices": INDICES, "extra_indices_in_kvcache": INDICES}, ValueError,
     "extra_k_cache and extra_indices_in_kvcache must be given together, not the latter alone"),
    ({"indices": INDICES, "extra_indices_in_kvcache": INDICES, "extra_k_cache": np.zeros((1, 1, 2, 64), BF16)},
     ValueError,
     "extra_k_cache must have one KV head, not 2"),
    ({"indices": INDICES, "extra_topk_length": np.zeros(2, np.int32)}, ValueError,
     "extra_topk_length must be None without extra_k_cache, not "),
    ({"indices": INDICES, "q": np.zeros((2, 2, 4, 64), BF16), "k_cache": np.zeros((6, 16, 2, 64), BF16)}, ValueError,
     "k_cache must have one KV head with indices .*, not 2"),
])
def test_rejects(cases, change, error, message):
    q, _, table, lengths, _ = cases.small_case([40, 0])
    arguments = {
        "q": q, "k_cache": np.zeros((6, 16, 1, 64), BF16), "block_table": table, "cache_seqlens": lengths,
        "head_dim_v": 48, "tile_scheduler_metadata": None, **change,
    }
    with pytest.raises(error, match=f"^{message}"):
        flash_mla_with_kvcache(**arguments)
