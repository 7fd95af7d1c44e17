"""Online softmax and accumulation against a literal, exact transcription of docs/numerics.md."""

import math
from fractions import Fraction

import numpy as np
import pytest
from amla.model.attention.accumulate import accumulate, normalize, reciprocal_and_lse
from amla.model.attention.softmax import RowState, row_maximum, softmax_scale_word, softmax_tile, valid_columns
from amla.model.fp.exp2 import exp2
from amla.model.fp.formats import BF16, FP16, U6_10, Format
from amla.model.fp.log2 import log2
from amla.model.fp.recip import recip
from amla.model.numerics import HARDWARE_MODES

ONE, NAN, INF, MINUS_INF, SIGN = 0x3F800000, 0x7FC00000, 0x7F800000, 0xFF800000, 0x80000000
LOWEST = 0xFF7FFFFF  # the lowest finite number


def value(word):
    """Exact value of an FP32 word: Fraction, or a float for inf and NaN. Subnormals are zero."""
    sign, field, fraction = word >> 31, (word >> 23) & 255, word & 0x7FFFFF
    if field == 255:
        return math.nan if fraction else (-math.inf if sign else math.inf)
    magnitude = Fraction(0) if field == 0 else Fraction(fraction + (1 << 23)) * Fraction(2) ** (field - 150)
    return -magnitude if sign else magnitude


FP32 = Format(8, 23)


def rounded(exact, sign=0, format=FP32):
    """Word nearest to an exact value, ties to even: the exponent unbounded but for FP16's subnormals, then flushed."""
    bits, top = format.fraction_bits, format.bits - 1
    if isinstance(exact, float):
        return format.quiet_nan if math.isnan(exact) else (exact < 0) << top | format.infinity
    if exact:
        sign = int(exact < 0)
    magnitude = abs(exact)
    if magnitude == 0:
        return sign << top
    exponent = math.floor(math.log2(magnitude))
    while Fraction(2) ** exponent > magnitude:
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= magnitude:
        exponent += 1
    if format.subnormals:
        exponent = max(exponent, 1 - format.bias)
    body = ((exponent + format.bias - 1) << bits) + round(magnitude / Fraction(2) ** (exponent - bits))  # ties to even
    if body < format.min_normal and not format.subnormals:
        body = 0
    return sign << top | min(body, format.infinity)


def finite(*words):
    return all(isinstance(value(word), Fraction) for word in words)


def add(a, b):
    if finite(a, b):
        return rounded(value(a) + value(b), sign=(a >> 31) & (b >> 31))
    return rounded(float(value(a)) + float(value(b)))


def sub(a, b):
    return add(a, b ^ SIGN)


def mul(a, b, format=FP32):
    sign = (a ^ b) >> 31
    if finite(a, b):
        return rounded(value(a) * value(b), sign, format)
    product = float(value(a)) * float(value(b))
    return rounded(-abs(product) if sign else abs(product), format=format)


def widened(word, format):
    """A narrow word as an FP32 word."""
    if format == BF16:
        return word << 16
    if format == U6_10:
        field, fraction = word >> 10, word & 1023
        exact = Fraction(1024 + fraction) * Fraction(2) ** (field - 72) if field else Fraction(0)
        return rounded(exact) if field < 63 else NAN if fraction else INF
    return NAN if word & 0x7FFF > 0x7C00 else int(np.uint16(word).view(np.float16).astype(np.float32).view(np.uint32))


def rint(a):
    return rounded(Fraction(round(value(a)))) if finite(a) else a


def unary(function, a):
    return int(function(np.uint32(a)))


def maximum(a, b):
    va, vb = value(a), value(b)
    if va != va or vb != vb:
        return NAN
    if va == vb:
        return a if va else (a & b & SIGN)
    return a if va > vb else b


def fixed(a):
    return math.floor(value(a) * 2**32)


def rescale(x, offsets):
    sign, field, segments = x & SIGN, (x >> 23) & 255, len(offsets)
    if field in (0, 255):
        return x if field else sign
    moved = (x & 0x7FFFFFFF) + offsets[(x & 0x7FFFFF) * segments >> 23]
    return sign if moved < 1 << 23 else sign | min(moved, INF)


def ceil(a):
    return rounded(Fraction(math.ceil(value(a)))) if finite(a) else a


