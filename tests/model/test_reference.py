"""The float64 oracle against plain loops, and the error metrics on results with known errors."""

import math

import ml_dtypes
import numpy as np
import pytest
from amla.model.reference import error_metrics, mla_reference


@pytest.mark.parametrize("causal", [False, True])
def test_equals_plain_loops(causal):
    rng = np.random.default_rng(3)
    q = rng.normal(size=(3, 3, 2, 8)).astype(ml_dtypes.bfloat16)
    cache = rng.normal(size=(5, 4, 1, 8)).astype(ml_dtypes.bfloat16)
    table = np.array([[3, 0, 1], [2, 9, 9], [4, 4, -5]], np.int32)
    lengths = np.array([11, 2, 0], np.int32)
    out, lse = mla_reference(q, cache, table, lengths, head_dim_v=5, softmax_scale=0.7, causal=causal)
    assert out.shape == (3, 3, 2, 5) and lse.shape == (3, 2, 3)
    for request, token, head in np.ndindex(3, 3, 2):
        length = int(lengths[request])
        seen = min(length, length - 3 + 1 + token) if causal else length
        keys = [cache[table[request, j // 4], j % 4, 0].astype(float) for j in range(max(seen, 0))]
        row = q[request, token, head].astype(float)
        weights = [math.exp(0.7 * math.fsum(row * key)) for key in keys]
        if not keys:
            assert not out[request, token, head].any() and lse[request, head, token] == math.inf
            continue
        total = math.fsum(weights)
        assert math.isclose(lse[request, head, token], math.log(total), rel_tol=1e-12, abs_tol=1e-12)
        for col in range(5):
            wanted = math.fsum(w * key[col] for w, key in zip(weights, keys, strict=True)) / total
            assert math.isclose(out[request, token, head, col], wanted, rel_tol=1e-12, abs_tol=1e-12)


def test_lists_equal_plain_loops():
    rng = np.random.default_rng(4)
    q, cache, extra = (rng.normal(size=shape).astype(ml_dtypes.bfloat16)
                       for shape in ((2, 2, 3, 8), (3, 4, 1, 8), (5, 2, 1, 8)))
    indices = rng.integers(-1, 12, (2, 2, 6)).astype(np.int32)
    more = rng.integers(-1, 10, (2, 2, 3)).astype(np.int32)
    indices[1, 1], more[1, 1], counts = -1, -1, np.array([6, 2], np.int32)
    sink = np.array([0.5, -np.inf, np.inf], np.float32)
    out, lse = mla_reference(q, cache, head_dim_v=5, softmax_scale=0.7, indices=indices, topk_length=counts,
                             extra_k_cache=extra, extra_indices_in_kvcache=more, attn_sink=sink)
    for request, token, head in np.ndindex(2, 2, 3):
        keys = [cache[slot // 4, slot % 4, 0].astype(float) for slot in indices[request, token, :counts[request]]
                if slot >= 0]
        keys += [extra[slot // 2, slot % 2, 0].astype(float) for slot in more[request, token] if slot >= 0]
        if not keys:
            assert (request, token) == (1, 1) and lse[1, head, 1] == np.inf and not out[1, 1, head].any()
            continue
        weights = np.exp([0.7 * math.fsum(q[request, token, head].astype(float) * key) for key in keys])
        wanted = weights @ np.stack(keys)[:, :5] / (weights.sum() + np.exp(np.float64(sink[head])))
        assert np.allclose(out[request, token, head], wanted, rtol=1e-12, atol=1e-12)
        assert math.isclose(lse[request, head, token], math.log(weights.sum()), rel_tol=1e-12)


def test_default_scale_and_large_scores():
    q = np.full((1, 1, 1, 4), 100.0, ml_dtypes.bfloat16)
    cache = np.array([[[100.0] * 4, [-100.0] * 4]], ml_dtypes.bfloat16)
    out, lse = mla_reference(q, cache, np.zeros((1, 1), np.int32), np.array([2], np.int32), head_dim_v=4)
    assert out.ravel().tolist() == [100.0] * 4 and lse.item() == 20000.0


def test_the_sink_is_one_more_key_without_value():
    """Of logit sink, V = 0, and not in the LSE: a column of Q that only a key of its own sees gives it its logit."""
    rng = np.random.default_rng(4)
    q, cache = rng.normal(size=(2, 1, 4, 8)).astype(np.float16), rng.normal(size=(2, 8, 1, 8)).astype(np.float16)
    table, lengths = np.array([[0], [1]], np.int32), np.array([7, 0], np.int32)
    sink = np.array([0.5, -3, np.inf, -np.inf], np.float32)
    cache[..., 7] = 0
    plain, lse = mla_reference(q, cache, table, lengths, head_dim_v=5, softmax_scale=1)
    out, same = mla_reference(q, cache, table, lengths, head_dim_v=5, softmax_scale=1, attn_sink=sink)
    assert np.array_equal(same, lse) and not out[:, :, 2].any() and np.array_equal(out[:, :, 3], plain[:, :, 3])
    assert not out[1].any()
    cache[0, 7], q[0, 0, :2, 7] = 0, sink[:2]
    cache[0, 7, 0, 7] = 1
    wanted, _ = mla_reference(q[:1, :, :2], cache, table[:1], lengths[:1] + 1, head_dim_v=5, softmax_scale=1)
    assert np.allclose(out[:1, :, :2], wanted, rtol=1e-12)
    with pytest.raises(ValueError, match=r"attn_sink must have shape \[4\]"):
        mla_reference(q, cache, table, lengths, head_dim_v=5, attn_sink=sink[:3])


def test_scores_of_minus_infinity():
    """They have no weight; a row with no other score is one that sees no key. A NaN stays one."""
    q = np.ones((1, 1, 3, 4), ml_dtypes.bfloat16)
    q[0, 0, :, 3] = 1.0, np.inf, np.nan
    cache = np.array([[[1.0, 2.0, 3.0, -1.0]] * 2], ml_dtypes.bfloat16)
    arguments = q, cache, np.zeros((1, 1), np.int32), np.array([2], np.int32)
    out, lse = mla_reference(*arguments, head_dim_v=3)
    assert np.allclose(out[0, 0, 0], [1, 2, 3]) and not out[0, 0, 1].any() and np.isnan(out[0, 0, 2]).all()
    assert np.isfinite(lse[0, 0]) and np.isposinf(lse[0, 1]) and np.isnan(lse[0, 2])
    cache[0, 1, 3] = 1.0
    out, lse = mla_reference(*arguments, head_dim_v=3)
    assert np.isnan(out[0, 0, 1]).all() and np.isnan(lse[0, 1])  # +inf among them


def test_error_metrics():
    ref_out, ref_lse = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([1.5, np.inf])
    out = np.array([[3.0, 4.5], [0.0, 0.0]], np.float32)
    assert error_metrics(out, np.array([1.25, np.inf], np.float32), ref_out, ref_lse) == {
        "relative_frobenius": 0.1, "max_abs": 0.5, "lse_max_abs": 0.25,
    }
    assert error_metrics(ref_out * 0, ref_lse, ref_out * 0, ref_lse) == {
        "relative_frobenius": 0.0, "max_abs": 0.0, "lse_max_abs": 0.0,
    }
    assert error_metrics(ref_out, np.array([1.5, 2.0]), ref_out, ref_lse)["lse_max_abs"] == math.inf
    assert error_metrics(ref_out, np.array([1.5, -np.inf]), ref_out, ref_lse)["lse_max_abs"] == math.inf
    assert error_metrics(out, ref_lse, ref_out * 0, ref_lse)["relative_frobenius"] == math.inf
    assert math.isnan(error_metrics(ref_out * np.nan, ref_lse, ref_out, ref_lse)["relative_frobenius"])
    assert math.isnan(error_metrics(ref_out, ref_lse * np.nan, ref_out, ref_lse)["lse_max_abs"])


def test_error_metrics_rejects_other_shapes():
    with pytest.raises(ValueError, match=r"the reference's shapes \(2, 3\) and \(2,\), not \(3, 2\) and "):
        error_metrics(np.zeros((3, 2)), np.zeros(2), np.zeros((2, 3)), np.zeros(2))
