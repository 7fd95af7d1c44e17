"""The report as a page: one self-contained HTML file of a results folder. Nothing is fetched, ever.

The figures are HTML and SVG made here; the timeline and the program are drawn by the page's own script from the
data embedded in it. Everything that comes from a results folder is escaped.
"""

import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from .figures import figures, roofline, utilisation
from .report import memory_of
from .results import Results
from .timeline import ENGINES, STAGES, spans, stage_of
from .waits import Gap, Pause, gaps, pauses

__all__ = ["embedded", "fill", "render_page"]

_PARTS = Path(__file__).parent
_SCRIPTS = ("page.js", "page_timeline.js", "page_program.js")

#: States of an engine in a cycle: key in the report, name, what it means.
_STATES = (
    ("busy", "busy", "a command is in progress"),
    ("wait_memory", "wait memory", "in progress, held by memory or a buffer hazard"),
    ("wait_semaphore", "wait semaphore", "the next command lacks a token"),
    ("idle", "idle", "no command"),
)

_REASONS = {"start": "dispatch, hand-over", "done": "nothing: its work is done"}

_SIMULATOR = ("<section><h2>Timeline</h2><p class='note'>The command simulator counts no cycles: there is a timeline "
              "after <code>amla run --device model</code> or <code>rtl</code>.</p></section>")


def render_page(results: Results) -> str:
    """The page as HTML text.

    Raises
    ------
    KeyError: report.json lacks a figure.
    """
    report = results.report
    name = f"{report['workload']} on {report['config']}"
    parts = {
        "title": escape(f"{name} · AMLA run"),
        "heading": escape(name),
        "description": escape(report["description"]),
        "badges": _badges(report),
        "utilisation": utilisation(report),
        "roofline": roofline(report, results.core),
        "figures": figures(report),
        "timeline": _timeline(report) if report["cycles"] is not None else _SIMULATOR,
        "stalls": _stalls(report, gaps(results)) if report["cycles"] is not None else "",
        "footer": _footer(report),
        "style": (_PARTS / "page.css").read_text(encoding="utf-8"),
        "script": "\n".join((_PARTS / name).read_text(encoding="utf-8") for name in _SCRIPTS),
        "data": embedded(_data(results)),
    }
    return fill((_PARTS / "page.html").read_text(encoding="utf-8"), parts)


def fill(template: str, parts: Mapping[str, str]) -> str:
    """A template with its parts in place of ``{{key}}``: what is put in is not looked at again, whatever it holds.

    Raises
    ------
    KeyError: a part is missing.
    """
    pieces = [piece.partition("}}") for piece in template.split("{{")]
    return pieces[0][0] + "".join(parts[key] + rest for key, _, rest in pieces[1:])


