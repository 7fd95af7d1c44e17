"""PNG plots of a run, for documents: utilisation, timeline, stalls, bandwidth. Needs matplotlib."""

import io

import numpy as np
from amla.rtl.command import require

from ..errors import AmlaError
from .results import Results
from .timeline import ENGINES, STAGES, spans

__all__ = ["draw_plots"]

# The colours of page.css on white paper.
_STAGE_COLOURS = {"load": "#cc79a7", "C1": "#0072b2", "V1": "#e69f00", "C2": "#009e73", "end": "#d55e00",
                  "control": "#7a828c"}
_STATE_COLOURS = {"busy": "#44aa99", "wait_memory": "#aa3377", "wait_semaphore": "#ddcc77", "idle": "#d5dae0"}

#: Most steps of the bandwidth plot.
_STEPS = 400


def draw_plots(results: Results) -> dict[str, bytes]:
    """utilisation.png, timeline.png, stalls.png and bandwidth.png, by name.

    Raises
    ------
    AmlaError: there was no run on the RTL, or matplotlib is not installed.
    """
    if results.trace is None or results.traffic is None:
        raise AmlaError("--plots needs a run with --device rtl or model, not the command simulator")
    require("plots")
    from matplotlib.figure import Figure

    report = results.report
    name = f"{report['workload']} on {report['config']}"
    made = {}
    for title, height, draw in (("utilisation", 2.2, _utilisation), ("timeline", 4.0, _timeline),
                                ("stalls", 3.2, _stalls), ("bandwidth", 2.6, _bandwidth)):
        figure = Figure(figsize=(10, height), dpi=150, layout="constrained")
        axes = figure.subplots()
        axes.set_title(f"{name}: {title}", loc="left", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes, results)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        made[f"{title}.png"] = buffer.getvalue()
    return made


def _utilisation(axes, results: Results) -> None:
    report = results.report
    rows = [("this run", report["utilisation"], "#0072b2"), ("cube active", report["cube_active"], "#56b4e9"),
            (f"bound ({report['bound']['by']})", report["bound"]["utilisation"], "#8b949e")]
    if report["serial_baseline"] is not None:
        rows.append(("serial baseline", report["serial_baseline"]["utilisation"], "#8b949e"))
    names, shares, colours = zip(*rows, strict=True)
    bars = axes.barh(names, [100 * share for share in shares], color=colours)
    axes.bar_label(bars, fmt="%.1f %%", padding=3)
    axes.invert_yaxis()
    axes.set(xlim=(0, 110), xlabel="utilisation of the cube (%)")


def _timeline(axes, results: Results) -> None:
    found = spans(results)
    for stage, colour in _STAGE_COLOURS.items():
        first = True
        for lane, engine in enumerate(ENGINES):
            bars = [(span.begin, span.end - span.begin) for span in found
                    if span.engine == engine and span.stage == stage]
            if bars:
                # Without an edge, so that a bar thinner than a pixel counts by its share of it.
                axes.broken_barh(bars, (lane - 0.4, 0.8), facecolors=colour, linewidth=0,
                                 label=f"{stage}: {STAGES[stage]}" if first else None)
                first = False
    axes.set(yticks=range(len(ENGINES)), yticklabels=ENGINES, xlim=(0, results.report["cycles"]), xlabel="cycle")
    axes.invert_yaxis()
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, fontsize=8, frameon=False)


def _stalls(axes, results: Results) -> None:
    left = np.zeros(len(ENGINES))
    for state, colour in _STATE_COLOURS.items():
        shares = np.array([100 * results.report["engines"][engine][state] for engine in ENGINES])
        shares = shares / results.report["cycles"]
        axes.barh(ENGINES, shares, left=left, color=colour, label=state.replace("_", " "))
        left += shares
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="cycles of the run (%)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4, fontsize=8, frameon=False)


def _bandwidth(axes, results: Results) -> None:
    assert results.traffic is not None
    cycles, buckets = results.report["cycles"], len(results.traffic["read"])
    width = -(-buckets // _STEPS)
    starts = np.arange(0, buckets, width)
    edges = np.minimum(np.append(starts, buckets) * int(results.traffic["bucket"]), cycles)
    for name, colour, fill in (("read", "#cc79a7", True), ("written", "#d55e00", False)):
        rate = np.add.reduceat(results.traffic[name], starts) / np.diff(edges)
        axes.stairs(rate, edges, color=colour, fill=fill, label=name)
    axes.axhline(results.core["axi_data_bytes"], color="#59636e", linestyle="--", linewidth=1)
    axes.set(xlim=(0, cycles), ylim=(0, 1.1 * results.core["axi_data_bytes"]), xlabel="cycle", ylabel="B/cycle")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8, frameon=False)
