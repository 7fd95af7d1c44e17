"""Vectors for the operators: corners against corners, random words, and operands made for the hard cases."""

import numpy as np
from amla.model.fp.convert import widen
from amla.model.fp.corners import bf16_corners, fp16_corners, fp32_corners, random_pairs, random_words, u6_10_corners
from amla.model.fp.formats import BF16, FP16, U6_10, Format

__all__ = ["fp32", "narrow_words", "near_cancellation", "operands", "pairs", "ties", "with_weights",
           "words"]

#: Operands of ``fdpa`` made at a time, so that a million of them fit the memory of a small machine.
_BLOCK = 1 << 16


def fp32(values: np.ndarray) -> np.ndarray:
    """FP32 words of numbers, rounded."""
    return values.astype(np.float32).view(np.uint32)


def words(rng: np.random.Generator, count: int) -> np.ndarray:
    """Every FP32 corner, then random words, ``count`` in all; half of these within 2^±16."""
    corners = fp32_corners()
    uniform = random_words(rng, count - len(corners))
    fields = rng.integers(111, 144, len(uniform), dtype=np.uint32) << 23
    moderate = uniform & np.uint32(0x807FFFFF) | fields
    return np.concatenate([corners, np.where(rng.random(len(uniform)) < 0.5, moderate, uniform)])


def narrow_words(rng: np.random.Generator, count: int, format: Format = BF16) -> np.ndarray:
    """Words of a format of 16 bits, uniform but for one corner in eight; every word if there is room."""
    uniform = rng.integers(0, 1 << 16, count, dtype=np.uint16)
    corners = {BF16: bf16_corners, FP16: fp16_corners, U6_10: u6_10_corners}[format]()
    words = np.where(rng.random(count) < 1 / 8, rng.choice(corners, count), uniform)
    if count >= 1 << 17:
        words[-1 << 16:] = rng.permutation(1 << 16)
    return words


