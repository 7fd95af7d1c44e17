"""The FP8 cache: every code, one rounding, the layout, the round trip."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from amla.model.cache.fp8_cache import dequantize_fp8, quantize_fp8

BF16, E4M3 = ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn


def token(codes, scales, rope=0.0):
    nope = np.asarray(codes, np.uint8)
    return np.concatenate([
        nope, np.asarray(scales, "<f4").view(np.uint8), np.full(64, rope, BF16).view(np.uint8),
    ])


def nearest_bf16(exact):
    """The BF16 value nearest to a fraction, ties to even, for normal magnitudes."""
    if not exact:
        return 0.0
    size = abs(exact)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    step = Fraction(2) ** (exponent - 7)
    return float(round(exact / step) * step)  # round() of a fraction: ties to even


@pytest.mark.parametrize("seed", range(3))
def test_every_code_times_a_scale_is_rounded_once(seed):
    codes = np.arange(512) % 256
    scales = np.exp(np.random.default_rng(seed).normal(size=4) * 4).astype(np.float32)
    scales[0] = -scales[0]
    words = dequantize_fp8(token(codes, scales)[None])
    values = codes.astype(np.uint8).view(E4M3).astype(np.float64)
    got = words[0, :512].view(BF16).astype(np.float64)
    for column in range(512):
        if np.isnan(values[column]):
            assert words[0, column] == 0x7FC0
        else:
            exact = Fraction(values[column]) * Fraction(float(scales[column // 128]))
            assert got[column] == nearest_bf16(exact)


def test_a_tie_goes_to_even():
    one_and_an_eighth = int(np.array(1.125, E4M3).view(np.uint8))
    scale = np.float32(1 + 2**-7)  # 1.125 · (1 + 2⁻⁷) lies at 1.1337890625: 9/8 + 9/1024
    exact = Fraction(9, 8) * Fraction(float(scale))
    words = dequantize_fp8(token([one_and_an_eighth] * 512, [scale] * 4)[None])
    assert (words[0, :512].view(BF16).astype(float) == nearest_bf16(exact)).all()
    tie = dequantize_fp8(token([int(np.array(1.0, E4M3).view(np.uint8))] * 512, [1 + 2**-8] * 4)[None])
    assert (tie[0, :512] == 0x3F80).all()


def test_layout():
    codes = np.repeat(np.array([1, 2, 3, 4], np.float32).astype(E4M3).view(np.uint8), 128)
    bytes_ = token(codes, [1, 10, 100, 1000], rope=-7.5)
    assert bytes_.shape == (656,)
    values = dequantize_fp8(bytes_[None])[0].view(BF16).astype(float)
    assert values[[0, 127, 128, 256, 511]].tolist() == [1, 1, 20, 300, 4000]
    assert (values[512:] == -7.5).all()


def test_the_round_trip_is_within_half_an_e4m3_step():
    rng = np.random.default_rng(1)
    keys = rng.normal(size=(5, 2, 576)).astype(BF16)
    keys[0, 0, :128] = 0
    tokens = quantize_fp8(keys)
    assert tokens.shape == (5, 2, 656) and tokens.dtype == np.uint8
    back = dequantize_fp8(tokens.reshape(-1, 656)).view(BF16).reshape(keys.shape)
    wide, got = keys.astype(float), back.astype(float)
    assert np.array_equal(got[..., 512:], wide[..., 512:])
    assert not got[0, 0, :128].any()
    largest = np.abs(wide[..., :512].reshape(5, 2, 4, 128)).max(axis=-1).repeat(128, axis=-1)
    # Half a step of three fraction bits, or of the subnormals (2⁻⁹ of 448), and BF16's rounding.
    bound = np.maximum(np.abs(wide[..., :512]) * (2**-4 + 2**-8), largest * 2**-9 / 448)
    assert np.all(np.abs(got - wide)[..., :512] <= bound)


def test_strided_tokens():
    tokens = quantize_fp8(np.random.default_rng(2).normal(size=(6, 576)).astype(BF16))
    assert dequantize_fp8(tokens[::2]).tolist() == dequantize_fp8(tokens).tolist()[::2]


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: dequantize_fp8(np.zeros((1, 656), np.int8)), TypeError,
     r"tokens must be an array of uint8 with 656 columns, not dtype\('int8'\)"),
    (lambda: dequantize_fp8(np.zeros((1, 576), np.uint8)), ValueError,
     r"tokens must be an array of uint8 with 656 columns, not of shape \(1, 576\)"),
    (lambda: dequantize_fp8(np.zeros(656, np.uint8)), ValueError,
     r"tokens must have two dimensions, not shape \(656,\)"),
    (lambda: dequantize_fp8(np.zeros((2, 3, 656), np.uint8)), ValueError,
     r"tokens must have two dimensions, not shape \(2, 3, 656\)"),
    (lambda: quantize_fp8(np.zeros(576, np.float32)), TypeError,
     r"keys must be an array of bfloat16 with 576 columns, not dtype\('float32'\)"),
    (lambda: quantize_fp8(np.zeros((2, 512), BF16)), ValueError,
     r"keys must be an array of bfloat16 with 576 columns, not of shape \(2, 512\)"),
])
def test_rejects(call, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        call()
