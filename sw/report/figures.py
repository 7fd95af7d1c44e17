"""The figures of a run as HTML and SVG: utilisation bars, roofline plot, table."""

import math
from collections.abc import Mapping
from html import escape
from typing import Any

__all__ = ["figures", "roofline", "utilisation"]

_WIDTH, _HEIGHT = 340, 176
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 6, 20, 34


def utilisation(report: Mapping[str, Any]) -> str:
    """Bars of the run, its bound and its serial baseline, on one scale from 0 to 100 %."""
    if report["cycles"] is None:
        return '<p class="note">The command simulator counts no cycles.</p>'
    bound = report["bound"]
    rows = [
        ("this run", report["utilisation"], "run", f"{report['macs']:,} MACs in {report['cycles']:,} cycles"),
        ("cube active", report["cube_active"], "run", "cycles with a fractal triple issued"),
        ("bound", bound["utilisation"], "other", f"by {bound['by']}, at best {bound['cycles']:,} cycles, "
         f"{bound['start']:,} at the start, {bound['end']:,} at the end: {100 * bound['reached']:.1f} % reached"),
    ]
    serial = report["serial_baseline"]
    if serial is not None:
        rows.append(("serial baseline", serial["utilisation"], "other",
                     f"preload 0: {serial['cycles']:,} cycles, {serial['cycles'] / report['cycles']:.2f} times"))
    return '<table class="bars">' + "".join(
        f'<tr><th scope="row">{name}</th><td class="number"><b>{100 * share:.1f} %</b></td><td>'
        f'<div class="track"><i style="width:{100 * share:.2f}%;background:var(--{colour})"></i></div>'
        f"<small>{escape(note)}</small></td></tr>" for name, share, colour, note in rows) + "</table>"


def figures(report: Mapping[str, Any]) -> str:
    """Table of the other figures, with units."""
    cycles, rows = report["cycles"], []
    for name in ("read", "written"):
        text = f"{report[f'bytes_{name}']:,} B"
        if cycles is not None:
            peak = report["peak_bytes_per_cycle"]["read" if name == "read" else "write"]
            text += f"; {report[f'bytes_{name}'] / cycles:.1f} B/cycle, peak {peak:.1f}"
        rows.append((f"memory {name}", text))
    if cycles is not None:
        rows.append(("bandwidth", f"{100 * report['memory']['used']:.1f} % of the "
                     f"{report['memory']['sustained_bytes_per_cycle']:.1f} B/cycle that memory sustains"))
    rows.append(("reuse", report["traffic"]))
    rows.append(("KV block", f"{report['kv_block']} keys"))
    rows.append(("SRAM", f"{sum(report['sram_kib'].values()):,.1f} KiB: " + ", ".join(
        f"{name.upper()} {size:,.1f}" for name, size in report["sram_kib"].items())))
    error, plain, simulation = report["error"], report["error_mul"], report["simulation"]
    rows += [
        *((name, f"Frobenius {of['relative_frobenius']:.2e}, largest {of['max_abs']:.1e}")
          for name, of in (("O against float64", error), ("plain FlashAttention", plain))),
        ("LSE against float64", f"largest {error['lse_max_abs']:.1e}"),
        ("non-finite values", {None: "not counted", True: "yes", False: "none"}[report.get("nonfinite")]),
        ("simulation", f"{simulation['wall_seconds']:.1f} s" + (
            f", {simulation['cycles_per_second']:,.0f} cycles/s; build {simulation['build_seconds']:.1f} s"
            if cycles is not None else "")),
    ]
    return '<table class="figures">' + "".join(
        f'<tr><th scope="row">{name}</th><td>{escape(text)}</td></tr>' for name, text in rows) + "</table>"


def roofline(report: Mapping[str, Any], core: Mapping[str, Any]) -> str:
    """Roofline plot (Williams, Waterman, Patterson, 2009), both axes logarithmic.

    Arithmetic intensity is MACs over the bytes of both directions where memory limits, which they share, and over those
    of the busier one where the bus does, as there they are independent.
    """
    peak = core["m"] * core["n"] * core["k"]
    bandwidth = report["memory"]["bytes_per_cycle"]
    shared = bandwidth < core["axi_data_bytes"]
    intensity = report["macs"] / (sum if shared else max)((report["bytes_read"], report["bytes_written"]))
    if intensity <= 0:
        return '<p class="note">No MACs in this workload.</p>'
    ridge = peak / bandwidth
    low, high = math.log10(min(intensity, ridge) / 8), math.log10(max(intensity, ridge) * 8)
    points = []
    if report["cycles"] is not None:
        points.append(("this run", "run", 5, report["macs"] / report["cycles"]))
        if report["serial_baseline"] is not None:
            points.append(("serial baseline", "other", 5, report["macs"] / report["serial_baseline"]["cycles"]))
    bottom = math.log10(min([10**low * bandwidth, *(rate for *_, rate in points)]) / 1.5)
    top = math.log10(peak * 1.6)

    def x(value: float) -> float:
        return _LEFT + (math.log10(value) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _TOP + (top - math.log10(value)) / (top - bottom) * (_HEIGHT - _TOP - _BOTTOM)

    base = _HEIGHT - _BOTTOM
    ticks = "".join(
        f'<line class="grid" x1="{x(10.0**power):.1f}" x2="{x(10.0**power):.1f}" y1="{_TOP}" y2="{base}"/>'
        f'<text class="soft" x="{x(10.0**power):.1f}" y="{base + 13}" text-anchor="middle">{10.0**power:g}</text>'
        for power in range(math.ceil(low), math.floor(high) + 1))
    ticks += "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(10.0**power):.1f}" y2="{y(10.0**power):.1f}"/>'
        f'<text class="soft" x="{_LEFT - 5}" y="{y(10.0**power) + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
        for power in range(math.ceil(bottom), math.floor(top) + 1))
    corners = ((10**low, 10**low * bandwidth), (ridge, peak), (10**high, peak))
    points_of = " ".join(f"{x(across):.1f},{y(up):.1f}" for across, up in corners)
    roof = f'<polyline class="roof" points="{points_of}"/>'
    marks = "".join(
        f'<circle class="{colour}" cx="{x(intensity):.1f}" cy="{y(rate):.1f}" r="{radius}">'
        f"<title>{name}: {rate:,.1f} MAC/cycle at {intensity:,.1f} MAC/B</title></circle>"
        for name, colour, radius, rate in reversed(points))
    labels = (f'<text x="{_WIDTH - _RIGHT - 2}" y="{y(peak) + 15:.1f}" text-anchor="end">{peak:,} MAC/cycle</text>'
              f'<text x="{x(ridge / 2.8) + 8:.1f}" y="{y(peak / 2.8) + 10:.1f}">{bandwidth:g} B/cycle</text>'
              f'<text class="soft" x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 4}" text-anchor="middle">'
              f"MAC per byte{'' if shared else ' of the busier direction'}</text>"
              f'<text class="soft" x="2" y="10">MAC/cycle</text>')
    runs = "".join(f"{sign} {name}, " for sign, (name, *_) in zip("●○", points, strict=False))
    note = f"{runs}{intensity:,.1f} MAC/B; memory-bound below {ridge:,.1f}"
    return (f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Roofline plot">{ticks}{roof}{marks}{labels}'
            f'</svg><p class="note">{note}</p>')
