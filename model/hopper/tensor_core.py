"""The matrix instruction of a tensor core on arrays of words: D = A·B + C in the numerics of a named machine.

NVIDIA's Hopper (``wgmma``, recorded on an H200) is this project's `fdpa` with other numbers: one sum of all k products
and c, aligned to F bits below the largest exponent, cut off and rounded toward zero. Subnormals are kept, an e4m3
product has the exponent of its fields, NaN is 0x7FFFFFFF, and a sum of at least 2^128 is infinite for all that it is
rounded toward zero. With e4m3 both F and the fraction of the result have 13 bits: the "short accumulator".
"""

from typing import Any

import numpy as np

from ..fp.fdpa import TOWARD_ZERO, Profile, chain
from ..fp.formats import BF16, FP16, Format

__all__ = ["PROFILES", "tensor_core"]

#: Numerics by name; `hopper-fp8` is what `hopper` has for e4m3.
PROFILES = {
    "amla": Profile(),
    "hopper": Profile(k=16, acc_frac_bits=25, round=TOWARD_ZERO, subnormals=True, nan=0x7FFFFFFF),
    "hopper-fp8": Profile(k=32, acc_frac_bits=13, round=TOWARD_ZERO, fraction_bits=13, subnormals=True,
                          nan=0x7FFFFFFF),
}

_FORMATS = {"bf16": "bf16", "f16": "f16", "fp16": "f16", "e4m3": "e4m3"}

#: BF16 with its subnormals, as GPUs read it.
BF16_SUBNORMAL = Format(BF16.exponent_bits, BF16.fraction_bits, subnormals=True)

#: An e4m3 word with its fields where FP16's are.
_E4M3 = Format(FP16.exponent_bits, FP16.fraction_bits, subnormals=True, excess=-8)


def tensor_core(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, *, profile: str = "hopper", format: str = "bf16",
) -> np.ndarray:
    """A·B + C, an instruction for each k of the inner dimension, from left to right on one accumulator.

    Parameters
    ----------
    a:       words [..., m, k·steps]: ``uint16``, for e4m3 ``uint8``
    b:       words [..., k·steps, n] of the same type
    c:       FP32 words, ``uint32`` [..., m, n]; leading dimensions are broadcast
    profile: "hopper" (k = 16; e4m3: "hopper-fp8", k = 32) or "amla" (k = 16)
    format:  of a and b: "bf16", "f16" (or "fp16") or "e4m3"

    Returns
    -------
    FP32 words, ``uint32`` [..., m, n]

    Raises
    ------
    TypeError:  an argument has another type.
    ValueError: a name is unknown, or the shapes do not fit.
    """
    for name, value, known in (("profile", profile, PROFILES), ("format", format, _FORMATS)):
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a str, not {value!r}")
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
    format = _FORMATS[format]
    if profile == "hopper" and format == "e4m3":
        profile = "hopper-fp8"
    if profile == "hopper-fp8" and format != "e4m3":
        raise ValueError(f"format must be e4m3 with profile hopper-fp8, not {format!r}")
    numerics = PROFILES[profile]
    word = np.dtype(np.uint8 if format == "e4m3" else np.uint16)
    for name, array, dtype in (("a", a, word), ("b", b, word), ("c", c, np.dtype(np.uint32))):
        _check(name, array, dtype)
    m, length = a.shape[-2:]
    if length == 0 or length % numerics.k:
        raise ValueError(f"a must have rows of a multiple of k = {numerics.k} words, not {length!r}")
    if b.shape[-2] != length:
        raise ValueError(f"b must have {length} rows, as many as a has columns, not {b.shape[-2]!r}")
    if c.shape[-2:] != (m, b.shape[-1]):
        raise ValueError(f"c must have the shape [..., {m}, {b.shape[-1]}], not {c.shape!r}")
    try:
        lead = np.broadcast_shapes(*(array.shape[:-2] for array in (a, b, c)))
    except ValueError:
        raise ValueError("a, b and c must have leading dimensions that broadcast, not "
                         f"{[array.shape[:-2] for array in (a, b, c)]!r}") from None
    options: dict[str, Any] = {"profile": numerics, "format": FP16}
    if format == "bf16":
        options["format"] = BF16_SUBNORMAL if numerics.subnormals else BF16
    elif format == "e4m3":
        a, b, options["format"] = _as_fp16(a), _as_fp16(b), _E4M3
    b = b.swapaxes(-1, -2)
    a, b, c = (np.broadcast_to(array, lead + array.shape[-2:]) for array in (a, b, c))
    out = np.empty(c.shape, np.uint32)
    for index in np.ndindex(lead):
        out[index] = chain(a[index], b[index], c=c[index], **options)
    return out


def _check(name: str, array: object, dtype: np.dtype) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        raise TypeError(f"{name} must be an array of words ({dtype}), not {getattr(array, 'dtype', array)!r}")
    if array.ndim < 2:
        raise ValueError(f"{name} must have at least two dimensions, not {array.ndim!r}")


def _as_fp16(words: np.ndarray) -> np.ndarray:
    """e4m3 words as those of :data:`_E4M3`; NaN as NaN."""
    wide = words.astype(np.uint16)
    magnitude = wide & 0x7F
    return (wide & 0x80) << 8 | np.where(magnitude == 0x7F, np.uint16(0x7FFF), magnitude << 7)
