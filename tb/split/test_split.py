"""Bench of the whole core: random workloads with their keys cut, shares and merges on one memory."""

import os
import random

import cocotb
from amla.rtl.config import CoreConfig
from amla.rtl.isa import Opcode
from amla.sw.run.counters import check_counters
from amla.tb.core.driver import CoreBench
from amla.tb.core.random_jobs import random_job
from amla.tb.core.timing import check_timing
from amla.tb.split.split_jobs import SplitJob, random_cuts

CONFIG = CoreConfig.load(os.environ.get("AMLA_CONFIG", "tiny"))
SEED = int(os.environ["AMLA_SEED"])
COUNT = int(os.environ.get("AMLA_WORKLOADS", "20"))


@cocotb.test()
async def random_splits(dut):
    """RTL = command simulator on every byte of memory, = golden split merge on every bit of O and LSE."""
    bench = CoreBench(dut, CONFIG, latency=(1, 1))
    await bench.start(cycles=1_000_000 * COUNT)
    merges = 0
    for number in range(COUNT):
        rng = random.Random(f"{SEED}/{number}")
        case = random_job(rng, CONFIG)
        split = SplitJob.build(case.job, case.inputs, random_cuts(rng, CONFIG, case.job.plan.workload.lengths), rng)
        memory = split.memory.copy()
        bench.behave(preset=case.job.plan.memory, latency=case.latency, stall=case.stall, rng=rng)
        for index, program in enumerate(split.programs):
            start, stop = program.write_window
            output = bench.load(memory, case.job.base, (start, stop - start))
            run = await bench.run(split.registers(program), watchdog=20_000)
            assert run.status == "done", f"case {number}, program {index}: {case}: {run.error or run.status}" + (
                f": {program.line(run.error.index).strip()}" if run.error else "")
            bench.memory.check_guards()
            check_counters(run, program.commands, CONFIG)
            check_timing(run, program.commands, CONFIG)
            assert not (run.nonfinite and case.finite), f"case {number}, program {index}: STATUS.NONFINITE is set"
            memory[start - case.job.base:stop - case.job.base] = output.data
            merges += any(command.opcode == Opcode.MERGE for command in program.commands)
        assert (memory == split.simulate()).all(), f"case {number}: {case}: RTL and simulator differ"
        for got, wanted in zip(split.unpack(memory), split.golden(), strict=True):
            assert got.tobytes() == wanted.tobytes(), f"case {number}: {case}: not the golden split merge"
    dut._log.info("%d workloads, %d merges, seed %d", COUNT, merges, SEED)
    assert merges > COUNT // 2