def frame(m, mode, format):
    if mode != "amla":
        return format.one, ONE
    s32 = unary(exp2, sub(m, rint(m)))
    s16 = rounded(value(s32), s32 >> 31, format)
    return s16, mul(s32, unary(recip, widened(s16, format)))


def row_offsets(m_prev, c_prev, m, c, comp_bits):
    if not finite(m_prev, m):
        return [0] * 2**comp_bits
    step = sub(rint(m_prev), rint(m))
    delta = min(max(int(value(step)), -255), 0)
    excess = (value(mul(c_prev, unary(recip, c))) - 1) * 2**24
    assert excess.denominator == 1 or excess < -(2**17)
    excess = min(max(math.floor(excess), -(2**17)), 2**17 - 1)
    shift, weights = delta * 2**23, [2 ** (comp_bits + 1) + 2 * s + 1 for s in range(2**comp_bits)]
    return [shift + round(Fraction(excess * weight, 2 ** (comp_bits + 2))) for weight in weights]


def slow_row(scores, columns, row, scale, first, mode, comp_bits, format=BF16):
    """One row of one block; `row` is the state [m, c, l, L], updated. Returns P and offsets as integers."""
    p_row, offsets = [0] * len(scores), [0] * 2**comp_bits
    if mode == "mul":
        offsets[0] = ONE
    if columns == 0:
        if first:
            row[:] = LOWEST, ONE, 0, 0
        return p_row, offsets
    maximum_raw = scores[0]
    for score in scores[1:columns]:
        maximum_raw = maximum(maximum_raw, score)
    m_prev, c_prev, l_prev, L_prev = row
    m = mul(maximum_raw, scale)
    if mode == "pow2":
        m = ceil(m)
    m = maximum(LOWEST if first else m_prev, m)
    s16, c = frame(m, mode, format)
    sum_l, sum_L, nan = 0, 0, False
    for i in range(columns):
        p = unary(exp2, sub(mul(scores[i], scale), m))
        p_row[i] = mul(p, widened(s16, format), format)
        if finite(p):
            sum_L += fixed(p)
            if finite(widened(p_row[i], format)):  # else m was +inf in an earlier block, and l is NaN since then
                sum_l += fixed(widened(p_row[i], format))
        else:
            nan = True
    sum_l, sum_L = (NAN, NAN) if nan else (rounded(Fraction(s, 2**32)) for s in (sum_l, sum_L))
    if first:
        row[:] = m, c, 0 if mode == "mul" else sum_l, sum_L
        return p_row, offsets
    alpha = unary(exp2, sub(m_prev, m))
    if mode == "mul":
        offsets[0] = alpha
    else:
        offsets = row_offsets(m_prev, ONE if mode == "pow2" else c_prev, m, c, comp_bits)
        l_prev = add(rescale(l_prev, offsets), sum_l)
    scaled = rescale(L_prev, offsets) if mode == "pow2" else mul(L_prev, alpha)
    row[:] = m, c, l_prev, add(scaled, sum_L)
    return p_row, offsets


def words(values):
    return np.ascontiguousarray(values, np.float32).view(np.uint32)


