"""FP16 operands: conversions against NumPy's float16, fdpa against rationals, decode against float64."""

from fractions import Fraction

import numpy as np
import pytest
from amla.model import MODES, flash_mla_with_kvcache, get_mla_metadata, mla_decode, mla_reference
from amla.model.fp.convert import to_fp16, widen
from amla.model.fp.corners import fp32_corners, random_words
from amla.model.fp.fdpa import fdpa_fp16_word, matmul
from amla.model.fp.formats import BF16, FP16, QUIET_NAN, Format, dtype_of
from amla.model.fp.mul import mul_fp16
from amla.model.numerics import P_FORMATS, Numerics

FLUSHED, QUIET = np.uint32(0x7F800000), np.uint16(FP16.quiet_nan)


def floats(words):
    """Values of FP32 words, subnormals as zeros."""
    return np.where(words & FLUSHED == 0, words & np.uint32(1 << 31), words).astype(np.uint32).view(np.float32)


def canonical(values):
    """Words of float16 values with one NaN."""
    return np.where(np.isnan(values), QUIET, values.view(np.uint16))


def any_words(rng, count):
    """FP32 words, half of them in and around the range of FP16."""
    near = rng.uniform(2.0**-26, 2.0**-12, count) if rng.random() < 0.5 else 2.0 ** rng.uniform(-27, 18, count)
    return np.concatenate([fp32_corners(), random_words(rng, count), near.astype(np.float32).view(np.uint32)])


@pytest.mark.smoke
def test_conversion():
    rng = np.random.default_rng(1)
    for _ in range(4):
        words = any_words(rng, 500_000)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(to_fp16(words), canonical(floats(words).astype(np.float16)))


@pytest.mark.smoke
def test_products_round_once():
    rng = np.random.default_rng(2)
    for _ in range(4):
        a = any_words(rng, 500_000)
        b = rng.integers(0, 1 << 16, len(a), dtype=np.uint16)
        with np.errstate(all="ignore"):
            factor = np.where(b & FP16.infinity == 0, b & 0x8000, b).astype(np.uint16).view(np.float16)
            exact = floats(a).astype(np.float64) * factor.astype(np.float64)  # 35 bits: exact
            np.testing.assert_array_equal(mul_fp16(a, b), canonical(exact.astype(np.float16)))


@pytest.mark.smoke
@pytest.mark.parametrize("format", [BF16, FP16], ids=["bf16", "fp16"])
def test_widening_is_exact(format: Format):
    words = np.arange(1 << 16, dtype=np.uint16)
    got = widen(words, format)
    with np.errstate(all="ignore"):
        values = words.view(dtype_of(format)).astype(np.float32)
    wanted = np.where(np.isnan(values), QUIET_NAN, values.view(np.uint32))
    if not format.subnormals:
        wanted = np.where(wanted & FLUSHED == 0, wanted & np.uint32(1 << 31), wanted)
    np.testing.assert_array_equal(got, wanted)


