"""fdpa: fused dot product and accumulate, and the matrix product that chains it.

One step aligns every exact product and c to the largest exponent, truncates the magnitudes below 2^(e_max − F),
sums exactly and rounds once to FP32. :func:`fdpa_word` says so literally; :func:`matmul` computes the same bits for
whole matrices, vectorised over the columns:

* operands are split once into exponent and significand;
* a sum of aligned terms has far fewer than 53 bits, so that float64 holds it exactly and the conversion to float32 is
  the one rounding;
* a chunk with a NaN or an infinity in a or b goes through :func:`fdpa_word`. In c either needs no such care: beside
  finite products it stays what it is.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from .formats import POS_INF, QUIET_NAN, bit_length, round_pack, unpack

__all__ = ["ACC_FRAC_BITS", "fdpa_word", "matmul"]

#: Alignment bits F that fit the exact sum of :func:`matmul` (and every core).
ACC_FRAC_BITS = range(8, 45)

#: Exponent that stands for a zero term: below every other, far enough for any shift to saturate.
_NONE = -(1 << 14)

#: Columns computed together; their accumulators stay in the first-level cache.
_BLOCK = 128

#: Smallest magnitude that rounds to a normal FP32 number when the exponent range is unbounded.
_ROUNDS_TO_NORMAL = float.fromhex("0x1p-126") - float.fromhex("0x1p-151")


@numba.njit(cache=True)
def _aligned(significand, scale, frac_bits, distance):
    """floor(significand · 2^(frac_bits − scale − distance)) for a distance ≥ 0."""
    shift = scale + distance - frac_bits
    return significand >> min(shift, 63) if shift >= 0 else significand << -shift


@numba.njit(cache=True)
def fdpa_word(a, b, c, acc_frac_bits):
    """c + Σ a[i]·b[i] for BF16 words a, b (``uint16`` arrays of equal length) and an FP32 word c; one rounding.

    ``acc_frac_bits`` is the F of the definition, with F + log2(len(a) + 1) at most 59.
    """
    sign_c, field_c, significand_c = unpack(c, 8, 23)
    if field_c == 255 and significand_c != 0x800000:
        return QUIET_NAN
    plus = field_c == 255 and sign_c == 0
    minus = field_c == 255 and sign_c == 1
    top = field_c - 127 if significand_c != 0 else np.int64(_NONE)
    for i in range(len(a)):
        sign_a, field_a, significand_a = unpack(a[i], 8, 7)
        sign_b, field_b, significand_b = unpack(b[i], 8, 7)
        if field_a == 255 or field_b == 255:
            if (field_a == 255 and significand_a != 0x80) or (field_b == 255 and significand_b != 0x80):
                return QUIET_NAN
            if significand_a == 0 or significand_b == 0:
                return QUIET_NAN
            if sign_a == sign_b:
                plus = True
            else:
                minus = True
        if significand_a != 0 and significand_b != 0:
            top = max(top, field_a + field_b - 254)
    if plus and minus:
        return QUIET_NAN
    if plus:
        return POS_INF
    if minus:
        return np.uint32(0xFF800000)
    total = np.int64(0)
    if significand_c != 0:
        term = _aligned(significand_c, 23, acc_frac_bits, top - field_c + 127)
        total = -term if sign_c else term
    for i in range(len(a)):
        sign_a, field_a, significand_a = unpack(a[i], 8, 7)
        sign_b, field_b, significand_b = unpack(b[i], 8, 7)
        if significand_a != 0 and significand_b != 0:
            term = _aligned(significand_a * significand_b, 14, acc_frac_bits, top - (field_a + field_b - 254))
            total += term if sign_a == sign_b else -term
    negative = np.int64(total < 0)
    if total == 0:
        return np.uint32(0)
    return np.uint32(round_pack(negative, abs(total), top - acc_frac_bits, 8, 23))
