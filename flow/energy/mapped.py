"""Parts of a core mapped to cells, each once."""

import json
from pathlib import Path
from typing import Any

from amla.rtl import files

from ..library import Library
from ..mapping import gates, map_and_time
from ..price import digest
from .parts import Part

__all__ = ["mapped"]


def mapped(part: Part, flow: str, *, library: Library, out: Path) -> dict[str, Any]:
    """Map a part with a flow, unless ``out`` has it of the same Verilog, library and tools.

    Returns
    -------
    area_um2, fo4, as :func:`~amla.flow.mapping.map_and_time` has them; cells: path of the mapped netlist; added,
    holds: of the :class:`~amla.flow.netlist.Netlist` that was mapped

    Raises
    ------
    FlowError: a tool fails.
    """
    source = out / f"{part.name}.v"
    files.write({source: part.verilog})
    folder = out / f"{part.name}-{digest(source, library, False)}"
    kept = folder / f"{flow}.json"
    cells = folder / f"{part.name}.{flow}.cells.json"
    if kept.exists():
        return {**json.loads(kept.read_text(encoding="utf-8")), "cells": cells}
    folder.mkdir(parents=True, exist_ok=True)
    files.write({folder / source.name: part.verilog})
    netlist = gates(folder, part.name, top=part.module, apart=part.apart).between_registers()
    figures = map_and_time(netlist, folder, part.name, flow, library)
    result = {"area_um2": figures["area_um2"], "fo4": figures["fo4"], "added": list(netlist.added),
              "holds": {name: list(names) for name, names in netlist.holds.items()}}
    files.write({kept: json.dumps(result) + "\n"})
    return {**result, "cells": cells}