def reference(a, b, c, frac_bits):
    """The definition on exact rationals, for finite operands: sum of the truncated terms, exact sum, 2^(e_max - F)."""
    terms = [(Fraction(float(c)), int(np.floor(np.log2(abs(c)))))] if c else []
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        if x and y:
            exponents = [max(int(np.floor(np.log2(abs(value)))), -14) for value in (x, y)]
            terms.append((Fraction(x) * Fraction(y), sum(exponents)))
    if not terms:
        return Fraction(0), Fraction(0), Fraction(0)
    unit = Fraction(2) ** (max(exponent for _, exponent in terms) - frac_bits)
    cut = sum((1 if value > 0 else -1) * (abs(value) // unit) for value, _ in terms) * unit
    return cut, sum(value for value, _ in terms), unit


@pytest.mark.smoke
@pytest.mark.parametrize("frac_bits", [24, 30, 40])
def test_fdpa(frac_bits):
    """Normal and subnormal operands; sums that cancel."""
    rng = np.random.default_rng(frac_bits)
    inexact = 0
    for case in range(1500):
        k = (1, 4, 16)[case % 3]
        spread = (0, 3, 12, 25)[case % 4]
        a, b = (rng.normal(size=(2, k)) * 2.0 ** rng.integers(-spread, 1, (2, k))).astype(np.float16)
        c = np.float32(rng.normal() * 2.0 ** rng.integers(-2 * spread, 1)) * (case % 5 > 0)
        if case % 7 == 0:
            c = np.float32(-np.sum(a.astype(np.float64) * b))
        cut, exact, unit = reference(a, b, c, frac_bits)
        got = fdpa_fp16_word(a.view(np.uint16), b.view(np.uint16), c.view(np.uint32), frac_bits)
        result = Fraction(float(np.uint32(got).view(np.float32)))
        assert result == Fraction(float(np.float32(float(cut)))), (a, b, c)  # fewer than 53 bits: float(cut) is exact
        assert abs(result - exact) <= (k + 1) * unit + abs(exact) * Fraction(1, 1 << 23)
        inexact += cut != exact
    assert inexact > 50


def test_matmul_is_the_chain_of_fdpa():
    rng = np.random.default_rng(3)
    a, b = (rng.normal(size=shape) * 2.0 ** rng.integers(-24, 3, shape) for shape in ((7, 40), (9, 40)))
    a, b = (array.astype(np.float16).view(np.uint16) for array in (a, b))
    a[5, 3], a[6, 7], b[8, 11], a[2, 20] = FP16.infinity, FP16.quiet_nan, FP16.infinity | 1 << 15, 1
    c = rng.normal(size=(7, 9)).astype(np.float32).view(np.uint32)
    got = matmul(a, b, k=8, acc_frac_bits=30, c=c, format=FP16)
    for row in range(7):
        for column in range(9):
            word = c[row, column]
            for start in range(0, 40, 8):
                word = fdpa_fp16_word(a[row, start:start + 8], b[column, start:start + 8], word, 30)
            assert got[row, column] == word
    assert len(set(got[5].tolist() + got[6].tolist())) > 1 and got[6, 0] == QUIET_NAN


def paged(rng, lengths, *, tokens, heads, d, page=16):
    """Arguments of the decode calls at the scale of FlashMLA's tests, NaN in every unused slot."""
    pages = [-(-length // page) for length in lengths]
    cache = np.full((sum(pages) + 1, page, 1, d), np.nan, np.float16)
    table = np.full((len(lengths), max(pages) + 1), 2147480000, np.int32)
    free = iter(rng.permutation(len(cache)))
    for request, length in enumerate(lengths):
        for index in range(pages[request]):
            table[request, index] = block = next(free)
            used = min(page, length - index * page)
            cache[block, :used, 0] = np.clip(rng.normal(size=(used, d)) / 10, -1, 1)
    q = np.clip(rng.normal(size=(len(lengths), tokens, heads, d)) / 10, -1, 1).astype(np.float16)
    return q, cache, table, np.array(lengths, np.int32)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("causal", [False, True])
def test_decode_within_flashmlas_tolerance(mode, causal):
    arguments = paged(np.random.default_rng(4), [130, 0, 1, 515], tokens=2, heads=3, d=64)
    ref_out, ref_lse = mla_reference(*arguments, head_dim_v=48, causal=causal)
    plan = get_mla_metadata(arguments[3], keys_per_split=128)
    for out, lse in (mla_decode(*arguments, head_dim_v=48, causal=causal, mode=mode),
                     flash_mla_with_kvcache(*arguments, 48, *plan, causal=causal, mode=mode)):
        assert out.dtype == np.float16
        error = np.abs(out.astype(np.float64) - ref_out)
        assert np.all((error <= 8e-4) | (error <= 2.01 / 128 * np.abs(ref_out)))
        seen = np.isfinite(ref_lse)
        assert np.array_equal(np.isfinite(lse), seen)
        lse_error = np.abs(lse[seen] - ref_lse[seen])
        assert np.all((lse_error <= 2e-6) | (lse_error <= 8.01 / 65536 * np.abs(ref_lse[seen])))


def test_more_exact_than_bf16():
    """With P in the operands' format, three fraction bits more make the same inputs' error several times smaller."""
    arguments = paged(np.random.default_rng(5), [1024], tokens=1, heads=16, d=576)
    as_bf16 = [array.astype(dtype_of(BF16)) if array.dtype == np.float16 else array for array in arguments]
    errors = []
    for inputs in (arguments, as_bf16):
        ref_out, _ = mla_reference(*inputs)
        out, _ = mla_decode(*inputs, out_dtype=np.float32, numerics=Numerics(p_format="operand"))
        errors.append(np.linalg.norm(out - ref_out) / np.linalg.norm(ref_out))
    assert errors[0] < errors[1] / 4


@pytest.mark.parametrize("p_format", P_FORMATS)
def test_small_weights_count(p_format):
    """A key that outweighs 4,096 others 2^15 times each: FP16's subnormals, too, carry what they add together."""
    q = np.full((1, 1, 1, 16), 1.0, np.float16)
    kv = np.full((4097, 1, 1, 16), 0.0, np.float16)
    kv[0] = 15 / 16
    kv[1:, 0, 0, 1:8], kv[1:, 0, 0, 8:15] = 1.0, -1.0
    cache = kv.reshape(1, 4097, 1, 16)
    out, _ = mla_decode(q, cache, np.zeros((1, 1), np.int32), np.array([4097], np.int32), head_dim_v=8,
                        softmax_scale=float(np.log(2)), out_dtype=np.float32,
                        numerics=Numerics(p_format=p_format))
    assert abs(out[0, 0, 0, 1] - (15 / 16 + 4096 / 2**15) / (1 + 4096 / 2**15)) < 1e-3
