"""Parts of a core mapped to cells, each once."""

import json
from pathlib import Path
from typing import Any

from amla.rtl import files

from ..library import Library
from ..mapping import FLOWS, gates, map_and_time
from ..price import digest
from .parts import Part

__all__ = ["mapped"]


def mapped(part: Part, *, library: Library, out: Path) -> dict[str, dict[str, Any]]:
    """Map a part with every flow, but for those that ``out`` has of the same Verilog, library and tools.

    Returns
    -------
    By flow: area_um2, fo4, as :func:`~amla.flow.mapping.map_and_time` has them; cells: path of the mapped netlist;
    added, holds: of the :class:`~amla.flow.netlist.Netlist` that was mapped, by the core's names

    Raises
    ------
    FlowError: a tool fails.
    """
    folder = out / f"{part.name}-{digest(part.verilog.encode(), library)}"
    netlist = None
    found = {}
    for flow in FLOWS:
        kept = folder / f"{flow}.json"
        if not kept.exists():
            if netlist is None:
                files.make_folder(folder)
                files.write({folder / f"{part.name}.v": part.verilog})
                netlist = gates(folder, part.name, top=part.module, apart=part.apart).between_registers()
            figures = map_and_time(netlist, folder, part.name, flow, library)
            files.write({kept: json.dumps({
                "area_um2": figures["area_um2"], "fo4": figures["fo4"], "added": list(netlist.added),
                "holds": {name: list(names) for name, names in netlist.holds.items()}}) + "\n"})
        figures = json.loads(kept.read_text(encoding="utf-8"))
        holds = {name: [part.in_core(alias) for alias in names] for name, names in figures["holds"].items()}
        found[flow] = {**figures, "holds": holds, "cells": folder / f"{part.name}.{flow}.cells.json"}
    return found
