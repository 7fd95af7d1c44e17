"""The cocotb side of ``python -m amla.tb.run_job``: runs a folder's programs and writes their results."""

import gc
import json
import os
import random
import time
from dataclasses import asdict
from pathlib import Path

import cocotb
import numpy as np
from amla.rtl.config import CoreConfig
from amla.sw.memory.preset import Memory
from amla.sw.run.counters import check_states
from amla.sw.run.rtl_job import JOB_FILE, PROGRESS_FILE, RESULT_FILE

from .driver import CoreBench, CoreRun

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

    bench = CoreBench(dut, CoreConfig.from_dict(job["config"]), progress=progress,
                      preset=Memory.from_dict(job["memory"]), stall=job["stall"], rng=random.Random(job["seed"]))
    await bench.start(cycles=1 << 32)  # however long the job is: the core's watchdog ends what is stuck
    gc.freeze()  # what is loaded by now stays: the collector need not look at it again and again
    began, cycles, runs = time.perf_counter(), 0, []
    for run in job["runs"]:
        label = run["name"]
        memory = np.fromfile(folder / f"{label}.memory.bin", np.uint8)
        output = bench.load(memory, run["base"], tuple(run["output"]))
        result = await bench.run(run["registers"], watchdog=job["watchdog"])
        bench.memory.check_guards()
        check_states(result)
        cycles += result.cycles
        progress(_summary(result))
        output.data.tofile(folder / f"{label}.output.bin")
        np.savez(folder / f"{label}.trace.npz", allow_pickle=False, **result.trace)
        np.savez(folder / f"{label}.traffic.npz", allow_pickle=False, **result.traffic)
        runs.append(_record(label, result))
        if result.status != "done":
            await bench.soft_reset()
    seconds = time.perf_counter() - began
    content = {
        "build_seconds": 0.0,
        "simulation_seconds": seconds,
        "cycles_per_second": cycles / seconds,
        "runs": runs,
    }
    (folder / RESULT_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _summary(result: CoreRun) -> str:
    end = str(result.error) if result.error else result.status
    return f"{end}, {result.cycles:,} cycles, {result.cycles / result.seconds:,.0f} cycles/s"


def _record(name: str, result: CoreRun) -> dict:
    record = {"name": name, **asdict(result)}
    del record["trace"], record["traffic"]
    if result.error:
        record["error"] = {"code": result.error.code.name, "engine": result.error.engine.name,
                           "index": result.error.index, "row": result.error.row}
    return record
