"""The plot of the energy report: what MUL by ADD saves, and where the energy of a token goes."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from ..mapping import FLOWS
from ..plots import png
from .figures import BASE, COMPARED, UNITS, engine_energy

__all__ = ["plot"]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#F0E442", "#888888")
_GREY = "#d0d0d0"

#: Figures of the left half.
_RATIOS = ("area_um2", "time", "energy", "glitching")


def plot(report: Mapping[str, Any]) -> bytes:
    """A PNG: left the ratios of mode ``mul`` to ``amla`` by unit and flow, right nJ per token by engine."""
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _ratios(left, report)
    _tokens(right, report)
    return png(figure)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color=_GREY, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def _ratios(axes: Any, report: Mapping[str, Any]) -> None:
    p_format = next(iter(report["runs"].values()))["p_format"]
    rows = [row for unit in UNITS for flow in FLOWS for row in report["comparison"] if "over" in row
            and (row["unit"], row["flow"], row["mode"], row["p_format"]) == (unit, flow, "mul", p_format)]
    for index, key in enumerate(_RATIOS):
        places = [place + 0.2 * (index - 1.5) for place, row in enumerate(rows) if key in row["over"]]
        values = [row["over"][key] for row in rows if key in row["over"]]
        bars = axes.barh(places, values, 0.18, color=_COLOURS[index], label=COMPARED[key])
        axes.bar_label(bars, [f"{value:.2f}" for value in values], fontsize=6, padding=2)
    axes.set_yticks(range(len(rows)), [f"{UNITS[row['unit']][0]}\nflow: {row['flow']}" for row in rows])
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=1, zorder=0)
    axes.set_xlabel(f"FP32 multiplication (mode mul) over MUL by ADD (mode {BASE}), P in {p_format}",
                    fontsize=8)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    _plain(axes)


def _tokens(axes: Any, report: Mapping[str, Any]) -> None:
    bars = [(name, flow, engine_energy(run, flow), run["tokens"]) for name, run in report["runs"].items()
            for flow in FLOWS]
    left = [0.0] * len(bars)
    for engine, colour in zip(bars[0][2], _COLOURS, strict=True):
        values = [energy[engine] / tokens / 1000 for _, _, energy, tokens in bars]
        axes.barh(range(len(bars)), values, 0.7, left=left, color=colour, label=engine)
        left = [start + value for start, value in zip(left, values, strict=True)]
    axes.set_yticks(range(len(bars)), [f"{name}, {flow}" for name, flow, *_ in bars])
    axes.invert_yaxis()
    axes.set_xlabel(f"nJ per token on core {report['core']}, {report['library']}, without memories", fontsize=8)
    axes.legend(fontsize=7, frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _plain(axes)
