"""FlashMLA's decode call against float64, within the tolerances of FlashMLA's own tests."""

import ml_dtypes
import numpy as np
import pytest
from amla.model import Numerics, flash_mla_with_kvcache, get_mla_metadata

BF16 = ml_dtypes.bfloat16
KINDS = ("dense", "dense causal", "heads", "sink", "fp8", "sparse", "sparse length", "sparse extra")


def run_case(cases, seed, *, size):
    """The call of a seed and its float64 reference: (out, lse), (ref_out, ref_lse)."""
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    wide = kind == "fp8" or seed // len(KINDS) % 2 == 0
    d, head_dim_v = ((512 if seed // 16 % 2 else 576), 512) if wide else [(64, 48), (128, 128), (192, 128)][seed % 3]
    batch, tokens = int(rng.integers(1, 2 + 2 * size)), int(rng.integers(1, 5))
    shared, kv_heads = int(rng.choice([1, 2, 5, 8, 16])), 1
    page = int(rng.choice([16, 64, 128]))
    keys_per_split = int(rng.choice([64, 128, 320, 2048]))
    fp8 = kind == "fp8" or (wide and kind.startswith("sparse") and seed % 3 != 0)
    options, sink = {"is_fp8_kvcache": fp8, "mode": ("amla", "mul")[seed // 3 % 2]}, None
    options["numerics"] = Numerics(kv_block=int(rng.choice([64, 128, 512])))
    if seed % 5 == 0:
        options["softmax_scale"] = 192**-0.5
    scale = options.get("softmax_scale", d**-0.5)
    if kind == "heads":
        kv_heads = int(rng.integers(2, 4))
    heads = shared * kv_heads
    if kind == "sink" or (kind.startswith("sparse") and seed % 2):
        sink = rng.normal(size=heads).astype(np.float32) * 4
        sink[0], sink[-1] = (np.inf, -np.inf) if seed % 4 == 1 else (sink[0], sink[-1])
        options["attn_sink"] = sink

    ref_out, ref_lse = np.zeros((batch, tokens, heads, head_dim_v)), np.zeros((batch, heads, tokens))
    if kind.startswith("sparse"):
        topk = int(rng.integers(1, 300 * size))
        cache, indices, counts, keys = cases.sparse_scope(
            rng, batch=batch, tokens=tokens, topk=topk, page=page, d=d, fp8=fp8, ragged=kind == "sparse length")
        options.update(indices=indices, topk_length=counts)
        if kind == "sparse extra":
            extra_topk = int(rng.integers(1, 100))
            extra, extra_indices, counts, more = cases.sparse_scope(
                rng, batch=batch, tokens=tokens, topk=extra_topk, page=32, d=d, fp8=fp8, ragged=bool(seed & 8))
            options.update(extra_k_cache=extra, extra_indices_in_kvcache=extra_indices, extra_topk_length=counts)
            keys = [[np.concatenate(pair) for pair in zip(*both, strict=True)]
                    for both in zip(keys, more, strict=True)]
            topk += extra_topk
        q, table, lengths = cases.values(rng, (batch, tokens, heads, d)), None, None
        plan = get_mla_metadata(np.zeros(batch, np.int32), topk=topk, keys_per_split=keys_per_split)
    else:
        options["causal"] = kind == "dense causal" or bool(seed & 16)
        lengths = rng.integers(1, 450 * size, batch)
        lengths[rng.random(batch) < 0.25] = 0
        # Just past a split: the early tokens of a causal request see no key of its last one.
        edges = rng.choice([1, 2, 3, 63, 64, 65, 66, 129, 321], batch)
        lengths = np.where(rng.random(batch) < 0.3, edges, lengths)
        q, cache, table, lengths, keys = cases.dense_case(
            rng, lengths=lengths.tolist(), tokens=tokens, shared=shared, kv_heads=kv_heads, page=page, d=d, fp8=fp8)
        plan = get_mla_metadata(lengths, tokens * shared, kv_heads, keys_per_split=keys_per_split)
    for request in range(batch):
        for token in range(tokens):
            for head in range(kv_heads):
                if kind.startswith("sparse"):
                    visible = keys[request][token]
                else:
                    hidden = (tokens - 1 - token) * options["causal"]
                    visible = keys[request][: max(len(keys[request]) - hidden, 0), head]
                chosen = slice(head * shared, (head + 1) * shared)
                ref_out[request, token, chosen], ref_lse[request, chosen, token] = cases.attention(
                    q[request, token, chosen], cases.seen_as(visible, fp8), scale, head_dim_v,
                    None if sink is None else sink[chosen])
    return flash_mla_with_kvcache(q, cache, table, lengths, head_dim_v, *plan, **options), (ref_out, ref_lse)


#: By default 8 draws of each kind; nightly 64 others of each, up to three times as large.
SEEDS = [pytest.param(seed, 1, id=f"{seed}-{KINDS[seed % 8]}") for seed in range(64)]
SEEDS += [
    pytest.param(seed, 1 + seed // 8 % 3, id=f"{seed}-{KINDS[seed % 8]}", marks=pytest.mark.nightly)
    for seed in range(64, 64 + 512)
]


def check(result, reference, record_property):
    """FlashMLA's tolerances; records the largest errors, and that of `out` in tolerances."""
    (out, lse), (ref_out, ref_lse) = result, reference
    assert out.dtype == BF16 and out.shape == ref_out.shape
    assert lse.dtype == np.float32 and lse.shape == ref_lse.shape
    wide = out.astype(np.float64)
    error = np.abs(wide - ref_out)
    share = error / np.maximum(8e-4, 2.01 / 128 * np.abs(ref_out))
    power = (wide * wide + ref_out * ref_out).sum()
    cosine_difference = 1 - 2 * (wide * ref_out).sum() / power if power else 0.0
    empty = np.isposinf(ref_lse)
    assert np.array_equal(np.isposinf(lse), empty)
    lse_error = np.abs(lse[~empty] - ref_lse[~empty])
    lse_share = lse_error / np.maximum(1e-6, 8.01 / 65536 * np.abs(ref_lse[~empty]))
    record_property("max_abs", float(error.max()))
    record_property("cosine_difference", float(cosine_difference))
    record_property("lse_max_abs", float(lse_error.max(initial=0)))
    for name, value in (("out", share.max()), ("cosine", cosine_difference / 5e-6), ("lse", lse_share.max(initial=0))):
        record_property(f"{name}_share_of_tolerance", float(value))
        assert value <= 1, name
    assert not out.view(np.uint16)[empty.transpose(0, 2, 1)].any()


@pytest.mark.parametrize(("seed", "size"), SEEDS)
def test_within_flashmlas_tolerance(cases, seed, size, record_property):
    check(*run_case(cases, seed, size=size), record_property)


def fp8_sparse_case(cases, seed, *, topks, extra_topks):
    """One of FlashMLA's production shapes: FP8 caches and lists of both kinds, sinks; result and float64 reference."""
    rng = np.random.default_rng([seed, 8])
    d, heads, tokens = (576, 512)[seed % 2], (64, 128)[seed // 2 % 2], 1 + seed // 4 % 3
    topk, extra_topk = int(rng.choice(topks)), int(rng.choice(extra_topks))
    batch = 1 + int(heads * tokens * (topk + extra_topk) < 200_000)
    shape = {"batch": batch, "tokens": tokens, "d": d, "fp8": True}
    cache, indices, counts, keys = cases.sparse_scope(
        rng, topk=topk, page=int(rng.choice([64, 256])), ragged=rng.random() < 0.5, **shape)
    options = {"indices": indices, "topk_length": counts}
    if extra_topk:
        extra, more, counts, others = cases.sparse_scope(
            rng, topk=extra_topk, page=int(rng.choice([64, 2])), ragged=rng.random() < 0.5, **shape)
        options |= {"extra_k_cache": extra, "extra_indices_in_kvcache": more, "extra_topk_length": counts}
        keys = [[np.concatenate(pair) for pair in zip(*both, strict=True)] for both in zip(keys, others, strict=True)]
    sink = None
    if seed % 3:
        sink = rng.normal(size=heads).astype(np.float32) * 4
        sink[rng.integers(heads, size=4)] = [np.inf, -np.inf] * 2
    q = cases.values(rng, (batch, tokens, heads, d))
    plan = get_mla_metadata(np.zeros(batch, np.int32), topk=topk + extra_topk,
                            keys_per_split=int(rng.choice([64, 512, 2048])))
    result = flash_mla_with_kvcache(q, cache, None, None, 512, *plan, is_fp8_kvcache=True, attn_sink=sink,
                                    mode=("amla", "amla", "mul", "pow2")[seed // 3 % 4], **options)
    ref_out, ref_lse = np.zeros((batch, tokens, heads, 512)), np.zeros((batch, heads, tokens))
    for request, token in np.ndindex(batch, tokens):
        ref_out[request, token], ref_lse[request, :, token] = cases.attention(
            q[request, token], cases.seen_as(keys[request][token], True), d**-0.5, 512, sink)
    return result, (ref_out, ref_lse)


@pytest.mark.parametrize("seed", range(24))
def test_fp8_lists_within_flashmlas_tolerance(cases, seed, record_property):
    check(*fp8_sparse_case(cases, seed, topks=[64, 128, 512], extra_topks=[0, 64, 128]), record_property)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1000, 1320))
def test_fp8_lists_of_production_shapes(cases, seed, record_property):
    check(*fp8_sparse_case(cases, seed, topks=[64, 128, 512, 1024, 2048], extra_topks=[0, 0, 64, 512, 1024]),
          record_property)
