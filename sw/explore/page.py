"""A space as a page: one self-contained HTML file with Pareto fronts, the points behind them, and what each axis does.

Plots and tables are SVG and HTML made here; the page's script shows a point's figures where the pointer is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from ..report import page as report_page
from ..report.page import embedded, fill
from .area import priced_errors
from .pareto import effects, front
from .plot import Mark, scatter

__all__ = ["GOALS", "render_page", "workloads_of"]

_Row = Mapping[str, Any]

_PARTS, _REPORT = Path(__file__).parent, Path(report_page.__file__).parent


@dataclass(frozen=True)
class _Goal:
    """What is to be much (sign 1) or little (-1)."""

    name: str
    sign: int
    title: str


#: What the fronts of the table are of.
GOALS = (_Goal("utilisation", 1, "utilisation"), _Goal("sram_kib", -1, "SRAM, KiB"),
         _Goal("area_mm2", -1, "logic, mm²"), _Goal("bandwidth", -1, "memory, B/cycle"))

#: Plots: x, its title, y, its title, one front for all sizes of the cube.
_PLOTS = (
    ("sram_kib", "SRAM of the core, KiB", "utilisation", "utilisation", False),
    ("bandwidth", "what memory and bus give, bytes per cycle", "utilisation", "utilisation", False),
    ("area_mm2", "logic of the core, mm² in 180 nm, without SRAM", "macs_per_cycle", "useful MACs per cycle", True),
)

#: Pixels between the sizes of the cube where memories give one x for all of them.
_SHIFT = 6

#: Columns of the table of a front, beside the axes.
_COLUMNS = (
    ("utilisation", "utilisation", "{:.1%}"), ("macs_per_cycle", "MACs/cycle", "{:,.0f}"), ("cycles", "cycles", "{:,}"),
    ("bound_by", "bound by", "{}"), ("bound_reached", "of the bound", "{:.1%}"), ("kv_block", "KV block", "{}"),
    ("sram_kib", "SRAM, KiB", "{:,.0f}"), ("area_mm2", "logic, mm²", "{:,.0f}"),
    ("bandwidth", "given, B/cycle", "{:g}"), ("bytes_per_cycle", "used, B/cycle", "{:.1f}"),
)


def workloads_of(rows: Sequence[_Row], axes: Sequence[str], result: str = "cycles") -> list[tuple[str, list[int]]]:
    """Workloads that can be, by title, with the indices of their points that have a result: what may be compared."""
    names = [axis for axis in axes if axis == "workload" or axis.startswith("workload.")]
    several = [name for name in names if name == "workload" or len({repr(row[name]) for row in rows}) > 1]
    found: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if row[result] is not None:
            title = ", ".join([row["workload"], *(f"{name.partition('.')[2]} {_text(row[name])}"
                                                  for name in several[1:])])
            found.setdefault(title, []).append(index)
    return list(found.items())


def render_page(rows: Sequence[_Row], *, name: str, axes: Sequence[str], model: str, version: str) -> str:
    """The page as HTML text.

    Parameters
    ----------
    rows:    of the table of points
    name:    of the space
    axes:    its axes, names of columns
    model, version: of what the cycles come from
    """
    loads = workloads_of(rows, axes)
    sizes = sorted({row["multipliers"] for row in rows if row["cycles"] is not None})
    broken = sum(row["reason"] is not None for row in rows)
    on_cores = [row for row in rows if row["machine"] is None]
    design = [axis for axis in axes if not axis.startswith(("workload", "machine"))
              and len({repr(row[axis]) for row in on_cores}) > 1]
    chosen = {index for _, found in loads for index in _chosen(rows, found)}
    errors = ", ".join(f"{core} {error:+.1%}" for core, error in priced_errors().items())
    parts = {
        "title": escape(f"{name} · AMLA explore"),
        "heading": escape(name),
        "description": escape(f"{len(rows):,} points: {' × '.join(axes)}" + (f"; {broken:,} cannot be" * (broken > 0))),
        "legend": "".join(f'<span><i class="g{group}"></i>{size:,} multipliers</span>'
                          for group, size in enumerate(sizes)),
        "tabs": "".join(f'<a href="#w{number}">{escape(title)}</a>' for number, (title, _) in enumerate(loads)),
        "overview": _overview(rows, loads, chosen),
        "sections": "".join(_section(f"w{number}", title, [(index, rows[index]) for index in found], chosen, design,
                                     sizes) for number, (title, found) in enumerate(loads)),
        "machines": _machines(rows, axes),
        "broken": _broken(rows) if broken else "",
        "model": escape(model), "version": escape(version), "errors": escape(errors),
        "style": "\n".join((folder / file).read_text(encoding="utf-8") for folder, file in (
            (_REPORT, "page.css"), (_PARTS, "page.css"))),
        "script": (_PARTS / "page.js").read_text(encoding="utf-8"),
        "data": embedded(_data(rows, design)),
    }
    return fill((_PARTS / "page.html").read_text(encoding="utf-8"), parts)


def _chosen(rows: Sequence[_Row], found: Sequence[int]) -> list[int]:
    """Of one workload's points the front of all goals, for each size of the cube."""
    kept: list[int] = []
    for size in {rows[index]["multipliers"] for index in found}:
        of_size = [index for index in found if rows[index]["multipliers"] == size]
        kept += [of_size[place] for place in front([
            [goal.sign * rows[index][goal.name] for goal in GOALS] for index in of_size])]
    return kept


