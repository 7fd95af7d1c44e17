"""Argument checks shared by the functions of the model: arrays, integers and flags, as Python bindings take them."""

import operator

import numpy as np

__all__ = ["as_flag", "as_index", "as_integer", "check_array"]


def as_index(value: object) -> int | None:
    """An integer of any kind (NumPy's, a one-element tensor, whatever has ``__index__``) as an int, else None.

    A bool counts as None: as a number it is nearly always a slip.
    """
    try:
        return None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def as_integer(name: str, value: object) -> int:
    """The int of :func:`as_index`; TypeError that names the argument where there is none."""
    integer = as_index(value)
    if integer is None:
        raise TypeError(f"{name} must be an int, not {value!r}")
    return integer


def as_flag(name: str, value: object) -> bool:
    """A bool of any kind, or 0 or 1, as a bool; TypeError that names the argument for anything else."""
    if isinstance(value, bool | np.bool_) or as_index(value) in (0, 1):
        return bool(value)
    raise TypeError(f"{name} must be a bool, not {value!r}")


def check_array(name: str, array: object, dtype: type, shape: tuple[int | None, ...]) -> None:
    """Raise unless `array` is a NumPy array of this dtype and shape; None in `shape` stands for any length.

    Raises
    ------
    TypeError:  not an array, or of another dtype.
    ValueError: of another shape.
    """
    wanted = f"{np.dtype(dtype)}[{', '.join('any' if length is None else str(length) for length in shape)}]"
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be an array {wanted}, not {array!r}")
    if array.dtype != dtype:
        raise TypeError(f"{name} must be an array {wanted}, not of dtype {array.dtype}")
    if array.ndim != len(shape) or any(
        length not in (None, got) for length, got in zip(shape, array.shape, strict=True)
    ):
        raise ValueError(f"{name} must be an array {wanted}, not of shape {array.shape!r}")
