"""Kernels compile with and without a place for Numba's cache."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

MODEL = Path(__file__).parents[3] / "model"

_CALL = """
import sys
sys.path.append(sys.argv[1])
import amla.model, numpy as np
from amla.model import flash_mla_with_kvcache, mla_decode
from amla.model.fp.add import add
from amla.model.rescale import rescale
assert amla.model.__path__[0].startswith(sys.argv[2])
print(add(np.uint32(0x3f800000), np.uint32(0x3f800000)))
"""


def _call(folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Import a copy of the model in ``folder``, and nothing of the checkout, in a process of its own."""
    packages = Path(np.__file__).parents[1]
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    return subprocess.run([sys.executable, "-S", "-c", _CALL, str(packages), str(folder)], cwd=folder,
                          env={**inherited, "PYTHONPATH": str(folder), **environment}, capture_output=True,
                          encoding="utf-8", check=False)


@pytest.fixture
def no_place(tmp_path):
    """A copy of the model whose every ``__pycache__`` is a file: nobody, root included, can cache beside it."""
    shutil.copytree(MODEL, tmp_path / "amla" / "model", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in {path.parent for path in (tmp_path / "amla").rglob("*.py")}:
        (folder / "__pycache__").touch()
    return tmp_path


def test_without_a_place_for_the_cache(no_place):
    process = _call(no_place, XDG_CACHE_HOME=os.devnull, HOME=os.devnull)
    assert process.returncode == 0 and process.stdout == f"{0x40000000}\n", process.stderr


def test_with_one(no_place):
    cache = no_place / "cache"
    process = _call(no_place, NUMBA_CACHE_DIR=str(cache))
    assert process.returncode == 0, process.stderr
    kept = {path.name.partition("-")[0] for path in cache.rglob("*.nbc")}
    assert {"add.add", "add.add_word", "rescale.rescale", "formats.round_pack"} <= kept


def test_every_kernel_is_cached_by_it():
    """``fp/exhaustive.py``, checks of whole number ranges, makes its kernels at run time and keeps none."""
    elsewhere = {path.name for path in MODEL.rglob("*.py") if "numba.njit" in (text := path.read_text(encoding="utf-8"))
                 or "numba.guvectorize" in text or "from numba import" in text or "cache=True" in text}
    assert elsewhere == {"jit.py", "exhaustive.py"}