def _overview(rows: Sequence[_Row], loads: Sequence[tuple[str, Sequence[int]]], chosen: set[int]) -> str:
    lines = []
    for number, (title, found) in enumerate(loads):
        points = [rows[index] for index in found]
        best = max(points, key=lambda row: row["utilisation"])
        fastest = min(points, key=lambda row: row["cycles"])
        bounds = {by: sum(row["bound_by"] == by for row in points) for by in ("compute", "memory", "L1")}
        lines.append(
            f'<tr><th scope="row"><a href="#w{number}">{escape(title)}</a></th><td class="number">{len(found):,}</td>'
            f'<td class="number">{sum(index in chosen for index in found):,}</td>'
            f'<td class="number">{best["utilisation"]:.1%}</td><td>{best["multipliers"]:,} multipliers, '
            f'{best["sram_kib"]:,.0f} KiB, {best["bandwidth"]:g} B/cycle</td>'
            f'<td class="number">{fastest["cycles"]:,}</td><td>{fastest["multipliers"]:,} multipliers, '
            f'{fastest["sram_kib"]:,.0f} KiB, {fastest["bandwidth"]:g} B/cycle</td>'
            f'<td>{", ".join(f"{by} {count / len(found):.0%}" for by, count in bounds.items() if count)}</td></tr>')
    return ('<table class="overview-table"><tr><th>workload</th><th class="number">points</th><th class="number">front'
            '</th><th class="number">best utilisation</th><th>on</th><th class="number">fewest cycles</th><th>on</th>'
            f'<th>bound by</th></tr>{"".join(lines)}</table>')


def _section(anchor: str, title: str, points: Sequence[tuple[int, _Row]], chosen: set[int], design: Sequence[str],
             sizes: Sequence[int]) -> str:
    plots = ""
    for x, x_title, y, y_title, together in _PLOTS:
        marks = [Mark(index, row[x], row[y], group := sizes.index(row["multipliers"]),
                      _SHIFT * (group - (len(sizes) - 1) / 2) if x == "bandwidth" else 0, index in chosen)
                 for index, row in points]
        plots += f"<div>{scatter(marks, x=x_title, y=y_title, percent=y == 'utilisation', together=together)}</div>"
    table = sorted(((index, row) for index, row in points if index in chosen),
                   key=lambda item: (-item[1]["multipliers"], -item[1]["utilisation"]))
    return f"""<section class="workload" id="{anchor}"><h2>{escape(title)}</h2>
<div class="plots">{plots}</div>
<h3>The front: {len(table)} of {len(points):,} points</h3>
{_front_table(table, design, sizes)}
<h3>All else equal</h3>
{_effects([row for _, row in points], design)}</section>"""


