"""Mode `log`: accuracy, its merge, and rows that see little or nothing."""

import ml_dtypes
import numpy as np
import pytest
from amla.model.attention.attention import attend
from amla.model.attention.online import online_softmax
from amla.model.attention.softmax import softmax_scale_word
from amla.model.fp.formats import U6_10
from amla.model.numerics import Numerics

BF16 = ml_dtypes.bfloat16
MODEL_ONLY = ("log", "paper")


def attention(q, kv, mode, *, limits=None, kv_block=64):
    rows, keys = (np.ascontiguousarray(array.astype(BF16)).view(np.uint16) for array in (q, kv))
    limits = np.full(len(q), len(kv), np.int64) if limits is None else np.array(limits)
    out, lse = attend(
        rows, lambda start, stop: keys[start:stop], len(kv), limits, head_dim_v=q.shape[1],
        scale_word=softmax_scale_word(0.3, mode=mode), mode=mode, numerics=Numerics(kv_block=kv_block),
    )
    return out.view(np.float32), lse.view(np.float32)


def oracle(q, kv, limit):
    q, kv = q.astype(BF16).astype(float), kv[:limit].astype(BF16).astype(float)
    scores = 0.3 * q @ kv.T
    weights = np.exp(scores - scores.max())
    return weights @ kv / weights.sum(), scores.max() + np.log(weights.sum())


@pytest.mark.parametrize("mode", MODEL_ONLY)
def test_rows_of_every_length(mode):
    """Rows without key, rows that end inside a block, at its edge and blocks before the last."""
    rng = np.random.default_rng(2)
    limits = [0, -4, 1, 63, 64, 65, 200, 256, 400]
    q, kv = rng.normal(size=(len(limits), 32)), rng.normal(size=(300, 32))
    out, lse = attention(q, kv, mode, limits=limits)
    for row, limit in enumerate(limits):
        if limit <= 0:
            assert not out[row].view(np.uint32).any() and lse[row] == np.inf
        else:
            wanted, wanted_lse = oracle(q[row], kv, limit)
            assert np.linalg.norm(out[row] - wanted) < 5e-3 * np.linalg.norm(wanted)
            assert abs(lse[row] - wanted_lse) < 2e-6 * max(1, abs(wanted_lse))


@pytest.mark.parametrize("mode", MODEL_ONLY)
def test_nan_in_valid_data_stays_in_its_row(mode):
    rng = np.random.default_rng(5)
    q, kv = rng.normal(size=(3, 32)), rng.normal(size=(200, 32))
    clean = attention(q, kv, mode)
    q[1, 0] = np.nan
    out, lse = attention(q, kv, mode)
    assert np.isnan(lse[1])
    for row in (0, 2):
        assert out[row].tolist() == clean[0][row].tolist() and lse[row] == clean[1][row]


def test_the_merge_is_the_logarithm_of_the_sum():
    """Equal scores: after i blocks of 16 keys ℒ is 4 + log2 i; powers of two are exact."""
    online = online_softmax("log", 1, scale_word=softmax_scale_word(1.0), numerics=Numerics())
    scores, valid = np.full((1, 16), 0x40400000, np.uint32), np.array([16])
    output = np.zeros((1, 1), np.uint32)
    for block in range(8):
        p = online.probabilities(scores, valid, first=block == 0)
        assert (p == U6_10.one).all()
        online.accumulate(output, np.array([[0x41800000]], np.uint32), first=block == 0)  # 16.0
    out, lse = online.finish(output)
    np.testing.assert_allclose(out.view(np.float32), 1.0, rtol=2e-6)
    np.testing.assert_allclose(lse.view(np.float32), 3 + np.log(128), rtol=1e-6)
