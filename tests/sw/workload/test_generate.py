"""Generated inputs: shape, statistics, paging, poison."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from amla.model import error_metrics, mla_decode, mla_reference
from amla.model.attention.batch import DecodeBatch
from amla.sw.errors import AmlaError
from amla.sw.workload.caches import UNUSED_PAGE
from amla.sw.workload.generate import _rope, make_inputs
from amla.sw.workload.workload import Workload


def _workload(**changes):
    return Workload.from_dict({"heads": 8, "lengths": [200, 0, 65, 3], "q_tokens": 2, "page_size": 16,
                               "head_dim": 96,
                               "head_dim_v": 64, **changes})


@pytest.mark.parametrize("inputs", ["layer", "normal"])
def test_pages_are_shuffled_and_the_unused_poisoned(inputs):
    load = _workload(inputs=inputs)
    made = make_inputs(load)
    assert made.q.shape == (4, 2, 8, 96) and np.isfinite(made.q.astype(np.float32)).all()
    used = np.zeros(made.kv_cache.shape[:2], bool)
    pages = []
    for request, length in enumerate(load.lengths):
        count = load.pages[request]
        pages += list(made.block_table[request, :count])
        assert (made.block_table[request, count:] == UNUSED_PAGE).all()
        for index in range(length):
            used[made.block_table[request, index // 16], index % 16] = True
    assert len(set(pages)) == len(pages) and pages != sorted(pages)
    values = made.kv_cache[:, :, 0].astype(np.float32)
    assert np.isfinite(values[used]).all() and np.isnan(values[~used]).all()
    assert (~used).any()


def test_without_poison_everything_is_finite():
    made = make_inputs(_workload(poison=False))
    assert np.isfinite(made.kv_cache.astype(np.float32)).all() and made.block_table.max() < len(made.kv_cache)


def test_the_seed_settles_every_bit():
    first, again, other = (make_inputs(_workload(seed=seed)) for seed in (5, 5, 6))
    assert np.array_equal(first.q.view(np.uint16), again.q.view(np.uint16))
    assert np.array_equal(first.kv_cache.view(np.uint16), again.kv_cache.view(np.uint16))
    assert not np.array_equal(first.q.view(np.uint16), other.q.view(np.uint16))


_WIDE = {"heads": 4, "page_size": 16, "head_dim": 576, "head_dim_v": 512}
_PAGES = {**_WIDE, "head_dim": 512, "cache": "fp8-584"}


@pytest.mark.parametrize("inputs", ["layer", "normal"])
@pytest.mark.parametrize("change", [{**_WIDE, "cache": "fp8-656"}, _PAGES], ids=["656", "584"])
def test_fp8_caches_hold_the_keys_of_the_bf16_cache(change, inputs):
    load = _workload(**change, inputs=inputs)
    plain, made = make_inputs(replace(load, cache="bf16", head_dim_v=448 if load.head_dim == 512 else 512)), \
        make_inputs(load)
    assert np.array_equal(made.q.view(np.uint16), plain.q.view(np.uint16))
    assert np.array_equal(made.block_table, plain.block_table) and made.cache == load.cache
    for sequence in made.sequences:
        got, wanted = (DecodeBatch.mla(**some.arguments(), head_dim_v=1).cache.read(sequence.slots, 0)
                       .view(ml_dtypes.bfloat16).astype(np.float64) for some in (made, plain))
        assert np.array_equal(got[:, -64:], wanted[:, -64:])
        assert np.all(np.abs(got - wanted) <= np.abs(wanted) / 16 + np.abs(wanted).max(initial=0) * 2.0**-8)


@pytest.mark.parametrize(("change", "format", "message"), [
    ({"cache": "bf16"}, "fp16", "cache must be one of a core that computes in fp16, not 'bf16'"),
    ({"cache": "fp16"}, "bf16", "cache must be one of a core that computes in bf16, not 'fp16'"),
    ({**_PAGES}, "fp16", "cache must be one of a core that computes in fp16, not 'fp8-584'"),
])
def test_a_cache_that_does_not_go_with_the_core(change, format, message):
    with pytest.raises(AmlaError, match=f"^{message}$"):
        make_inputs(_workload(**change), format=format)


def test_lists_and_sinks():
    load = _workload(**_PAGES, topk=40, topk_lengths=[40, 30, 20, 3], window=5, sink=True,
                     extra={"lengths": [100, 9, 0, 30], "topk": 16, "page_size": 2, "topk_lengths": [16, 16, 16, 1]})
    made = make_inputs(load)
    assert made.block_table is None and made.cache_seqlens is None
    assert made.indices.shape == (4, 2, 40) and made.extra_indices_in_kvcache.shape == (4, 2, 16)
    assert made.topk_length.tolist() == [40, 30, 20, 3] and made.extra_topk_length.tolist() == [16, 16, 16, 1]
    assert made.extra_k_cache.shape[1:] == (2, 1, 584)
    found = {(some.request, some.token): (some.rows, len(some.slots), len(some.extra)) for some in made.sequences}
    assert len(found) == 8 and {rows for rows, *_ in found.values()} == {4}
    assert found[1, 0][1:] == (0, 9) and found[2, 1][2] == 0 and found[3, 1][1] == 3 and found[3, 1][2] <= 1
    assert found[3, 0][1] == 2  # the token before the last sees one key less
    assert 37 <= found[0, 0][1] <= 40 and 13 <= found[0, 0][2] <= 16
    assert made.attn_sink.dtype == np.float32 and made.attn_sink.shape == (4,)


def test_some_sinks_are_large():
    sinks = make_inputs(_workload(heads=1024, sink=True)).attn_sink
    assert 0.05 < (sinks > 4).mean() < 0.25 and abs(np.median(sinks)) < 0.5


def test_normal_is_flashmlas_test_data():
    q = make_inputs(_workload(inputs="normal", heads=128)).q.astype(np.float32)
    assert q.std() == pytest.approx(0.1, rel=0.05) and np.abs(q).max() <= 1


def test_the_layer_attends_like_a_layer():
    """The latent is normalised, and attention is neither flat nor one-hot."""
    load = _workload(heads=32, lengths=[512], head_dim=576, head_dim_v=512)
    made = make_inputs(load)
    keys = made.kv_cache[made.block_table[0, :32], :, 0].astype(np.float64).reshape(-1, 576)
    scores = np.einsum("thd,kd->thk", made.q[0].astype(np.float64), keys) * load.scale
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    effective = 1 / np.square(weights).sum(axis=-1)
    assert 1.5 < np.median(effective) < 256
    assert 0.5 < np.sqrt(np.mean(np.square(keys[:, :512]))) < 3


@pytest.mark.parametrize("name", ["fp8", "sparse", "tiny-sparse"])
def test_shipped_workloads_of_lists_and_fp8_caches(name):
    load = Workload.load(name)
    arguments = {**make_inputs(load).arguments(), "head_dim_v": load.head_dim_v, "softmax_scale": load.scale}
    result = mla_decode(**arguments, out_dtype=np.float32)
    assert error_metrics(*result, *mla_reference(**arguments))["relative_frobenius"] < 2e-4


def test_rotary_scores_depend_on_the_distance_alone():
    """Moving query and key by the same number of positions leaves their product."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1, 64)).astype(np.float32)
    near = _rope(a, np.array([3])) @ _rope(b, np.array([1])).T
    far = _rope(a, np.array([1003])) @ _rope(b, np.array([1001])).T
    assert near == pytest.approx(far, abs=1e-3) and near != pytest.approx(a @ b.T, abs=1e-3)


def test_the_oracle_takes_the_inputs():
    load = _workload(causal=True)
    made = make_inputs(load)
    out, lse = mla_reference(made.q, made.kv_cache, made.block_table, made.cache_seqlens, head_dim_v=64,
                             softmax_scale=load.scale, causal=True)
    assert np.isfinite(out).all() and np.isinf(lse[1]).all()
