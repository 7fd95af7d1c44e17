"""Numba's decorators as the model uses them: compiled code is kept in Numba's cache, where a cache can be written.

Where none can (the sources' folder, the home and ``NUMBA_CACHE_DIR`` are all read-only or missing) Numba refuses to
decorate at all; here every process then compiles anew, which takes seconds and changes no bit.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numba

__all__ = ["guvectorize", "njit"]


def _cached(decorator: Callable, *arguments: Any, **options: Any) -> Callable:
    """``decorator(*arguments, cache=True, **options)``, without the cache where it has no place."""
    def decorate(function: Callable) -> Any:
        try:
            return decorator(*arguments, cache=True, **options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            return decorator(*arguments, **options)(function)

    return decorate


njit = partial(_cached, numba.njit)
guvectorize = partial(_cached, numba.guvectorize)
