"""What the energy report tells: energy by engine, and the units that are compared."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..mapping import FLOWS

__all__ = ["BASE", "COMPARED", "ENERGIES", "UNITS", "comparison", "engine_energy", "memory_energy"]

#: Units that are compared, by key.
UNITS = {"lane": "accumulate lane", "drain": "drain engine", "core": "core", "token": "token on the core"}

#: The mode that the others are compared with.
BASE = "amla"

#: What the energy of a part consists of: the clock's, and what switches.
SWITCHING = ("registers", "logic")
ENERGIES = ("clock", *SWITCHING)

#: Figures that are compared, by key of a row.
COMPARED = {"area_um2": "area", "time": "time", "energy": "energy", "switching": "energy without the clock"}


def _energy(parts: Iterable[Mapping[str, Any]], kinds: Iterable[str] = ENERGIES) -> float:
    """pJ of some parts over their run."""
    return sum(part[kind] for part in parts for kind in kinds)


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
    energy in pJ, and ``switching``, what of it is not the clock's: of an element of O in a lane (of a lane that takes
    one in every cycle) and in the drain engine (in this run), of a cycle and of a token on the core; ``over``: the
    ratio of each to mode ``amla`` with the same format of P, where that was measured. A token has no area.
    """
    rows: list[dict[str, Any]] = []
    for flow in FLOWS:
        for name, run in runs.items():
            parts = run["flows"][flow]
            every = list(parts.values())
            drain = [part for part in every if part["engine"] == "drain"]
            lane, = (part for key, part in parts.items() if part["engine"] == "drain" and key != "drain")
            slowest, cycles, tokens, accumulated = (
                max(part["fo4"] for part in every), run["cycles"], run["tokens"], run["accumulated"])
            lane_switching = _energy([lane], SWITCHING)
            figures = {  # in the order of COMPARED
                "lane": (lane["area_um2"], lane["fo4"], lane_switching / accumulated
                         + lane["clock"] / (cycles * lane["instances"]), lane_switching / accumulated),
                "drain": (_area(drain), max(part["fo4"] for part in drain),
                          *(_energy(drain, kinds) / accumulated for kinds in (ENERGIES, SWITCHING))),
                "core": (_area(every), slowest, *(_energy(every, kinds) / cycles for kinds in (ENERGIES, SWITCHING))),
                "token": (None, slowest * cycles / tokens,
                          *(_energy(every, kinds) / tokens for kinds in (ENERGIES, SWITCHING))),
            }
            rows += [{"unit": unit, "flow": flow, "run": name, "mode": run["mode"], "p_format": run["p_format"],
                      **dict(zip(COMPARED, values, strict=True))} for unit, values in figures.items()]
    base = {(row["unit"], row["flow"], row["p_format"]): row for row in rows if row["mode"] == BASE}
    for row in rows:
        if reference := base.get((row["unit"], row["flow"], row["p_format"])):
            row["over"] = {key: row[key] / reference[key] for key in COMPARED if row[key] is not None}
    return rows
