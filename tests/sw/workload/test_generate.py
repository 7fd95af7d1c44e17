"""Generated inputs: shape, statistics, paging, poison."""

import numpy as np
import pytest
from amla.model import mla_reference
from amla.sw.workload.generate import UNUSED_PAGE, _rope, make_inputs
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
