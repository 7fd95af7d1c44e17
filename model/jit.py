"""Numba's on-disk cache, kept honest across modules.

Numba recompiles a cached function when *its own* file changes, but not when a function it calls or a table
it froze into its code changes in another file. Importing this module therefore sends the cache to a
folder named after a digest of the scalar modules below: whoever edits one of them starts from an empty
cache. It must be imported before the first cached function is decorated; :mod:`.formats`, at the root of
the import graph, does that.
"""

import hashlib
import os
from pathlib import Path

import numba

__all__ = ["CACHE", "SOURCES"]

_HERE = Path(__file__).parent

#: Modules whose functions and tables are compiled into other modules' functions.
SOURCES = (
    "formats", "tables", "add", "mul", "convert", "fixed", "maximum", "exp2", "log2", "recip", "fdpa", "rescale",
)


def _digest() -> str:
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((_HERE / f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]


#: Folder of this version's compiled code: under NUMBA_CACHE_DIR if that is set, else beside the bytecode.
CACHE = Path(os.environ.get("NUMBA_CACHE_DIR") or _HERE / "__pycache__") / f"numba-{_digest()}"

numba.config.CACHE_DIR = str(CACHE)
