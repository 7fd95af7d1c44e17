"""The merge of splits: bit for bit the documented formula, close to float64, specials."""

from fractions import Fraction

import numpy as np
import pytest
from amla.model.attention.attention import attend
from amla.model.attention.sink import apply_sink
from amla.model.attention.split_kv import attend_splits, key_splits, merge_splits
from amla.model.fp.add import add, sub
from amla.model.fp.convert import to_bf16
from amla.model.fp.exp2 import exp2
from amla.model.fp.formats import to_floats, to_words
from amla.model.fp.log2 import log2
from amla.model.fp.maximum import maximum
from amla.model.fp.mul import mul
from amla.model.fp.recip import recip
from amla.model.numerics import Numerics

INF = np.uint32(0x7F800000)
NAN = np.uint32(0x7FC00000)
ONE = np.uint32(0x3F800000)
LOG2E, LN2 = np.uint32(0x3FB8AA3B), np.uint32(0x3F317218)


def partial_results(seed, splits=4, rows=50, columns=7):
    rng = np.random.default_rng(seed)
    outs = rng.normal(size=(splits, rows, columns)).astype(np.float32)
    lses = (rng.normal(size=(splits, rows)) * rng.choice([0.1, 3, 30], rows)).astype(np.float32)
    unseen = rng.random((splits, rows)) < 0.4
    unseen[:, 0] = True
    lses[unseen], outs[unseen] = np.inf, 0
    return to_words(outs), to_words(lses)


def transcription(outs, lses):
    """The module's formulas for one row with the array operators."""
    seen = [i for i, lse in enumerate(lses) if lse != INF]
    if len(seen) < 2:
        return (mul(outs[seen[0]], ONE), lses[seen[0]]) if seen else (np.zeros(outs.shape[1], np.uint32), INF)
    top = lses[seen[0]]
    for i in seen[1:]:
        top = maximum(top, lses[i])
    weights = [exp2(mul(sub(lses[i], top), LOG2E)) for i in seen]
    total = weights[0]
    for weight in weights[1:]:
        total = add(total, weight)
    parts = [mul(outs[i], mul(weight, recip(total))) for i, weight in zip(seen, weights, strict=True)]
    out = parts[0]
    for part in parts[1:]:
        out = add(out, part)
    return out, add(top, mul(LN2, log2(total)))


@pytest.mark.parametrize("seed", range(4))
def test_the_merge_is_the_documented_formula(seed):
    outs, lses = partial_results(seed)
    out, lse = merge_splits(outs, lses)
    counts = (lses != INF).sum(axis=0)
    assert set(counts.tolist()) >= {0, 1, 2, 3}
    for row in range(outs.shape[1]):
        want_out, want_lse = transcription(outs[:, row], lses[:, row])
        assert out[row].tolist() == want_out.tolist() and lse[row] == want_lse


def test_the_merge_is_close_to_float64():
    outs, lses = partial_results(9, rows=400)
    out, lse = (to_floats(words).astype(float) for words in merge_splits(outs, lses))
    wide, logs = to_floats(outs).astype(float), to_floats(lses).astype(float)
    logs[np.isinf(logs)] = -np.inf
    top = logs.max(axis=0)
    seen = np.isfinite(top)
    weights = np.exp(logs[:, seen] - top[seen])
    want_lse = top[seen] + np.log(weights.sum(axis=0))
    want = (weights[:, :, None] * wide[:, seen]).sum(axis=0) / weights.sum(axis=0)[:, None]
    assert np.allclose(out[seen], want, rtol=0, atol=1e-5 * np.abs(wide).max())
    assert np.allclose(lse[seen], want_lse, rtol=2e-7, atol=2e-7)
    assert np.isposinf(lse[~seen]).all() and not out[~seen].any()


def test_two_equal_splits_are_exact():
    outs = to_words(np.array([[[1.0, -3.0]], [[2.0, 5.0]]], np.float32))
    lses = to_words(np.array([[1.5], [1.5]], np.float32))
    out, lse = merge_splits(outs, lses)
    assert to_floats(out).tolist() == [[1.5, 1.0]]
    assert abs(Fraction(float(to_floats(lse)[0])) - Fraction(1.5 + np.log(2))) < Fraction(1, 2**22)


def test_no_split_at_all_sees_no_key():
    out, lse = merge_splits(np.zeros((0, 2, 3), np.uint32), np.zeros((0, 2), np.uint32))
    assert out.tolist() == [[0, 0, 0]] * 2 and (lse == INF).all()


def test_a_nan_stays_in_its_row():
    outs, lses = partial_results(3, rows=3)
    lses[:, :2] = to_words(np.ones((4, 2), np.float32))
    lses[1, 0], outs[1, 0] = NAN, NAN
    clean = merge_splits(outs[:, 1:], lses[:, 1:])
    out, lse = merge_splits(outs, lses)
    assert (out[0] == NAN).all() and lse[0] == NAN
    assert out[1:].tolist() == clean[0].tolist() and lse[1:].tolist() == clean[1].tolist()


@pytest.mark.parametrize(("call", "message"), [
    (lambda: merge_splits(np.zeros((2, 3), np.uint32), np.zeros((2, 3), np.uint32)), "outs must be an array"),
    (lambda: merge_splits(np.zeros((2, 3, 1), np.uint32), np.zeros((3, 3), np.uint32)), "lses must be an array"),
])
def test_rejects_shapes(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


@pytest.mark.parametrize("sinks", [False, True])
def test_splits_are_attended_to_alone_and_merged(sinks):
    """Rows that see keys in all splits, in some, in one, in none; a sink once, at the merge."""
    rng = np.random.default_rng(8)
    q, block = (to_bf16(to_words(rng.normal(size=(rows, 32)).astype(np.float32))) for rows in (8, 40))
    limits = np.array([40, 33, 20, 19, 8, 1, 0, -4])
    weights = to_words(rng.normal(size=8).astype(np.float32)) if sinks else None
    options = {"head_dim_v": 16, "scale_word": 0x3E000000, "mode": "amla", "numerics": Numerics(kv_block=8, k=4)}

    def keys(start, stop):
        return block[start:stop]

    splits = key_splits((8, 20, 90), 40)
    assert splits == [(0, 8), (8, 20), (20, 40)] and not key_splits((8,), 0) and key_splits((8,), 8) == [(0, 8)]
    out, lse = attend_splits(q, keys, limits, splits, sinks=weights, **options)
    parts = [attend(q, lambda first, last, start=start: block[start + first:start + last], stop - start, limits - start,
                    **options) for start, stop in splits]
    wanted, wanted_lse = merge_splits(*(np.stack(words) for words in zip(*parts, strict=True)))
    if sinks:
        wanted = apply_sink(wanted, wanted_lse, weights)
    assert out.tolist() == wanted.tolist() and lse.tolist() == wanted_lse.tolist()
    assert (lse == INF).tolist() == [False] * 6 + [True] * 2
    whole, _ = attend(q, keys, 40, limits, sinks=weights, **options)
    assert np.allclose(to_floats(out), to_floats(whole), atol=2e-2)
    single = attend_splits(q, keys, limits, [(0, 40)], sinks=weights, **options)[0]
    assert single.tolist() == whole.tolist()