def score_blocks(rng, rows, columns, blocks):
    """Blocks whose rows differ in spread, drift upwards or downwards, and, in part, hold inf and NaN."""
    spread = 10.0 ** rng.uniform(-2, 3, size=(rows, 1))
    drift = rng.normal(size=(rows, 1)) * 10.0 ** rng.uniform(-3, 2.5, size=(rows, 1))
    for block in range(blocks):
        scores = rng.normal(size=(rows, columns)) * spread + block * drift
        for row in range(0, rows, 5):
            special = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, 3e38])
            scores[row, rng.integers(columns, size=1 + columns // 3)] = special
        if block == 0:
            scores[rows - 1] = -np.inf
        scores[rows - (3 if block < 2 else 2)] = -np.inf  # two blocks first; all but two
        scores[rows - 4] = -np.inf
        yield words(scores)


@pytest.mark.parametrize("format", [BF16, FP16, U6_10], ids=["bf16", "fp16", "u6.10"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("comp_bits", range(4))
@pytest.mark.parametrize("mode", HARDWARE_MODES)
def test_blocks_equal_the_transcription(mode, comp_bits, seed, format):
    rng = np.random.default_rng([seed, comp_bits])
    rows, columns, blocks, width = 15, 12, 4, 5
    scale = softmax_scale_word(float(rng.uniform(0.02, 1.5)))
    state, slow = RowState.empty(rows), [[LOWEST, ONE, 0, 0] for _ in range(rows)]
    limits = rng.integers(-1, blocks * columns + 1, size=rows)
    limits[:4] = 0, 1, columns, blocks * columns
    limits[-4:] = blocks * columns
    output, slow_output = np.full((rows, width), 0xDEAD, np.uint32), np.zeros((rows, width), object)
    for block, scores in enumerate(score_blocks(rng, rows, columns, blocks)):
        first = block == 0
        valid = np.clip(limits - block * columns, 0, columns)
        p, offsets = softmax_tile(
            scores, valid, row_maximum(scores, valid), state,
            scale_word=scale, first=first, mode=mode, comp_bits=comp_bits, format=format,
        )
        pv = words(rng.normal(size=(rows, width)) * 10.0 ** rng.uniform(-38, 38, size=(rows, width)))
        accumulate(output, pv, offsets, first=first, mode=mode, comp_bits=comp_bits)
        for row in range(rows):
            wanted_p, wanted_offsets = slow_row(
                scores[row].tolist(), int(valid[row]), slow[row], scale, first, mode, comp_bits, format
            )
            assert p[row].tolist() == wanted_p, (block, row)
            assert offsets[row].tolist() == [offset % 2**32 for offset in wanted_offsets], (block, row)
            got = [int(array[row]) for array in (state.m, state.c, state.l, state.L)]
            assert got == slow[row], (block, row, [f"{word:08x}" for word in (*got, *slow[row])])
            for col in range(width):
                old, new = slow_output[row, col], int(pv[row, col])
                moved = mul(old, wanted_offsets[0]) if mode == "mul" else rescale(old, wanted_offsets)
                slow_output[row, col] = new if first else add(moved, new)
        assert output.tolist() == slow_output.tolist()

    r, lse = reciprocal_and_lse(state, mode=mode)
    out = normalize(output, r)
    for row, (m, _, l, L) in enumerate(slow):
        if L & 0x7FFFFFFF == 0:
            assert limits[row] <= 0 or row == rows - 4
            assert int(lse[row]) == INF and not out[row].any()
        else:
            factor = unary(recip, L if mode == "mul" else l)
            assert int(r[row]) == factor and int(lse[row]) == mul(0x3F317218, add(m, unary(log2, L)))
            assert out[row].tolist() == [mul(word, factor) for word in slow_output[row]]


@pytest.mark.parametrize("comp_bits", range(4))
@pytest.mark.parametrize("mode", HARDWARE_MODES)
def test_arbitrary_states_equal_the_transcription(mode, comp_bits):
    """States that no sequence of blocks reaches, so that every clamp acts."""
    rng = np.random.default_rng(comp_bits)
    rows, columns, scale = 60, 3, softmax_scale_word(0.25)
    scores = words(rng.normal(size=(rows, columns)) * 10.0 ** rng.uniform(-3, 3, size=(rows, 1)))
    m = words(rng.normal(size=rows) * 10.0 ** rng.uniform(-3, 3, size=rows))
    m[:4] = words([np.nan, np.inf, -np.inf, -1e30])
    c = words(np.where(rng.random(rows) < 0.5, rng.uniform(0.99, 1.01, rows), rng.uniform(0.3, 3.0, rows)))
    l, L = (words(10.0 ** rng.uniform(-20, 20, rows)) for _ in range(2))
    l[1] = L[1] = NAN  # as an infinite maximum leaves them
    state = RowState(m=m.copy(), c=c.copy(), l=l.copy(), L=L.copy())
    valid = rng.integers(0, columns + 1, size=rows)
    p, offsets = softmax_tile(
        scores, valid, row_maximum(scores, valid), state,
        scale_word=scale, first=False, mode=mode, comp_bits=comp_bits,
    )
    deltas, excesses = set(), set()
    for row in range(rows):
        slow = [int(array[row]) for array in (m, c, l, L)]
        wanted_p, wanted = slow_row(
            scores[row].tolist(), int(valid[row]), slow, scale, False, mode, comp_bits
        )
        assert p[row].tolist() == wanted_p
        assert offsets[row].tolist() == [offset % 2**32 for offset in wanted]
        assert [int(array[row]) for array in (state.m, state.c, state.l, state.L)] == slow
        deltas.add(round(wanted[0] / 2**23))
        excesses.add(wanted[0] - 2**23 * round(wanted[0] / 2**23))
    if mode != "mul":
        assert -255 in deltas and 0 in deltas and len(deltas) > 5
    if mode == "pow2":
        assert excesses == {0}
    if mode == "amla":
        assert min(excesses) < -(2**16) and max(excesses) > 2**16


def test_pow2_moves_by_whole_powers_of_two():
    """m is an integer, P of the row maximum is in [1/2, 1], and the sums are those of a multiplication by 2^Δ."""
    rng = np.random.default_rng(8)
    rows, columns = 200, 6
    state = RowState.empty(rows)
    drift = rng.choice([-3, 0, 0.2, 7, 40, 300], size=(rows, 1))
    moved = set()
    for block in range(5):
        scores = words(rng.normal(size=(rows, columns)) * 5 + block * drift)
        valid, before = np.full(rows, columns), (state.m.copy(), state.l.copy(), state.L.copy())
        p, offsets = softmax_tile(scores, valid, row_maximum(scores, valid), state, scale_word=ONE,
                                  first=block == 0, mode="pow2", comp_bits=2)
        m, values = state.m.view(np.float32), (p.astype(np.uint32) << 16).view(np.float32)
        largest = scores.view(np.float32).max(axis=1)
        assert (m == np.ceil(m)).all() and (m >= largest).all()
        rose = m == np.ceil(largest)
        assert (values[rose].max(axis=1) >= 0.5).all() and values.max() <= 1
        assert not (offsets & 0x7FFFFF).any() and (offsets == offsets[:, :1]).all()
        if block:
            delta = before[0].view(np.float32) - m
            assert ((offsets[:, 0].view(np.int32) >> 23) == np.maximum(delta, -255)).all()
            exact = np.exp2(scores.view(np.float32).astype(np.float64) - m[:, None]).sum(axis=1)
            for got, old, tolerance in ((state.l, before[1], 2**-8), (state.L, before[2], 1e-6)):
                wanted = old.view(np.float32) * 2.0**delta + exact
                np.testing.assert_allclose(got.view(np.float32), wanted, rtol=tolerance)
            moved |= set(delta.tolist())
    assert 0 in moved and min(moved) < -255 and len(moved) > 20


@pytest.mark.parametrize("format", [BF16, FP16, U6_10], ids=["bf16", "fp16", "u6.10"])
@pytest.mark.parametrize("scale_word", [ONE, 0x40000000], ids=["", "overflow"])
@pytest.mark.parametrize("mode", HARDWARE_MODES)
def test_blocks_of_minus_infinity_change_no_bit(mode, scale_word, format):
    """Two blocks whose every score, or scaled score, is −inf, before others: as if they had not been there."""
    rng = np.random.default_rng(13)
    rows, columns, width = 20, 8, 3
    lost = words(np.full((rows, columns), -np.inf if scale_word == ONE else -3e38))
    blocks = [words(rng.normal(size=(rows, columns)) * 20 + mean) for mean in (-100, 0, 30)]
    products = [words(rng.normal(size=(rows, width))) for _ in blocks]

    def attended(blocks, products):
        state, output = RowState.empty(rows), np.full((rows, width), 0xDEAD, np.uint32)
        for index, (scores, product) in enumerate(zip(blocks, products, strict=True)):
            valid = np.full(rows, columns)
            p, offsets = softmax_tile(scores, valid, row_maximum(scores, valid), state, scale_word=scale_word,
                                      first=index == 0, mode=mode, comp_bits=2, format=format)
            accumulate(output, product, offsets, first=index == 0, mode=mode, comp_bits=2)
            assert scores is not lost or not p.any()
        r, lse = reciprocal_and_lse(state, mode=mode)
        return normalize(output, r).tolist(), lse.tolist()

    nothing = np.zeros((rows, width), np.uint32)
    assert attended([lost, lost, *blocks], [nothing, nothing, *products]) == attended(blocks, products)
    assert attended([lost, lost], [nothing, nothing]) == (nothing.tolist(), [INF] * rows)


def test_row_maximum_covers_valid_columns_only():
    scores = words([[1, 5, 3], [1, 5, 3], [-0.0, 0.0, -1], [np.nan, 2, 3], [1, 2, np.nan], [-np.inf, -7, -7]])
    valid = np.array([0, 9, 3, 2, 2, 1])
    assert row_maximum(scores, valid).tolist() == [
        MINUS_INF, 0x40A00000, 0, NAN, 0x40000000, MINUS_INF,
    ]


@pytest.mark.parametrize(("limit", "heads", "head0", "wanted"), [
    (5, 0, 0, [5, 5, 5, 5, 5, 5]),
    (5, 2, 0, [5, 5, 6, 6, 7, 7]),
    (5, 3, 2, [5, 6, 6, 6, 7, 7]),
    (-2, 1, 0, [0, 0, 0, 1, 2, 3]),
    (5, 1, 12, [17, 18, 19, 20, 20, 20]),
    (-9, 0, 7, [0, 0, 0, 0, 0, 0]),
    (1 << 20, 4, 3, [1 << 20] + [(1 << 20) + 1] * 4 + [(1 << 20) + 2]),
])
def test_valid_columns(limit, heads, head0, wanted):
    assert valid_columns(6, limit, heads, head0).tolist() == wanted


def test_a_row_without_key_keeps_state_and_output():
    state = RowState.empty(1)
    scores, output = words([[0.5, -1.0]]), np.zeros((1, 3), np.uint32)
    softmax_tile(scores, np.array([2]), row_maximum(scores, np.array([2])), state,
                 scale_word=ONE, first=True, mode="amla", comp_bits=2)
    no_offsets = np.zeros((1, 4), np.uint32)
    accumulate(output, words([[1.5, -2.5, 0.0]]), no_offsets, first=True, mode="amla", comp_bits=2)
    before = [array.copy() for array in (state.m, state.c, state.l, state.L, output)]
    poison, none = words([[np.nan, np.inf]]), np.array([0])
    p, offsets = softmax_tile(poison, none, row_maximum(poison, none), state,
                              scale_word=ONE, first=False, mode="amla", comp_bits=2)
    accumulate(output, np.zeros((1, 3), np.uint32), offsets, first=False, mode="amla", comp_bits=2)
    assert not p.any() and not offsets.any()
    for old, new in zip(before, (state.m, state.c, state.l, state.L, output), strict=True):
        assert old.tolist() == new.tolist()


def test_scale_word_rounds_the_product_once():
    assert softmax_scale_word(1.0) == 0x3FB8AA3B
    assert softmax_scale_word(576**-0.5) == int(np.float32(math.log2(math.e) / 24).view(np.uint32))


@pytest.mark.parametrize("scale", [0, -1.0, math.nan, math.inf, 1e-39, 1e39])
def test_scale_word_rejects(scale):
    with pytest.raises(ValueError, match=r"softmax_scale must be positive .*, not "):
        softmax_scale_word(scale)


def test_scale_word_rejects_what_is_no_number():
    with pytest.raises(TypeError, match="softmax_scale must be a real number, not '1'"):
        softmax_scale_word("1")


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"mode": "paper"}, ValueError, "mode must be one of amla, mul, pow2, not 'paper'"),
    ({"scores": np.zeros((2, 4), np.float32)}, TypeError, "scores must be .* not of dtype float32"),
    ({"scores": np.zeros((3, 4), np.uint32)}, ValueError, r"scores must be .*\[2, any\], not of shape \(3"),
    ({"scores": [[0]]}, TypeError, r"scores must be an array .*, not \[\[0\]\]"),
    ({"valid": np.zeros(2, np.int32)}, TypeError, "valid must be .* not of dtype int32"),
    ({"rowmax": np.zeros(1, np.uint32)}, ValueError, r"rowmax must be .*, not of shape \(1,\)"),
])
def test_softmax_tile_rejects(change, error, message):
    arguments = {
        "scores": np.zeros((2, 4), np.uint32), "valid": np.zeros(2, np.int64),
        "rowmax": np.zeros(2, np.uint32), "mode": "amla", **change,
    }
    with pytest.raises(error, match=message):
        softmax_tile(**arguments, state=RowState.empty(2), scale_word=ONE, first=True, comp_bits=2)


def test_row_state_rejects_uneven_arrays():
    word = np.zeros(2, np.uint32)
    with pytest.raises(ValueError, match=r"l must be .*, not of shape \(1,\)"):
        RowState(m=word, c=word, l=word[:1], L=word)
