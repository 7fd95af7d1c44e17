"""What a point takes: cycles, what bounds them, bytes, SRAM and area. The one place that knows the model of time."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..compiler.memory_map import bytes_read
from ..compiler.outline import outline
from ..cycles.model import simulate
from ..errors import AmlaError
from ..machine.prediction import predict
from ..report.utilisation import bound_of, bytes_of, macs_of
from .area import area_of
from .space import Point

__all__ = ["MODEL", "RESULTS", "evaluate", "version"]

#: The model of time, in words.
MODEL = "the cycle model"

#: Results of a point: name -> type, unit and meaning.
RESULTS: Mapping[str, tuple[type, str]] = {
    "reason": (str, "why the point cannot be; null where it can, and then all that follows is there"),
    "cycles": (int, "from START to the end; of a core, as all that follows but where a machine is named"),
    "seconds": (float, "of a machine, launch and synchronisation included"),
    "cores_at_work": (int, "of a machine"),
    "utilisation": (float, "useful MACs ÷ (cycles × MACs per cycle); of a machine, of its peak"),
    "macs_per_cycle": (float, "useful MACs ÷ cycles"),
    "multipliers": (int, "MACs per cycle of the cube"),
    "bound_by": (str, "what the fewest possible cycles, or seconds, are spent on: compute, memory or L1"),
    "bound_cycles": (int, "the fewest cycles that core and memory allow"),
    "bound_reached": (float, "bound_cycles ÷ cycles; of a machine likewise"),
    "kv_block": (int, "keys per KV block, the tiler's choice"),
    "commands": (int, "commands of the program"),
    "bytes_read": (int, "by LOAD and GATHER"),
    "bytes_written": (int, "O and LSE"),
    "bytes_per_cycle": (float, "read and written ÷ cycles"),
    "bandwidth": (float, "bytes per cycle that memory and bus give in one direction"),
    "sram_kib": (float, "SRAM of the core, KiB"),
    "area_mm2": (float, "logic of the core, mm² in osu018 (180 nm), memories left out"),
}

#: What results depend on, from the package's folder.
_SOURCES = ("model", "rtl", "sw/cluster", "sw/compiler", "sw/cycles", "sw/memory", "sw/machine", "sw/workload",
            "sw/errors.py",
            "sw/report/utilisation.py", "sw/explore/area.py", "sw/explore/evaluate.py", "sw/explore/space.py")


@cache
def version() -> str:
    """Sixteen hexadecimal digits that change with the code that results depend on."""
    root = Path(__file__).parents[2]
    paths = [path for name in _SOURCES for path in (sorted((root / name).rglob("*.py")) or [root / name])]
    digest = hashlib.sha256()
    for path in paths:
        digest.update(repr((str(path.relative_to(root)), path.read_bytes())).encode())
    return digest.hexdigest()[:16]


def evaluate(point: Point) -> dict[str, Any]:
    """:data:`RESULTS` of a point; of one that cannot be, the reason alone."""
    none = dict.fromkeys(RESULTS)
    config, memory, load = point.core, point.memory, point.workload
    if point.reason is not None or load is None:
        return {**none, "reason": point.reason}
    try:
        if point.machine is not None:
            found = predict(load, point.machine)
            return {**none, "seconds": found.seconds, "utilisation": found.utilisation, "cores_at_work": found.cores,
                    "bound_by": found.bound["by"], "bound_reached": found.bound["seconds"] / found.seconds}
        assert config is not None and memory is not None and point.preload is not None
        plan, commands, _ = outline(load, config, memory, preload=point.preload)
    except AmlaError as error:
        return {**none, "reason": str(error)}
    cycles = simulate(commands, config, memory).cycles
    macs, bound = macs_of(load), bound_of(load, config, memory)
    read, written = bytes_read(commands), bytes_of(load, config)[1]
    return {
        **none, "cycles": cycles, "utilisation": macs / (cycles * config.macs_per_cycle),
        "macs_per_cycle": macs / cycles, "multipliers": config.macs_per_cycle,
        "bound_by": bound.by, "bound_cycles": bound.cycles, "bound_reached": bound.cycles / cycles,
        "kv_block": plan.kv_block, "commands": len(commands),
        "bytes_read": read, "bytes_written": written, "bytes_per_cycle": (read + written) / cycles,
        "bandwidth": float(memory.rate(config.axi_data_bytes)),
        "sram_kib": sum(config.sram_bytes.values()) / 1024, "area_mm2": area_of(config) / 1e6,
    }
