"""The job folder: how software hands programs to the RTL simulation, of one core or a cluster, and gets its results.

``job_folder`` makes one, ``write_folder`` fills it, ``python -m amla.tb.run_job FOLDER`` runs it (software never
imports the benches), ``read_folder`` reads what it left; ``run_cluster`` does it all. All runs of a folder share one
simulation. :mod:`amla.sw.run.rtl_job` is the same for jobs of one core.

A run is a list of phases. A phase starts the programs of its cores one right after the other, beside a memory whose
time begins anew; the next one begins when all have ended, with memory as they left it. A run ends behind the first
phase in which a core did not reach HALT.

::

    job.json            {"config": {...}, "cores": 4, "memory": {...}, "seed": 1, "stall": 0.0, "waves": false,
                         "watchdog": 100000,
                         "runs": [{"name": ..., "base": ..., "outputs": {name: [address, bytes]},
                                   "phases": [[{register: value} or null for each core]]}]}
    <name>.memory.bin   GM from address ``base`` on; programs and inputs included
    result.json         {"build_seconds": ..., "simulation_seconds": ..., "cycles_per_second": ...,
                         "runs": [{"name": ..., "cycles": ..., "phases": [
                                   {"cycles": ..., "cores": [{"status": "done", "cycles": ..., ...} or null]}]}]}
    progress.log        a line every few seconds while it runs; bench.log has the simulator's output
    <name>.arrays.npz   output/<output>: the regions after the run; <phase>/<core>/trace/... and .../traffic/...
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from amla.rtl.config import CoreConfig

from ..compiler.memory_map import Job
from ..errors import AmlaError
from ..memory.preset import IDEAL, Memory
from ..processes import run_child

__all__ = [
    "JOB_FILE",
    "PROGRESS_FILE",
    "RESULT_FILE",
    "ClusterJob",
    "ClusterResults",
    "ClusterRun",
    "PhaseRun",
    "ProgramRun",
    "arrays_file",
    "job_folder",
    "read_folder",
    "run_cluster",
    "simulate",
    "write_folder",
]

JOB_FILE = "job.json"
RESULT_FILE = "result.json"
PROGRESS_FILE = "progress.log"

#: Cycles without progress after which a core gives up.
WATCHDOG = 100_000


@dataclass(frozen=True, kw_only=True, eq=False)
class ClusterJob:
    """What the cores of a cluster are to run.

    Attributes
    ----------
    base:    GM address of the first byte of ``memory``
    memory:  uint8, initial content, programs included
    phases:  per phase, per core: the registers to write before START, by name; or None: the core stays idle
    outputs: regions to be read at the end, by name: address, bytes

    Raises
    ------
    ValueError: no phase, phases of different numbers of cores, a phase without a program, an output outside of memory.
    """

    base: int
    memory: np.ndarray = field(repr=False)
    phases: Sequence[Sequence[Mapping[str, int] | None]]
    outputs: Mapping[str, tuple[int, int]]

    def __post_init__(self) -> None:
        if not self.phases or len({len(phase) for phase in self.phases}) != 1:
            raise ValueError(f"phases must be of one number of cores, not of {[len(phase) for phase in self.phases]!r}")
        for number, phase in enumerate(self.phases):
            if not any(phase):
                raise ValueError(f"phase {number} must have a program, not {phase!r}")
        for name, (address, size) in self.outputs.items():
            if not (self.base <= address and size > 0 and address + size <= self.base + len(self.memory)):
                raise ValueError(f"output {name} must lie in memory, not at {address:#x} with {size!r} bytes")

    @property
    def cores(self) -> int:
        """How many cores it is for."""
        return len(self.phases[0])

    @classmethod
    def of(cls, jobs: Sequence[Job | None]) -> "ClusterJob":
        """One phase, a job per core; the jobs must lie side by side. Core i's output region is output ``str(i)``.

        Raises
        ------
        ValueError: two of them overlap.
        """
        given = sorted(filter(None, jobs), key=lambda job: job.base)
        base = given[0].base
        memory = np.full(max(job.base + len(job.memory) for job in given) - base, 0xA5, np.uint8)
        end = base
        for job in given:
            if job.base < end:
                raise ValueError(f"jobs must not overlap, not begin at {job.base:#x} before {end:#x}")
            end = job.base + len(job.memory)
            memory[job.base - base:end - base] = job.memory
        return cls(base=base, memory=memory, phases=[[None if job is None else job.registers for job in jobs]],
                   outputs={str(number): (job.output_base, job.output_bytes)
                            for number, job in enumerate(jobs) if job is not None})


@dataclass(frozen=True, kw_only=True)
class ProgramRun:
    """One program's run on one core.

    Attributes
    ----------
    status:        "done" (HALT reached), "error" (a fault) or "timeout" (no interrupt)
    start:         cycles from the phase's first START to this core's
    cycles:        register CYCLES
    cube_active:   register CUBE_ACTIVE
    counters:      engine name -> state name -> cycles, both in lower case
    error:         None, or {"code", "engine", "index", "row"} with names as in the command set
    nonfinite:     STATUS.NONFINITE; None: not known
    bytes_read, bytes_written: bytes of AXI bursts
    peak_read, peak_write:     most bytes per cycle over any 64 cycles
    seconds:       wall time of the simulation of this run
    trace:         "engine", "index", "start", "end": one entry per command that started, cycles from START;
                   end is -1 if the command did not finish
    traffic:       "bucket" (cycles), and per bucket of cycles from START "read" and "written" (bytes)
    """

    status: str
    start: int = 0
    cycles: int
    cube_active: int
    counters: Mapping[str, Mapping[str, int]]
    error: Mapping[str, Any] | None
    nonfinite: bool | None
    bytes_read: int
    bytes_written: int
    peak_read: float
    peak_write: float
    seconds: float
    trace: Mapping[str, np.ndarray] = field(repr=False)
    traffic: Mapping[str, np.ndarray] = field(repr=False)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Trace and traffic together, as a results folder keeps them."""
        return {**self.trace, **self.traffic}