def pairs(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of FP32 words: corners, random words, near cancellations and near ties, a quarter each.

    All pairs of corners, if they fit a quarter.
    """
    quarter = count // 4
    parts = [
        _corner_pairs(rng, quarter),
        random_pairs(rng, count - 3 * quarter),
        near_cancellation(rng, quarter),
        ties(rng, quarter),
    ]
    return np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts])


def _corner_pairs(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    corners = fp32_corners()
    a, b = rng.choice(corners, (2, count))
    if len(corners) ** 2 <= count:
        every = len(corners) ** 2
        a[:every], b[:every] = np.repeat(corners, len(corners)), np.tile(corners, len(corners))
    return a, b


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


def operands(
    rng: np.random.Generator, count: int, k: int, format: Format = BF16,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Operands of ``fdpa``: a and b [count, k] words, c [count] FP32 words; k is at least 2.

    A fifth each: values of one scale; exponents far apart; terms that cancel; two short products at an end of
    the range (FP16, whose products reach no end of FP32's: subnormals); words of any kind. Zeros among them, and
    c of every kind.
    """
    blocks = [_operands(rng, min(_BLOCK, count - start), k, format) for start in range(0, count, _BLOCK)]
    a, b, c = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return a, b, c


def with_weights(
    rng: np.random.Generator, a: np.ndarray, b: np.ndarray, format: Format,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``weights`` [count], one in two, and a and b in which such rows' a is in U6.10.

    Its sign, and what its exponent has too much or too little for that, go to b.
    """
    weights = rng.random(len(a)) < 0.5
    bits, sign = format.fraction_bits, np.uint16(1 << 15)
    fraction = (a & np.uint16((1 << bits) - 1)) << np.uint16(10 - bits) | a >> np.uint16(bits) & ((1 << 10 - bits) - 1)
    (field_a, field_b) = ((words & ~sign).astype(np.int64) >> bits for words in (a, b))
    number_a, number_b = ((field > 0) & (field < format.max_field) for field in (field_a, field_b))
    field = np.where(number_a, np.clip(field_a - format.bias + U6_10.bias, 1, U6_10.max_field - 1), (field_a > 0) * 63)
    rest = np.where(number_a & number_b, field_a - format.bias - (field - U6_10.bias), 0)
    moved = np.where(number_b, np.clip(field_b + rest, 1, format.max_field - 1), field_b).astype(np.uint16)
    as_p = field.astype(np.uint16) << np.uint16(10) | fraction
    as_b = b & np.uint16((1 << bits) - 1) | moved << np.uint16(bits) | (a ^ b) & sign
    chosen = weights[:, None]
    return weights, np.where(chosen, as_p, a), np.where(chosen, as_b, b)


def _operands(
    rng: np.random.Generator, count: int, k: int, format: Format,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    plain = _numbers(rng, format.bias + rng.integers(-3, 4, (2, count, k)), format)
    if format == BF16:
        centre = rng.integers(24, 230, (count, 1))
        fields = np.stack([centre, 254 - centre]) + rng.integers(-23, 24, (2, count, k))
        ends = _at_the_ends(rng, count, k)
    else:
        fields = rng.integers(0, format.max_field, (2, count, k))
        ends = _numbers(rng, rng.integers(0, 3, (2, count, k)), format)
    candidates = np.stack([plain, _numbers(rng, fields, format), _cancelling(rng, plain), ends,
                           _any_kind(rng, count, k, format)])
    a, b = np.swapaxes(candidates[rng.integers(0, len(candidates), count), :, np.arange(count)], 0, 1)
    a, b = (np.where(rng.random((count, k)) < 0.05, np.uint16(0), words) for words in (a, b))
    return a, b, _addends(rng, a[:, 0], b[:, 0], format)


def _numbers(rng: np.random.Generator, fields: np.ndarray, format: Format) -> np.ndarray:
    """Words with these exponent fields, of any sign and fraction."""
    rest = rng.integers(0, 1 << 16, fields.shape, dtype=np.uint16) & np.uint16(~format.infinity & 0xFFFF)
    return rest | fields.astype(np.uint16) << np.uint16(format.fraction_bits)


def _cancelling(rng: np.random.Generator, numbers: np.ndarray) -> np.ndarray:
    """The products of the second half are those of the first with the sign inverted, but for a few."""
    half = numbers.shape[2] // 2
    out = numbers.copy()
    opposite = numbers[:, :, :half] ^ np.array([1 << 15, 0], dtype=np.uint16)[:, None, None]
    np.copyto(out[:, :, half:2 * half], opposite, where=rng.random(numbers.shape[1:])[:, :half] < 0.95)
    return out


def _at_the_ends(rng: np.random.Generator, count: int, k: int) -> np.ndarray:
    """BF16: two products of few bits around 2^-126 or 2^127, the others zero."""
    out = np.zeros((2, count, k), dtype=np.uint16)
    high = rng.random((count, 2)) < 0.5
    left = np.where(high, rng.integers(129, 253, (count, 2)), rng.integers(3, 126, (count, 2)))
    fields = np.stack([left, np.where(high, 381, 128) + rng.integers(-2, 2, (count, 2)) - left])
    fractions = rng.choice(np.array([0, 0, 64, 127], dtype=np.uint16), fields.shape)
    out[:, :, :2] = _numbers(rng, fields, BF16) & np.uint16(0xFF80) | fractions
    return out


def _any_kind(rng: np.random.Generator, count: int, k: int, format: Format) -> np.ndarray:
    """Words of any kind; most infinities and NaN become numbers, so that they also meet nothing but those."""
    words = narrow_words(rng, 2 * count * k, format).reshape(2, count, k)
    special = (words & format.infinity) == format.infinity
    return np.where(special & (rng.random(words.shape) >= 4 / k), words & np.uint16(0xBFFF), words)


def _addends(rng: np.random.Generator, a: np.ndarray, b: np.ndarray, format: Format) -> np.ndarray:
    """FP32 words: any; of the size of the product a·b; zeros; what cancels that product. A quarter each."""
    anything = random_words(rng, len(a))
    x, y = (widen(words, format) for words in (a, b))
    size = (x >> 23 & 0xFF).astype(np.int64) + (y >> 23 & 0xFF) - 127
    field = np.clip(size + rng.integers(-3, 4, len(a)), 0, 254).astype(np.uint32)
    like = anything & np.uint32(0x807FFFFF) | field << 23
    with np.errstate(all="ignore"):
        opposite = (-(x.view(np.float32) * y.view(np.float32))).view(np.uint32)
    zeros = anything & np.uint32(1 << 31)
    return np.stack([anything, like, zeros, opposite])[rng.integers(0, 4, len(a)), np.arange(len(a))]
