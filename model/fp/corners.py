"""Words at which arithmetic goes wrong, and random words that meet them: for the tests and the benches."""

import numpy as np

from .formats import BF16, FP16, FP32, U6_10, Format

__all__ = ["bf16_corners", "fp16_corners", "fp32_corners", "random_pairs", "random_words", "u6_10_corners"]


def _classes(format: Format) -> list[int]:
    """Positive words of every class: zero, subnormals, normals at the ends and at one, infinity, NaN."""
    one, hidden = format.one, format.min_normal
    return [
        0, 1, hidden >> 1, hidden - 1,
        hidden, hidden + 1, 2 * hidden - 1, 2 * hidden, format.max_finite - 1, format.max_finite,
        one - 1, one, one + 1, one | hidden >> 1, one + hidden - 1, one + hidden,
        format.infinity, format.infinity + 1, format.quiet_nan, format.infinity + hidden - 1,
    ]


def _signed(positive: list[int], format: Format, dtype: type) -> np.ndarray:
    words: np.ndarray = np.unique(np.array(positive, dtype=dtype))
    return np.concatenate([words, words | dtype(1 << (format.bits - 1))]) if format.signed else words


def bf16_corners() -> np.ndarray:
    """BF16 words (``uint16``) of every class, both signs, and powers of two over the exponent range."""
    powers = [field << BF16.fraction_bits for field in range(1, BF16.max_field, 21)]
    return _signed(_classes(BF16) + powers, BF16, np.uint16)


def fp16_corners() -> np.ndarray:
    """FP16 words (``uint16``) of every class, both signs, and all powers of two, subnormal ones too."""
    powers = [field << FP16.fraction_bits for field in range(1, FP16.max_field)]
    return _signed(_classes(FP16) + powers + [1 << bit for bit in range(FP16.fraction_bits)], FP16, np.uint16)


def u6_10_corners() -> np.ndarray:
    """U6.10 words (``uint16``) of every class, and all powers of two."""
    powers = [field << U6_10.fraction_bits for field in range(1, U6_10.max_field)]
    return _signed(_classes(U6_10) + powers, U6_10, np.uint16)


def fp32_corners() -> np.ndarray:
    """FP32 words (``uint32``) of every class, both signs, and where our operations change course.

    Powers of two and their neighbours, BF16 ties, halves and integers for rounding to integers, the ends of
    the ranges of exp2, and around the fixed point's unit 2^-32.
    """
    powers = [field << FP32.fraction_bits for field in range(1, FP32.max_field, 9)]
    ties = [FP32.one | low for low in (0x7FFF, 0x8000, 0x8001, 0x17FFF, 0x18000, 0x18001, 0x7F8000)]
    values = [
        0.25, 0.5, 1.5, 2.5, 3.5, 2.0, 100.5, 125.0, 126.0, 126.5, 127.0, 127.5, 128.0, 149.0, 150.0,
        254.0, 255.0, 256.0, 2.0**22 + 0.5, 2.0**23 - 0.5, 2.0**23 + 1, 2.0**24,
        2.0**-24, 2.0**-25, 2.0**-30, 2.0**-32, 2.0**-33,
    ]
    exact = np.array(values, dtype=np.float32).view(np.uint32)
    near = [int(word) + step for word in exact for step in (-1, 0, 1)]
    return _signed(_classes(FP32) + powers + [word - 1 for word in powers[1:]] + ties + near, FP32, np.uint32)


def random_words(rng: np.random.Generator, count: int) -> np.ndarray:
    """FP32 words, uniform over all encodings except that one in sixteen is a corner."""
    words = rng.integers(0, 1 << 32, count, dtype=np.uint32)
    corners = fp32_corners()
    return np.where(rng.random(count) < 1 / 16, rng.choice(corners, count), words)


def random_pairs(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of FP32 words; in half the pairs the exponents are at most 26 apart: they interact."""
    a, b = random_words(rng, count), random_words(rng, count)
    field = (a >> 23 & 0xFF).astype(np.int64) + rng.integers(-26, 27, count)
    close = b & np.uint32(0x807FFFFF) | np.clip(field, 0, 255).astype(np.uint32) << 23
    return a, np.where(rng.random(count) < 0.5, close, b)