@dataclass(frozen=True, kw_only=True)
class PhaseRun:
    """A phase's run: ``cycles`` from its first START to its last interrupt, and each core's program, None if idle."""

    cycles: int
    cores: Sequence[ProgramRun | None]


@dataclass(frozen=True, kw_only=True)
class ClusterRun:
    """A run: ``cycles`` of its phases together, what the host does between them left out; outputs by name, uint8."""

    name: str
    cycles: int
    phases: Sequence[PhaseRun]
    outputs: Mapping[str, np.ndarray] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ClusterResults:
    """What a job folder's simulation gave; ``runs`` by name."""

    runs: Mapping[str, ClusterRun]
    build_seconds: float
    simulation_seconds: float
    cycles_per_second: float


@contextmanager
def job_folder(out: Path, config: str, *, keep: bool = False) -> Iterator[Path]:
    """A new folder ``out/<config>-job-…``, this invocation's alone.

    It is removed at the end, after an interrupt too; kept with ``keep``, and when the body raises AmlaError, as the
    logs in it say why.
    """
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{config}-job-", dir=out))
    try:
        yield folder
    except AmlaError:
        keep = True
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def write_folder(folder: Path, runs: Mapping[str, ClusterJob], config: CoreConfig, memory: Memory, *, seed: int = 0,
                 stall: float = 0.0, waves: bool = False, watchdog: int = WATCHDOG) -> None:
    """Fill ``folder`` with runs, by name, of cores of one configuration beside one memory.

    Parameters
    ----------
    seed, stall: probability that a ready or valid of memory is low in a cycle, drawn from this seed
    waves:       record a waveform
    watchdog:    cycles without progress after which a core gives up

    Raises
    ------
    ValueError: no run, runs of different numbers of cores, or a name that is no file name.
    """
    cores = {run.cores for run in runs.values()}
    if len(cores) != 1:
        raise ValueError(f"runs must be of one number of cores, not of {sorted(cores)!r}")
    for name in runs:
        if not name or Path(name).name != name:
            raise ValueError(f"names of runs must be file names, not {name!r}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT_FILE).unlink(missing_ok=True)
    for name, run in runs.items():
        run.memory.tofile(folder / f"{name}.memory.bin")
    content = {
        "config": asdict(config), "cores": cores.pop(), "memory": asdict(memory), "seed": seed, "stall": stall,
        "waves": waves, "watchdog": watchdog,
        "runs": [{"name": name, "base": run.base, "outputs": dict(run.outputs),
                  "phases": [[registers and dict(registers) for registers in phase] for phase in run.phases]}
                 for name, run in runs.items()],
    }
    (folder / JOB_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def arrays_file(name: str) -> str:
    """File of a run's arrays."""
    return f"{name}.arrays.npz"


def read_folder(folder: Path) -> ClusterResults:
    """Results of a job folder.

    Raises
    ------
    AmlaError: there are none, or not those of all its runs.
    """
    try:
        asked = [run["name"] for run in json.loads((folder / JOB_FILE).read_text(encoding="utf-8"))["runs"]]
        content = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
    except OSError:
        raise AmlaError(f"the simulation left no results in {folder}") from None
    found = [run["name"] for run in content["runs"]]
    if found != asked:
        raise AmlaError(f"the simulation must leave the results of {', '.join(asked)} in {folder}, "
                        f"not of {', '.join(found) or 'none'}")
    runs = {}
    for run in content.pop("runs"):
        with np.load(folder / arrays_file(run["name"])) as archive:
            arrays = {key: archive[key] for key in archive.files}
        phases = [
            PhaseRun(cycles=phase["cycles"], cores=[
                core and ProgramRun(**core, trace=_part(arrays, f"{number}/{index}/trace/"),
                                    traffic=_part(arrays, f"{number}/{index}/traffic/"))
                for index, core in enumerate(phase["cores"])])
            for number, phase in enumerate(run["phases"])]
        runs[run["name"]] = ClusterRun(name=run["name"], cycles=run["cycles"], phases=phases,
                                       outputs=_part(arrays, "output/"))
    return ClusterResults(runs=runs, **content)


def _part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


def simulate(folder: Path) -> None:
    """Build the core or the cluster if need be and simulate a job folder; progress goes to the standard output.

    Raises
    ------
    AmlaError: the build or the simulation failed; its own output says why.
    """
    status = run_child([sys.executable, "-m", "amla.tb.run_job", str(folder)], group=True)
    if status:
        raise AmlaError(f"the RTL simulation of {folder} failed (exit status {status})")


def run_cluster(runs: Mapping[str, ClusterJob], config: CoreConfig, *, out: Path, memory: Memory = IDEAL,
                keep: bool = False, **options: Any) -> ClusterResults:
    """Run jobs of a cluster on the RTL; progress goes to the standard output.

    Parameters
    ----------
    runs:    by name, all of one number of cores
    config:  of every core
    out:     where the job folder is made; it is kept with ``keep``, and when the simulation fails
    memory:  that the cores share: its rate is that of all of them together
    options: as of :func:`write_folder`

    Raises
    ------
    AmlaError:  the build or the simulation failed; its own output says why.
    ValueError: as of :func:`write_folder`.
    """
    with job_folder(out, config.name, keep=keep) as folder:
        write_folder(folder, runs, config, memory, **options)
        simulate(folder)
        return read_folder(folder)
