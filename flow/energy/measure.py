"""Energy of one configuration: its core's parts mapped, one decode traced, every transition weighed."""

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from amla.rtl.config import MODES, P_FORMATS, CoreConfig
from amla.rtl.isa import Engine
from amla.tb.build_core import TOP

from ..library import Library
from ..mapping import FLOWS
from ..price import PROCESSES
from ..tools import FlowError
from .cells import Cells
from .decode import WORKLOAD, Decode, build_traced, decode
from .mapped import mapped
from .memories import MemoryTraffic, enables, traffic
from .parts import Part, RamInstance, cut, rams
from .switching import Energy, Switching
from .trace import Trace

__all__ = ["ENGINES", "configurations", "locate", "measure"]

#: Instances of the core that are parts of their own; what is left of it is ``control``.
ENGINES = tuple(engine.name.lower() for engine in Engine)


def configurations(base: CoreConfig) -> dict[str, CoreConfig]:
    """A core in every mode with every format of P, by name."""
    return {f"{mode}, P {p_format}": replace(base, name=f"{base.name}-{mode}-{p_format}", mode=mode, p_format=p_format)
            for mode in MODES for p_format in P_FORMATS}


def locate(names: Sequence[str], place: str, trace: Trace) -> tuple[str, int]:
    """The signal and its bit that one of the names of a bit has in a trace.

    Parameters
    ----------
    names: in the part, as :attr:`Switching.sources` has them
    place: the part's path in the core

    Raises
    ------
    FlowError: the trace has none of them.
    """
    for name in names:
        path = f"{place}.{name}" if place else name
        if path in trace:
            return path, 0
        if (found := re.fullmatch(r"(.*)\[(\d+)\]", path)) and found.group(1) in trace:
            return found.group(1), int(found.group(2))
    raise FlowError(f"the trace must hold {names[0] if names else 'a register without a name'} of "
                    f"{place or 'the core'}")


def measure(config: CoreConfig, *, library: Library, out: Path, jobs: int = PROCESSES,
            say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Figures of a configuration; what ``out`` has of its parts is not mapped again.

    Returns
    -------
    mode, p_format, cycles, operations, accumulated; rows, keys, tokens, head_dim, head_dim_v of the workload;
    memories: traffic of each; flows: by flow and part area_um2, fo4 and bits (registers) of an instance, engine,
    instances, and of all of them over the run clock, registers, logic and glitches in pJ

    Raises
    ------
    FlowError:  a tool fails, or trace and netlist disagree.
    BenchError: the simulation fails.
    Mismatch:   it gives other bits than the golden model.
    """
    say("building the simulation")
    built = build_traced(config)
    verilog = (built / f"{TOP}.v").read_text(encoding="utf-8")
    parts = cut(verilog, top=TOP, engines=ENGINES)
    say(f"mapping {len(parts)} parts")
    maps = _map(parts, library=library, out=out, jobs=jobs, say=say)
    cells = Cells.read(library.path, transition=library.fo4_ns)
    with decode(config, built, say=say) as run:
        figures, moved = _weigh(parts, maps, cells, rams(verilog, top=TOP), run, say=say)
    return {
        "mode": config.mode, "p_format": config.p_format, "cycles": run.cycles,
        "operations": run.operations, "accumulated": run.accumulated,
        "rows": WORKLOAD.rows * len(WORKLOAD.lengths), "keys": sum(WORKLOAD.lengths),
        "tokens": WORKLOAD.q_tokens * len(WORKLOAD.lengths), "head_dim": WORKLOAD.head_dim,
        "head_dim_v": WORKLOAD.head_dim_v,
        "memories": [{**asdict(memory), "pj": memory.energy} for memory in moved],
        "flows": figures,
    }


def _weigh(parts: Sequence[Part], maps: Mapping[str, Mapping[str, Any]], cells: Cells, memories: Sequence[RamInstance],
           run: Decode, *, say: Callable[[str], None]) -> tuple[dict[str, dict[str, Any]], list[MemoryTraffic]]:
    """Of a run: figures by flow and part, as :func:`measure` has them, and the traffic of the memories."""
    netlists = {(name, flow): Switching(found["cells"], cells, added=found["added"], holds=found["holds"])
                for name, by_flow in maps.items() for flow, found in by_flow.items()}
    say("reading the trace")
    signals = {(part.name, flow, place): {net: locate(names, place, run.trace) for net, names in
                                          netlists[part.name, flow].sources.items()}
               for part in parts for flow in FLOWS for place in part.places}
    words = run.read([*{name for found in signals.values() for name, _ in found.values()},
                      *(name for ram in memories for name in enables(ram))])
    say("weighing transitions")
    figures: dict[str, dict[str, Any]] = {flow: {} for flow in FLOWS}
    for flow in FLOWS:
        for part in parts:
            netlist, found = netlists[part.name, flow], maps[part.name][flow]
            energy = Energy()
            for place in part.places:
                held = {net: words[name][bit] for net, (name, bit) in signals[part.name, flow, place].items()}
                energy += netlist.energy(held, run.cycles)
            figures[flow][part.name] = {
                "engine": _engine(part), "instances": len(part.places), "bits": netlist.registers,
                "area_um2": found["area_um2"], "fo4": found["fo4"], **asdict(energy)}
    return figures, traffic(memories, words)


def _map(parts: Sequence[Part], *, library: Library, out: Path, jobs: int, say: Callable[[str], None],
         ) -> dict[str, dict[str, dict[str, Any]]]:
    """What :func:`mapped` gives of every part, by name; the longest are mapped first."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(mapped, part, library=library, out=out): part.name
                   for part in sorted(parts, key=lambda part: -len(part.verilog))}
        found = {}
        try:
            for future in as_completed(futures):
                found[futures[future]] = future.result()
                say(f"mapped {len(found)}/{len(futures)}: {futures[future]}")
        except BaseException:  # a tool's failure, or Ctrl-C: what has not begun is not begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def _engine(part: Part) -> str:
    """The engine that a part lies in, or ``control``."""
    engine = part.places[0].partition(".")[0]
    return engine if engine in ENGINES else "control"
