"""From Verilog to gates, from gates to the cells of a library, and what OpenSTA says of the result.

Two ways to map: ABC's own script, and one for speed (`FLOWS`).
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .library import Library
from .netlist import CLOCK, MEMORY, Netlist
from .tools import FlowError, opensta, yosys

__all__ = ["FLOWS", "MEMORY_FO4", "gates", "linked_gates", "map_and_time"]

#: Options of ``abc`` by flow. ``speed``: sum-of-products balancing, choices, mapping for delay, buffers, sizing.
FLOWS = {
    "default": "",
    "speed": '-script "+strash;ifraig;scorr;dc2;strash;if,-g,-K,6,-C,16;strash;dch;if,-g,-K,6,-C,16;strash;dch,-f;'
             'map,-B,0.9;topo;buffer,-c,-N,12;upsize;dnsize"',
}

#: A memory's output comes so many FO4 after the clock's edge.
MEMORY_FO4 = 12.0

#: Far longer than any path.
_PERIOD_NS = 1000.0


def gates(folder: Path, name: str, *, top: str | None = None, apart: Sequence[str] = ()) -> Netlist:
    """``<folder>/<name>.v`` as gates and plain registers: resets and enables are gates; memories stay cells.

    So do instances of the modules ``apart``. The module ``top`` is the file's name if not given.
    """
    label = f"{name}.gates"
    source = (folder / f"{name}.v").read_text(encoding="utf-8")
    memories = sorted({*re.findall(r"^module (ram_\w+)", source, re.MULTILINE)})
    yosys([
        f"read_verilog {name}.v", *(f"blackbox {module}" for module in (*memories, *apart)),
        f"synth -flatten -top {top or name}", "dfflegalize -cell $_DFF_P_ 01", "opt_clean -purge",
        "delete t:$scopeinfo", f"write_json {label}.json",
    ], folder / f"{label}.log")
    return Netlist.read(folder / f"{label}.json", top or name)


def linked_gates(folder: Path, name: str) -> tuple[Netlist, dict[str, Netlist]]:
    """As :func:`gates`, but the modules beside the top one are instances in it; these modules by name."""
    source = (folder / f"{name}.v").read_text(encoding="utf-8")
    modules = [module for module in re.findall(r"^module (?!ram_)(\w+)", source, re.MULTILINE) if module != name]
    return gates(folder, name, apart=modules), {module: gates(folder, name, top=module) for module in modules}


def map_and_time(
    netlist: Netlist, folder: Path, name: str, flow: str, library: Library, *,
    modules: Mapping[str, Netlist] | None = None,
) -> dict[str, Any]:
    """Area without the registers around it, and the slowest path between registers.

    The ``modules`` are instances in the netlist (:func:`linked_gates`): each is mapped once, and linked for the time.

    ABC maps for the deepest result of what it is given, and gives area to all others: in the flow for speed gates that
    feed one another are mapped by themselves, together with those of the same shape.
    Leaves the result in ``<name>.<flow>.v`` and ``.cells.json``.

    Returns
    -------
    area_um2, fo4, fmax_mhz, levels (gates on the path), start, end (what its registers hold), power_mw (at that clock,
    a tenth of the nets switching in a cycle; with the registers around it; OpenSTA's count, see ``docs/price.md``)

    Raises
    ------
    FlowError: a tool fails, or no path lies between registers.
    """
    label = f"{name}.{flow}"
    linked = modules or {}
    area = _map(netlist, folder, label, "top", flow, library) - len(netlist.added) * library.register_area
    for module, inner in linked.items():
        area += netlist.instances[module] * _map(inner.named(), folder, f"{module}.{flow}", module, flow, library)
    answer = opensta(_timing_script([label, *(f"{module}.{flow}" for module in linked)], library),
                     folder / f"{label}.sta")
    return {"area_um2": area, **_path(answer, library, label)}


def _map(netlist: Netlist, folder: Path, label: str, top: str, flow: str, library: Library) -> float:
    """Area of a netlist's cells, the module ``top`` in ``<label>.v``."""
    netlist.write(folder / f"{label}.json", top, grouped=flow == "speed")
    shutil.copyfile(library.path, folder / "cells.lib")
    (folder / "abc.constr").write_text(f"set_driving_cell {library.inverter}\nset_load 0.05\n", encoding="utf-8")
    yosys([
        f"read_json {label}.json", "dfflibmap -liberty cells.lib",
        f"abc -liberty cells.lib -constr abc.constr {FLOWS[flow]}".rstrip(), "flatten", "opt_clean",
        f"tee -q -o {label}.stat stat -liberty cells.lib", f"write_verilog -noattr {label}.v",
        f"write_json {label}.cells.json",
    ], folder / f"{label}.log")
    found = re.search(r"Chip area for .*: *([\d.]+)", (folder / f"{label}.stat").read_text(encoding="utf-8"))
    if found is None:
        raise FlowError(f"yosys must tell an area; log: {folder / label}.stat")
    return float(found.group(1))


def _timing_script(labels: Sequence[str], library: Library) -> Sequence[str]:
    return [
        "read_liberty cells.lib", *(f"read_verilog {label}.v" for label in labels), "link_design top",
        f"create_clock -name c -period {_PERIOD_NS} [get_ports {CLOCK}]",
        f"foreach port [all_inputs] {{ if {{[string match {MEMORY}* [get_property $port full_name]]}} "
        f"{{ set_input_delay {MEMORY_FO4 * library.fo4_ns:.4f} -clock c $port }} }}",
        "report_checks -digits 4", "set_power_activity -global -activity 0.1", "report_power -digits 6",
    ]


def _path(answer: str, library: Library, label: str) -> dict[str, Any]:
    """The slowest path in OpenSTA's answer."""
    slack = re.search(r"([\d.]+)\s+slack \(MET\)", answer)
    ends = [re.search(rf"^{kind}: (\S+)", answer, re.MULTILINE) for kind in ("Startpoint", "Endpoint")]
    if slack is None or None in ends:
        raise FlowError(f"a path must lie between registers in {label}")
    registers = {found.group(1) for found in ends}  # type: ignore[union-attr]
    cells = {*re.findall(r"^\s+[\d.]+\s+[\d.]+ [v^] (\S+)/\w+ \(\w+\)$", answer, re.MULTILINE)} - registers
    delay = _PERIOD_NS - float(slack.group(1))
    power = re.search(r"^Total\s+.*?([\d.e+-]+)\s+[\d.]+%$", answer, re.MULTILINE)
    start, end = (re.sub(r"^(in|out)_", "", found.group(1)) for found in ends)  # type: ignore[union-attr]
    return {
        "fo4": delay / library.fo4_ns, "fmax_mhz": 1000 / delay, "levels": len(cells), "start": start, "end": end,
        "power_mw": float(power.group(1)) * 1000 * _PERIOD_NS / delay if power else None,
    }
