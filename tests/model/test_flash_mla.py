"""FlashMLA's decode call: its tolerances against a float64 oracle, its conventions, batch invariance, its rules."""

from fractions import Fraction
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from amla.model import (
    MODES,
    FlashMLASchedMeta,
    Numerics,
    flash_mla_with_kvcache,
    get_mla_metadata,
    mla_decode,
    mla_reference,
)
from amla.model.attention.split_kv import merge_splits
from amla.model.cache.fp8_cache import dequantize_fp8, quantize_fp8
from amla.model.cache.fp8_pages import dequantize_fp8_pages, quantize_fp8_pages
from amla.model.fp.convert import to_bf16

BF16 = ml_dtypes.bfloat16
POISON_ENTRY = 2147480000
KINDS = ("dense", "dense causal", "heads", "sink", "fp8", "sparse", "sparse length", "sparse extra")


def values(rng, shape):
    """The scale of FlashMLA's own tests: normal / 10, clamped to [-1, 1]."""
    return np.clip(rng.normal(size=shape) / 10, -1, 1).astype(BF16)


def empty_cache(blocks, page, heads, d, fp8):
    """A cache with NaN in every slot (FP8: NaN codes, scales and rotary part)."""
    if fp8:
        return np.full((blocks, page, heads, {576: 656, 512: 584}[d]), 0xFF, np.uint8)
    return np.full((blocks, page, heads, d), np.nan, BF16)


def store(cache, slots, keys, fp8):
    """Put keys [n, h_kv, d] into slots of a cache."""
    page = cache.shape[1]
    if not fp8:
        cache.reshape(-1, *cache.shape[2:])[slots] = keys
    elif keys.shape[2] == 576:
        cache.reshape(-1, *cache.shape[2:])[slots] = quantize_fp8(keys)
    else:
        flat = cache.reshape(len(cache), -1)  # pages: values of all slots, then scales of all slots
        for slot, token in zip(slots, quantize_fp8_pages(keys)[:, 0], strict=True):
            block, offset = divmod(slot, page)
            flat[block, 576 * offset:576 * (offset + 1)] = token[:576]
            flat[block, 576 * page + 8 * offset:576 * page + 8 * (offset + 1)] = token[576:]


