"""Plots of the accuracy study: error by mode, error against length, index bits, errors of single elements."""

import io
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator
from PIL import Image  # a dependency of matplotlib

__all__ = ["plot"]

_DPI = 100

#: Colour (Okabe and Ito's set, told apart with any colour vision) and marker by position of the mode.
_STYLES = (("#000000", "o"), ("#56B4E9", "X"), ("#E69F00", "s"), ("#0072B2", "D"), ("#D55E00", "^"), ("#009E73", "v"),
           ("#CC79A7", "P"))

_GREY = "#d0d0d0"

#: Range of the plot of ratios, in which all but outright failures lie, and its ticks.
_RATIO_LIMITS = (0.05, 5.0)
_RATIO_TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def plot(study: Mapping[str, Any]) -> dict[str, bytes]:
    """Every plot of the content of accuracy.json: PNG files by name."""
    data = _Data(study)
    return {f"{name}.png": _png(draw(data)) for name, draw in (
        ("error_by_mode", _error_by_mode), ("ratio_by_mode", _ratio_by_mode), ("error_growth", _error_growth),
        ("comp_bits", _comp_bits), ("element_errors", _element_errors))}


def _png(figure: Figure) -> bytes:
    """A PNG of 256 colours: half the size, and nothing to see of it."""
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, dpi=_DPI, format="png")
    Image.open(full).convert("RGB").quantize(256).save(small, format="PNG", optimize=True)
    return small.getvalue()


class _Data:
    """The results by distribution, length and variant, and the order of each."""

    def __init__(self, study: Mapping[str, Any]):
        self.table = {(entry["distribution"], entry["keys"], entry["variant"]): entry for entry in study["results"]}
        self.titles = {key: value["title"] for key, value in study["distributions"].items()}
        self.lengths = sorted({entry["keys"] for entry in study["results"]})
        variants = study["variants"]
        self.modes = [name for name in variants if " k=" not in name]
        self.by_bits = sorted((variant["comp_bits"], name) for name, variant in variants.items()
                              if variant["mode"] == "amla" and name != "amla, BF16 P")
        self.styles = {mode: _STYLES[index % len(_STYLES)] for index, mode in enumerate(self.modes)}
        self.edges = study["bin_edges"]

    def errors(self, key: str, length: int, name: str) -> list[float]:
        """Positive finite errors by seed: what a logarithmic axis can show."""
        return [error for error in self.table[key, length, name]["errors"] if error]

    def width(self, mode: str) -> float:
        """Line width: the first mode, the baseline, shows beneath one that coincides with it."""
        return 2.6 if mode == self.modes[0] else 1.1


def _quiet(axes: Axes, *, grid: Literal["x", "y"]) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=_GREY, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def _label_decades(axes: Axes) -> None:
    """Ticks within the decades too where the logarithmic y axis spans few of them; it spans a factor of 3 at least."""
    low, high = axes.get_ylim()
    middle = math.sqrt(low * high)
    low, high = min(low, middle / 3**0.5), max(high, middle * 3**0.5)
    axes.set_ylim(low, high)
    decades = math.log10(high / low)
    steps = (1, 2, 3, 4, 6, 8) if decades < 0.8 else (1, 2, 5) if decades < 1.7 else (1,)
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=steps, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}".replace("e-0", "e−")))


def _legend(figure: Figure, data: _Data, *, lines: bool) -> None:
    handles = [Line2D([], [], color=colour, marker=None if lines else marker, linestyle="-" if lines else "",
                      linewidth=data.width(mode), label=mode, markersize=5)
               for mode, (colour, marker) in data.styles.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)


