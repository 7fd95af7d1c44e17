"""FlashMLA's FP8 KV cache of 584 bytes per token (d = 512), dequantised to BF16 on load.

A page holds the values of all of its tokens, then their scales:

| Bytes of a page of n tokens | Content |
|---|---|
| 576·t + 0 … 447 | 448 e4m3 values of token t |
| 576·t + 448 … 575 | 64 BF16 values, little-endian: the rotary part, not quantised |
| 576·n + 8·t + 0 … 6 | 7 e8m0 scales, one for each 64 of the e4m3 values: code c is 2^(c − 127), 255 is NaN |
| 576·n + 8·t + 7 | not read |

A value is e4m3 · scale in BF16. The scale is a power of two, so this is an addition to the exponent of the e4m3 value;
the product is exact, but below 2⁻¹²⁶ it is zero, and from 2¹²⁸ on infinite.
"""

import ml_dtypes
import numpy as np

from ..checks import check_array
from ..fp.formats import bf16_to_words
from ..fp.jit import njit
from .fp8_cache import BF16_OF_CODE, LARGEST

__all__ = ["BYTES", "VALUE_BYTES", "WIDTH", "dequantize_fp8_pages", "page_parts", "quantize_fp8_pages"]

_NOPE, _ROPE, _GROUP = 448, 64, 64
_SCALES = _NOPE // _GROUP
_BF16_BYTES = 2
#: Bytes of a token's values, e4m3 and rotary.
VALUE_BYTES = _NOPE + _BF16_BYTES * _ROPE
_SCALE_BYTES = _SCALES + 1

#: Columns of K, and of V, that a token has after dequantisation.
WIDTH = _NOPE + _ROPE
#: Bytes of a token.
BYTES = VALUE_BYTES + _SCALE_BYTES
#: FlashMLA's pages begin at multiples of so many bytes.
_PAGE_MULTIPLE = 576

_BIAS = 127  # of e8m0, and of BF16
_LARGEST_CODE = 254


def dequantize_fp8_pages(pages: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """BF16 words of the tokens in these slots.

    Parameters
    ----------
    pages: uint8[blocks, page, 584]; the bytes of a page follow one another, those of the next may lie anywhere
    slots: int64[n], page · slots of a page + offset

    Returns
    -------
    uint16[n, 512]: 448 dequantised columns, 64 rotary ones

    Raises
    ------
    TypeError, ValueError: another dtype or shape, or a slot outside the pages.
    """
    check_array("pages", pages, np.uint8, (None, None, BYTES))
    check_array("slots", slots, np.int64, (None,))
    blocks, page, _ = pages.shape
    all_values, all_scales = page_parts(pages)
    if slots.size and (slots.min() < 0 or slots.max() >= blocks * page):
        raise ValueError(f"slots must be from 0 to {blocks * page - 1}, not {int(slots.min())} to {int(slots.max())}")
    block, offset = np.divmod(slots, page)
    values, scales = all_values[block, offset], all_scales[block, offset, :_SCALES]
    words = np.empty((len(slots), WIDTH), np.uint16)
    _add_exponents(BF16_OF_CODE[values[:, :_NOPE]], scales, words)
    words[:, _NOPE:] = np.ascontiguousarray(values[:, _NOPE:]).view("<u2")
    return words


def page_parts(pages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two parts of pages by token; views, but for pages whose own bytes lie apart.

    Parameters
    ----------
    pages: uint8[blocks, page, 584]

    Returns
    -------
    values: uint8[blocks, page, 576], 448 e4m3 values and 64 BF16 ones
    scales: uint8[blocks, page, 8], 7 e8m0 scales and a byte that is not read

    Raises
    ------
    TypeError, ValueError: another dtype or shape.
    """
    check_array("pages", pages, np.uint8, (None, None, BYTES))
    blocks, page, _ = pages.shape
    flat = pages.reshape(blocks, page * BYTES)
    return (flat[:, :page * VALUE_BYTES].reshape(blocks, page, VALUE_BYTES),
            flat[:, page * VALUE_BYTES:].reshape(blocks, page, _SCALE_BYTES))


def quantize_fp8_pages(keys: np.ndarray) -> np.ndarray:
    """Pages of the FP8 cache for BF16 keys: scale = largest magnitude of the group / 448, or the next power of two.

    A convenience for tests and experiments; the decode step never quantises. A group of zeros gets scale 1.

    Parameters
    ----------
    keys: bfloat16[blocks, page, 512], finite

    Returns
    -------
    uint8[blocks, page, 584]: a view of pages that begin at multiples of 576 bytes, as FlashMLA makes them

    Raises
    ------
    TypeError, ValueError: not bfloat16, or another shape.
    """
    check_array("keys", keys, ml_dtypes.bfloat16, (None, None, WIDTH))
    blocks, page, _ = keys.shape
    groups = keys[..., :_NOPE].astype(np.float64).reshape(blocks, page, _SCALES, _GROUP)
    fraction, exponent = np.frexp(np.abs(groups).max(axis=-1) / LARGEST)  # in [½, 1)
    scale_codes = np.where(fraction == 0, _BIAS, np.clip(exponent - (fraction == 0.5) + _BIAS, 0, _LARGEST_CODE))
    scales = np.ldexp(1.0, scale_codes - _BIAS)
    codes = (groups / scales[..., None]).astype(ml_dtypes.float8_e4m3fn)

    room = -(-page * BYTES // _PAGE_MULTIPLE) * _PAGE_MULTIPLE
    pages = np.zeros((blocks, room), np.uint8)[:, :page * BYTES].reshape(blocks, page, BYTES)
    values, scale_bytes = page_parts(pages)
    values[..., :_NOPE] = codes.view(np.uint8).reshape(blocks, page, _NOPE)
    rope = np.ascontiguousarray(keys[..., _NOPE:])
    values[..., _NOPE:] = bf16_to_words(rope).astype("<u2", copy=False).view(np.uint8)
    scale_bytes[..., :_SCALES] = scale_codes
    return pages


@njit()
def _add_exponents(values, scales, out):
    """out[:, :448] = values · 2^(scales − 127), BF16 words and codes."""
    for token in range(values.shape[0]):
        for column in range(values.shape[1]):
            word, code = np.int64(values[token, column]), np.int64(scales[token, column // _GROUP])
            sign, field = word & 0x8000, (word >> 7) & 0xFF
            if code == 255 or field == 255:
                out[token, column] = 0x7FC0
            elif field == 0 or field + code - _BIAS < 1:
                out[token, column] = sign
            elif field + code - _BIAS > 254:
                out[token, column] = sign | 0x7F80
            else:
                out[token, column] = word + ((code - _BIAS) << 7)
