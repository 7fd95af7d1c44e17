"""Utilisation against memory latency, and against SRAM: ``python -m amla.sw.run.sweep`` writes docs/sweep.md.

Cycles are those of the cycle model (:func:`~amla.sw.cycles.model.simulate`).
"""

if __name__ == "__main__":
    from amla.rtl.command import run

    run("amla.sw.run.sweep", "sw", "plots")

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from amla.rtl.command import require
from amla.rtl.config import CoreConfig
from amla.rtl.files import check_folder, make_folder, write
from amla.rtl.isa import Opcode

from ..compiler.drafts import Draft
from ..compiler.order import duration
from ..compiler.outline import outline
from ..compiler.program import Command
from ..cycles.model import CycleRun, simulate
from ..memory.preset import IDEAL, Memory
from ..report.sweep_page import draw, markdown
from ..report.utilisation import bound_of, macs_of
from ..workload.workload import Workload
from .experiment import prepare
from .job_folder import job_folder
from .rtl_job import run_rtl, write_job

__all__ = ["core_for", "latency_sweep", "measure", "sram_sweep"]

PRELOAD = 1
WORKLOADS = ("ds-1x4096", "ds-4x4096")
LATENCIES = (20, 50, 100, 200, 500, 1000, 2000)
BLOCKS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)

#: Columns of the two slots of values in L0C.
_VALUE_COLUMNS = 64

#: KV blocks in L1: three in use at preload 1, and one on its way. A block takes long enough to hide 500 cycles.
_KV_SLOTS = 4


def _sram_kib(config: CoreConfig) -> float:
    return sum(config.sram_bytes.values()) / 1024


def latency_sweep(load: Workload, cores: Sequence[CoreConfig], latencies: Iterable[int], *,
                  rtl: Path | None = None) -> list[dict[str, Any]]:
    """A row per latency and core, beside ``ideal`` of that latency: cycles, utilisation, the bound's.

    Parameters
    ----------
    rtl: folder of job folders; the first core is then measured on the RTL too, ``rtl_cycles``
    """
    rows = []
    for latency in latencies:
        memory = IDEAL.at(latency)
        for core in cores:
            plan, commands, _ = outline(load, core, memory, preload=PRELOAD)
            cycles = simulate(commands, core, memory).cycles
            macs = macs_of(load) / core.macs_per_cycle
            rows.append({
                "workload": load.name, "config": core.name, "sram_kib": _sram_kib(core), "latency": latency,
                "kv_block": plan.kv_block, "cycles": cycles, "utilisation": macs / cycles,
                "bound": macs / bound_of(load, core, memory).cycles,
                "rtl_cycles": measure(load, core, memory, rtl) if rtl and core is cores[0] else None,
            })
            rows[-1]["rtl_utilisation"] = macs / rows[-1]["rtl_cycles"] if rows[-1]["rtl_cycles"] else None
    return rows


def measure(load: Workload, config: CoreConfig, memory: Memory, out: Path) -> int:
    """Cycles on the RTL, where every bit and every counter is checked as by ``amla run``."""
    experiment = prepare(load, config, preload=PRELOAD, baseline=False, progress=_say, memory=memory)
    with job_folder(out, config.name) as folder:
        write_job(folder, experiment.jobs(), seed=load.seed)
        run = run_rtl(folder).runs[load.name]
    return experiment.report(run)["cycles"]


