"""What the energy report tells: energy by engine, and the units that are compared."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..mapping import FLOWS

__all__ = ["BASE", "COMPARED", "ENERGIES", "UNITS", "comparison", "differences", "engine_energy", "memory_energy"]

#: Units that are compared, by key: name, and what their energy is of.
UNITS = {"lane": ("accumulate lane", "element of O, pJ"), "drain": ("drain engine", "element of O, pJ"),
         "core": ("core", "cycle, nJ"), "token": ("token on the core", "token, nJ"),
         "block": ("a row's block in full size", "512 elements of O, 64 of P, nJ")}

#: Elements of O and of P of a row and block in DeepSeek's shape: columns, and the keys that ``deepseek`` takes at once.
_COLUMNS, _KEYS = 512, 64

#: The mode that the others are compared with.
BASE = "amla"

#: What the energy of a part consists of: the clock's, and what switches.
SWITCHING = ("registers", "logic")
ENERGIES = ("clock", *SWITCHING)

#: Energies of a unit by key of a row: what each consists of.
_KINDS = {"energy": ENERGIES, "glitching": (*ENERGIES, "glitches"), "switching": SWITCHING}

#: Figures that are compared, by key of a row.
COMPARED = {"area_um2": "area", "time": "time", "energy": "energy", "glitching": "energy with glitches",
            "switching": "energy without the clock"}


def _energy(parts: Iterable[Mapping[str, Any]], kinds: Iterable[str] = ENERGIES) -> float:
    """pJ of some parts over their run."""
    return sum(part[kind] for part in parts for kind in kinds)


def _energies(parts: Iterable[Mapping[str, Any]], per: float) -> dict[str, float]:
    """By key of a row, pJ for each of what the run has ``per`` of."""
    parts = list(parts)
    return {key: _energy(parts, kinds) / per for key, kinds in _KINDS.items()}


def _busy(part: Mapping[str, Any], run: Mapping[str, Any], count: float) -> dict[str, float]:
    """pJ of each of ``count`` operations in the run, had every instance begun one in every cycle: no idle clock."""
    return _energies([{**part, "clock": part["clock"] * count / (run["cycles"] * part["instances"])}], count)


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
    energy without glitches, ``glitching`` with them, and ``switching``, what of ``energy`` is not the clock's: in pJ of
    an element of O in a lane (of a lane that takes one in every cycle) and in the drain engine (in this run), in nJ of
    a cycle and of a token on the core, and of what a block of keys takes a row in DeepSeek's shape: its elements of O
    in accumulate lanes, its elements of P in vector lanes and its row pass, in the rest of the vector engine, all of
    them busy in every cycle. ``over``: the ratio of each to mode ``amla`` with the same format of P, where that was
    measured. A token has no area, a block neither area nor time: None.
    """
    rows = [{"unit": unit, "flow": flow, "run": name, "mode": run["mode"], "p_format": run["p_format"], **figures}
            for flow in FLOWS for name, run in runs.items() for unit, figures in _units(run, flow).items()]
    base = {(row["unit"], row["flow"], row["p_format"]): row for row in rows if row["mode"] == BASE}
    for row in rows:
        if reference := base.get((row["unit"], row["flow"], row["p_format"])):
            row["over"] = {key: row[key] / reference[key] for key in COMPARED if row[key] is not None}
    return rows


def _units(run: Mapping[str, Any], flow: str) -> dict[str, dict[str, Any]]:
    """area_um2, time and energies of the units of a run."""
    parts = run["flows"][flow]
    every = list(parts.values())
    drain = [part for part in every if part["engine"] == "drain"]
    lane, vector_lane = (next(part for key, part in parts.items() if part["engine"] == engine != key)
                         for engine in ("drain", "vector"))
    slowest, cycles, tokens, accumulated = (
        max(part["fo4"] for part in every), run["cycles"], run["tokens"], run["accumulated"])
    element = _busy(lane, run, accumulated)
    probability = _busy(vector_lane, run, run["operations"]["vector"])
    row_pass = _busy(parts["vector"], run, accumulated / run["head_dim_v"])  # once for a row and block
    block = {key: (_COLUMNS * element[key] + _KEYS * probability[key] + row_pass[key]) / 1000 for key in _KINDS}
    return {
        "lane": {"area_um2": lane["area_um2"], "time": lane["fo4"], **element},
        "drain": {"area_um2": _area(drain), "time": max(part["fo4"] for part in drain),
                  **_energies(drain, accumulated)},
        "core": {"area_um2": _area(every), "time": slowest, **_energies(every, cycles * 1000)},
        "token": {"area_um2": None, "time": slowest * cycles / tokens, **_energies(every, tokens * 1000)},
        "block": {"area_um2": None, "time": None, **block},
    }


def differences(runs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the other modes take more than mode ``amla`` with the same format of P: where it saves and where it pays.

    Returns
    -------
    Rows with flow, run, part (an engine, ``control``, or the lanes or units of an engine), area_um2 of all instances,
    clock, switching and glitches in nJ of a token; parts of the same area in both are left out
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
            "area_um2": _area([part]),
            **{key: _energy([part], kinds) / run["tokens"] / 1000 for key, kinds in (
                ("clock", ["clock"]), ("switching", SWITCHING), ("glitches", ["glitches"]))}}
    return found
