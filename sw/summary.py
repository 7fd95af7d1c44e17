"""Several runs side by side: a Markdown table of their reports, and where the cube waited.

``python -m amla.sw.summary OUT.md DIR...`` reads ``DIR/report.json`` of ``amla run``; ``make full-size`` writes
``docs/full_size.md`` with it.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import AmlaError
from .results import read_folder

__all__ = ["summary"]

_HEAD = """# {title}

Measured by the counters of the RTL in simulation; O and LSE of every run, the baseline's too, are bit-exact to the
golden model and the command simulator. Utilisation: useful MACs ÷ (cycles × MACs per cycle). Bound: the roofline of the
workload, the cube's peak or the bus. Baseline: the same work without preload. Written by `{command}`.
"""

_RUNS = ("Workload", "What", "Cycles", "Utilisation", "Of the bound", "Bound by", "Baseline, cycles",
         "Baseline, utilisation", "Speed-up", "Error / `mul`'s", "Cycles/s")

_WAITS = ("Workload", "Cube busy", "waits for a token", "waits for memory", "idle", "Bytes read", "Bytes written")


def summary(reports: Sequence[Mapping[str, Any]], *, title: str, command: str) -> str:
    """Markdown of several reports (contents of report.json), in their order.

    Raises
    ------
    AmlaError: a report is not of a run on the RTL.
    """
    for report in reports:
        if report["cycles"] is None:
            raise AmlaError(f"{report['config']}-{report['workload']} must be a run on the RTL, not on the "
                            f"{report['device']}")
    runs = [_run(report) for report in reports]
    waits = [_wait(report) for report in reports]
    return "\n".join([
        _HEAD.format(title=title, command=command),
        *_table(_RUNS, runs, text_columns=2), "",
        "## The cube's cycles", "",
        "Every cycle from START to the interrupt is one of the four.", "",
        *_table(_WAITS, waits, text_columns=1), "",
    ])


def _run(report: Mapping[str, Any]) -> list[str]:
    serial, roofline = report["serial_baseline"], report["roofline"]
    baseline = ["", "", ""] if serial is None else [
        f"{serial['cycles']:,}", _percent(serial["utilisation"]), f"{serial['cycles'] / report['cycles']:.2f}"]
    ratio = report["error"]["relative_frobenius"] / report["error_mul"]["relative_frobenius"]
    return [f"`{report['workload']}`", report["description"], f"{report['cycles']:,}", _percent(report["utilisation"]),
            _percent(roofline["utilisation"]), roofline["bound"], *baseline, f"{ratio:.2f}",
            f"{report['simulation']['cycles_per_second']:,.0f}"]


def _wait(report: Mapping[str, Any]) -> list[str]:
    cube = report["engines"]["cube"]
    states = [f"{cube[state]:,}" for state in ("busy", "wait_semaphore", "wait_memory", "idle")]
    return [f"`{report['workload']}`", *states, f"{report['bytes_read']:,}", f"{report['bytes_written']:,}"]


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int) -> list[str]:
    rule = ["---"] * text_columns + ["---:"] * (len(head) - text_columns)
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m amla.sw.summary",
                                     description="Table of several runs, in Markdown.")
    parser.add_argument("output", type=Path, help="the Markdown file to write")
    parser.add_argument("folders", type=Path, nargs="+", help="results of amla run")
    parser.add_argument("--title", default="Runs", help="heading of the file")
    parser.add_argument("--command", default="python -m amla.sw.summary", help="what the file says it is written by")
    arguments = parser.parse_args(argv)
    try:
        text = summary([read_folder(folder).report for folder in arguments.folders], title=arguments.title,
                       command=arguments.command)
    except AmlaError as error:
        print(f"summary: {error}", file=sys.stderr)
        return 2
    arguments.output.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
