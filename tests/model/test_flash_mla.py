"""FlashMLA's decode call: splits and metadata, batch invariance, what NaN, infinities and sinks do."""

import ml_dtypes
import numpy as np
import pytest
from amla.model import MODES, FlashMLASchedMeta, Numerics, flash_mla_with_kvcache, get_mla_metadata, mla_decode
from amla.model.attention.split_kv import merge_splits
from amla.model.fp.convert import to_bf16

BF16 = ml_dtypes.bfloat16
INDICES = np.zeros((2, 2, 8), np.int32)


@pytest.mark.parametrize("mode", ["amla", "mul"])
def test_one_split_has_the_bits_of_mla_decode(cases, mode):
    *arguments, _ = cases.small_case([70, 0, 200])
    plan = get_mla_metadata(arguments[3])
    assert plan[1].tolist() == [0, 1, 2, 3]
    for sink in (None, np.array([1, 4, -np.inf], np.float32)):
        result = flash_mla_with_kvcache(*arguments, 48, *plan, causal=True, mode=mode, attn_sink=sink)
        wanted = mla_decode(*arguments, head_dim_v=48, causal=True, mode=mode, attn_sink=sink)
        assert cases.bits(result) == cases.bits(wanted)


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_a_request_does_not_depend_on_its_batch(cases, kv_heads):
    q, cache, table, lengths, _ = cases.small_case([270, 0, 33, 129, 64], kv_heads=kv_heads)
    out, lse = flash_mla_with_kvcache(
        q, cache, table, lengths, 48, *get_mla_metadata(lengths, keys_per_split=64), causal=True)
    for order in ([4, 3, 2, 1, 0], [2], [0], [1, 3, 1]):
        plan = get_mla_metadata(lengths[order], keys_per_split=64)
        some = flash_mla_with_kvcache(q[order], cache, table[order], lengths[order], 48, *plan, causal=True)
        assert cases.bits(some) == cases.bits((out[order], lse[order]))


def test_the_call_plans_the_same_splits(cases):
    *arguments, _ = cases.small_case([2500, 7], tokens=1)
    planned = flash_mla_with_kvcache(*arguments, 48, *get_mla_metadata(arguments[3]))
    assert cases.bits(flash_mla_with_kvcache(*arguments, 48, *get_mla_metadata())) == cases.bits(planned)
    unsplit = mla_decode(*arguments, head_dim_v=48)
    assert cases.bits(planned)[0] != cases.bits(unsplit)[0]  # the splits do reach the arithmetic


