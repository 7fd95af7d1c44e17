"""Mode `flashmla` against FlashMLA's recorded outputs, bit by bit, and what no recording shows."""

import numpy as np
import pytest
from amla.model import flash_mla_with_kvcache, get_mla_metadata, mla_decode, mla_reference
from amla.model.hopper import flash_mla
from amla.model.hopper.recorded import CASES, load
from ml_dtypes import bfloat16, float8_e4m3fn

DATA = {case: load(case) for case in CASES}


def recorded(case, name):
    return DATA[case][name]


def arguments(case):
    return (recorded(case, "q").view(bfloat16), recorded(case, "pages").view(bfloat16)[:, :, None],
            recorded(case, "table"), recorded(case, "lens"))


def same(case, prefix, out, lse):
    np.testing.assert_array_equal(out.view(np.uint16), recorded(case, f"{prefix}out"))
    np.testing.assert_array_equal(lse.transpose(0, 2, 1), recorded(case, f"{prefix}lse"))


@pytest.mark.parametrize("case", CASES)
def test_every_recorded_word_without_split(case):
    out, lse = mla_decode(*arguments(case), causal=case == "causal", mode="flashmla")
    same(case, "nosplit_", out, lse)
    exact, _ = mla_decode(*arguments(case), causal=case == "causal", mode="flashmla", out_dtype=np.float32)
    np.testing.assert_array_equal(exact.astype(bfloat16).view(np.uint16), out.view(np.uint16))
    assert (exact != out.astype(np.float32)).any()


@pytest.mark.parametrize("metadata", ["recorded", "older", "planned", "object"])
@pytest.mark.parametrize("case", CASES)
def test_every_recorded_word_with_split(case, metadata):
    table, counts = recorded(case, "sched_meta"), recorded(case, "num_splits")
    plan = {
        "recorded": (table, counts), "older": (table[:, [0, 2, 1, 3, 4, 5, 6, 7]], counts),
        "planned": get_mla_metadata(recorded(case, "lens"), sm_parts=132), "object": get_mla_metadata(sm_parts=132),
    }[metadata]
    out, lse = flash_mla_with_kvcache(*arguments(case), 512, *plan, None, case == "causal", mode="flashmla")
    same(case, "", out, lse)


def test_the_recordings_tell_splits_apart():
    unsplit, _ = flash_mla_with_kvcache(*arguments("ragged"), 512, *get_mla_metadata(), mode="flashmla")
    np.testing.assert_array_equal(unsplit.view(np.uint16), recorded("ragged", "nosplit_out"))
    assert (unsplit.view(np.uint16) != recorded("ragged", "out")).any()


def _other_order():
    """A step's second block takes the key's columns as they stand."""
    return "_SECOND", np.arange(576)


def _exact_division():
    """The last row sum's reciprocal, or a quotient, correctly rounded."""
    finish = flash_mla._finish

    def divide(out, m, sums, split, lse):
        total = [(part[:, 0] + part[:, 1]) + (part[:, 2] + part[:, 3]) for part in sums]
        total = total[0] + total[1]
        exact = out / np.where(total == 0, np.float32(1), total)[:, None]
        finish(out, m, sums, split, lse)
        out[:] = exact

    return "_finish", divide


def _sums_of_rounded_p():
    """Row sums of what the tensor core multiplies."""
    add_sums = flash_mla._add_sums
    return "_add_sums", lambda sums, factor, p: add_sums(sums, factor, p.astype(bfloat16).astype(np.float32))


@pytest.mark.parametrize("change", [_other_order, _exact_division, _sums_of_rounded_p])
def test_other_arithmetic_is_noticed(change, monkeypatch):
    monkeypatch.setattr(flash_mla, *change())
    different = 0
    for case in CASES:
        for prefix, plan in (("nosplit_", get_mla_metadata()), ("", get_mla_metadata(sm_parts=132))):
            out, lse = flash_mla_with_kvcache(*arguments(case), 512, *plan, None, case == "causal", mode="flashmla")
            different += (out.view(np.uint16) != recorded(case, f"{prefix}out")).sum()
            different += (lse.transpose(0, 2, 1) != recorded(case, f"{prefix}lse")).sum()
    assert different


