"""The job folder: how software hands programs to the RTL simulation and gets its results.

``job_folder`` makes one, ``write_job`` fills it, ``python -m amla.tb.run_job FOLDER`` runs it (software never
imports the benches), ``read_results`` reads what it left. All runs of a folder share one simulation.

::

    job.json            {"config": {...}, "memory": {...}, "seed": 1, "stall": 0.0, "waves": false,
                         "watchdog": 100000,
                         "runs": [{"name": ..., "base": ..., "registers": {...}, "output": [address, bytes]}]}
    <name>.memory.bin   GM from address ``base`` on; program and inputs included
    result.json         {"build_seconds": ..., "simulation_seconds": ..., "cycles_per_second": ...,
                         "runs": [{"name": ..., "status": "done", "cycles": ..., "counters": {...}, ...}]}
    progress.log        a line every few seconds while it runs; bench.log has the simulator's output
    <name>.output.bin   the output region after the run
    <name>.trace.npz    engine, index, start, end of every command that started
    <name>.traffic.npz  bytes over time: read and written per bucket, bucket in cycles
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..compiler.memory_map import Job
from ..errors import AmlaError
from ..processes import run_child

__all__ = [
    "JOB_FILE",
    "PROGRESS_FILE",
    "RESULT_FILE",
    "RtlResults",
    "RtlRun",
    "job_folder",
    "read_results",
    "run_rtl",
    "write_job",
]

JOB_FILE = "job.json"
RESULT_FILE = "result.json"
PROGRESS_FILE = "progress.log"

#: Cycles without progress after which the core gives up.
_WATCHDOG = 100_000


@dataclass(frozen=True, kw_only=True)
class RtlRun:
    """One program's run, on the RTL or on the cycle model.

    Attributes
    ----------
    name:          as given to :func:`write_job`
    status:        "done" (HALT reached), "error" (a fault) or "timeout" (no interrupt)
    cycles:        register CYCLES
    cube_active:   register CUBE_ACTIVE
    counters:      engine name -> state name -> cycles, both in lower case
    error:         None, or {"code", "engine", "index", "row"} with names as in the command set
    nonfinite:     STATUS.NONFINITE; None: not known
    bytes_read, bytes_written: bytes of AXI bursts
    peak_read, peak_write:     most bytes per cycle over any 64 cycles
    seconds:       wall time of the simulation of this run
    output:        the output region
    trace:         "engine", "index", "start", "end": one entry per command that started, cycles from START;
                   end is -1 if the command did not finish
    device:        "rtl" or "model"
    traffic:       "bucket" (cycles), and per bucket of cycles from START "read" and "written" (bytes)
    """

    name: str
    status: str
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
    output: np.ndarray = field(repr=False)
    trace: Mapping[str, np.ndarray] = field(repr=False)
    traffic: Mapping[str, np.ndarray] = field(repr=False)
    device: str = "rtl"

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Trace and traffic together, as a results folder keeps them."""
        return {**self.trace, **self.traffic}


@dataclass(frozen=True, kw_only=True)
class RtlResults:
    """What a job folder's simulation gave; ``runs`` by name."""

    runs: Mapping[str, RtlRun]
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


def write_job(folder: Path, jobs: Mapping[str, Job], *, seed: int = 0, stall: float = 0.0, waves: bool = False,
              watchdog: int = _WATCHDOG) -> None:
    """Fill ``folder`` with jobs of one configuration, by name; they run beside the memory that they were built for.

    Parameters
    ----------
    seed, stall: probability that a ready or valid of memory is low in a cycle, drawn from this seed
    waves:       record a waveform
    watchdog:    cycles without progress after which the core gives up

    Raises
    ------
    ValueError: no job, jobs of different configurations or memories, or a name that is no file name.
    """
    machines = {(job.config, job.plan.memory) for job in jobs.values()}
    if len(machines) != 1:
        raise ValueError(f"jobs must be of one configuration and memory, not of {len(machines)!r}")
    folder.mkdir(parents=True, exist_ok=True)
    runs = []
    for name, job in jobs.items():
        if not name or Path(name).name != name:
            raise ValueError(f"names of runs must be file names, not {name!r}")
        job.memory.tofile(folder / f"{name}.memory.bin")
        runs.append({"name": name, "base": job.base, "registers": dict(job.registers),
                     "output": [job.output_base, job.output_bytes]})
    (folder / RESULT_FILE).unlink(missing_ok=True)
    config, memory = machines.pop()
    content = {
        "config": asdict(config),
        "memory": asdict(memory),
        "seed": seed,
        "stall": stall,
        "waves": waves,
        "watchdog": watchdog,
        "runs": runs,
    }
    (folder / JOB_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_results(folder: Path) -> RtlResults:
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
        name = run["name"]
        output = np.fromfile(folder / f"{name}.output.bin", np.uint8)
        trace, traffic = (_arrays(folder / f"{name}.{kind}.npz") for kind in ("trace", "traffic"))
        runs[name] = RtlRun(**run, output=output, trace=trace, traffic=traffic)
    return RtlResults(runs=runs, **content)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return {key: archive[key] for key in archive.files}


def run_rtl(folder: Path) -> RtlResults:
    """Build the core if need be and simulate a job folder; progress goes to the standard output.

    Raises
    ------
    AmlaError: the build or the simulation failed; its own output says why.
    """
    status = run_child([sys.executable, "-m", "amla.tb.run_job", str(folder)], group=True)
    if status:
        raise AmlaError(f"the RTL simulation of {folder} failed (exit status {status})")
    return read_results(folder)
