"""Mode `paper`: its sequence against a scalar transcription, and each of its hazards beside the guarded result."""

import math

import ml_dtypes
import numpy as np
import pytest
from amla.model.attention.attention import attend
from amla.model.attention.online import online_softmax
from amla.model.attention.paper import bare_rescale, clean
from amla.model.attention.softmax import softmax_scale_word
from amla.model.numerics import Numerics
from amla.model.rescale import rescale

F, BF16 = np.float32, ml_dtypes.bfloat16
STEP = 1 << 23


def words(values):
    return np.ascontiguousarray(values, F).view(np.uint32)


def away(value):
    """Nearest integer, ties away from zero."""
    return F(math.copysign(math.floor(abs(float(value)) + 0.5), value))


def slow_tile(x, state):
    """One row of one block, scalar FP32 operations; `state` is None or (m, n, c, l). Returns P, N, S16, state."""
    ln2 = F(math.log(2))
    m = max([*x, *([state[0]] if state else [])])
    n = away(F(-m / ln2))
    s32 = F(math.exp(F(ln2 * F(n + F(m / ln2)))))
    s16 = F(BF16(s32))
    p = [F(math.exp(F(value - m))) for value in x]
    c, total, offset = F(s32 / s16), F(math.fsum(p)), 0
    if state:
        epsilon = F(F(F(1.5) * F(F(state[2] / c) - F(1))) + F(1e-6))
        offset = round(float(F(F(max(F(n - state[1]), F(-30)) + epsilon) * F(STEP))))
        total = F(F(state[3] * F(math.exp(F(state[0] - m)))) + total)
    return [BF16(F(value * s16)) for value in p], offset, s16, (m, n, c, total)


def test_sequence_equals_the_transcription():
    """Maxima that rise by little, by much and not at all; the offset is that of every published step."""
    rng = np.random.default_rng(1)
    rows, columns = 12, 7
    scale = F(0.3)
    scale_word = softmax_scale_word(float(scale), mode="paper")
    online = online_softmax("paper", rows, scale_word=scale_word, numerics=Numerics())
    states, output, seen = [None] * rows, np.zeros((rows, 3), np.uint32), set()
    slow = np.zeros((rows, 3), F)
    drift = np.array([0, 0, 0.01, 0.1, 1, 3, 10, 80, 300, -1, -30, 5])
    for block in range(5):
        scores = (rng.normal(size=(rows, columns)) * 3 + block * drift[:, None]).astype(F)
        p = online.probabilities(words(scores), np.full(rows, columns), first=block == 0).view(BF16)
        pv = rng.uniform(1, 2, size=(rows, 3)).astype(F)  # no small words: nothing wraps
        online.accumulate(output, words(pv), first=block == 0)
        for row in range(rows):
            wanted, offset, s16, states[row] = slow_tile([F(s * scale) for s in scores[row]], states[row])
            assert p[row].tolist() == wanted, (block, row)
            if block:
                assert online.offset[row] == offset, (block, row)
                seen.add(round(offset / STEP))
                moved = [int(word) + offset for word in words(slow[row])]
                slow[row] = np.array(moved, np.int64).astype(np.uint32).view(F) + pv[row]
            else:
                slow[row] = pv[row]
            assert output[row].view(F).tolist() == slow[row].tolist()
    assert {0, -30} <= seen and len(seen) > 4  # -30 is the clamp
    out, lse = online.finish(output)
    for row, (m, _, _, total) in enumerate(states):
        s16 = slow_tile([states[row][0]], None)[2]
        assert out[row].view(F).tolist() == [F(value / F(total * s16)) for value in slow[row]]
        assert abs(lse[row:row + 1].view(F)[0] - (m + math.log(total))) < 1e-6 * max(1, abs(m))


def rescaled(value, offset):
    """A value through the bare addition and through the guarded one, with one offset for all segments."""
    word = words([[value]])
    offset = np.array([offset], np.int32)
    return bare_rescale(word, offset).view(F)[0, 0], rescale(word, offset[:, None]).view(F)[0, 0]