def embedded(data: Any) -> str:
    """JSON inside a script element: "<" is written as an escape, so that nothing in it can end the element."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _data(results: Results) -> dict[str, Any]:
    stages = list(STAGES)
    content: dict[str, Any] = {
        "cycles": results.report["cycles"], "engines": ENGINES, "stages": stages,
        "commands": [(ENGINES.index(command["engine"]), stages.index(stage_of(command)), command["request"],
                      command["tile"], command["block"], command["text"]) for command in results.commands],
        "spans": [(span.index, span.start, span.begin, span.end) for span in spans(results)],
    }
    reasons: dict[str, int] = {}
    content["pauses"] = [(ENGINES.index(pause.engine), pause.first, pause.last,
                          reasons.setdefault(_reason(pause), len(reasons))) for pause in pauses(results)]
    content["reasons"] = list(reasons)
    if results.traffic is not None:
        content["traffic"] = {
            "bucket": int(results.traffic["bucket"]), "limit": results.core["axi_data_bytes"],
            **{name: [round(float(value), 1) for value in results.traffic[name]] for name in ("read", "written")},
        }
    return content


def _badges(report: dict[str, Any]) -> str:
    exact = [name for name, same in report["bit_exact"].items() if same]
    device = "simulator" if report["device"] == "model" else report["device"]  # the model has no data
    badges = [f"O and LSE bit-exact: {device} = {' = '.join(exact)}"] if exact else []
    badges += [f"mode {report['mode']}", f"preload {report['preload']}", f"memory {memory_of(report)}"]
    return " ".join(f'<span class="badge">{escape(badge)}</span>' for badge in badges)


def _legend(entries: Iterable[tuple[str, str, str]]) -> str:
    """Entries (colour, name, meaning)."""
    return '<p class="legend">' + "".join(
        f'<span><i style="background:var(--{colour})"></i><b>{escape(name)}</b> {escape(meaning)}</span>'
        for colour, name, meaning in entries) + "</p>"


def _timeline(report: dict[str, Any]) -> str:
    buttons = (("closer", "+", "Zoom in"), ("wider", "−", "Zoom out"), ("earlier", "◀", "Earlier"),
               ("later", "▶", "Later"), ("begin", "Begin", "The first twelfth"),
               ("finish", "End", "The last twelfth"), ("all", "Whole run", "Whole run"))
    made = "".join(f'<button type="button" id="{key}" title="{title}" aria-label="{title}">{sign}</button>'
                   for key, sign, title in buttons)
    legend = _legend((stage, stage, meaning) for stage, meaning in STAGES.items())
    return f"""<section aria-labelledby="timeline">
  <div class="headline"><h2 id="timeline">Timeline</h2>
  <div class="tools"><span id="window"></span>{made}</div></div>
  {legend}
  <canvas id="plot" tabindex="0" role="img" aria-label="Timeline of {report['cycles']:,} cycles, one row per engine;
    the table of the program below has the same figures"></canvas>
  <canvas id="whole" aria-hidden="true"></canvas>
  <p class="note">One row per engine, one bar per command, coloured by stage; r is the request, b the KV block.
  The cube's row without gaps is the aim: the other engines work under it. A thin line at the foot of a row:
  the next command is accepted already. Pointing at a bar or a gap tells what it is. Wheel zooms, drag pans,
  a double click zooms in, a click shows the command in the program; keys: + − ← → 0.</p>
</section>"""


def _stalls(report: dict[str, Any], found: list[Gap]) -> str:
    cycles, rows = report["cycles"], []
    for engine in ENGINES:
        states = report["engines"][engine]
        bar = "".join(f'<i style="width:{100 * states[key] / cycles:.3f}%;background:var(--{key})"></i>'
                      for key, *_ in _STATES)
        shares = "".join(f'<td class="number" title="{states[key]:,} cycles">{100 * states[key] / cycles:.1f} %</td>'
                         for key, *_ in _STATES)
        rows.append(f'<tr><th scope="row">{engine}</th>{shares}<td><div class="track">{bar}</div></td></tr>')
    heads = "".join(f'<th class="number">{name}</th>' for _, name, _ in _STATES)
    table = f'<table class="stalls"><tr><th>engine</th>{heads}<td></td></tr>{"".join(rows)}</table>'
    waits = "".join(
        f"<tr><td>{escape(gap.engine)}</td><td>{escape(gap.stage) or '–'}</td>"
        f"<td>{escape(_reason(gap))}</td><td class='number'>{gap.times:,}</td>"
        f"<td class='number'>{gap.cycles:,}</td><td class='number'>{100 * gap.cycles / cycles:.2f} %</td></tr>"
        for gap in sorted(found, key=lambda gap: gap.engine != "cube"))
    return f"""<div class="split"><section aria-labelledby="stalls">
  <h2 id="stalls">Where each engine's cycles went</h2>
  {_legend((key, name, meaning) for key, name, meaning in _STATES)}
  {table}
  <p class="note">Counted by the core itself; every row sums to {cycles:,} cycles.</p>
</section>
<section aria-labelledby="gaps">
  <h2 id="gaps">What each engine waited for, the cube first</h2>
  <div class="scroll short"><table><thead><tr><th>engine</th><th>before</th><th>waited for</th>
    <th class="number">times</th><th class="number">cycles</th><th class="number">of the run</th></tr></thead>
    <tbody>{waits}</tbody></table></div>
  <p class="note">From the trace: cycles without a command in progress, by the token that came last and who gave it.</p>
</section></div>"""


def _reason(gap: Gap | Pause) -> str:
    return f"{gap.reason} from {gap.source}" if gap.source else _REASONS.get(gap.reason, gap.reason)


def _footer(report: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return escape(f"Seed {report['seed']}. {versions}. Made by amla report.")
