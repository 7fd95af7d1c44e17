"""The energy report: what MUL by ADD saves, where the energy of a token goes; as JSON, a page and a plot."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from amla.rtl import files

from ..mapping import FLOWS
from ..report import table
from .memories import SOURCE_NM, scale

__all__ = ["BASE", "UNITS", "comparison", "engine_energy", "markdown", "memory_energy", "write"]

#: Units that are compared, by key.
UNITS = {"lane": "accumulate lane", "drain": "drain engine", "core": "core", "token": "token on the core"}

#: The mode that the others are compared with.
BASE = "amla"

_OPERATIONS = {
    "sequencer": "command", "load": "byte read", "feed": "fractal", "cube": "multiply-accumulate",
    "drain": "element of S or O", "vector": "element of P", "store": "byte written"}
_ENERGIES = ("clock", "registers", "logic")


def _energy(parts: Iterable[Mapping[str, Any]]) -> float:
    """pJ of some parts over their run."""
    return sum(part[kind] for part in parts for kind in _ENERGIES)


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


def _comparison_rows(report: Mapping[str, Any]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for unit, title in UNITS.items():
        for row in report["comparison"]:
            if row["unit"] == unit:
                over = row.get("over", {})
                rows.append((
                    title, row["flow"], row["run"], f"{row['area_um2']:,.0f}" if row["area_um2"] else "",
                    f"{row['time']:,.1f}" if unit != "token" else f"{row['time']:,.0f}", f"{row['energy']:,.1f}",
                    *(f"{over[key]:.2f}" if key in over else "" for key in ("area_um2", "time", "energy"))))
    return rows


def _token_rows(report: Mapping[str, Any], flow: str) -> list[Sequence[str]]:
    """nJ of a token by engine and run, the memories below."""
    runs = report["runs"].values()
    by_engine = [engine_energy(run, flow) for run in runs]
    rows: list[Sequence[str]] = [(engine, *(f"{energy[engine] / run['tokens'] / 1000:,.1f}"
                                             for energy, run in zip(by_engine, runs, strict=True)))
                                 for engine in by_engine[0]]
    rows.append(("logic in all", *(f"{sum(energy.values()) / run['tokens'] / 1000:,.1f}"
                                   for energy, run in zip(by_engine, runs, strict=True))))
    rows.append(("per key and row", *(f"{sum(energy.values()) / (run['keys'] * run['rows']) / 1000:.3f}"
                                      for energy, run in zip(by_engine, runs, strict=True))))
    for title, factor in ((f"memories, {SOURCE_NM:g} nm", 1.0), (f"memories, scaled to {report['nm']:g} nm",
                                                                 scale(report["nm"], report["voltage"]))):
        rows.append((title, *(f"{factor * memory_energy(run) / run['tokens'] / 1000:,.2f}" for run in runs)))
    return rows


def _operation_rows(report: Mapping[str, Any]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for flow in FLOWS:
        for name, run in report["runs"].items():
            energy = engine_energy(run, flow)
            rows.append((flow, name, *(f"{energy[engine] / run['operations'][engine]:,.1f}" for engine in _OPERATIONS)))
    return rows


def _part_rows(report: Mapping[str, Any]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for flow in FLOWS:
        for name, run in report["runs"].items():
            for part, found in run["flows"][flow].items():
                rows.append((part, flow, name, str(found["instances"]), str(found["bits"]),
                             f"{found['area_um2']:,.0f}", f"{found['fo4']:.1f}",
                             *(f"{found[kind] / run['cycles']:,.1f}" for kind in _ENERGIES),
                             f"{found['leakage_nw'] * found['instances'] / 1000:,.1f}"))
    return rows


def markdown(report: Mapping[str, Any]) -> str:
    """The report as a page of Markdown."""
    tools = ", ".join(f"{tool} {version}" for tool, version in report["versions"].items())
    some = next(iter(report["runs"].values()))
    runs = tuple(report["runs"])
    lines = [
        "# Energy: results", "",
        "Generated by `make energy`; do not edit. [How to read it](../energy.md).", "",
        f"Library {report['library']}, {report['voltage']:g} V, 1 FO4 = {report['fo4_ns']:.4f} ns, no wires, no "
        f"glitches. {tools}.", "",
        f"Core `{report['core']}`: {some['tokens']} token of {some['rows']} rows on {some['keys']:,} keys, "
        f"{some['head_dim']}/{some['head_dim_v']}; every run gave the golden model's bits. Cycles: "
        + ", ".join(f"{name} {run['cycles']:,}" for name, run in report["runs"].items()) + ".", "",
        "## What MUL by ADD saves", "",
        "Area in µm²; time in FO4, of a token the core's slowest part times its cycles; energy in pJ: of an element of "
        "O in a lane that takes one in every cycle, of one in the drain engine in this run, of a cycle and of a token "
        "on the core. At the right the ratios to mode `amla` with the same format of P: above 1, MUL by ADD takes "
        "less.", "",
        *table(("unit", "flow", "run", "area", "time", "energy", "area ÷", "time ÷", "energy ÷"),
               _comparison_rows(report), text=3), "",
        "![What MUL by ADD saves](energy.png)", "",
    ]
    for flow in FLOWS:
        lines += [f"## A token by engine, flow: {flow}", "",
                  "nJ per token, idle cycles and the clock at every register included; memories apart.", "",
                  *table(("engine", *runs), _token_rows(report, flow)), ""]
    lines += [
        "## Operations", "",
        "pJ per operation: an engine's energy over the run over its operations.", "",
        *table(("flow", "run", *(f"{engine}: {operation}" for engine, operation in _OPERATIONS.items())),
               _operation_rows(report), text=2), "",
        "## Parts", "",
        "Area and FO4 of one, register bits of one; pJ per cycle of all of them together; leakage of all in µW.", "",
        *table(("part", "flow", "run", "count", "bits", "area", "FO4", *_ENERGIES, "leakage"),
               _part_rows(report), text=3), "",
    ]
    return "\n".join(lines)


def write(report: Mapping[str, Any], folder: Path, *, docs: Path | None = None) -> None:
    """Write ``energy.json``, ``energy.md`` and ``energy.png`` into ``folder``, page and plot into ``docs`` too."""
    from .plot import plot  # loads matplotlib

    places = (folder, *([docs] if docs else []))
    for place in places:
        files.make_folder(place)
    page: dict[str, str | bytes] = {"energy.md": markdown(report), "energy.png": plot(report)}
    files.write({folder / "energy.json": json.dumps(report, indent=2) + "\n",
                 **{place / name: content for place in places for name, content in page.items()}})
