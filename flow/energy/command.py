"""``python -m amla.flow.energy``: energy of a decode on the core in every mode, with what MUL by ADD saves.

Each configuration is built with tracing and decodes one token; its parts are mapped with both flows of ``mapping.py``;
every transition of every net is weighed (``switching.py``). Writes ``energy.json``, ``energy.md`` and a plot. What an
earlier run built and mapped, an interrupted one too, is not built and mapped again as long as Verilog, library and
tools are the same. The method and its limits: ``docs/energy.md``.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from amla.rtl import files
from amla.rtl.config import MODES, P_FORMATS, CoreConfig
from amla.sw.run.compare import Mismatch
from amla.tb.runner import BenchError

from ..library import Library, find_liberty
from ..mapping import FLOWS
from ..price import PROCESSES, versions
from ..tools import FlowError
from .cells import Cells
from .decode import WORKLOAD
from .figures import comparison, differences
from .measure import configurations, measure
from .report import write

__all__ = ["main"]

#: Feature size of Debian's osu018.
_NANOMETRES = 180.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 1 if a tool failed or is missing, or a run gave wrong bits."""
    parser = argparse.ArgumentParser(
        prog="python -m amla.flow.energy", description="Energy of a decode on the core in every mode.")
    parser.add_argument("--mode", nargs="+", choices=MODES, default=MODES, help="only these modes (default: all)")
    parser.add_argument("--p-format", nargs="+", choices=P_FORMATS, default=P_FORMATS,
                        help="only these formats of P (default: both)")
    parser.add_argument("--nm", type=float, default=_NANOMETRES,
                        help="feature size of the library, to scale the memories' energy to (default: 180, osu018)")
    parser.add_argument("--jobs", type=int, default=PROCESSES, help=f"tools at a time (default: {PROCESSES})")
    parser.add_argument("--out", type=Path, default=Path("build/price"), help="folder for the report and the logs")
    parser.add_argument("--docs", type=Path, metavar="DIR", nargs="?", const=Path("docs/price"),
                        help="write page and plot into this folder too (docs/price)")
    arguments = parser.parse_args(argv)
    if arguments.jobs < 1 or not arguments.nm > 0:
        parser.error(f"--jobs must be at least 1 and --nm above 0, not {arguments.jobs} and {arguments.nm}")
    try:
        files.make_folder(arguments.out)
        library = Library.measure(find_liberty(), arguments.out / "library")
        core = CoreConfig.load("tiny")
        asked = {name: config for name, config in configurations(core).items()
                 if config.mode in arguments.mode and config.p_format in arguments.p_format}
        began = time.perf_counter()
        runs: dict[str, Any] = {}
        for number, (name, config) in enumerate(asked.items(), 1):
            say = partial(_say, began, f"[{number}/{len(asked)}] {name}")
            runs[name] = measure(config, library=library, out=arguments.out / "parts", jobs=arguments.jobs, say=say)
            write(_report(runs, core, library, arguments.nm), arguments.out, docs=arguments.docs)
    except (BenchError, FlowError, Mismatch) as error:
        print(error, file=sys.stderr)
        return 1
    print(arguments.out / "energy.md")
    return 0


def _say(began: float, label: str, line: str) -> None:
    print(f"{label}  {time.perf_counter() - began:5.0f} s  {line}", file=sys.stderr, flush=True)


def _report(runs: Mapping[str, Any], core: CoreConfig, library: Library, nanometres: float) -> dict[str, Any]:
    """All that is measured by now."""
    return {
        "core": core.name, "library": library.name, "nm": nanometres, "fo4_ns": library.fo4_ns,
        "voltage": Cells.read(library.path, transition=library.fo4_ns).voltage, "flows": FLOWS,
        "versions": versions(), "workload": asdict(WORKLOAD), "runs": runs, "comparison": comparison(runs),
        "differences": differences(runs),
    }
