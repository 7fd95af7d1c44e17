"""What the energy report tells: energy by engine, and the units that are compared."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..mapping import FLOWS

__all__ = ["BASE", "COMPARED", "ENERGIES", "UNITS", "comparison", "differences", "engine_energy", "memory_energy"]

#: Units that are compared, by key: name, and what their energy is of.
UNITS = {"lane": ("accumulate lane", "element of O, pJ"), "drain": ("drain engine", "element of O, pJ"),
         "core": ("core", "cycle, nJ"), "token": ("token on the core", "token, nJ")}

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
    energy, and ``switching``, what of it is not the clock's, in pJ of an element of O in a lane (of a lane that takes
    one in every cycle) and in the drain engine (in this run), in nJ of a cycle and of a token on the core; ``over``:
    the ratio of each to mode ``amla`` with the same format of P, where that was measured. A token has no area.
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
                "core": (_area(every), slowest, *(_energy(every, kinds) / cycles / 1000
                                                     for kinds in (ENERGIES, SWITCHING))),
                "token": (None, slowest * cycles / tokens,
                          *(_energy(every, kinds) / tokens / 1000 for kinds in (ENERGIES, SWITCHING))),
            }
            rows += [{"unit": unit, "flow": flow, "run": name, "mode": run["mode"], "p_format": run["p_format"],
                      **dict(zip(COMPARED, values, strict=True))} for unit, values in figures.items()]
    base = {(row["unit"], row["flow"], row["p_format"]): row for row in rows if row["mode"] == BASE}
    for row in rows:
        if reference := base.get((row["unit"], row["flow"], row["p_format"])):
            row["over"] = {key: row[key] / reference[key] for key in COMPARED if row[key] is not None}
    return rows


def differences(runs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the other modes take more than mode ``amla`` with the same format of P: where it saves and where it pays.

    Returns
    -------
    Rows with flow, run, part (an engine, ``control``, or the lanes or units of an engine), area_um2 of all instances,
    clock and switching in nJ of a token; parts that take the same in both are left out
    """
    rows: list[dict[str, Any]] = []
    for flow in FLOWS:
        base = {run["p_format"]: _by_role(run, flow) for run in runs.values() if run["mode"] == BASE}
        for name, run in runs.items():
            if run["mode"] == BASE or run["p_format"] not in base:
                continue
            for role, figures in _by_role(run, flow).items():
                less = base[run["p_format"]][role]
                row = {key: figures[key] - less[key] for key in figures}
                if row["area_um2"]:
                    rows.append({"flow": flow, "run": name, "part": role, **row})
    return rows


def _by_role(run: Mapping[str, Any], flow: str) -> dict[str, dict[str, float]]:
    """Figures of the engines, the leaves in them apart; a leaf has other names in other modes."""
    found = {}
    for key, part in run["flows"][flow].items():
        leaf = key not in run["operations"] and part["engine"] in run["operations"]
        found[f"{part['engine']}: {'its lanes or units' if leaf else 'the rest'}"] = {
            "area_um2": _area([part]), "clock": part["clock"] / run["tokens"] / 1000,
            "switching": _energy([part], SWITCHING) / run["tokens"] / 1000}
    return found