def problem(rng, lengths, tokens, heads, sigma, kv_heads=1):
    """A paged batch whose unused memory is NaN."""
    pages = [-(-length // 64) for length in lengths]
    table = np.full((len(lengths), max(max(pages), 1) + 1), -7, np.int32)
    order = rng.permutation(sum(pages) + 2)
    cache = np.full((len(order), 64, kv_heads, 576), np.nan, bfloat16)
    for request, (length, count) in enumerate(zip(lengths, pages, strict=True)):
        table[request, :count], order = order[:count], order[count:]
        for page in range(count):
            used = min(length - 64 * page, 64)
            cache[table[request, page], :used] = (sigma * rng.standard_normal((used, kv_heads, 576))).astype(bfloat16)
    q = rng.standard_normal((len(lengths), tokens, heads, 576)).astype(bfloat16)
    return q, cache, table, np.array(lengths, np.int32)


@pytest.mark.parametrize(("tokens", "heads", "causal", "sigma"), [
    (1, 3, False, 1), (2, 16, True, 4), (5, 30, True, 1), (3, 64, True, 0.1), (1, 128, False, 4), (70, 1, True, 1),
])
def test_close_to_the_exact_result(tokens, heads, causal, sigma, seed):
    """Shapes that no recording has; early rows that see no key; poisoned memory."""
    rng = np.random.default_rng([seed, tokens, heads])
    call = problem(rng, [0, 1, 66, 190, 333], tokens, heads, sigma)
    wanted, wanted_lse = mla_reference(*call, causal=causal)
    for sm_parts in (None, 1, 7):
        if sm_parts is None:
            out, lse = mla_decode(*call, causal=causal, mode="flashmla")
        else:
            plan = get_mla_metadata(call[3], sm_parts=sm_parts)
            out, lse = flash_mla_with_kvcache(*call, 512, *plan, None, causal, mode="flashmla")
        assert np.isfinite(out.astype(np.float32)).all()
        np.testing.assert_array_equal(np.isposinf(lse), np.isposinf(wanted_lse))
        seen = np.isfinite(wanted_lse)
        assert np.abs(lse[seen] - wanted_lse[seen]).max() < 1e-5 * max(np.abs(wanted_lse[seen]).max(), 1)
        error = np.linalg.norm(out.astype(float) - wanted) / np.linalg.norm(wanted)
        assert error < 4e-3
        assert not out.transpose(0, 2, 1, 3)[~seen].astype(np.float32).any()


def test_a_row_block_decides_which_blocks_are_computed():
    """70 tokens of one head: of the first 64 rows none sees the last block, so that its step has one block only."""
    rng = np.random.default_rng(5)
    q, cache, table, lengths = problem(rng, [64 * 4], 70, 1, 1)
    out, _ = mla_decode(q, cache, table, lengths, causal=True, mode="flashmla")
    short, _ = mla_decode(q[:, :64], cache, table, lengths - 6, causal=True, mode="flashmla")
    np.testing.assert_array_equal(out[:, :64].view(np.uint16), short.view(np.uint16))


def test_kv_heads_are_computed_apart():
    rng = np.random.default_rng(6)
    q, cache, table, lengths = problem(rng, [100, 70], 2, 6, 1, kv_heads=2)
    out, lse = flash_mla_with_kvcache(q, cache, table, lengths, 512, *get_mla_metadata(), None, True, mode="flashmla")
    for head in range(2):
        part = slice(3 * head, 3 * head + 3)
        one, one_lse = mla_decode(q[:, :, part], cache[:, :, head], table, lengths, causal=True, mode="flashmla")
        np.testing.assert_array_equal(out[:, :, part].view(np.uint16), one.view(np.uint16))
        np.testing.assert_array_equal(lse[:, part], one_lse)


def test_an_empty_split_changes_nothing():
    """A plan for more keys: what lies behind a request's last key is a split without keys."""
    rng = np.random.default_rng(7)
    call = problem(rng, [100], 1, 4, 1)
    table = np.array([[0, 0, 0, 1, 0, 1, 1, 0], [0, 0, 1, 2, 1, 1, 1, 0], [0, 0, 2, 3, 2, 1, 1, 0]], np.int32)
    longer = flash_mla_with_kvcache(*call, 512, table, mode="flashmla")
    exact = flash_mla_with_kvcache(*call, 512, table[:2], mode="flashmla")
    for got, wanted in zip(longer, exact, strict=True):
        np.testing.assert_array_equal(got.view(np.uint8), wanted.view(np.uint8))


def test_scale():
    rng = np.random.default_rng(8)
    call = problem(rng, [130], 1, 4, 1)
    _, lse = mla_decode(*call, softmax_scale=0.25, mode="flashmla")
    _, wanted = mla_reference(*call, softmax_scale=0.25)
    np.testing.assert_allclose(lse, wanted, rtol=1e-6)
    assert flash_mla.scale_of(576**-0.5).view(np.uint32) == 0x3D76384F


def test_rejects():
    rng = np.random.default_rng(9)
    q, cache, table, lengths = problem(rng, [60], 1, 2, 1)
    rule = "mode flashmla must have bfloat16 of 576/512 columns, pages of 64 and nothing beyond dense attention, not "
    fp8 = np.zeros((len(cache), 64, 1, 656), float8_e4m3fn)
    for change, options, found in (
        ({"q": q[..., :512], "kv_cache": cache[..., :512]}, {}, "bfloat16 of 512/512 columns, pages of 64"),
        ({}, {"head_dim_v": 256}, "bfloat16 of 576/256 columns, pages of 64"),
        ({"q": q.astype(np.float16), "kv_cache": cache.astype(np.float16)}, {}, "float16 of 576/512 columns"),
        ({"kv_cache": cache.reshape(-1, 32, 1, 576)}, {}, "bfloat16 of 576/512 columns, pages of 32"),
        ({"kv_cache": fp8}, {}, "bfloat16 of 576/512 columns, pages of 64, an FP8 cache"),
    ):
        call = {"q": q, "kv_cache": cache, "block_table": table, "cache_seqlens": lengths, **change}
        call["block_table"] = np.zeros((1, 4), np.int32)
        with pytest.raises(ValueError, match=rule + found):
            mla_decode(**call, mode="flashmla", **options)
    for options, found in (
        ({"indices": np.zeros((1, 1, 4), np.int32)}, "indices"), ({"attn_sink": np.zeros(2, np.float32)}, "attn_sink"),
    ):
        with pytest.raises(ValueError, match=f"{rule}bfloat16 of 576/512 columns, pages of 64, {found}"):
            flash_mla_with_kvcache(q, cache, table, lengths, 512, None, mode="flashmla", **options)
    with pytest.raises(ValueError, match=f"{rule}bfloat16 of 576/512 columns, pages of 64, attn_sink"):
        mla_decode(q, cache, table, lengths, mode="flashmla", attn_sink=np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="mode must be one of amla, mul, pow2, paper, log, flashmla, not 'gpu'"):
        mla_decode(q, cache, table, lengths, mode="gpu")
    with pytest.raises(ValueError, match="softmax_scale must be positive"):
        mla_decode(q, cache, table, lengths, mode="flashmla", softmax_scale=-1)


@pytest.mark.nightly
def test_a_large_call():
    """128 heads and 4,096 keys, unsplit and in FlashMLA's cuts of 66 partitions."""
    rng = np.random.default_rng(10)
    call = problem(rng, [4096], 1, 128, 1)
    wanted, wanted_lse = mla_reference(*call)
    plan = get_mla_metadata(call[3], sm_parts=66)
    for out, lse in (mla_decode(*call, mode="flashmla"), flash_mla_with_kvcache(*call, 512, *plan, mode="flashmla")):
        assert np.linalg.norm(out.astype(float) - wanted) / np.linalg.norm(wanted) < 4e-3
        np.testing.assert_allclose(lse, wanted_lse, rtol=1e-5)
