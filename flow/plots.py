"""Plots of the price report: area by design, FO4 by stage."""

import io
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from .units import DESIGNS, TARGET_FO4

__all__ = ["plot", "png"]

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#d0d0d0"


def plot(report: Mapping[str, Any]) -> dict[str, bytes]:
    """PNG files by name."""
    return {"area.png": png(_area(report)), "stages.png": png(_stages(report))}


def png(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100, format="png")
    return buffer.getvalue()


def _bars(labels: list[str], width: float = 7.5) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, 0.9 + 0.24 * len(labels)), layout="constrained")
    axes = figure.subplots()
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color=_GREY, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelsize=8)
    return figure, axes


def _area(report: Mapping[str, Any]) -> Figure:
    designs = {**report["units"], **report["cores"]}
    figure, axes = _bars([DESIGNS[name].title for name in designs])
    for shift, flow, colour in ((-0.18, "speed", _BLUE), (0.18, "default", _ORANGE)):
        areas = [(design if flow == "speed" else design["default"])["area_um2"] for design in designs.values()]
        axes.barh([row + shift for row in range(len(areas))], areas, 0.34, color=colour, label=f"flow: {flow}")
    axes.set_xscale("log")
    axes.set_xlabel(f"area (µm², {report['library']}, without memories)", fontsize=8)
    axes.legend(fontsize=8, frameon=False)
    return figure


def _stages(report: Mapping[str, Any]) -> Figure:
    stages = [(f"{DESIGNS[name].title}: {stage}", fo4) for name, unit in report["units"].items()
              for stage, fo4 in unit["stages"].items()]
    figure, axes = _bars([label for label, _ in stages])
    axes.barh(range(len(stages)), [fo4 for _, fo4 in stages], 0.7,
              color=[_ORANGE if fo4 > TARGET_FO4 else _BLUE for _, fo4 in stages])
    axes.axvline(TARGET_FO4, color="black", linewidth=1)
    axes.set_xlabel(f"FO4 of a stage mapped alone; the line is the target of {TARGET_FO4:g}", fontsize=8)
    return figure