def test_flashmlas_own_metadata_is_followed(cases):
    """Three partitions over two requests, cut where the first partition is full."""
    *arguments, _ = cases.small_case([300, 100], tokens=1)
    metadata = np.array([[0, 0, 0, 3, 0, 0, 0, 0], [0, 3, 1, 1, 1, 0, 0, 0], [1, 1, 1, 2, 1, 0, 0, 0],
                         [2, 0, 0, 0, 0, 0, 0, 0]], np.int32)
    out, lse = flash_mla_with_kvcache(*arguments, 48, metadata, np.array([0, 2, 4], np.int32))
    for request, cut in ((0, 192), (1, 64)):
        q, cache, table, lengths = (argument if argument is arguments[1] else argument[[request]]
                                    for argument in arguments)
        length = int(lengths[0])
        parts = [
            mla_decode(q, cache, table[:, start // 16 :], np.array([count], np.int32), head_dim_v=48,
                       out_dtype=np.float32)
            for start, count in ((0, cut), (cut, length - cut))
        ]
        words, lse_words = merge_splits(
            np.stack([part.view(np.uint32).reshape(3, 48) for part, _ in parts]),
            np.stack([part_lse.view(np.uint32).reshape(3) for _, part_lse in parts]),
        )
        assert out[request].view(np.uint16).reshape(3, 48).tolist() == to_bf16(words).tolist()
        assert lse[request].view(np.uint32).reshape(3).tolist() == lse_words.tolist()


def test_a_nan_stays_in_its_request(cases):
    q, cache, table, lengths, _ = cases.small_case([100, 90])
    clean = flash_mla_with_kvcache(q, cache, table, lengths, 48, *get_mla_metadata(lengths, keys_per_split=64))
    cache[table[0, 5], 3, 0, 7] = np.nan
    out, lse = flash_mla_with_kvcache(q, cache, table, lengths, 48, *get_mla_metadata(lengths, keys_per_split=64))
    assert np.isnan(out[0].astype(float)).all() and np.isnan(lse[0]).all()
    assert cases.bits((out[1:], lse[1:])) == cases.bits((clean[0][1:], clean[1][1:]))


@pytest.mark.parametrize("mode", MODES)
def test_keys_of_score_minus_infinity_have_no_weight(cases, mode):
    """Two splits of them before the others change no bit, with and without sink; with no other key a row sees none."""
    q, cache, table, lengths, _ = cases.small_case([200, 129, 128])
    cache[table[:, :8], :, 0, 63], q[..., 63] = -np.inf, 2.0  # a column of K alone
    for sink in (None, np.array([-np.inf, 0, 1], np.float32)):
        (out, lse), wanted = (
            flash_mla_with_kvcache(q, cache, *keys, 48, *get_mla_metadata(keys[1], keys_per_split=64), causal=True,
                                   mode=mode, attn_sink=sink, numerics=Numerics(kv_block=32))
            for keys in ((table, lengths), (np.ascontiguousarray(table[:, 8:]), lengths - 128)))
        assert cases.bits((out, lse)) == cases.bits(wanted)
        assert np.isposinf(lse[:, 0]).tolist() == [[False, False], [True, False], [True, True]]
        assert not out[2].astype(bool).any() and np.isfinite(out.astype(float)).all()


def test_the_sink_leaves_lse_alone(cases):
    *arguments, _ = cases.small_case([40, 0])
    plain, lse = flash_mla_with_kvcache(*arguments, 48, None)
    sink = np.array([-np.inf, np.inf, 1.0], np.float32)
    out, same_lse = flash_mla_with_kvcache(*arguments, 48, None, attn_sink=sink)
    assert np.array_equal(lse, same_lse)
    assert np.array_equal(out[:, :, 0].view(np.uint16), plain[:, :, 0].view(np.uint16))
    assert not out[:, :, 1].astype(bool).any()
    assert np.all(np.abs(out[0, :, 2].astype(float)) <= np.abs(plain[0, :, 2].astype(float)))
    assert np.any(out[0, :, 2] != plain[0, :, 2])


def test_an_empty_batch_is_fine(cases):
    q, cache, table, lengths, _ = cases.small_case([3])
    plan = get_mla_metadata(lengths[:0])
    out, lse = flash_mla_with_kvcache(q[:0], cache, table[:0], lengths[:0], 16, *plan)
    assert out.shape == (0, 2, 3, 16) and lse.shape == (0, 3, 2)


@pytest.mark.parametrize("kind", ["dense", "causal", "float16", "sparse", "extra"])
def test_calls_of_flashmlas_own_tests(cases, kind):
    """All by position in FlashMLA's order, one FlashMLASchedMeta for repeated calls; requests without keys."""
    rng = np.random.default_rng(4)
    plan, num_splits = get_mla_metadata()
    if kind in ("sparse", "extra"):
        (cache, indices, counts, keys), (extra, more, extra_counts, extra_keys) = (
            cases.sparse_scope(rng, batch=3, tokens=2, topk=70, page=page, d=576, fp8=True, ragged=True)
            for page in (16, 5))
        q, table, lengths, sink = cases.values(rng, (3, 2, 8, 576)), None, None, rng.normal(size=8).astype(np.float32)
        if kind == "sparse":
            extra = more = extra_counts = None
            extra_keys = [[np.zeros((0, 576), BF16)] * 2] * 3
        scale, last = 576**-0.55, (True, indices, sink, extra, more, counts, extra_counts)
    else:
        q, cache, table, lengths, dense = cases.dense_case(
            rng, lengths=[0, 130, 5], tokens=2, shared=8, kv_heads=1, page=64, d=576, fp8=False)
        if kind == "float16":
            q, cache = q.astype(np.float16), cache.astype(np.float16)
        sink, scale, last = None, None, (False,)
    call = (q, cache, table, lengths, 512, plan, num_splits, scale, kind == "causal", *last)
    out, lse = flash_mla_with_kvcache(*call)
    assert plan.have_initialized and plan.tile_scheduler_metadata.dtype == plan.num_splits.dtype == np.int32
    assert cases.bits(flash_mla_with_kvcache(*call)) == cases.bits((out, lse))
    assert out.dtype == q.dtype and out.shape == (3, 2, 8, 512)
    for request in range(3):
        for token in range(2):
            if table is None:
                visible = cases.seen_as(np.concatenate([keys[request][token], extra_keys[request][token]]), True)
            else:
                hidden = (1 - token) * (kind == "causal")
                visible = dense[request][: max(len(dense[request]) - hidden, 0), 0].astype(float)
            wanted, wanted_lse = cases.attention(q[request, token], visible, scale or 576**-0.5, 512, sink)
            assert np.allclose(out[request, token].astype(float), wanted, rtol=2.01 / 128, atol=8e-4)
            assert np.allclose(lse[request, :, token], wanted_lse, rtol=8.01 / 65536, atol=1e-6)


def test_the_first_call_plans_and_later_ones_must_be_alike(cases):
    q, cache, table, lengths, _ = cases.small_case([300, 100])
    plan, _ = get_mla_metadata(keys_per_split=128)
    result = flash_mla_with_kvcache(q, cache, table, lengths, 48, plan)
    assert vars(plan.config) == {
        "b": 2, "s_q": 2, "h_q": 3, "page_block_size": 16, "h_k": 1, "causal": False, "is_fp8_kvcache": False,
        "topk": None, "extra_page_block_size": None, "extra_topk": None}
    assert plan.tile_scheduler_metadata.tolist() == [
        [0, 0, 0, 2, 0, 1, 1, 0], [0, 0, 2, 4, 1, 1, 1, 0], [0, 0, 4, 5, 2, 1, 1, 0], [1, 1, 0, 2, 0, 0, 0, 0]]
    assert plan.num_splits.tolist() == [0, 3, 4]
    tables = plan.tile_scheduler_metadata, plan.num_splits
    assert cases.bits(flash_mla_with_kvcache(q, cache, table, lengths, 48, *tables)) == cases.bits(result)
    shorter = np.array([4, 0], np.int32)  # fewer keys are covered, even where their number is one of blocks
    assert cases.bits(flash_mla_with_kvcache(q, cache, table, shorter, 48, plan)) == cases.bits(
        flash_mla_with_kvcache(q, cache, table, shorter, 48, None))
    for arguments, options, message in (
        ((q[:, :1], cache, table, lengths), {}, "s_q must be 2, as when tile_scheduler_metadata was planned, not 1"),
        ((q[:, :, :2], cache, table, lengths), {}, "h_q must be 3, .*, not 2"),
        ((q[:1], cache, table[:1], lengths[:1]), {}, "b must be 2, .*, not 1"),
        ((q, cache, table, lengths), {"causal": True}, "causal must be False, .*, not True"),
        ((q, cache.reshape(-1, 8, 1, 64), np.repeat(table, 2, 1) * 0, lengths), {},
         "page_block_size must be 16, .*, not 8"),
        ((q, cache, None, None), {"indices": INDICES}, "topk must be None, .*, not 8"),
        ((q, cache, table * 0, np.array([300, 130], np.int32)), {},
         "tile_scheduler_metadata must cover the 3 blocks of request 1, not 2"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            flash_mla_with_kvcache(*arguments, 48, plan, **options)
    assert cases.bits(flash_mla_with_kvcache(q, cache, table, lengths, 48, plan)) == cases.bits(result)


def test_a_refused_call_plans_nothing(cases):
    q, cache, table, lengths, _ = cases.small_case([30])
    plan, _ = get_mla_metadata()
    with pytest.raises(ValueError, match="head_dim_v"):
        flash_mla_with_kvcache(q, cache, table, lengths, 65, plan)
    assert plan == FlashMLASchedMeta()


def test_a_table_in_keys_is_refused_where_there_were_some(cases):
    """FlashMLA counted in keys before it had sparse attention, where a plan for topk may go far past topk_length."""
    *arguments, _ = cases.small_case([100, 64])
    with pytest.raises(ValueError, match=r"^tile_scheduler_metadata must count in blocks of 64 keys, not in keys "):
        flash_mla_with_kvcache(*arguments, 48, np.array([[0, 0, 1, 64, 0, 0, 0, 0]], np.int32))
    q, cache, indices = cases.sparse_arguments()
    options = {"indices": np.repeat(indices, 103, 2)[:, :, :4096], "topk_length": np.array([100, 64], np.int32)}
    got = flash_mla_with_kvcache(q, cache, None, None, 48, np.array([[0, 0, 1, 64, 0, 0, 0, 0]], np.int32), **options)
    assert cases.bits(got) == cases.bits(flash_mla_with_kvcache(q, cache, None, None, 48, None, **options))
