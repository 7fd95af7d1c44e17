"""The cycle model against the RTL: ``python -m amla.sw.run.model_check`` writes docs/cycle_model/table.md.

The RTL's figures are kept in docs/cycle_model/rtl.json, each with a digest of its program; ``--rtl`` measures what is
missing or was measured with another program.
"""

if __name__ == "__main__":
    from amla.rtl.command import run

    run("amla.sw.run.model_check", "sw")

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from amla.rtl.command import require
from amla.rtl.config import CoreConfig
from amla.rtl.files import make_folder, write

from ..compiler.memory_map import Job, build_job
from ..cycles.model import CycleRun
from ..errors import AmlaError
from ..memory.preset import Memory
from ..workload.generate import make_inputs
from ..workload.workload import Workload
from .job_folder import job_folder
from .model_job import run_model
from .rtl_job import RtlRun, run_rtl, write_job

__all__ = ["COUNTER_OFF", "MOSTLY_OFF", "MOST_OFF", "Point", "compare", "digest", "points"]

#: By how much the model may be off, as a share of CYCLES: in CYCLES at most, in 95 of 100, and in a counter.
MOST_OFF, MOSTLY_OFF, COUNTER_OFF = 0.03, 0.01, 0.02

CONFIGS = ("small", "deepseek")
MEMORIES = ("ideal", "far", "hbm")
PRELOADS = (1, 0, 2)
WORKLOADS = sorted(path.stem for path in (Path(__file__).parents[2] / "configs" / "workloads").glob("*.yaml"))

#: Configuration, workload, memory, preload.
Point = tuple[str, str, str, int]


def points(configs: tuple[str, ...] = CONFIGS, workloads: list[str] = WORKLOADS) -> Iterator[Point]:
    """Every shipped workload on every configuration beside every memory at every preload depth."""
    for preload in PRELOADS:
        for memory in reversed(MEMORIES):
            for config in configs:
                for workload in workloads:
                    yield config, workload, memory, preload


def job_of(point: Point) -> Job:
    """The job of a point.

    Raises
    ------
    AmlaError: the workload does not suit the core.
    """
    config, workload, memory, preload = point
    core, load = CoreConfig.load(config), Workload.load(workload)
    return build_job(load, make_inputs(load, format=core.format), core, preload=preload, memory=Memory.load(memory))


def digest(job: Job) -> str:
    """Of the program."""
    return hashlib.sha256(job.program.binary).hexdigest()[:16]


def measure(job: Job, out: Path) -> dict[str, Any]:
    """A run on the RTL: cycles and counters. No bit is compared: that is what ``amla run`` does."""
    with job_folder(out, job.config.name) as folder:
        write_job(folder, {job.workload.name: job}, seed=job.workload.seed)
        run = run_rtl(folder).runs[job.workload.name]
    if run.status != "done":
        raise AmlaError(f"{job.workload.name} on {job.config.name} ended with {run.status}: {run.error}")
    return {"digest": digest(job), "cycles": run.cycles, "counters": run.counters}


def compare(run: CycleRun | RtlRun, cycles: int, counters: Mapping[str, Mapping[str, int]]) -> tuple[float, float]:
    """Error of the model's CYCLES, and the largest of its counters, as shares of the RTL's CYCLES."""
    return run.cycles / cycles - 1, max(abs(run.counters[engine][state] - count) / cycles
                                        for engine, states in counters.items() for state, count in states.items())


def main(arguments: list[str] | None = None) -> None:
    """Measure, compare, write."""
    parser = argparse.ArgumentParser(prog="python -m amla.sw.run.model_check",
                                     description="The cycle model against the RTL, on every shipped workload.")
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("docs/cycle_model"))
    parser.add_argument("--rtl", action="store_true", help="run the RTL where it has not been (hours)")
    parser.add_argument("--config", action="append", choices=CONFIGS, help="only this one (may be repeated)")
    parser.add_argument("workloads", nargs="*", default=WORKLOADS, metavar="WORKLOAD", help="only these")
    options = parser.parse_args(arguments)
    if options.rtl:
        require("sim")
    make_folder(options.out)
    path = options.out / "rtl.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    rows: list[tuple] = []
    for point in points(tuple(options.config or CONFIGS), options.workloads):
        key = " ".join(map(str, point))
        try:
            job = job_of(point)
        except AmlaError as reason:
            rows.append((point, str(reason)))
            continue
        if known.get(key, {}).get("digest") != digest(job):
            if not options.rtl:
                continue
            known[key] = measure(job, Path("build/model-check"))
            write({path: json.dumps(known, indent=1, sort_keys=True) + "\n"})
        run = run_model(job)
        rows.append((point, run, known[key]))
        error, counter = compare(run, known[key]["cycles"], known[key]["counters"])
        print(f"{key}: RTL {known[key]['cycles']:,}, model {run.cycles:,}: {100 * error:+.3f} %, counters within "
              f"{100 * counter:.3f} %", flush=True)
    write({options.out / "table.md": "".join(f"{line}\n" for line in _table(rows))})


def _table(rows: list[tuple]) -> Iterator[str]:
    yield "| core | workload | memory | preload | RTL | model | error | worst counter |"
    yield "|---|---|---|---:|---:|---:|---:|---:|"
    for (config, workload, memory, preload), *found in rows:
        head = f"| `{config}` | {workload} | {memory} | {preload} |"
        if len(found) == 1:
            yield f"{head} does not fit: {found[0]} ||||"
            continue
        run, measured = found
        error, counter = compare(run, measured["cycles"], measured["counters"])
        yield f"{head} {measured['cycles']:,} | {run.cycles:,} | {100 * error:+.3f} % | {100 * counter:.3f} % |"