def seen_as(keys, fp8):
    """The keys [n, d] the decode step works with: for FP8 the product of value and scale, rounded to BF16."""
    if not fp8:
        return keys.astype(np.float64)
    if keys.shape[-1] == 576:
        tokens, nope = quantize_fp8(keys), 512
        scales = np.ascontiguousarray(tokens[..., 512:528]).view(np.float32).astype(np.float64)
    else:
        tokens, nope = quantize_fp8_pages(keys[:, None])[:, 0], 448
        scales = np.exp2(tokens[..., 576:583].astype(np.float64) - 127)
    values = tokens[..., :nope].view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    values *= np.repeat(scales, nope // scales.shape[-1], axis=-1)
    return np.concatenate([values.astype(BF16).astype(np.float64), keys[..., nope:].astype(np.float64)], axis=-1)


def attention(q, keys, scale, head_dim_v, sink):
    """Float64 softmax attention of q[h, d] over keys[n, d]: out[h, dv] and lse[h]."""
    if not len(keys):
        return np.zeros((len(q), head_dim_v)), np.full(len(q), np.inf)
    scores = scale * (q.astype(np.float64) @ keys.T)
    top = scores.max(axis=1, keepdims=True)
    weights = np.exp(scores - top)
    total = weights.sum(axis=1, keepdims=True)
    lse = (top + np.log(total))[:, 0]
    out = weights / total @ keys[:, :head_dim_v]
    return (out if sink is None else out / (1 + np.exp(sink.astype(np.float64) - lse))[:, None]), lse


def dense_case(rng, *, lengths, tokens, shared, kv_heads, page, d, fp8):
    """q, the cache and table with all that is unused poisoned, and each request's keys [n, h_kv, d]."""
    pages = [-(-length // page) for length in lengths]
    blocks = sum(pages) + 2
    cache = empty_cache(blocks, page, kv_heads, d, fp8)
    table = np.full((len(lengths), max([*pages, 1]) + 1), POISON_ENTRY, np.int32)
    free = iter(rng.permutation(blocks))
    keys = [values(rng, (length, kv_heads, d)) for length in lengths]
    for request in range(len(lengths)):
        for index in range(pages[request]):
            table[request, index] = block = next(free)
            part = keys[request][index * page : (index + 1) * page]
            store(cache, block * page + np.arange(len(part)), part, fp8)
    q = values(rng, (len(lengths), tokens, shared * kv_heads, d))
    return q, cache, table, np.array(lengths, np.int32), keys


def sparse_scope(rng, *, batch, tokens, topk, page, d, fp8, ragged):
    """A cache, indices with -1 among them and poison past the length, the lengths, and the keys of each token."""
    slots = page * (topk // page + 2)
    owned = values(rng, (slots, d))
    used = rng.random(slots) < 0.8
    used[0] = True
    cache = empty_cache(slots // page, page, 1, d, fp8)
    store(cache, np.flatnonzero(used), owned[used, None], fp8)
    indices = rng.choice(np.flatnonzero(used), (batch, tokens, topk)).astype(np.int32)
    indices[rng.random(indices.shape) < 0.2] = -1
    indices[0, 0] = -1
    counts = rng.integers(0, topk + 1, batch).astype(np.int32) if ragged else np.full(batch, topk, np.int32)
    for request in range(batch):
        indices[request, :, counts[request] :] = POISON_ENTRY
    keys = [[owned[row[: counts[request]][row[: counts[request]] >= 0]] for row in indices[request]]
            for request in range(batch)]
    return cache, indices, (counts if ragged else None), keys


def run_case(seed, *, size):
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
        cache, indices, counts, keys = sparse_scope(
            rng, batch=batch, tokens=tokens, topk=topk, page=page, d=d, fp8=fp8, ragged=kind == "sparse length")
        options.update(indices=indices, topk_length=counts)
        if kind == "sparse extra":
            extra_topk = int(rng.integers(1, 100))
            extra, extra_indices, counts, more = sparse_scope(
                rng, batch=batch, tokens=tokens, topk=extra_topk, page=32, d=d, fp8=fp8, ragged=bool(seed & 8))
            options.update(extra_k_cache=extra, extra_indices_in_kvcache=extra_indices, extra_topk_length=counts)
            keys = [[np.concatenate(pair) for pair in zip(*both, strict=True)]
                    for both in zip(keys, more, strict=True)]
            topk += extra_topk
        q, table, lengths = values(rng, (batch, tokens, heads, d)), None, None
        plan = get_mla_metadata(np.zeros(batch, np.int32), topk=topk, keys_per_split=keys_per_split)
    else:
        options["causal"] = kind == "dense causal" or bool(seed & 16)
        lengths = rng.integers(1, 450 * size, batch)
        lengths[rng.random(batch) < 0.25] = 0
        # Just past a split: the early tokens of a causal request see no key of its last one.
        edges = rng.choice([1, 2, 3, 63, 64, 65, 66, 129, 321], batch)
        lengths = np.where(rng.random(batch) < 0.3, edges, lengths)
        q, cache, table, lengths, keys = dense_case(
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
                ref_out[request, token, chosen], ref_lse[request, chosen, token] = attention(
                    q[request, token, chosen], seen_as(visible, fp8), scale, head_dim_v,
                    None if sink is None else sink[chosen])
    return flash_mla_with_kvcache(q, cache, table, lengths, head_dim_v, *plan, **options), (ref_out, ref_lse)


#: By default 8 draws of each kind; nightly 64 others of each, up to three times as large.
SEEDS = [pytest.param(seed, 1, id=f"{seed}-{KINDS[seed % 8]}") for seed in range(64)]
SEEDS += [
    pytest.param(seed, 1 + seed // 8 % 3, id=f"{seed}-{KINDS[seed % 8]}", marks=pytest.mark.nightly)
    for seed in range(64, 64 + 512)
]


@pytest.mark.parametrize(("seed", "size"), SEEDS)
def test_within_flashmlas_tolerance(seed, size, record_property):
    (out, lse), (ref_out, ref_lse) = run_case(seed, size=size)
    assert out.dtype == BF16 and out.shape == ref_out.shape
    assert lse.dtype == np.float32 and lse.shape == ref_lse.shape
    wide = out.astype(np.float64)
    error = np.abs(wide - ref_out)
    assert np.all((error <= 8e-4) | (error <= 2.01 / 128 * np.abs(ref_out)))
    power = (wide * wide + ref_out * ref_out).sum()
    cosine_difference = 1 - 2 * (wide * ref_out).sum() / power if power else 0.0
    assert cosine_difference <= 5e-6
    empty = np.isposinf(ref_lse)
    assert np.array_equal(np.isposinf(lse), empty)
    lse_error = np.abs(lse[~empty] - ref_lse[~empty])
    assert np.all((lse_error <= 1e-6) | (lse_error <= 8.01 / 65536 * np.abs(ref_lse[~empty])))
    assert not out.view(np.uint16)[empty.transpose(0, 2, 1)].any()
    record_property("max_abs", float(error.max()))
    record_property("cosine_difference", float(cosine_difference))
    record_property("lse_max_abs", float(lse_error.max(initial=0)))


def small_case(lengths, *, tokens=2, kv_heads=1, seed=0):
    return dense_case(np.random.default_rng(seed), lengths=lengths, tokens=tokens, shared=3, kv_heads=kv_heads, page=16,
                      d=64, fp8=False)


def bits(result):
    return result[0].view(np.uint16).tolist(), result[1].view(np.uint32).tolist()


@pytest.mark.parametrize("mode", ["amla", "mul"])
def test_one_split_has_the_bits_of_mla_decode(mode):
    *arguments, _ = small_case([70, 0, 200])
    plan = get_mla_metadata(arguments[3])
    assert plan[1].tolist() == [0, 1, 2, 3]
    for sink in (None, np.array([1, 4, -np.inf], np.float32)):
        result = flash_mla_with_kvcache(*arguments, 48, *plan, causal=True, mode=mode, attn_sink=sink)
        assert bits(result) == bits(mla_decode(*arguments, head_dim_v=48, causal=True, mode=mode, attn_sink=sink))


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_a_request_does_not_depend_on_its_batch(kv_heads):
    q, cache, table, lengths, _ = small_case([270, 0, 33, 129, 64], kv_heads=kv_heads)
    out, lse = flash_mla_with_kvcache(
        q, cache, table, lengths, 48, *get_mla_metadata(lengths, keys_per_split=64), causal=True)
    for order in ([4, 3, 2, 1, 0], [2], [0], [1, 3, 1]):
        plan = get_mla_metadata(lengths[order], keys_per_split=64)
        some = flash_mla_with_kvcache(q[order], cache, table[order], lengths[order], 48, *plan, causal=True)
        assert bits(some) == bits((out[order], lse[order]))


def test_the_call_plans_the_same_splits():
    *arguments, _ = small_case([2500, 7], tokens=1)
    planned = flash_mla_with_kvcache(*arguments, 48, *get_mla_metadata(arguments[3]))
    assert bits(flash_mla_with_kvcache(*arguments, 48, *get_mla_metadata())) == bits(planned)
    assert bits(planned)[0] != bits(mla_decode(*arguments, head_dim_v=48))[0]  # the splits do reach the arithmetic


def test_flashmlas_own_metadata_is_followed():
    """Three partitions over two requests, cut where the first partition is full."""
    *arguments, _ = small_case([300, 100], tokens=1)
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


def sparse_arguments(*, fp8=False, tokens=2):
    rng = np.random.default_rng(6)
    d = 576 if fp8 else 64
    keys = values(rng, (64, d))
    cache = (quantize_fp8(keys) if fp8 else keys).reshape(4, 16, 1, -1)
    indices = rng.integers(0, 64, (2, tokens, 40)).astype(np.int32)
    return values(rng, (2, tokens, 3, d)), cache, indices


def test_where_invalid_indices_stand_changes_no_bit():
    q, cache, indices = sparse_arguments()
    spread = np.full((2, 2, 130), -1, np.int32)
    spread[:, :, np.sort(np.random.default_rng(1).permutation(130)[:40])] = indices
    results = [
        flash_mla_with_kvcache(q, cache, None, None, 48, None, indices=rows) for rows in (indices, spread)
    ]
    assert bits(results[0]) == bits(results[1])


def test_sparse_requests_and_tokens_do_not_depend_on_each_other():
    q, cache, indices = sparse_arguments(fp8=True)
    options = {"is_fp8_kvcache": True, "attn_sink": np.array([0, 1, -1], np.float32)}
    counts = np.array([40, 11], np.int32)

    def decode(requests, tokens):
        plan = get_mla_metadata(np.zeros(len(requests), np.int32), topk=40, keys_per_split=64)
        return flash_mla_with_kvcache(
            q[requests][:, tokens], cache, None, None, 512, *plan, indices=indices[requests][:, tokens],
            topk_length=counts[requests], **options)

    out, lse = decode([0, 1], [0, 1])
    for requests, tokens in (([1, 0], [1, 0]), ([1], [0, 1]), ([0], [1])):
        assert bits(decode(requests, tokens)) == bits((out[requests][:, tokens], lse[requests][:, :, tokens]))


def test_a_nan_stays_in_its_request():
    q, cache, table, lengths, _ = small_case([100, 90])
    clean = flash_mla_with_kvcache(q, cache, table, lengths, 48, *get_mla_metadata(lengths, keys_per_split=64))
    cache[table[0, 5], 3, 0, 7] = np.nan
    out, lse = flash_mla_with_kvcache(q, cache, table, lengths, 48, *get_mla_metadata(lengths, keys_per_split=64))
    assert np.isnan(out[0].astype(float)).all() and np.isnan(lse[0]).all()
    assert bits((out[1:], lse[1:])) == bits((clean[0][1:], clean[1][1:]))


@pytest.mark.parametrize("mode", MODES)
def test_keys_of_score_minus_infinity_have_no_weight(mode):
    """Two splits of them before the others change no bit, with and without sink; with no other key a row sees none."""
    q, cache, table, lengths, _ = small_case([200, 129, 128])
    cache[table[:, :8], :, 0, 63], q[..., 63] = -np.inf, 2.0  # a column of K alone
    for sink in (None, np.array([-np.inf, 0, 1], np.float32)):
        (out, lse), wanted = (
            flash_mla_with_kvcache(q, cache, *keys, 48, *get_mla_metadata(keys[1], keys_per_split=64), causal=True,
                                   mode=mode, attn_sink=sink, numerics=Numerics(kv_block=32))
            for keys in ((table, lengths), (np.ascontiguousarray(table[:, 8:]), lengths - 128)))
        assert bits((out, lse)) == bits(wanted)
        assert np.isposinf(lse[:, 0]).tolist() == [[False, False], [True, False], [True, True]]
        assert not out[2].astype(bool).any() and np.isfinite(out.astype(float)).all()


def test_sparse_over_all_keys_is_dense():
    q, cache, table, lengths, _ = small_case([50])
    slots = (table[0, np.arange(50) // 16] * 16 + np.arange(50) % 16).astype(np.int32)
    sparse = flash_mla_with_kvcache(q, cache, None, None, 48, None, indices=np.tile(slots, (1, 2, 1)))
    assert bits(sparse) == bits(flash_mla_with_kvcache(q, cache, table, lengths, 48, None))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, ml_dtypes.float8_e4m3fn])
def test_an_fp8_cache_is_its_dequantised_bf16_cache(dtype):
    q, cache, indices = sparse_arguments(fp8=True)
    wide = dequantize_fp8(cache.reshape(-1, 656)).view(BF16).reshape(4, 16, 1, 576)
    fp8 = flash_mla_with_kvcache(
        q, cache.view(dtype), None, None, 512, None, indices=indices, is_fp8_kvcache=True)
    assert bits(fp8) == bits(flash_mla_with_kvcache(q, wide, None, None, 512, None, indices=indices))


def test_pages_of_584_bytes_are_their_dequantised_bf16_cache():
    """FlashMLA's quantised tensor as it comes, pages at multiples of 576 bytes, dense and sparse, with an extra one."""
    rng = np.random.default_rng(9)
    q, keys = values(rng, (2, 3, 4, 512)), values(rng, (5, 17, 512))
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
        assert bits(fp8) == bits(flash_mla_with_kvcache(q, wide, *arguments, **options(wide)))


def test_the_sink_leaves_lse_alone():
    *arguments, _ = small_case([40, 0])
    plain, lse = flash_mla_with_kvcache(*arguments, 48, None)
    sink = np.array([-np.inf, np.inf, 1.0], np.float32)
    out, same_lse = flash_mla_with_kvcache(*arguments, 48, None, attn_sink=sink)
    assert np.array_equal(lse, same_lse)
    assert np.array_equal(out[:, :, 0].view(np.uint16), plain[:, :, 0].view(np.uint16))
    assert not out[:, :, 1].astype(bool).any()
    assert np.all(np.abs(out[0, :, 2].astype(float)) <= np.abs(plain[0, :, 2].astype(float)))
    assert np.any(out[0, :, 2] != plain[0, :, 2])


def test_an_empty_batch_is_fine():
    q, cache, table, lengths, _ = small_case([3])
    plan = get_mla_metadata(lengths[:0])
    out, lse = flash_mla_with_kvcache(q[:0], cache, table[:0], lengths[:0], 16, *plan)
    assert out.shape == (0, 2, 3, 16) and lse.shape == (0, 3, 2)


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


def test_tensors_in_tensors_out(monkeypatch):
    *arguments, _ = small_case([40, 0])
    sink = np.zeros(3, np.float32)
    wanted = flash_mla_with_kvcache(*arguments, 48, *get_mla_metadata(arguments[3]), attn_sink=sink)
    monkeypatch.setitem(__import__("sys").modules, "torch", FAKE_TORCH)
    tensors = [FakeTensor(argument) for argument in arguments]
    plan = get_mla_metadata(tensors[3])
    assert all(isinstance(part, FakeTensor) for part in plan)
    out, lse = flash_mla_with_kvcache(*tensors, 48, *plan, attn_sink=FakeTensor(sink))
    assert isinstance(out, FakeTensor) and out.dtype == "bf16" and isinstance(lse, FakeTensor)
    assert bits((out.array, lse.array)) == bits(wanted)


def test_real_torch_tensors():
    torch = pytest.importorskip("torch")
    *arguments, _ = small_case([40, 0])
    wanted = flash_mla_with_kvcache(*arguments, 48, None)
    tensors = [
        torch.from_numpy(argument.view(np.int16)).view(torch.bfloat16) if argument.dtype == BF16
        else torch.from_numpy(argument) for argument in arguments
    ]
    out, lse = flash_mla_with_kvcache(*tensors, 48, *get_mla_metadata(tensors[3]))
    assert out.dtype == torch.bfloat16 and lse.dtype == torch.float32
    assert bits((out.view(torch.int16).numpy(), lse.numpy())) == bits(wanted)


@pytest.mark.parametrize("kind", ["dense", "causal", "float16", "sparse", "extra"])
def test_calls_of_flashmlas_own_tests(kind):
    """All by position in FlashMLA's order, one FlashMLASchedMeta for repeated calls; requests without keys."""
    rng = np.random.default_rng(4)
    plan, num_splits = get_mla_metadata()
    if kind in ("sparse", "extra"):
        (cache, indices, counts, keys), (extra, more, extra_counts, extra_keys) = (
            sparse_scope(rng, batch=3, tokens=2, topk=70, page=page, d=576, fp8=True, ragged=True) for page in (16, 5))
        q, table, lengths, sink = values(rng, (3, 2, 8, 576)), None, None, rng.normal(size=8).astype(np.float32)
        if kind == "sparse":
            extra = more = extra_counts = None
            extra_keys = [[np.zeros((0, 576), BF16)] * 2] * 3
        scale, last = 576**-0.55, (True, indices, sink, extra, more, counts, extra_counts)
    else:
        q, cache, table, lengths, dense = dense_case(
            rng, lengths=[0, 130, 5], tokens=2, shared=8, kv_heads=1, page=64, d=576, fp8=False)
        if kind == "float16":
            q, cache = q.astype(np.float16), cache.astype(np.float16)
        sink, scale, last = None, None, (False,)
    call = (q, cache, table, lengths, 512, plan, num_splits, scale, kind == "causal", *last)
    out, lse = flash_mla_with_kvcache(*call)
    assert plan.have_initialized and plan.tile_scheduler_metadata.dtype == plan.num_splits.dtype == np.int32
    assert bits(flash_mla_with_kvcache(*call)) == bits((out, lse))
    assert out.dtype == q.dtype and out.shape == (3, 2, 8, 512)
    for request in range(3):
        for token in range(2):
            if table is None:
                visible = seen_as(np.concatenate([keys[request][token], extra_keys[request][token]]), True)
            else:
                hidden = (1 - token) * (kind == "causal")
                visible = dense[request][: max(len(dense[request]) - hidden, 0), 0].astype(float)
            wanted, wanted_lse = attention(q[request, token], visible, scale or 576**-0.5, 512, sink)
            assert np.allclose(out[request, token].astype(float), wanted, rtol=2.01 / 128, atol=8e-4)
            assert np.allclose(lse[request, :, token], wanted_lse, rtol=8.01 / 65536, atol=1e-6)


def test_the_first_call_plans_and_later_ones_must_be_alike():
    q, cache, table, lengths, _ = small_case([300, 100])
    plan, _ = get_mla_metadata(keys_per_split=128)
    result = flash_mla_with_kvcache(q, cache, table, lengths, 48, plan)
    assert vars(plan.config) == {
        "b": 2, "s_q": 2, "h_q": 3, "page_block_size": 16, "h_k": 1, "causal": False, "is_fp8_kvcache": False,
        "topk": None, "extra_page_block_size": None, "extra_topk": None}
    assert plan.tile_scheduler_metadata.tolist() == [
        [0, 0, 0, 2, 0, 1, 1, 0], [0, 0, 2, 4, 1, 1, 1, 0], [0, 0, 4, 5, 2, 1, 1, 0], [1, 1, 0, 2, 0, 0, 0, 0]]
    assert plan.num_splits.tolist() == [0, 3, 4]
    assert bits(flash_mla_with_kvcache(q, cache, table, lengths, 48, plan.tile_scheduler_metadata, plan.num_splits)
                ) == bits(result)
    shorter = np.array([4, 0], np.int32)  # fewer keys are covered, even where their number is one of blocks
    assert bits(flash_mla_with_kvcache(q, cache, table, shorter, 48, plan)) == bits(
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
    assert bits(flash_mla_with_kvcache(q, cache, table, lengths, 48, plan)) == bits(result)


def test_a_refused_call_plans_nothing():
    q, cache, table, lengths, _ = small_case([30])
    plan, _ = get_mla_metadata()
    with pytest.raises(ValueError, match="head_dim_v"):
        flash_mla_with_kvcache(q, cache, table, lengths, 65, plan)
    assert plan == FlashMLASchedMeta()


@pytest.mark.parametrize("rows", [None, 1, 9])
def test_a_plan_of_topk_length_is_enough(rows):
    """FlashMLA plans for topk_length (at least one key), rounded up to whole blocks, and the extra cache's after it."""
    rng = np.random.default_rng(8)
    q, cache, _ = sparse_arguments()
    indices = rng.integers(0, 64, (2, 2, 500)).astype(np.int32)
    options = {"indices": indices, "topk_length": np.array([70, 0], np.int32), "extra_k_cache": cache,
               "extra_indices_in_kvcache": indices[:, :, :90], "extra_topk_length": np.array([60, 65], np.int32)}
    plan = get_mla_metadata(np.array([128 + 60, 64 + 65], np.int32), keys_per_split=1024, num_sm_parts=rows)
    result = bits(flash_mla_with_kvcache(q, cache, None, None, 48, *plan, **options))
    assert result == bits(flash_mla_with_kvcache(q, cache, None, None, 48, None, **options))
    plan = get_mla_metadata(np.array([130, 65], np.int32), keys_per_split=1024, num_sm_parts=rows)
    assert result == bits(flash_mla_with_kvcache(q, cache, None, None, 48, *plan, **options))


def test_a_table_in_keys_is_refused_where_there_were_some():
    """FlashMLA counted in keys before it had sparse attention, where a plan for topk may go far past topk_length."""
    *arguments, _ = small_case([100, 64])
    with pytest.raises(ValueError, match=r"^tile_scheduler_metadata must count in blocks of 64 keys, not in keys "):
        flash_mla_with_kvcache(*arguments, 48, np.array([[0, 0, 1, 64, 0, 0, 0, 0]], np.int32))
    q, cache, indices = sparse_arguments()
    options = {"indices": np.repeat(indices, 103, 2)[:, :, :4096], "topk_length": np.array([100, 64], np.int32)}
    got = flash_mla_with_kvcache(q, cache, None, None, 48, np.array([[0, 0, 1, 64, 0, 0, 0, 0]], np.int32), **options)
    assert bits(got) == bits(flash_mla_with_kvcache(q, cache, None, None, 48, None, **options))


SCALARS = [np.float32(0.25), np.float64(0.25), np.array(0.25), np.array([0.25], np.float16), np.array([[0.25]], BF16),
           Fraction(1, 4)]


@pytest.mark.parametrize("scale", SCALARS, ids=lambda scale: f"{type(scale).__name__}-{np.shape(scale)}")
def test_scalars_of_any_kind(scale):
    *arguments, _ = small_case([40, 0])
    wanted = {flag: flash_mla_with_kvcache(*arguments, 48, None, None, 0.25, flag) for flag in (False, True)}
    for flag in (0, 1, np.bool_(0), np.bool_(1), np.int64(1)):
        got = flash_mla_with_kvcache(*arguments, np.int64(48), None, None, scale, flag)
        assert bits(got) == bits(wanted[bool(flag)])
        options = {"head_dim_v": np.uint8(48), "softmax_scale": scale, "causal": flag}
        assert bits(mla_decode(*arguments, **options)) == bits(wanted[bool(flag)])
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
def test_scalars_that_are_none(function, change, error, message):
    *arguments, _ = small_case([40, 0])
    with pytest.raises(error, match=f"^{message}"):
        function(*arguments, **{"head_dim_v": 48, **change})


def test_torch_scalars_and_types():
    torch = pytest.importorskip("torch")
    *arguments, _ = small_case([40, 0])
    wanted = flash_mla_with_kvcache(*arguments, 48, None, None, 0.25, True)
    for scale in (torch.tensor(0.25), torch.tensor([0.25], dtype=torch.bfloat16),
                  torch.tensor(0.25, requires_grad=True)):
        got = flash_mla_with_kvcache(*arguments, torch.tensor([48]), None, None, scale, torch.tensor(True))
        assert bits(got) == bits(wanted)
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


INDICES = np.zeros((2, 2, 8), np.int32)


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
def test_rejects(change, error, message):
    q, _, table, lengths, _ = small_case([40, 0])
    arguments = {
        "q": q, "k_cache": np.zeros((6, 16, 1, 64), BF16), "block_table": table, "cache_seqlens": lengths,
        "head_dim_v": 48, "tile_scheduler_metadata": None, **change,
    }
    with pytest.raises(error, match=f"^{message}"):
        flash_mla_with_kvcache(**arguments)
