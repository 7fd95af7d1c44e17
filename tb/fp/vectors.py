"""Vectors for the operators: corners against corners, random words, and operands made for the hard cases."""

import numpy as np
from amla.model.corners import bf16_corners, fp32_corners, random_pairs, random_words

__all__ = ["bf16_words", "near_cancellation", "operands", "pairs", "ties", "words"]


def words(rng: np.random.Generator, count: int) -> np.ndarray:
    """Every FP32 corner, then random words, ``count`` in all; half of these within 2^±16."""
    corners = fp32_corners()
    uniform = random_words(rng, count - len(corners))
    fields = rng.integers(111, 144, len(uniform), dtype=np.uint32) << 23
    moderate = uniform & np.uint32(0x807FFFFF) | fields
    return np.concatenate([corners, np.where(rng.random(len(uniform)) < 0.5, moderate, uniform)])


def bf16_words(rng: np.random.Generator, count: int) -> np.ndarray:
    """BF16 words, uniform over the encodings but for one corner in eight."""
    uniform = rng.integers(0, 1 << 16, count, dtype=np.uint16)
    return np.where(rng.random(count) < 1 / 8, rng.choice(bf16_corners(), count), uniform)


def pairs(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of FP32 words: corners, random words, near cancellations and near ties, a quarter each."""
    corners = fp32_corners()
    quarter = count // 4
    parts = [
        (rng.choice(corners, quarter), rng.choice(corners, quarter)),
        random_pairs(rng, count - 3 * quarter),
        near_cancellation(rng, quarter),
        ties(rng, quarter),
    ]
    return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])


def near_cancellation(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """b is −a but for a few units in the last places, or for one binade."""
    a = random_words(rng, count)
    step = rng.integers(-4, 5, count) << rng.integers(0, 24, count)
    return a, ((a ^ np.uint32(1 << 31)).astype(np.int64) + step).astype(np.uint32)


def ties(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Few significant bits in both: sums and products end at, or one bit beside, the rounding position."""
    def short(bits: np.ndarray) -> np.ndarray:
        fraction = rng.integers(0, 1 << 23, count, dtype=np.uint32)
        fraction = fraction >> (23 - bits).astype(np.uint32) << (23 - bits).astype(np.uint32)
        field = rng.integers(100, 155, count, dtype=np.uint32)
        return rng.integers(0, 2, count, dtype=np.uint32) << 31 | field << 23 | fraction

    bits = rng.integers(0, 24, count)
    a, b = short(bits), short(np.clip(24 - bits, 0, 23))
    lone = rng.random(count) < 0.5  # beside a full significand: one bit, two, or just under a power of two
    field = np.clip((a >> 23 & 0xFF).astype(np.int64) - rng.integers(22, 28, count), 1, 254).astype(np.uint32)
    fraction = rng.choice(np.array([0, 1, 1 << 22, 0x7FFFFF], dtype=np.uint32), count)
    full = a & np.uint32(0xFF800000) | rng.integers(0, 1 << 23, count, dtype=np.uint32)
    return np.where(lone, full, a), np.where(lone, b & np.uint32(1 << 31) | field << 23 | fraction, b)


def operands(rng: np.random.Generator, count: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Operands of ``fdpa``: a and b [count, k] BF16 words, c [count] FP32 words.

    A quarter each: values of one scale; exponents far apart; terms that cancel; words of any kind with a few
    infinities and NaN, so that a special value meets ordinary ones.
    """
    kinds = rng.integers(0, 4, count)[:, None]
    sign = rng.integers(0, 2, (2, count, k), dtype=np.uint16) << np.uint16(15)
    fraction = rng.integers(0, 128, (2, count, k), dtype=np.uint16)
    narrow = rng.integers(124, 131, (2, count, k), dtype=np.uint16)
    centre = rng.integers(20, 236, (1, count, 1))
    wide = np.clip(centre * [[[1]], [[-1]]] + [[[0]], [[254]]] + rng.integers(-24, 25, (2, count, k)), 0, 254)
    field = np.where(kinds == 1, wide.astype(np.uint16), narrow)
    a, b = sign | field << np.uint16(7) | fraction
    # Cancelling: the second half repeats the first with the sign inverted, but for one term now and then.
    half = k // 2
    if half:
        same = (kinds == 2) & (rng.random((count, half)) < 0.95)
        b[:, half:2 * half] = np.where(same, b[:, :half], b[:, half:2 * half])
        a[:, half:2 * half] = np.where(same, a[:, :half] ^ np.uint16(1 << 15), a[:, half:2 * half])
    for words in (a, b):
        any_kind = bf16_words(rng, count * k).reshape(count, k)
        special = (any_kind & 0x7F80) == 0x7F80
        rare = special & (rng.random((count, k)) >= 2 / k)
        np.copyto(words, any_kind, where=(kinds == 3) & ~rare)
        np.copyto(words, np.uint16(0), where=rng.random((count, k)) < 0.05)
    # c: of the products' size, any word, zero, or what would cancel the first product.
    c = random_words(rng, count)
    kind = rng.integers(0, 4, count)
    size = (a[:, 0] >> 7 & 0xFF).astype(np.int64) + (b[:, 0] >> 7 & 0xFF) - 127
    field = np.clip(size + rng.integers(-3, 4, count), 0, 254)
    c = np.where(kind == 1, c & np.uint32(0x807FFFFF) | field.astype(np.uint32) << 23, c)
    c = np.where(kind == 2, np.uint32(0) | (c & np.uint32(1 << 31)), c)
    first = (a[:, 0].astype(np.uint32) << 16).view(np.float32)
    second = (b[:, 0].astype(np.uint32) << 16).view(np.float32)
    with np.errstate(all="ignore"):
        product = -(first * second)
    return a, b, np.where(kind == 3, product.view(np.uint32), c)
