"""Several runs side by side: a Markdown table of their figures, and what the cube waited for.

``python -m amla.sw.report.summary OUT.md DIR...`` reads the results of ``amla run``; ``make full-size`` writes
``docs/full_size.md`` with it.
"""

if __name__ == "__main__":
    from amla.rtl.command import run

    run("amla.sw.report.summary", "sw")

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from amla.rtl.files import write

from ..errors import AmlaError
from .report import memory_of
from .results import Results, read_folder
from .waits import gaps

__all__ = ["summary"]

_HEAD = """# {title}

Measured by the counters of the RTL in simulation; O and LSE of every run, the baseline's too, are bit-exact to the
golden model and the command simulator. Utilisation: useful MACs ÷ (cycles × MACs per cycle). Bound: the fewest cycles
that the cube's peak or memory's sustained rate allow, start and end included ([memory](memory.md)). Baseline: the same
work without preload. Written by `{command}`.
"""

_RUNS = ("Workload", "What", "Memory", "Cycles", "Utilisation", "Of the bound", "Bound by", "Baseline, cycles",
         "Baseline, utilisation", "Speed-up", "Error / `mul`'s", "Cycles/s")

_CYCLES = ("Workload", "Memory", "Cube busy", "waits for a token", "waits for memory", "idle", "Bytes read",
           "Bytes written")

_GAPS = ("Workload", "Memory", "Before", "Waited for", "Of", "Cycles", "Times")

#: Gaps told of each run.
_LONGEST = 5


def summary(runs: Sequence[Results], *, title: str, command: str) -> str:
    """Markdown of several runs, in their order.

    Raises
    ------
    AmlaError: results are not of a run on the RTL.
    """
    for run in runs:
        if run.report["device"] != "rtl":
            raise AmlaError(f"{run.report['config']}-{run.report['workload']} must be a run on the RTL, not on the "
                            f"{run.report['device']}")
    return "\n".join([
        _HEAD.format(title=title, command=command),
        *_machines(runs),
        *_table(_RUNS, [_run(run.report) for run in runs], text_columns=3), "",
        "## The cube's cycles", "",
        "By the core's counters; every cycle from START to the interrupt is one of the four.", "",
        *_table(_CYCLES, [_cycles(run.report) for run in runs], text_columns=2), "",
        "## What the cube waited for", "",
        f"The longest gaps between its commands, summed by cause, at most {_LONGEST} of each run: before which stage,",
        "for which token, given by whom. `start`: fetch, dispatch, hand-over; `done`: after the last command.", "",
        *_table(_GAPS, [row for run in runs for row in _gaps(run)], text_columns=5), "",
    ])


def _machines(runs: Sequence[Results]) -> Iterator[str]:
    for config, sizes in {run.report["config"]: run.report["sram_kib"] for run in runs}.items():
        yield (f"`{config}` has {sum(sizes.values()):,.1f} KiB of SRAM: "
               + ", ".join(f"{name.upper()} {size:,.1f}" for name, size in sizes.items()) + ".")
        yield ""


def _run(report: Mapping[str, Any]) -> list[str]:
    serial, bound = report["serial_baseline"], report["bound"]
    baseline = ["", "", ""] if serial is None else [
        f"{serial['cycles']:,}", _percent(serial["utilisation"]), f"{serial['cycles'] / report['cycles']:.2f}"]
    ratio = report["error"]["relative_frobenius"] / report["error_mul"]["relative_frobenius"]
    return [f"`{report['workload']}`", report["description"], memory_of(report), f"{report['cycles']:,}",
            _percent(report["utilisation"]), _percent(bound["reached"]), bound["by"], *baseline,
            f"{ratio:.2f}", f"{report['simulation']['cycles_per_second']:,.0f}"]


def _gaps(run: Results) -> Iterator[list[str]]:
    name = f"`{run.report['workload']}`"
    for gap in [gap for gap in gaps(run) if gap.engine == "cube"][:_LONGEST]:
        yield [name, run.report["memory"]["name"], gap.stage, f"`{gap.reason}`", gap.source, f"{gap.cycles:,}",
               str(gap.times)]


def _cycles(report: Mapping[str, Any]) -> list[str]:
    cube = report["engines"]["cube"]
    states = [f"{cube[state]:,}" for state in ("busy", "wait_semaphore", "wait_memory", "idle")]
    return [f"`{report['workload']}`", report["memory"]["name"], *states, f"{report['bytes_read']:,}",
            f"{report['bytes_written']:,}"]


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int) -> list[str]:
    rule = ["---"] * text_columns + ["---:"] * (len(head) - text_columns)
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m amla.sw.report.summary",
                                     description="Table of several runs, in Markdown.")
    parser.add_argument("output", type=Path, help="the Markdown file to write")
    parser.add_argument("folders", type=Path, nargs="+", help="results of amla run")
    parser.add_argument("--title", default="Runs", help="heading of the file")
    parser.add_argument("--command", default="python -m amla.sw.report.summary",
                        help="what the file says it is written by")
    arguments = parser.parse_args(argv)
    write({arguments.output: summary([read_folder(folder) for folder in arguments.folders], title=arguments.title,
                                     command=arguments.command)})

