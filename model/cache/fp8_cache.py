"""FlashMLA's FP8 KV cache of 656 bytes per token (d = 576), dequantised to BF16 on load.

| Bytes | Content |
|---|---|
| 0 … 511 | 512 e4m3 values (the part of K that is also V) |
| 512 … 527 | 4 FP32 scales, little-endian, one for each 128 of them |
| 528 … 655 | 64 BF16 values, little-endian: the rotary part, not quantised |

A value is e4m3 · scale, rounded once to BF16. Every e4m3 value is a BF16 value, so this is the golden operator
``mul_bf16`` of the scale and the value: no other rounding, no special case.
"""

import ml_dtypes
import numpy as np

from ..fp.formats import bf16_to_words
from ..fp.jit import njit
from ..fp.mul import mul_bf16_word

__all__ = ["BF16_OF_CODE", "BYTES", "LARGEST", "WIDTH", "dequantize_fp8", "quantize_fp8"]

_NOPE, _ROPE, _GROUP = 512, 64, 128
_SCALES = _NOPE // _GROUP
_FP32_BYTES, _BF16_BYTES = 4, 2
_ROPE_AT = _NOPE + _FP32_BYTES * _SCALES

#: Columns of K that a token has after dequantisation.
WIDTH = _NOPE + _ROPE
#: Bytes of a token.
BYTES = _ROPE_AT + _BF16_BYTES * _ROPE

_E4M3 = ml_dtypes.float8_e4m3fn
#: Largest e4m3 value.
LARGEST = float(ml_dtypes.finfo(_E4M3).max)
#: BF16 word of each of the 256 e4m3 codes; exact.
BF16_OF_CODE = bf16_to_words(np.arange(256, dtype=np.uint8).view(_E4M3).astype(ml_dtypes.bfloat16))


def dequantize_fp8(tokens: np.ndarray) -> np.ndarray:
    """BF16 words of cached tokens.

    Parameters
    ----------
    tokens: uint8[n, 656]

    Returns
    -------
    uint16[n, 576]: 512 dequantised columns, 64 rotary ones

    Raises
    ------
    TypeError, ValueError: not uint8, or not 656 bytes per token.
    """
    _check("tokens", tokens, np.uint8, BYTES)
    if tokens.ndim != 2:
        raise ValueError(f"tokens must have two dimensions, not shape {tokens.shape!r}")
    tokens = np.ascontiguousarray(tokens)
    scales = np.ascontiguousarray(tokens[:, _NOPE:_ROPE_AT]).view("<u4").astype(np.uint32, copy=False)
    words = np.empty((len(tokens), WIDTH), np.uint16)
    _scale(BF16_OF_CODE[tokens[:, :_NOPE]], scales, words)
    words[:, _NOPE:] = np.ascontiguousarray(tokens[:, _ROPE_AT:]).view("<u2")
    return words


def quantize_fp8(keys: np.ndarray) -> np.ndarray:
    """Tokens of the FP8 cache for BF16 keys: scale = largest magnitude of the group / 448.

    A convenience for tests and experiments; the decode step never quantises. A group of zeros gets scale 1.

    Parameters
    ----------
    keys: bfloat16[..., 576], finite

    Returns
    -------
    uint8[..., 656]

    Raises
    ------
    TypeError, ValueError: not bfloat16, or not 576 columns.
    """
    _check("keys", keys, ml_dtypes.bfloat16, WIDTH)
    groups = keys[..., :_NOPE].astype(np.float32).reshape(*keys.shape[:-1], _SCALES, _GROUP)
    scales = (np.abs(groups).max(axis=-1) / np.float32(LARGEST)).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 1
    tokens = np.empty((*keys.shape[:-1], BYTES), np.uint8)
    # The division may land an ulp above 448, where the conversion to e4m3 gives NaN.
    codes = np.clip(groups / scales[..., None], -LARGEST, LARGEST).astype(_E4M3)
    tokens[..., :_NOPE] = codes.view(np.uint8).reshape(*keys.shape[:-1], _NOPE)
    tokens[..., _NOPE:_ROPE_AT] = scales.astype("<f4").view(np.uint8)
    rope = np.ascontiguousarray(keys[..., _NOPE:])
    tokens[..., _ROPE_AT:] = bf16_to_words(rope).astype("<u2", copy=False).view(np.uint8)
    return tokens


def _check(name: str, array: np.ndarray, dtype: type, width: int) -> None:
    wanted = f"{name} must be an array of {np.dtype(dtype)} with {width} columns"
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        raise TypeError(f"{wanted}, not {getattr(array, 'dtype', array)!r}")
    if array.ndim < 1 or array.shape[-1] != width:
        raise ValueError(f"{wanted}, not of shape {array.shape!r}")


@njit()
def _scale(values, scales, out):
    """out[:, :512] = values · scales, the exact product rounded once to BF16."""
    for token in range(values.shape[0]):
        for column in range(values.shape[1]):
            out[token, column] = mul_bf16_word(scales[token, column // _GROUP], values[token, column])
