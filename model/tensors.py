"""Arrays in, arrays out: NumPy or CPU torch, without importing torch.

Torch is looked at only if the caller has loaded it already, so the model neither needs nor loads it. Types that
NumPy lacks (bfloat16, float8) cross as views of their bits; nothing is copied.
"""

import sys
from collections.abc import Iterable
from numbers import Real
from typing import Any

import ml_dtypes
import numpy as np

from .fp.formats import OPERANDS, Format, dtype_of

__all__ = ["as_array", "as_real", "int32_array", "like", "operand_words"]

#: Torch types that ``Tensor.numpy`` refuses: the integer type to view them as, and NumPy's name for them.
_BY_VIEW: dict[str, tuple[str, Any]] = {
    "bfloat16": ("int16", ml_dtypes.bfloat16),
    "float8_e4m3fn": ("uint8", ml_dtypes.float8_e4m3fn),
}


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def as_array(name: str, value: Any) -> np.ndarray:
    """NumPy view of an array or a CPU torch tensor; anything else goes through ``numpy.asarray``.

    Raises
    ------
    TypeError:  it is no array, or of a type that NumPy does not have.
    ValueError: a tensor is not on the CPU.
    """
    if not _is_tensor(value):
        try:
            return np.asarray(value)
        except (TypeError, ValueError):
            raise TypeError(f"{name} must be an array or a CPU tensor, not {type(value)!r}") from None
    if value.device.type != "cpu":
        raise ValueError(f"{name} must be on the CPU, not on {value.device}")
    torch, tensor = sys.modules["torch"], value.detach()
    for source, (view, target) in _BY_VIEW.items():
        if tensor.dtype == getattr(torch, source, None):
            return tensor.view(getattr(torch, view)).numpy().view(target)
    try:
        return tensor.numpy()
    except (TypeError, RuntimeError):
        raise TypeError(f"{name} must be an array of a type that NumPy has, not a tensor of {tensor.dtype} in layout "
                        f"{tensor.layout}") from None


def as_real(name: str, value: Any) -> float:
    """A real number, also as a NumPy scalar or an array or tensor of one element; TypeError for anything else."""
    if isinstance(value, Real):
        return float(value)
    array = as_array(name, value) if hasattr(value, "dtype") else np.asarray(None)
    if array.size != 1 or not (array.dtype.kind in "fiu" or array.dtype == ml_dtypes.bfloat16):
        raise TypeError(f"{name} must be a real number, not {value!r}")
    return float(array.astype(np.float64).item())


def like(example: Any, array: np.ndarray) -> Any:
    """`array` as the kind of thing `example` is: a torch tensor on the same memory, or the array itself."""
    if not _is_tensor(example):
        return array
    torch: Any = sys.modules["torch"]
    for target, (view, dtype) in _BY_VIEW.items():
        if array.dtype == dtype:
            return torch.from_numpy(array.view(view)).view(getattr(torch, target))
    return torch.from_numpy(array)


def operand_words(
    name: str, value: Any, formats: Iterable[Format] = tuple(OPERANDS.values()),
) -> tuple[np.ndarray, Format]:
    """Words (``uint16``) of an array or tensor in one of these formats, and which; TypeError for any other dtype."""
    array = as_array(name, value)
    by_dtype = {dtype_of(format): format for format in formats}
    if array.dtype not in by_dtype:
        raise TypeError(f"{name} must be an array of {' or '.join(map(str, by_dtype))}, not of {array.dtype}")
    return array.view(np.uint16), by_dtype[array.dtype]


def int32_array(name: str, value: Any, rank: int) -> np.ndarray:
    """An array or tensor of int32 of this rank; TypeError or ValueError for another dtype or rank."""
    array = as_array(name, value)
    if array.dtype != np.int32:
        raise TypeError(f"{name} must be an array of int32, not of {array.dtype}")
    if array.ndim != rank:
        raise ValueError(f"{name} must have {rank} dimension{'s' * (rank > 1)}, not shape {array.shape!r}")
    return array
