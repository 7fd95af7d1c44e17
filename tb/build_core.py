"""Builds the core, or a cluster of cores, for simulation, unless neither its sources nor the configuration changed.

``python -m amla.tb.build_core tiny small`` builds cores by name.
"""

if __name__ == "__main__":
    from amla.rtl.command import run

    run("amla.tb.build_core", "sim")

import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import amla.model
import amla.rtl
from amla.rtl.cluster.cluster import AmlaCluster
from amla.rtl.config import CoreConfig
from amla.rtl.core import AmlaCore

from .runner import BUILD_ROOT, build, linked

__all__ = ["TOP", "build_core", "main", "top_of"]

#: Name of the top module of a core.
TOP = "amla_core"

#: Verilator numbers its look-up tables through all cores, so that no two have the same code: 20 MB of C++ for 4 cores
#: of ``tiny``, where without tables it is 8.
_MERGED = ("-fno-table",)


def top_of(cores: int) -> str:
    """Name of the top module: one core is built as such, without what a cluster adds."""
    return TOP if cores == 1 else "amla_cluster"


def build_core(config: CoreConfig, *, cores: int = 1, waves: bool = False,
               say: Callable[[str], None] = print) -> Path:
    """Folder of the simulation of a core with ``config``, or of a cluster; ``say`` gets a line for each slow step."""
    out = BUILD_ROOT / "core" / (_label(config) + (f"-x{cores}" if cores > 1 else ""))
    stamp = Path(f"{out}.waves" if waves else out) / "sources"
    key = _key(config)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == key and (stamp.parent / "built").exists():
        return stamp.parent
    began = time.perf_counter()
    what = config.name if cores == 1 else f"{cores} cores of {config.name}"
    say(
        f"build: writing the Verilog of {what} and compiling it{' with waves' if waves else ''} "
        "(minutes the first time)"
    )
    component = AmlaCore(config) if cores == 1 else AmlaCluster(config, cores=cores)
    built = build(component, name=top_of(cores), out=out, waves=waves, extra_args=() if cores == 1 else _MERGED)
    stamp.write_text(key, encoding="utf-8")
    say(f"build: done in {time.perf_counter() - began:.0f} s")
    return built


def _label(config: CoreConfig) -> str:
    """Folder name: two configurations of one name do not share a folder."""
    digest = hashlib.sha256(repr(sorted(asdict(config).items())).encode()).hexdigest()
    return f"{config.name}-{digest[:8]}"


def _key(config: CoreConfig) -> str:
    digest = hashlib.sha256(
        repr((sorted(asdict(config).items()), version("amaranth"), version("verilator"), linked())).encode()
    )
    for package in (amla.rtl, amla.model):
        for folder in package.__path__:
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(path.read_bytes())
    return digest.hexdigest()


def main() -> int:
    for name in sys.argv[1:]:
        build_core(CoreConfig.load(name))
    return 0
