"""MLA decode: FlashMLA's interface and tolerances against the float64 oracle, batch invariance, errors."""

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from amla.model import (
    MODES,
    Numerics,
    error_metrics,
    flash_mla_with_kvcache,
    get_mla_metadata,
    mla_decode,
    mla_reference,
)
from amla.model.cache.fp8_cache import quantize_fp8
from amla.model.cache.fp8_pages import quantize_fp8_pages

BF16 = ml_dtypes.bfloat16
POISON_ENTRY = 2147480000


def values_like_flashmla(rng, shape):
    """The scale of FlashMLA's own tests: normal / 10, clamped to [-1, 1]."""
    return np.clip(rng.normal(size=shape) / 10, -1, 1).astype(BF16)


def paged_case(seed, *, lengths, tokens=1, heads=4, d=64, page=16, values=values_like_flashmla):
    """Arguments of mla_decode: shuffled pages, NaN in every unused slot, poison in every unused entry."""
    rng = np.random.default_rng(seed)
    pages = [-(-length // page) for length in lengths]
    blocks = sum(pages) + 3
    cache = np.full((blocks, page, 1, d), np.nan, BF16)
    table = np.full((len(lengths), max([*pages, 1]) + 1), POISON_ENTRY, np.int32)
    free = iter(rng.permutation(blocks))
    for request, length in enumerate(lengths):
        for index in range(pages[request]):
            table[request, index] = block = next(free)
            used = min(page, length - index * page)
            cache[block, :used, 0] = values(rng, (used, d))
    return values(rng, (len(lengths), tokens, heads, d)), cache, table, np.array(lengths, np.int32)


CASES = [
    {"lengths": [1]},
    {"lengths": [0]},
    {"lengths": [15, 16, 17, 0, 1, 200], "page": 16},
    {"lengths": [64, 0, 129, 63, 513], "page": 64, "heads": 8},
    {"lengths": [1000, 3], "page": 128, "heads": 16},
    {"lengths": [0, 1, 2, 3, 4, 5], "tokens": 4, "heads": 2},
    {"lengths": [130, 2, 0, 515], "tokens": 2, "heads": 3, "page": 64},
    {"lengths": [300, 128], "tokens": 3, "heads": 5, "page": 128, "d": 128},
    {"lengths": [640], "tokens": 1, "heads": 16, "page": 64, "d": 576, "head_dim_v": 512},
    {"lengths": [257, 31], "tokens": 2, "heads": 8, "page": 64, "d": 576, "head_dim_v": 512},
]


@pytest.mark.parametrize("kv_block", [32, 128, 512])
@pytest.mark.parametrize("mode", ["amla", "mul", "pow2"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_within_flashmlas_tolerance(case, causal, mode, kv_block):
    case = dict(case)
    head_dim_v = case.pop("head_dim_v", 48)
    arguments = paged_case(len(case["lengths"]), **case)
    ref_out, ref_lse = mla_reference(*arguments, head_dim_v=head_dim_v, causal=causal)
    out, lse = mla_decode(
        *arguments, head_dim_v=head_dim_v, causal=causal, mode=mode, numerics=Numerics(kv_block=kv_block),
    )
    requests, tokens, heads, _ = arguments[0].shape
    assert out.dtype == BF16 and out.shape == (requests, tokens, heads, head_dim_v)
    assert lse.dtype == np.float32 and lse.shape == (requests, heads, tokens)

    error = np.abs(out.astype(np.float64) - ref_out)
    assert np.all((error <= 8e-4) | (error <= 2.01 / 128 * np.abs(ref_out)))
    empty = np.isposinf(ref_lse)
    assert np.array_equal(np.isposinf(lse), empty)
    lse_error = np.abs(lse[~empty] - ref_lse[~empty])
    assert np.all((lse_error <= 1e-6) | (lse_error <= 8.01 / 65536 * np.abs(ref_lse[~empty])))
    no_key = out.view(np.uint16)[empty.transpose(0, 2, 1)]
    assert not no_key.any()
    for request, length in enumerate(case["lengths"]):
        for token in range(tokens):
            seen = length - (tokens - 1 - token) * causal
            assert (empty[request, :, token] == (seen <= 0)).all()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("comp_bits", [2, 3])
def test_deepseek_shape_is_as_accurate_as_multiplication(seed, comp_bits):
    arguments = paged_case(
        seed, lengths=[1024], heads=32, d=576, page=64,
        values=lambda rng, shape: rng.normal(size=shape).astype(BF16),
    )
    reference = mla_reference(*arguments, softmax_scale=192**-0.5)
    error = {}
    for mode in ("amla", "mul"):
        result = mla_decode(
            *arguments, softmax_scale=192**-0.5, mode=mode, out_dtype=np.float32,
            numerics=Numerics(kv_block=128, comp_bits=comp_bits),
        )
        metrics = error_metrics(*result, *reference)
        error[mode] = metrics["relative_frobenius"]
        assert metrics["lse_max_abs"] < 1e-5
    assert 1e-4 < error["mul"] < 3e-3
    assert error["amla"] <= 1.1 * error["mul"]


@pytest.mark.parametrize("mode", MODES)
def test_a_request_does_not_depend_on_its_batch(mode):
    options = {"head_dim_v": 32, "causal": True, "mode": mode, "numerics": Numerics(kv_block=32)}
    q, cache, table, lengths = paged_case(5, lengths=[70, 0, 33, 129], tokens=2, heads=3, page=16)
    out, lse = mla_decode(q, cache, table, lengths, **options)
    for order in ([3, 2, 1, 0], [2], [1, 3, 1]):
        some_out, some_lse = mla_decode(q[order], cache, table[order], lengths[order], **options)
        assert np.array_equal(some_out.view(np.uint16), out[order].view(np.uint16))
        assert np.array_equal(some_lse, lse[order])


@pytest.mark.parametrize("dtype", [BF16, np.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("mode", MODES)
def test_keys_of_score_minus_infinity_have_no_weight(mode, dtype):
    """32 of them before the others change no bit, whatever the KV block; with no other key a row sees none."""
    q, cache, table, lengths = paged_case(6, lengths=[40, 33, 32], tokens=2, d=64, page=16)
    cache[table[:, :2], :, 0, 63], q[..., 63] = -np.inf, 2.0  # a column of K alone
    q, cache = q.astype(dtype), cache.astype(dtype)
    options = {"head_dim_v": 48, "causal": True}
    ref_out, ref_lse = mla_reference(q, cache, table, lengths, **options)
    none = np.isposinf(ref_lse)
    assert none.tolist() == [[[False, False]] * 4, [[True, False]] * 4, [[True, True]] * 4]
    for kv_block in (16, 32, 48, 64):
        results = [mla_decode(q, cache, *keys, mode=mode, numerics=Numerics(kv_block=kv_block), **options)
                   for keys in ((table, lengths), (np.ascontiguousarray(table[:, 2:]), lengths - 32))]
        (out, lse), (wanted, wanted_lse) = results
        assert np.array_equal(out.view(np.uint16), wanted.view(np.uint16)) and np.array_equal(lse, wanted_lse)
        assert np.array_equal(np.isposinf(lse), none) and np.allclose(lse[~none], ref_lse[~none], rtol=1e-5)
        assert np.allclose(out.astype(float), ref_out, rtol=2.01 / 128, atol=8e-4)


@pytest.mark.parametrize("kv_block", [16, 32])
@pytest.mark.parametrize("mode", MODES)
def test_scores_that_overflow_to_minus_infinity_have_no_weight(mode, kv_block):
    """Finite data: 16 keys whose scores overflow, then one."""
    q, cache = np.full((1, 1, 1, 16), 2.0, BF16), np.full((17, 1, 1, 16), -3e38, BF16)
    cache[16] = 0.5
    out, lse = mla_decode(q, cache.reshape(1, 17, 1, 16), np.zeros((1, 1), np.int32), np.array([17], np.int32),
                          head_dim_v=16, mode=mode, numerics=Numerics(kv_block=kv_block))
    assert np.all(out == 0.5) and lse.item() == 4.0  # q·k / 4


@pytest.mark.parametrize("mode", MODES)
def test_sinks_against_the_oracle(mode):
    q, cache, table, lengths = paged_case(8, lengths=[70, 0, 1], tokens=2, heads=4)
    sink, options = np.array([1, np.inf, -np.inf, 5], np.float32), {"head_dim_v": 48, "causal": True}
    plain, lse = mla_decode(q, cache, table, lengths, mode=mode, **options)
    out, same = mla_decode(q, cache, table, lengths, mode=mode, attn_sink=sink, **options)
    wanted, _ = mla_reference(q, cache, table, lengths, attn_sink=sink, **options)
    assert np.array_equal(same, lse)
    assert not out[:, :, 1].astype(bool).any()
    assert np.array_equal(out[:, :, 2].view(np.uint16), plain[:, :, 2].view(np.uint16))
    error = np.abs(out.astype(float) - wanted)
    assert np.all((error <= 8e-4) | (error <= 2.01 / 128 * np.abs(wanted)))


def test_page_size_and_placement_change_no_bit():
    rng = np.random.default_rng(8)
    q, kv = values_like_flashmla(rng, (1, 1, 4, 32)), values_like_flashmla(rng, (96, 32))
    results = []
    for page in (1, 8, 32, 96):
        order = rng.permutation(96 // page)
        cache = np.empty((96 // page, page, 32), BF16)
        cache[order] = kv.reshape(-1, page, 32)
        out, lse = mla_decode(
            q, cache, order.astype(np.int32)[None], np.array([96], np.int32), head_dim_v=32,
            numerics=Numerics(kv_block=32),
        )
        results.append((out.view(np.uint16).tolist(), lse.tolist()))
    assert all(result == results[0] for result in results)


def test_float32_output_is_the_one_before_the_last_rounding():
    arguments = paged_case(2, lengths=[50])
    wide, lse = mla_decode(*arguments, head_dim_v=64, out_dtype=np.float32)
    narrow, same_lse = mla_decode(*arguments, head_dim_v=64, out_dtype=BF16)
    assert wide.dtype == np.float32
    assert np.array_equal(wide.astype(BF16).view(np.uint16), narrow.view(np.uint16))
    assert np.any(wide != narrow.astype(np.float32)) and np.array_equal(lse, same_lse)


def test_default_scale_is_the_root_of_d():
    arguments = paged_case(4, lengths=[50], d=64)
    _, default = mla_decode(*arguments, head_dim_v=8)
    _, explicit = mla_decode(*arguments, head_dim_v=8, softmax_scale=0.125)
    assert np.array_equal(default, explicit)


def test_an_empty_batch_is_fine():
    out, lse = mla_decode(
        np.zeros((0, 1, 2, 16), BF16), np.zeros((1, 4, 1, 16), BF16), np.zeros((0, 1), np.int32),
        np.zeros(0, np.int32), head_dim_v=16,
    )
    assert out.shape == (0, 1, 2, 16) and lse.shape == (0, 2, 1)


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"mode": "div"}, ValueError, "mode must be one of amla, mul, pow2, paper, log, flashmla, not 'div'"),
    ({"out_dtype": np.float16}, ValueError, "out_dtype must be None, bfloat16 or float32, not "),
    ({"out_dtype": "words"}, TypeError, "out_dtype must be None, bfloat16 or float32, not 'words'"),
    ({"numerics": None}, TypeError, "numerics must be a Numerics, not None"),
    ({"numerics": Numerics(k=32)}, ValueError, "head dimension d must be a multiple of k = 32, not 48"),
    ({"head_dim_v": 49}, ValueError, "head_dim_v must be from 1 to d = 48, not 49"),
    ({"head_dim_v": None}, TypeError, "head_dim_v must be an int, not None"),
    ({"softmax_scale": -0.1}, ValueError, "softmax_scale must be positive .*, not -0.1"),
    ({"softmax_scale": "1"}, TypeError, "softmax_scale must be a real number, not '1'"),
    ({"attn_sink": np.zeros(4)}, TypeError, "attn_sink must be an array of float32, not of float64"),
    ({"attn_sink": np.zeros(3, np.float32)}, ValueError, r"attn_sink must have shape \[4\], .*, not \(3,\)"),
])
def test_rejects_options(options, error, message):
    with pytest.raises(error, match=f"^{message}"):
        mla_decode(*paged_case(0, lengths=[3], d=48), **{"head_dim_v": 48, **options})


def test_rejects_words_in_place_of_bfloat16():
    q, cache, table, lengths = paged_case(0, lengths=[3])
    with pytest.raises(TypeError, match="q must be an array of bfloat16 or float16, not of uint16"):
        mla_decode(q.view(np.uint16), cache, table, lengths, head_dim_v=8)
    with pytest.raises(TypeError, match="kv_cache must be an array of bfloat16, not of uint16"):
        mla_decode(q, cache.view(np.uint16), table, lengths, head_dim_v=8)


def test_the_package_loads_the_compiler_on_first_use_only():
    code = (
        "import sys, amla.model; assert 'numba' not in sys.modules; "
        "amla.model.mla_decode; assert 'numba' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_knows_its_names_only():
    import amla.model

    assert all(hasattr(amla.model, name) for name in amla.model.__all__)
    with pytest.raises(AttributeError, match=r"module 'amla\.model' has no attribute 'flash'"):
        amla.model.flash  # noqa: B018


def sparse_case(d, *, heads=3):
    """Arguments of sparse attention: two requests of two query tokens, lists with -1 among them, a second cache."""
    rng = np.random.default_rng(d)
    cache, extra = (values_like_flashmla(rng, (blocks, page, 1, d)) for blocks, page in ((5, 16), (9, 2)))
    indices, more = (rng.integers(-1, slots, (2, 2, count)).astype(np.int32) for slots, count in ((80, 150), (18, 9)))
    return {"q": values_like_flashmla(rng, (2, 2, heads, d)), "kv_cache": cache, "indices": indices,
            "topk_length": np.array([150, 7], np.int32), "extra_k_cache": extra, "extra_indices_in_kvcache": more,
            "attn_sink": np.linspace(-1, 6, heads, dtype=np.float32)}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("d", [64, 576, 512], ids=["bf16", "fp8-656", "fp8-584"])
def test_lists_have_the_bits_of_flashmlas_call(d, mode):
    arguments, fp8 = sparse_case(d), d != 64
    if fp8:
        for name in ("kv_cache", "extra_k_cache"):
            cache = arguments[name]
            arguments[name] = quantize_fp8(cache) if d == 576 else quantize_fp8_pages(cache[:, :, 0])[:, :, None]
    out, lse = mla_decode(**arguments, head_dim_v=48, mode=mode)
    call = {**arguments, "k_cache": arguments["kv_cache"]}
    del call["kv_cache"]
    wanted, wanted_lse = flash_mla_with_kvcache(
        **call, block_table=None, cache_seqlens=None, head_dim_v=48, tile_scheduler_metadata=None, mode=mode,
        is_fp8_kvcache=fp8)
    assert np.array_equal(out.view(np.uint16), wanted.view(np.uint16)) and np.array_equal(lse, wanted_lse)
    wide, _ = mla_decode(**arguments, head_dim_v=48, mode=mode, out_dtype=np.float32)
    assert np.array_equal(wide.astype(BF16).view(np.uint16), out.view(np.uint16))
    reference = mla_reference(**arguments, head_dim_v=48)
    assert error_metrics(wide, lse, *reference)["relative_frobenius"] < (0.01 if mode == "paper" else 3e-3)


def test_a_listed_key_that_is_nan_stays_with_its_query_token():
    arguments = sparse_case(64)
    clean = mla_decode(**arguments, head_dim_v=48)[0]
    arguments["kv_cache"][2, 5], arguments["indices"][arguments["indices"] == 37] = np.nan, -1
    arguments["indices"][1, 0, :7] = [37, *range(6)]
    out, lse = mla_decode(**arguments, head_dim_v=48)
    assert np.isnan(out[1, 0].astype(float)).all() and np.isnan(lse[1, :, 0]).all()
    assert np.isfinite(out[0].astype(float)).all() and np.array_equal(out[1, 1].view(np.uint16),
                                                                      clean[1, 1].view(np.uint16))


def test_lists_are_not_for_the_gpus_mode():
    with pytest.raises(ValueError, match="indices"):
        mla_decode(**sparse_case(576), mode="flashmla")


@pytest.mark.parametrize("causal", [False, True])
def test_cuts_are_splits_of_flash_mla(causal):
    """Cut at the same keys, both calls have the same bits, whatever the batch; a short request is unsplit."""
    arguments = paged_case(5, lengths=[300, 0, 64, 129], tokens=2, page=64)
    sink = np.linspace(-3, 3, 4, dtype=np.float32)
    options = {"head_dim_v": 48, "causal": causal, "attn_sink": sink, "numerics": Numerics(kv_block=32)}
    out, lse = mla_decode(*arguments, cuts=(64, 128, 192, 256), **options)
    metadata = get_mla_metadata(arguments[3], keys_per_split=64)
    wanted, wanted_lse = flash_mla_with_kvcache(
        *arguments, options.pop("head_dim_v"), *metadata, causal=causal, attn_sink=sink,
        numerics=options["numerics"])
    assert (out.view(np.uint16) == wanted.view(np.uint16)).all() and (lse == wanted_lse).all()
    whole, _ = mla_decode(*arguments, head_dim_v=48, **options)
    same = (out.view(np.uint16) == whole.view(np.uint16)).reshape(4, -1).all(axis=1)
    assert same.tolist() == [False, True, True, False]


@pytest.mark.parametrize(("cuts", "options", "error", "message"), [
    ((64, 64), {}, ValueError, "cuts must be positive and rise"), ((0,), {}, ValueError, "cuts must be positive"),
    ((1.5,), {}, TypeError, "cuts must be an int"),
])
def test_cuts_that_are_refused(cuts, options, error, message):
    with pytest.raises(error, match=f"^{message}"):
        mla_decode(*paged_case(1, lengths=[70]), head_dim_v=48, cuts=cuts, **options)
