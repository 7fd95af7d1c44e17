"""The FP8 cache of 584 bytes: every code with every scale, the layout of a page, pages apart, the round trip."""

import ml_dtypes
import numpy as np
import pytest
from amla.model.cache.fp8_pages import dequantize_fp8_pages, page_parts, quantize_fp8_pages

BF16, E4M3, E8M0 = ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e8m0fnu


def page_of(tokens):
    """A page, uint8[1, n, 584], of tokens (448 codes, 64 BF16 values, 7 scale codes), byte by byte."""
    values = b"".join(np.asarray(codes, np.uint8).tobytes() + np.asarray(rope, BF16).tobytes()
                      for codes, rope, _ in tokens)
    scales = b"".join(bytes(scales) + b"\xff" for _, _, scales in tokens)
    return np.frombuffer(values + scales, np.uint8).reshape(1, len(tokens), 584)


def test_every_code_with_every_scale():
    """Of 256 × 256 products: exact, or zero below 2⁻¹²⁶, infinite from 2¹²⁸ on, NaN of a NaN."""
    codes = (np.arange(448) % 256).astype(np.uint8)
    words = dequantize_fp8_pages(page_of([(codes, np.zeros(64), [scale] * 7) for scale in range(256)]), np.arange(256))
    assert (words[:, 448:] == 0).all()
    scales = np.arange(256, dtype=np.uint8).view(E8M0).astype(np.float64)
    exact = codes.view(E4M3).astype(np.float64) * scales[:, None]
    exact[np.abs(exact) < 2.0**-126] *= 0.0
    exact[np.abs(exact) >= 2.0**128] *= np.inf
    got, nan = words[:, :448], np.isnan(exact)
    assert nan[255].all() and nan.sum() == 448 + 255 * 3 and np.isinf(exact).any() and (exact == 0).any()
    assert (got[nan] == 0x7FC0).all()
    assert np.array_equal(got[~nan].view(BF16).astype(np.float64), exact[~nan])
    assert np.array_equal(got[~nan] >> 15, np.signbit(exact[~nan]))


def test_layout():
    """Values of all tokens, then their scales; the eighth byte of a token's scales means nothing."""
    one, two = int(np.array(1, E4M3).view(np.uint8)), int(np.array(-2, E4M3).view(np.uint8))
    page = page_of([([one] * 448, np.full(64, 3.5), [127 + index for index in range(7)]),
                    ([two] * 448, np.full(64, -7), [120] * 7)])
    first, second = dequantize_fp8_pages(page, np.array([0, 1])).view(BF16).astype(float)
    assert first[::64].tolist() == [1, 2, 4, 8, 16, 32, 64, 3.5] and first[63::64].tolist() == first[::64].tolist()
    assert (second[:448] == -2 / 128).all() and (second[448:] == -7).all()


@pytest.mark.parametrize("page", [1, 2, 64, 100])
def test_pages_apart(page):
    """Slots of pages that begin at multiples of 576 bytes are those of pages without a gap."""
    keys = np.random.default_rng(page).normal(size=(3, page, 512)).astype(BF16)
    padded = quantize_fp8_pages(keys)
    assert padded.strides[0] % 576 == 0 and padded.strides[1:] == (584, 1)
    slots = np.random.default_rng(0).integers(0, 3 * page, 50)
    words = dequantize_fp8_pages(padded, slots)
    assert np.array_equal(words, dequantize_fp8_pages(np.ascontiguousarray(padded), slots))
    assert np.array_equal(words, dequantize_fp8_pages(np.repeat(padded, 2, axis=2)[:, :, ::2], slots))
    assert np.array_equal(words[:, 448:], keys.view(np.uint16).reshape(-1, 512)[slots, 448:])


def test_the_round_trip_is_within_half_an_e4m3_step():
    sizes = np.exp2(np.arange(-8, 12)).reshape(4, 5, 1)
    keys = (np.random.default_rng(1).normal(size=(4, 5, 512)) * sizes).astype(BF16)
    keys[0, 0, :64] = 0
    keys[0, 1, :64] = np.float32(448 * 2**-3)
    keys[0, 2, :64] = np.float32(450 * 2**-3)
    pages = quantize_fp8_pages(keys)
    scales = pages.reshape(4, -1)[:, 5 * 576:].reshape(4, 5, 8)
    assert scales[0, :3, 0].tolist() == [127, 124, 125] and not scales[..., 7].any()
    back = dequantize_fp8_pages(pages, np.arange(20)).view(BF16).astype(float)
    wide = keys.reshape(20, 512).astype(float)
    largest = np.abs(wide[:, :448].reshape(20, 7, 64)).max(axis=-1).repeat(64, axis=-1)
    bound = np.maximum(np.abs(wide[:, :448]) * 2**-4, 2 * largest * 2**-10 / 448)
    assert (np.abs(back - wide)[:, :448] <= bound).all() and np.array_equal(back[:, 448:], wide[:, 448:])


def test_the_largest_and_smallest_keys():
    """Keys as large as BF16's exponent and as small come back."""
    keys = np.zeros((1, 2, 512), BF16)
    keys[0, 0], keys[0, 1] = 1.75 * 2.0**127, 2.0**-126
    back = dequantize_fp8_pages(quantize_fp8_pages(keys), np.arange(2)).view(BF16)
    assert np.array_equal(back, keys[0])


PAGES = np.zeros((2, 4, 584), np.uint8)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: dequantize_fp8_pages(PAGES.view(np.int8), np.arange(2)), TypeError,
     r"pages must be an array uint8\[any, any, 584\], not of dtype int8"),
    (lambda: dequantize_fp8_pages(PAGES[:, :, :576], np.arange(2)), ValueError,
     r"pages must be an array uint8\[any, any, 584\], not of shape \(2, 4, 576\)"),
    (lambda: dequantize_fp8_pages(PAGES, np.arange(2, dtype=np.int32)), TypeError,
     r"slots must be an array int64\[any\], not of dtype int32"),
    (lambda: dequantize_fp8_pages(PAGES, np.array([0, 8])), ValueError, "slots must be from 0 to 7, not 0 to 8"),
    (lambda: dequantize_fp8_pages(PAGES, np.array([-1])), ValueError, "slots must be from 0 to 7, not -1 to -1"),
    (lambda: quantize_fp8_pages(np.zeros((1, 1, 512), np.float32)), TypeError,
     r"keys must be an array bfloat16\[any, any, 512\], not of dtype float32"),
    (lambda: quantize_fp8_pages(np.zeros((1, 512), BF16)), ValueError,
     r"keys must be an array bfloat16\[any, any, 512\], not of shape \(1, 512\)"),
])
def test_rejects(call, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        call()


def test_parts_are_views_of_the_bytes_of_each_token():
    pages = quantize_fp8_pages(np.ones((2, 3, 512), BF16))
    values, scales = page_parts(pages)
    assert values.shape == (2, 3, 576) and scales.shape == (2, 3, 8)
    values[1, 2] = 0xFF
    scales[1, 2] = 0xFF
    flat = pages.reshape(2, -1)
    assert np.flatnonzero(flat[1] == 0xFF).tolist() == [*range(2 * 576, 3 * 576), *range(3 * 576 + 16, 3 * 576 + 24)]
    assert not (flat[0] == 0xFF).any()