@pytest.mark.parametrize("sign", [1, -1])
def test_hazard_a_zero_becomes_infinite_or_nan(sign):
    bare, guarded = rescaled(math.copysign(0.0, sign), -STEP)
    assert bare == -sign * math.inf and guarded == 0 and math.copysign(1, guarded) == sign
    bare, guarded = rescaled(math.copysign(0.0, sign), -1000)  # Δ = 0 and a negative correction
    assert math.isnan(bare) and guarded == 0 and math.copysign(1, guarded) == sign


def test_hazard_an_underflow_wraps_to_a_huge_value():
    bare, guarded = rescaled(2.0**-120, -30 * STEP)
    assert bare == -(2.0**106) and guarded == 0  # 8.1e31; the true product is 2^-150
    bare, guarded = rescaled(2.0**-120, -5 * STEP)
    assert bare == guarded == 2.0**-125  # inside the range both are right


def test_clean_keeps_only_what_is_at_most_1e10():
    values = np.array([[1e10, -1e10, 1.0001e10, -8e31, np.inf, -np.inf, np.nan, 0.5]], F)
    assert clean(words(values)).view(F)[0].tolist() == [1e10, -1e10, 0, 0, 0, 0, 0, 0.5]


def attention(q, kv, mode, kv_block):
    rows, keys = (np.ascontiguousarray(array.astype(BF16)).view(np.uint16) for array in (q, kv))
    out, lse = attend(
        rows, lambda start, stop: keys[start:stop], len(kv), np.full(len(q), len(kv), np.int64), head_dim_v=4,
        scale_word=softmax_scale_word(1.0, mode=mode), mode=mode, numerics=Numerics(kv_block=kv_block),
    )
    return out.view(F), lse.view(F)


def test_hazard_the_clean_up_loses_later_contributions():
    """A V column that is zero in the first block, and one that is tiny; the last block holds almost all weight."""
    kv = np.zeros((48, 16))
    kv[:, 4] = np.repeat([0.0, 2.0, 30.0], 16)  # the scores
    kv[:, 0] = 1.0
    kv[:, 1] = np.repeat([0.0, 0.0, 1.0], 16)
    kv[:, 2] = np.repeat([2.0**-122, 0.0, 1.0], 16)
    q = np.zeros((1, 16))
    q[0, 4] = 1.0
    weights = np.exp(kv[:, 4] - 30)
    wanted = weights / weights.sum() @ kv[:, :4]
    assert wanted[:3].min() > 0.999
    guarded, _ = attention(q, kv, "amla", 16)
    np.testing.assert_allclose(guarded[0], wanted, rtol=4e-3)
    published, lse = attention(q, kv, "paper", 16)
    np.testing.assert_allclose(published[0, 0], 1.0, rtol=4e-3)
    assert published[0, 1:3].tolist() == [0, 0]
    assert abs(lse[0] - (30 + math.log(weights.sum()))) < 1e-4


def test_without_hazards_it_is_a_fair_rival():
    """On dense data the sequence is as accurate as its 1.5 for (1 + f) allows."""
    rng = np.random.default_rng(3)
    q, kv = rng.normal(size=(32, 64)) / 4, rng.normal(size=(1024, 64))
    q, kv = (array.astype(BF16).astype(float) for array in (q, kv))
    scores = q @ kv.T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    wanted = (weights / weights.sum(axis=1, keepdims=True) @ kv)[:, :4]
    error = {mode: np.linalg.norm(attention(q, kv, mode, 128)[0] - wanted) / np.linalg.norm(wanted)
             for mode in ("amla", "paper")}
    assert 5e-5 < error["amla"] < error["paper"] < 5e-3
    lse = attention(q, kv, "paper", 128)[1]
    np.testing.assert_allclose(lse, scores.max(axis=1) + np.log(weights.sum(axis=1)), rtol=1e-5)