def _panels(data: _Data, height: float) -> tuple[Figure, Iterator[tuple[str, Axes]]]:
    """A panel per distribution, three in a row."""
    columns = min(3, len(data.titles))
    rows = math.ceil(len(data.titles) / columns)
    figure = Figure(figsize=(3.2 * columns, height * rows + 0.8), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flat

    def fill() -> Iterator[tuple[str, Axes]]:
        for key, axes in zip(data.titles, grid, strict=False):
            axes.set_title(data.titles[key], fontsize=9)
            yield key, axes
        for axes in grid:  # what is left of the last row
            axes.set_visible(False)
    return figure, fill()


def _by_mode(
    data: _Data, label: str, points: Callable[[str, int, str], list[float]], limits: tuple[float, float] | None = None,
) -> Figure:
    """A row per distribution, a panel per length: the mean of each mode's points, and a bar from least to largest.

    A mean beyond ``limits`` is written at the edge of its panel.
    """
    rows, columns = len(data.titles), len(data.lengths)
    figure = Figure(figsize=(2.2 + 2.9 * columns, 1.4 + 0.38 * rows), layout="constrained")
    for axes, length in zip(figure.subplots(1, columns, sharey=True, squeeze=False)[0], data.lengths, strict=True):
        for row, key in enumerate(data.titles):
            shift = 0  # of the next mean beyond the limits, in points
            for index, mode in enumerate(data.modes):
                values = points(key, length, mode)
                if not values:
                    continue
                y = row + 0.14 * (index - (len(data.modes) - 1) / 2)
                mean = sum(values) / len(values)
                colour, marker = data.styles[mode]
                if limits and not limits[0] <= mean <= limits[1]:
                    right = mean > limits[1]
                    text = f"{mean:,.0f} →" if mean >= 10 else f"{mean:.1f} →" if right else f"← {mean:.1g}"
                    axes.annotate(text, (limits[right], row), xytext=(shift if right else -shift, 0), color=colour,
                                  textcoords="offset points", ha="right" if right else "left", va="center", fontsize=7)
                    shift -= 5 * len(text)
                    continue
                axes.plot([min(values), max(values)], [y, y], color=colour, linewidth=1.2)
                axes.plot(mean, y, marker, color=colour, markersize=3.8)
        axes.set_xscale("log")
        axes.set_title(f"{length:,} keys", fontsize=9)
        axes.set_xlabel(label, fontsize=8)
        _quiet(axes, grid="x")
        axes.set_yticks(range(rows), list(data.titles.values()))
        axes.set_ylim(rows - 0.5, -0.5)
        if limits:
            axes.set_xlim(limits)
        for line in range(1, rows):
            axes.axhline(line - 0.5, color=_GREY, linewidth=0.5)
    _legend(figure, data, lines=False)
    return figure


def _error_by_mode(data: _Data) -> Figure:
    return _by_mode(data, "relative Frobenius error", data.errors)


def _ratio_by_mode(data: _Data) -> Figure:
    def ratio(key: str, length: int, mode: str) -> list[float]:
        value = data.table[key, length, mode]["ratio"]
        return [] if value is None else [value]

    figure = _by_mode(data, "error / error of plain FlashAttention", ratio, _RATIO_LIMITS)
    for axes in figure.axes:
        axes.set_xticks(_RATIO_TICKS, [f"{tick:g}" for tick in _RATIO_TICKS])
        axes.minorticks_off()
        axes.axvline(1, color="black", linewidth=0.8, zorder=1)
    return figure


def _error_growth(data: _Data) -> Figure:
    figure, panels = _panels(data, 2.1)
    for key, axes in panels:
        for mode in data.modes:
            points = [(length, errors) for length in data.lengths if (errors := data.errors(key, length, mode))]
            colour, marker = data.styles[mode]
            axes.plot([length for length, _ in points], [sum(errors) / len(errors) for _, errors in points],
                      color=colour, marker=marker, markersize=4, linewidth=data.width(mode))
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(data.lengths, [f"{length:,}" for length in data.lengths])
        _label_decades(axes)
        axes.minorticks_off()
        _quiet(axes, grid="y")
    figure.supxlabel("keys", fontsize=9)
    figure.supylabel("relative Frobenius error", fontsize=9)
    _legend(figure, data, lines=False)
    return figure


def _comp_bits(data: _Data) -> Figure:
    figure, panels = _panels(data, 1.9)
    colours = ("#9ecae1", "#4292c6", "#08306b")
    for key, axes in panels:
        for index, length in enumerate(data.lengths):
            points = [(bits, ratio) for bits, name in data.by_bits
                      if (ratio := data.table[key, length, name]["ratio"]) is not None]
            axes.plot(*zip(*points, strict=True) if points else ([], []), color=colours[index % 3], marker="o",
                      markersize=4, linewidth=1.2, label=f"{length:,} keys")
        axes.set_ylim(bottom=0)
        axes.set_xticks([bits for bits, _ in data.by_bits])
        _quiet(axes, grid="y")
    figure.supxlabel("index bits k of the row offsets", fontsize=9)
    figure.supylabel("error of amla / error of plain FlashAttention", fontsize=9)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)
    return figure


def _element_errors(data: _Data) -> Figure:
    figure, panels = _panels(data, 1.9)
    length = data.lengths[-1]
    for key, axes in panels:
        for mode in data.modes:
            counts = data.table[key, length, mode]["histogram"]
            shares = [100 * count / sum(counts) for count in counts]
            axes.stairs(shares[1:], data.edges[1:], color=data.styles[mode][0], linewidth=data.width(mode))
        axes.set_xscale("log")
        axes.set_xlim(data.edges[0], data.edges[-1])
        axes.set_xticks([10.0**exponent for exponent in range(-9, 2, 2)])
        axes.minorticks_off()
        _quiet(axes, grid="y")
    figure.supxlabel(f"error of an element / RMS of its row, {length:,} keys", fontsize=9)
    figure.supylabel("elements per bin (%)", fontsize=9)
    _legend(figure, data, lines=True)
    return figure
