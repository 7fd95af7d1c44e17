"""Numba's decorators as the model uses them: compiled code is kept in Numba's cache, where a cache can be written.

Machine code holds the code and the constants of other files too, but Numba takes it from its cache as long as the
function's own file is as it was. Here the names of the cache's files end in a digest of that file and of all sources
that it imports, directly or not: an edit in any of them makes other names, and what has the old ones is removed.
Functions that somebody decorates with Numba itself, in files of their own, are cached as ever.

A process compiles anew, which takes seconds and changes no bit, where no cache can be written (the sources' folder, the
home and ``NUMBA_CACHE_DIR`` are all read-only or missing), where a source is no file or was changed after this module
was loaded, and with ``NUMBA_CACHE_LOCATOR_CLASSES``.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import CompileResultCacheImpl

__all__ = ["guvectorize", "njit", "sources_of"]

_PACKAGE = __name__.partition(".")[0]
_LOADED = time.time()
#: Imports that a compiled function can see, not those within functions: dots and module, names; or the module alone.
_IMPORT = re.compile(r"^(?:from (\.*)([\w.]*) import (\([^)]*\)|.*)|import ([\w.]+))", re.MULTILINE)
#: A file of Numba's cache: source and digest.
_KEPT = re.compile(r"(?:\w+-)?(\w+)\..*-(\w+)\.py\w+(?:\.\d+)?\.nb[ci]$")
#: Digest by file of functions, of those that are decorated here.
_DIGESTS: dict[str, str] = {}


@cache
def _source(file: Path) -> tuple[bytes, frozenset[Path]]:
    """Digest of a source, empty if it may not be what this process runs; and the sources of this package it imports."""
    content = file.read_bytes()
    imported = set()
    for dots, module, names, alone in _IMPORT.findall(content.decode()):
        place = _place(file, len(dots), module or alone)
        if place and place.is_dir():
            imported |= {place / "__init__.py", *(place / f"{name}.py" for name in re.findall(r"\w+", names))}
        elif place:
            imported.add(place.with_suffix(".py"))
    digest = hashlib.sha256(content).digest() if file.stat().st_ctime <= _LOADED else b""
    return digest, frozenset(path for path in imported if path.is_file())


def _place(file: Path, dots: int, module: str) -> Path | None:
    """Where a module that ``file`` imports lies, without suffix; None: outside of this package."""
    parts = [part for part in module.split(".") if part]
    if dots:
        return file.parents[dots - 1].joinpath(*parts)
    room = find_spec(".".join(parts[:2])) if parts[:1] == [_PACKAGE] else None
    return Path(room.submodule_search_locations[0], *parts[2:]) if room and room.submodule_search_locations else None


@cache
def sources_of(file: Path) -> frozenset[Path]:
    """A source, and those of this package that it imports, directly or not."""
    found: set[Path] = set()
    ahead = {file}
    while ahead:
        found |= ahead
        ahead = {path for source in ahead for path in _source(source)[1]} - found
    return frozenset(found)


@cache
def _digest(file: Path) -> str | None:
    """Of all that is compiled into a file's functions; None: not known, or not what this process runs."""
    digests = [_source(path)[0] for path in sorted(sources_of(file))] if file.is_file() else [b""]
    return hashlib.sha256(b"".join(digests)).hexdigest()[:16] if all(digests) else None


@cache
def _kept(folder: str) -> list[tuple[str, str, str]]:
    """Files of a cache: source without suffix, digest, path."""
    matches = ((_KEPT.match(entry.name), entry.path) for entry in os.scandir(folder))
    return [(match[1], match[2], path) for match, path in matches if match]


@cache
def _tidy(folder: str, stem: str, digest: str) -> None:
    """Remove what was compiled of a file from other sources."""
    for source, other, path in _kept(folder):
        if source == stem and other != digest:
            with suppress(OSError):
                os.unlink(path)


def _located(locator: Any) -> Any:
    """One of Numba's classes that say where a function's cache is and how it is named, for :data:`_DIGESTS` alone."""
    class Located(locator):
        @classmethod
        def from_function(cls, py_func: Callable, py_file: str) -> Any:
            return super().from_function(py_func, py_file) if py_file in _DIGESTS else None

        def ensure_cache_path(self) -> None:
            super().ensure_cache_path()
            _tidy(self.get_cache_path(), Path(self._py_file).stem, _DIGESTS[self._py_file])

        def get_disambiguator(self) -> str:
            return f"{super().get_disambiguator()}-{_DIGESTS[self._py_file]}"

    return Located


CompileResultCacheImpl._locator_classes[:0] = [*map(_located, CompileResultCacheImpl._locator_classes)]


def _cached(decorator: Callable, *arguments: Any, **options: Any) -> Callable:
    """``decorator(*arguments, cache=True, **options)``, without the cache where it has no place."""
    def decorate(function: Callable) -> Any:
        file = function.__code__.co_filename
        digest = None if getattr(numba.config, "CACHE_LOCATOR_CLASSES", "") else _digest(Path(file))
        if digest:
            _DIGESTS[file] = digest
            try:
                return decorator(*arguments, cache=True, **options)(function)
            except RuntimeError as error:
                if "no locator available" not in str(error):
                    raise
        return decorator(*arguments, **options)(function)

    return decorate


njit = partial(_cached, numba.njit)
guvectorize = partial(_cached, numba.guvectorize)