def _front_table(points: Sequence[tuple[int, _Row]], design: Sequence[str], sizes: Sequence[int]) -> str:
    heads = "".join(f'<th class="number">{escape(head)}</th>' for _, head, _ in _COLUMNS)
    heads += "".join(f'<th class="number">{escape(_short(axis))}</th>' for axis in design)
    lines = []
    for index, row in points:
        cells = "".join(f'<td class="number">{escape(form.format(row[name]))}</td>' for name, _, form in _COLUMNS)
        cells += "".join(f'<td class="number">{escape(_text(row[axis]))}</td>' for axis in design)
        dot = f'<i class="dot g{sizes.index(row["multipliers"])}"></i>'
        lines.append(f'<tr data-i="{index}"><td>{dot}</td>{cells}</tr>')
    return (f'<div class="scroll"><table class="front-table"><thead><tr><th></th>{heads}</tr></thead>'
            f'<tbody>{"".join(lines)}</tbody></table></div>')


def _effects(rows: Sequence[_Row], design: Sequence[str]) -> str:
    tables = ""
    for axis, found in groupby(effects(rows, design), key=lambda effect: effect.axis):
        lines = []
        for effect in found:
            bar = f'<i style="width:{min(100 * (effect.mean - 1), 100):.1f}%;background:var(--run)"></i>'
            lines.append(
                f'<tr><td class="number">{escape(_text(effect.value))}</td>'
                f'<td class="number">{effect.mean - 1:+.1%}</td><td class="number">{effect.worst - 1:+.1%}</td>'
                f'<td class="bar"><div class="track">{bar}</div></td></tr>')
        tables += (f'<table><tr><th class="number">{escape(_short(axis))}</th><th class="number">cycles</th>'
                   f'<th class="number">worst</th><td></td></tr>{"".join(lines)}</table>')
    return f'<div class="effects">{tables}</div>' if tables else (
        '<p class="note">No two points differ in one axis alone.</p>')


def _machines(rows: Sequence[_Row], axes: Sequence[str]) -> str:
    """Table of the machines, the fastest first at each workload."""
    fields = [axis for axis in axes if axis.startswith("machine.")]
    lines = []
    for title, found in workloads_of(rows, axes, "seconds"):
        for place, index in enumerate(sorted(found, key=lambda index: rows[index]["seconds"])):
            row = rows[index]
            head = f'<th scope="row" rowspan="{len(found)}">{escape(title)}</th>' if not place else ""
            cells = (f"{1e6 * row['seconds']:,.2f}", f"{row['utilisation']:.1%}", f"{row['bound_reached']:.1%}",
                     f"{row['cores_at_work']:,}", *(_text(row[field]) for field in fields))
            lines.append(f"<tr>{head}<td>{escape(row['machine'])}</td><td>{escape(row['bound_by'])}</td>"
                         + "".join(f'<td class="number">{escape(cell)}</td>' for cell in cells) + "</tr>")
    heads = "".join(f'<th class="number">{escape(head)}</th>' for head in (
        "time, µs", "utilisation", "of the bound", "cores at work", *map(_short, fields)))
    return (f"<section><h2>Machines</h2><table><tr><th>workload</th><th>machine</th><th>bound by</th>{heads}</tr>"
            f"{''.join(lines)}</table></section>") if lines else ""


def _broken(rows: Sequence[_Row]) -> str:
    counts: dict[str, int] = {}
    for row in rows:
        if row["reason"] is not None:
            counts[row["reason"]] = counts.get(row["reason"], 0) + 1
    lines = "".join(f'<tr><td class="number">{count:,}</td><td>{escape(reason)}</td></tr>'
                    for reason, count in sorted(counts.items(), key=lambda item: -item[1]))
    return (f'<section><h2>Points that cannot be</h2><div class="scroll short"><table><thead><tr><th class="number">'
            f"points</th><th>reason</th></tr></thead><tbody>{lines}</tbody></table></div></section>")


def _data(rows: Sequence[_Row], design: Sequence[str]) -> dict[str, Any]:
    """Columns of what the script shows of a point."""
    columns = [*_COLUMNS, *((axis, _short(axis), None) for axis in design)]
    return {"names": [title for _, title, _ in columns],
            "rows": [None if row["cycles"] is None else
                     [_text(row[name]) if form is None else form.format(row[name]) for name, _, form in columns]
                     for row in rows]}


def _short(axis: str) -> str:
    """An axis as a heading: fields of the core by their names."""
    return axis.removeprefix("core.").replace(".", " ").replace("_bytes", ", B").replace("_", " ")


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(f"{one:,}" for one in value)
    return "–" if value is None else f"{value:,}" if type(value) is int else f"{value:g}" if type(value) is float else (
        str(value))
