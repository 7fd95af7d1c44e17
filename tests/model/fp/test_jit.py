"""Kernels compile with and without a place for Numba's cache, and take from it what all of their sources give."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from amla.model.fp.jit import sources_of

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "model"

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


_TABLE = "TERM = {term}"
_INNER = """
from .fp.jit import njit
@njit()
def twice(x):
    return {factor} * x
"""
_OUTER = """
import numpy as np
from .fp.jit import guvectorize, njit
from .inner import twice
from .table import TERM
@njit()
def single(x):
    return twice(x) + TERM
@guvectorize(["int64,int64[:]"], "()->()")
def array(x, result):
    result[0] = single(x)
print(single(1), array(np.int64(1)))
"""
_USER = """
import numba
@numba.njit(cache=True)
def own(x):
    return x
"""


@pytest.fixture
def package(tmp_path):
    """A package of kernels in two files and a constant in a third, and somebody's file: their folder, what edits it."""
    folder = tmp_path / "amla" / "model"
    (folder / "fp").mkdir(parents=True)
    shutil.copy(MODEL / "fp" / "jit.py", folder / "fp")

    def edit(**values):
        for name, text in (("table.py", _TABLE), ("inner.py", _INNER)):
            (folder / name).write_text(text.format(**{"term": 10, "factor": 2} | values))

    edit()
    (folder / "outer.py").write_text(_OUTER)
    (tmp_path / "user.py").write_text(_USER)
    return tmp_path, edit


def _python(folder, code="import amla.model.outer, user; user.own(1)", **environment):
    """What a process says of its results; how much code it took from the cache, and how much it put there."""
    inherited = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    packages = Path(np.__file__).parents[1]
    process = subprocess.run([sys.executable, "-S", "-c", f"import sys; sys.path.append({str(packages)!r}); {code}"],
                             env={**inherited, "PYTHONPATH": str(folder), "NUMBA_DEBUG_CACHE": "1", **environment},
                             cwd=folder, capture_output=True, encoding="utf-8", check=False)
    assert process.returncode == 0, process.stderr
    said = process.stdout.splitlines()
    return ([line for line in said if "[cache]" not in line], *(sum(word in line for line in said)
            for word in ("data loaded", "data saved")))


@pytest.mark.parametrize(("values", "result"), [({"term": 20}, 22), ({"factor": 3}, 13)])
def test_what_is_called_is_compiled_anew(package, values, result):
    """A constant, and code, of another file; as long as nothing is edited all comes from the cache."""
    folder, edit = package
    said, _, saved = _python(folder)
    assert said == ["12 12"] and saved == 5  # twice, single, array and its loop, own
    assert _python(folder) == (["12 12"], saved - 1, 0)  # twice is within single
    before = {path.name for path in folder.rglob("*.nb[ci]")}
    edit(**values)
    assert _python(folder)[0] == [f"{result} {result}"]
    assert _python(folder) == ([f"{result} {result}"], saved - 1, 0)
    after = {path.name for path in folder.rglob("*.nb[ci]")}
    assert len(after) == len(before) == 10 and not any("outer." in name for name in before & after)


def test_others_are_cached_by_numba(package):
    """Where and as without this package, whatever is edited here."""
    folder, edit = package
    _python(folder)
    own = {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("user.own*")}
    name = f"__pycache__/user.own-3.py{sys.version_info.major}{sys.version_info.minor}"
    assert {str(path) for path in own} == {f"{name}.nbi", f"{name}.1.nbc"}
    edit(term=0)
    _python(folder)
    assert own == {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("user.own*")}


def test_a_process_keeps_nothing_of_sources_that_it_does_not_run(package):
    """Edited after it was imported, before any of the kernels was."""
    folder, _ = package
    code = ("import amla.model.fp.jit, amla.model.table as table, pathlib; "
            "pathlib.Path(table.__file__).write_text('TERM = 30'); import amla.model.outer")
    assert _python(folder, code) == (["12 12"], 0, 1)  # twice has no part in it
    assert _python(folder)[0] == ["32 32"]


def test_numbas_own_locators_are_not_relied_on(package):
    """Who names them for the process gets kernels that are compiled, and no stale ones."""
    folder, edit = package
    locators = {"NUMBA_CACHE_LOCATOR_CLASSES": "InTreeCacheLocator"}
    said, _, saved = _python(folder, **locators)
    edit(term=0)
    assert said == ["12 12"] and saved == 1 and _python(folder, **locators) == (["2 2"], 1, 0)


@pytest.mark.parametrize("module", ["model.decode", "model.hopper.flash_mla", "sw.cycles.model", "sw.machine.pipeline"])
def test_sources_are_all_that_is_loaded(module):
    """Nothing else can be compiled in; what a package's own ``__init__.py`` loads is not seen from within."""
    code = (f"import sys, amla.{module}; "
            "print(*{m.__file__ for n, m in sys.modules.items() if n.startswith('amla.') and m.__file__}, sep='\\n')")
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    loaded = {Path(line) for line in process.stdout.split()}
    found = sources_of(ROOT.joinpath(*module.split(".")).with_suffix(".py"))
    packages = {path for path in loaded | found if path.name == "__init__.py"}
    assert len(found) > 1 and loaded - packages == found - packages


def test_every_kernel_is_cached_by_it():
    """``fp/exhaustive.py``, checks of whole number ranges, makes its kernels at run time and keeps none."""
    elsewhere = {path.name for path in MODEL.rglob("*.py") if "numba.njit" in (text := path.read_text(encoding="utf-8"))
                 or "numba.guvectorize" in text or "from numba import" in text}
    assert elsewhere == {"jit.py", "exhaustive.py"}
    assert {path.name for room in ("model", "rtl", "sw", "tb", "flow") for path in (ROOT / room).rglob("*.py")
            if "cache=True" in path.read_text(encoding="utf-8")} == {"jit.py"}
