"""What turns the loop of an operator into its Python face: a compiled gufunc behind a check of its words.

NumPy alone would widen BF16 words to FP32 words in silence, and names no argument where it refuses.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from .jit import guvectorize

__all__ = ["operator"]


def operator(signature: str, layout: str = "()->()") -> Callable[[Callable], Callable[..., Any]]:
    """Decorate the loop of an operator, whose last argument takes the result.

    ``guvectorize`` compiles it even where every dimension is scalar: unlike ``vectorize`` it caches the finished
    machine code, which saves seconds at every start.

    Parameters
    ----------
    signature: Numba types of the arguments
    layout:    their dimensions, as in NumPy's generalised ufuncs

    Returns
    -------
    a function of the arrays (or NumPy scalars) of words. It raises TypeError for another dtype, ValueError for shapes
    that do not go together.
    """

    def decorate(loop: Callable) -> Callable[..., Any]:
        compiled = guvectorize([signature], layout)(loop)
        *parameters, _ = inspect.signature(loop).parameters.values()
        names = [parameter.name for parameter in parameters]
        dtypes = [np.dtype(code) for code in compiled.ufunc.types[0].partition("->")[0]]

        @wraps(loop)
        def checked(*arrays: Any) -> Any:
            if len(arrays) != len(names):
                raise TypeError(f"{loop.__name__} must have {len(names)} arguments, not {len(arrays)}")
            for name, array, dtype in zip(names, arrays, dtypes, strict=True):
                if getattr(array, "dtype", None) != dtype:
                    raise TypeError(f"{name} must be an array of {dtype}, not {_kind(array)}")
            try:
                return compiled(*arrays)
            except ValueError:
                shapes = " and ".join(str(np.shape(array)) for array in arrays)
                raise ValueError(f"{' and '.join(names)} must have shapes that go together, not {shapes}") from None

        checked.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return checked

    return decorate


def _kind(value: Any) -> str:
    return f"of {value.dtype}" if hasattr(value, "dtype") else repr(value)
