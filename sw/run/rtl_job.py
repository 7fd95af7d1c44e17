"""Jobs of one core on the RTL: :mod:`amla.sw.run.job_folder` with one core, one phase and one output per run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from ..compiler.memory_map import Job
from .job_folder import WATCHDOG, ClusterJob, ProgramRun, read_folder, simulate, write_folder

__all__ = ["RtlResults", "RtlRun", "read_results", "run_rtl", "write_job"]


@dataclass(frozen=True, kw_only=True)
class RtlRun(ProgramRun):
    """One job's run, on RTL or cycle model: ``name`` as given to :func:`write_job`, and its output region."""

    name: str
    output: np.ndarray = field(repr=False)
    device: str = "rtl"


@dataclass(frozen=True, kw_only=True)
class RtlResults:
    """What a job folder's simulation gave; ``runs`` by name."""

    runs: Mapping[str, RtlRun]
    build_seconds: float
    simulation_seconds: float
    cycles_per_second: float


def write_job(folder: Path, jobs: Mapping[str, Job], *, seed: int = 0, stall: float = 0.0, waves: bool = False,
              watchdog: int = WATCHDOG) -> None:
    """Fill ``folder`` with jobs of one configuration, by name; they run beside the memory that they were built for.

    Parameters are those of :func:`~amla.sw.run.job_folder.write_folder`.

    Raises
    ------
    ValueError: no job, jobs of different configurations or memories, or a name that is no file name.
    """
    machines = {(job.config, job.plan.memory) for job in jobs.values()}
    if len(machines) != 1:
        raise ValueError(f"jobs must be of one configuration and memory, not of {len(machines)!r}")
    config, memory = machines.pop()
    write_folder(folder, {name: ClusterJob.of([job]) for name, job in jobs.items()}, config, memory, seed=seed,
                 stall=stall, waves=waves, watchdog=watchdog)


def read_results(folder: Path) -> RtlResults:
    """Results of a job folder of one core.

    Raises
    ------
    AmlaError: there are none, or not those of all its runs.
    """
    results = read_folder(folder)
    runs = {}
    for name, run in results.runs.items():
        (core,) = run.phases[0].cores
        assert core is not None
        runs[name] = RtlRun(name=name, output=run.outputs["0"],
                            **{entry.name: getattr(core, entry.name) for entry in fields(core)})
    return RtlResults(runs=runs, build_seconds=results.build_seconds, simulation_seconds=results.simulation_seconds,
                      cycles_per_second=results.cycles_per_second)


def run_rtl(folder: Path) -> RtlResults:
    """Build the core if need be and simulate a job folder; progress goes to the standard output.

    Raises
    ------
    AmlaError: the build or the simulation failed; its own output says why.
    """
    simulate(folder)
    return read_results(folder)