def core_for(config: CoreConfig, load: Workload, kv_block: int) -> CoreConfig:
    """A core like ``config`` whose buffers are just large enough for a KV block at preload 1.

    Two slots of S, of P and of scores in L0C, two of values of 64 columns, Q once, four KV blocks, and L0B two slots of
    a beat's columns of the block where ``config`` has less; the rest is as it was.
    """
    rows, fractal = config.max_rows, config.l1_bytes // config.l1_words
    groups, chunks = rows // config.m, load.head_dim // config.k
    p = -(-groups * (kv_block // config.k) // config.l1_banks) * config.l1_banks
    l1 = (PRELOAD + 1) * p + groups * chunks + _KV_SLOTS * -(-kv_block // config.n) * chunks
    return replace(
        config, name=f"{config.name}-kv{kv_block}", kv_block=kv_block,
        l1_bytes=-(-l1 // config.l1_banks) * config.l1_banks * fractal,
        l0b_bytes=max(config.l0b_bytes, 4 * config.l1_banks * kv_block * config.k),
        l0c_bytes=2 * rows * 4 * (kv_block + min(_VALUE_COLUMNS, load.head_dim_v)),
        s_bytes=2 * rows * 4 * kv_block,
    )


def sram_sweep(load: Workload, config: CoreConfig, blocks: Iterable[int], memory: Memory) -> list[dict[str, Any]]:
    """A row per KV block, on the core that is just large enough for it.

    ``utilisation`` is the core's, ``with_pass`` what is left at most when rescaling O is a pass of its own
    (:func:`_pass_cycles`).
    """
    rows = []
    for block in blocks:
        core = core_for(config, load, block)
        plan, commands, _ = outline(load, core, memory, preload=PRELOAD, kv_block=block)
        run = simulate(commands, core, memory)
        macs = macs_of(load) / core.macs_per_cycle
        rows.append({
            "kv_block": plan.kv_block, "sram_kib": _sram_kib(core), "row_tile": plan.tiles[0].rows,
            "row_tiles": len(plan.tiles), "cycles": run.cycles, "utilisation": macs / run.cycles,
            "with_pass": macs / (run.cycles + _pass_cycles(commands, run, core)),
        })
    return rows


def _pass_cycles(commands: Sequence[Command], run: CycleRun, config: CoreConfig) -> int:
    """Cycles that a run takes longer at least when rescaling O is a pass of its own before each drain of O.

    A pass takes as long as the drain, m x lanes elements a cycle, and both write every word of O through its one write
    port. All that does not fit between the start of the first drain and the end of the last comes on top. A row tile's
    first block has nothing to rescale.
    """
    drains = [index for index, command in enumerate(commands) if command.opcode == Opcode.DRAIN_O]
    port = sum(duration(Draft.of(commands[index]), config) * (1 if "first" in commands[index].flags else 2)
               for index in drains)
    return max(port - int(run.end[drains].max() - run.start[drains].min()), 0)


def main(arguments: list[str] | None = None) -> None:
    """Write the page, its plots and the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m amla.sw.run.sweep", description="Utilisation against memory "
                                     "latency and against SRAM: Markdown, plots and JSON.")
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("docs"),
                        help="folder of sweep.md and of sweep/ with the plots and sweep.json (docs)")
    parser.add_argument("--rtl", action="store_true", help="also run the RTL at each latency (minutes)")
    options = parser.parse_args(arguments)
    check_folder(options.out)
    if options.rtl:
        require("sim")
    cores = [CoreConfig.load("deepseek"), CoreConfig.load("deepseek-large")]
    loads = [Workload.load(name) for name in WORKLOADS]
    far = Memory.load("far")
    study = {
        "preload": PRELOAD,
        "latency": [row for load in loads for row in latency_sweep(
            load, cores, LATENCIES, rtl=Path("build/sweep") if options.rtl else None)],
        "sram": {"workload": loads[0].name, "config": cores[0].name, "memory": far.name, "memory_latency": far.latency,
                 "rows": sram_sweep(loads[0], cores[0], BLOCKS, far)},
    }
    make_folder(options.out / "sweep")
    made: dict[Path, str | bytes] = {
        options.out / "sweep.md": markdown(study),
        options.out / "sweep" / "sweep.json": json.dumps(study, indent=1, allow_nan=False) + "\n",
        **{options.out / "sweep" / name: content for name, content in draw(study).items()},
    }
    write(made)
    _say(", ".join(map(str, made)))


def _say(line: str) -> None:
    print(line, flush=True)
