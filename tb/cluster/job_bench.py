"""The cocotb side of ``python -m amla.tb.run_job``: runs a folder's programs and writes their results."""

import gc
import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import cocotb
import numpy as np
from amla.rtl.config import CoreConfig
from amla.sw.memory.preset import Memory
from amla.sw.run.counters import check_states
from amla.sw.run.job_folder import JOB_FILE, PROGRESS_FILE, RESULT_FILE, arrays_file

from ..core.driver import CoreRun
from .driver import ClusterBench

__all__ = ["run_job"]


@cocotb.test()
async def run_job(dut):
    """All runs of the folder named by AMLA_JOB, one after the other."""
    folder = Path(os.environ["AMLA_JOB"])
    job = json.loads((folder / JOB_FILE).read_text(encoding="utf-8"))
    label = ""

    def progress(text: str) -> None:
        with open(folder / PROGRESS_FILE, "a", encoding="utf-8") as file:
            file.write(f"{label}: {text}\n")

    bench = ClusterBench(dut, CoreConfig.from_dict(job["config"]), job["cores"], progress=progress,
                         preset=Memory.from_dict(job["memory"]), stall=job["stall"], rng=random.Random(job["seed"]))
    await bench.start(cycles=1 << 32)  # however long the job is: the core's watchdog ends what is stuck
    gc.freeze()  # what is loaded by now stays: the collector need not look at it again and again
    began, cycles, runs = time.perf_counter(), 0, []
    for run in job["runs"]:
        name = label = run["name"]
        bench.memory.clear()
        memory = bench.memory.add(run["base"], np.fromfile(folder / f"{name}.memory.bin", np.uint8))
        arrays: dict[str, np.ndarray] = {}
        phases = []
        for number, programs in enumerate(run["phases"]):
            if len(run["phases"]) > 1:
                label = f"{name}, phase {number}"
            results = await bench.run_together(programs, watchdog=job["watchdog"])
            active = [result for result in results if result is not None]
            phases.append(_record(results, number, arrays))
            progress(_summary(active, phases[-1]["cycles"]))
            if any(result.status != "done" for result in active):
                for core, result in zip(bench.cores, results, strict=True):
                    if result is not None and result.status != "done":
                        await core.soft_reset()
                break
        arrays |= {f"output/{key}": memory.data[address - memory.base:][:size]
                   for key, (address, size) in run["outputs"].items()}
        np.savez(folder / arrays_file(name), allow_pickle=False, **arrays)
        runs.append({"name": name, "cycles": sum(phase["cycles"] for phase in phases), "phases": phases})
        cycles += runs[-1]["cycles"]
    seconds = time.perf_counter() - began
    content = {
        "build_seconds": 0.0,
        "simulation_seconds": seconds,
        "cycles_per_second": cycles / seconds,
        "runs": runs,
    }
    (folder / RESULT_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _summary(active: Sequence[CoreRun], cycles: int) -> str:
    ends = [str(result.error) if result.error else result.status for result in active]
    seconds = max(result.seconds for result in active)
    return f"{', '.join(dict.fromkeys(ends))}, {cycles:,} cycles, {cycles / seconds:,.0f} cycles/s"


def _record(results: Sequence[CoreRun | None], number: int, arrays: dict[str, np.ndarray]) -> dict:
    """A phase for the results' file; its arrays go to ``arrays``."""
    active = [result for result in results if result is not None]
    first = min(result.start for result in active)
    cores: list[dict | None] = []
    for core, result in enumerate(results):
        if result is None:
            cores.append(None)
            continue
        check_states(result)
        record = {**asdict(result), "start": result.start - first}
        for kind in ("trace", "traffic"):
            arrays |= {f"{number}/{core}/{kind}/{key}": array for key, array in record.pop(kind).items()}
        if result.error:
            record["error"] = {"code": result.error.code.name, "engine": result.error.engine.name,
                               "index": result.error.index, "row": result.error.row}
        cores.append(record)
    return {"cycles": max(result.start + result.cycles for result in active) - first, "cores": cores}
