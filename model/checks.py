"""Argument checks shared by the array functions of the model."""

import numpy as np

__all__ = ["check_array"]


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
