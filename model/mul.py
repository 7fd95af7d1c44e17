"""Multiplication on words: FP32 × FP32 → FP32 and FP32 × BF16 → BF16; one rounding of the exact product."""

import numba
import numpy as np

from .formats import round_pack, unpack

__all__ = ["mul", "mul_bf16", "mul_bf16_word", "mul_word"]


@numba.njit(cache=True)
def _multiply(a, a_fraction_bits, b, b_fraction_bits, fraction_bits):
    """Product of two words with 8-bit exponents, rounded to one with ``fraction_bits``; ``int64``."""
    sign_a, field_a, significand_a = unpack(a, 8, a_fraction_bits)
    sign_b, field_b, significand_b = unpack(b, 8, b_fraction_bits)
    sign = sign_a ^ sign_b
    infinity = np.int64(255) << fraction_bits
    if field_a == 255 or field_b == 255:
        nan = infinity | (1 << (fraction_bits - 1))
        if field_a == 255 and significand_a != 1 << a_fraction_bits:
            return nan
        if field_b == 255 and significand_b != 1 << b_fraction_bits:
            return nan
        if significand_a == 0 or significand_b == 0:
            return nan
        return (sign << (8 + fraction_bits)) | infinity
    exponent = field_a + field_b - 254 - a_fraction_bits - b_fraction_bits
    return round_pack(sign, significand_a * significand_b, exponent, 8, fraction_bits)


@numba.njit(cache=True)
def mul_word(a, b):
    """a · b of two FP32 words."""
    return np.uint32(_multiply(a, 23, b, 23, 23))


@numba.njit(cache=True)
def mul_bf16_word(a, b):
    """a · b of an FP32 and a BF16 word, as a BF16 word."""
    return np.uint16(_multiply(a, 23, b, 7, 7))


@numba.guvectorize(["(uint32, uint32, uint32[:])"], "(),()->()", cache=True)
def mul(a, b, out):
    """a · b of each pair of FP32 words."""
    out[0] = mul_word(a, b)


@numba.guvectorize(["(uint32, uint16, uint16[:])"], "(),()->()", cache=True)
def mul_bf16(a, b, out):
    """a · b of each pair of an FP32 and a BF16 word, as BF16 words."""
    out[0] = mul_bf16_word(a, b)
