"""A job on the cycle model: what a run on the RTL gives, in a second."""

import time

import numpy as np

from ..compiler.memory_map import Job
from ..cycles.model import simulate
from .rtl_job import RtlRun

__all__ = ["run_model"]


def run_model(job: Job) -> RtlRun:
    """Time a job beside the memory that it was built for; nothing is computed, so that there is no output."""
    began = time.perf_counter()
    run = simulate(job.program.commands, job.config, job.plan.memory, gm=job.memory, base=job.base,
                   program=job.program.symbols["PROGRAM"])
    seconds = time.perf_counter() - began
    traffic = run.traffic
    order = np.argsort(run.start, kind="stable")
    engines = np.array([int(command.engine) for command in job.program.commands], np.uint8)
    return RtlRun(
        name=job.workload.name, status="done", start=0, cycles=run.cycles, cube_active=run.cube_active,
        counters=run.counters, error=None, nonfinite=None,
        bytes_read=traffic.read_bytes, bytes_written=traffic.written_bytes,
        peak_read=traffic.peak(traffic.reads), peak_write=traffic.peak(traffic.writes), seconds=seconds,
        output=np.zeros(0, np.uint8), device="model",
        trace={"engine": engines[order], "index": order, "start": run.start[order], "end": run.end[order]},
        traffic=traffic.over_time(0, run.cycles),
    )
