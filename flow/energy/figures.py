"""What the energy report tells: energy by engine, and the units that are compared."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..mapping import FLOWS

__all__ = ["BASE", "ENERGIES", "UNITS", "comparison", "engine_energy", "memory_energy"]

#: Units that are compared, by key.
UNITS = {"lane": "accumulate lane", "drain": "drain engine", "core": "core", "token": "token on the core"}

#: The mode that the others are compared with.
BASE = "amla"

#: What the energy of a part consists of.
ENERGIES = ("clock", "registers", "logic")


def _energy(parts: Iterable[Mapping[str, Any]]) -> float:
    """pJ of some parts over their run."""
    return sum(part[kind] for part in parts for kind in ENERGIES)


def _area(parts: Iterable[Mapping[str, Any]]) -> float:
    return sum(part["area_um2"] * part["instances"] for part in parts)


def engine_energy(run: Mapping[str, Any], flow: str) -> dict[str, float]:
    """pJ over the run by engine, the leaves in it and idle cycles included."""
    parts = run["flows"][flow].values()
    engines = dict.fromkeys([*run["operations"], *(part["engine"] for part in parts)])
    return {engine: _energy(part for part in parts if part["engine"] == engine) for engine in engines}


def memory_energy(run: Mapping[str, Any]) -> float:
    """pJ of the memories over the run, in the technology of the source."""
    return sum(memory["pj"] for memory in run["memories"])


def comparison(runs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The units by flow and run.

    Returns
    -------
    Rows with unit, flow, run, mode, p_format; area_um2; time: FO4 of the slowest part, of a token times its cycles;
    energy in pJ: of an element of O in a lane (of a lane that takes one in every cycle) and in the drain engine (in
    this run), of a cycle and of a token on the core; ``over``: the ratio of each to mode ``amla`` with the same
    format of P, where that was measured. A token has no area.
    """
    rows: list[dict[str, Any]] = []
    for flow in FLOWS:
        for name, run in runs.items():
            parts = run["flows"][flow]
            every = list(parts.values())
            drain = [part for part in every if part["engine"] == "drain"]
            lane, = (part for key, part in parts.items() if part["engine"] == "drain" and key != "drain")
            slowest, cycles, total = max(part["fo4"] for part in every), run["cycles"], _energy(every)
            figures: dict[str, tuple[float | None, float, float]] = {
                "lane": (lane["area_um2"], lane["fo4"], (lane["registers"] + lane["logic"]) / run["accumulated"]
                         + lane["clock"] / (cycles * lane["instances"])),
                "drain": (_area(drain), max(part["fo4"] for part in drain), _energy(drain) / run["accumulated"]),
                "core": (_area(every), slowest, total / cycles),
                "token": (None, slowest * cycles / run["tokens"], total / run["tokens"]),
            }
            rows += [{"unit": unit, "flow": flow, "run": name, "mode": run["mode"], "p_format": run["p_format"],
                      "area_um2": area, "time": time, "energy": energy}
                     for unit, (area, time, energy) in figures.items()]
    base = {(row["unit"], row["flow"], row["p_format"]): row for row in rows if row["mode"] == BASE}
    for row in rows:
        if reference := base.get((row["unit"], row["flow"], row["p_format"])):
            row["over"] = {key: row[key] / reference[key] for key in ("area_um2", "time", "energy")
                           if row[key] is not None}
    return rows
