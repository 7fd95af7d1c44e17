"""Bench of a cluster: programs of all cores together, and faults on one of them while the others run on."""

import itertools
import os
import random
from dataclasses import dataclass

import cocotb
import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.host.csr import ID_VALUE
from amla.sw.memory.preset import Memory
from amla.sw.run.compare import Expected, check_levels, expect
from amla.sw.run.counters import check_counters, check_states
from amla.tb.cluster.driver import ClusterBench
from amla.tb.core.driver import CoreRun
from amla.tb.core.fault_case import (
    DATA,
    DATA_BYTES,
    OUTPUT,
    OUTPUT_BYTES,
    PROGRAM,
    WRITE_WINDOW,
    FaultCase,
    ordinary_registers,
)
from amla.tb.core.faults import fault_cases
from amla.tb.core.random_jobs import JOB_CYCLES, random_job
from amla.tb.core.timing import check_timing
from amla.tb.core.trace import check_trace
from amla.tb.host.gm import Region
from cocotb.triggers import ClockCycles

CONFIG = CoreConfig.load("tiny")
CORES = int(os.environ["AMLA_CORES"])
SEED = int(os.environ["AMLA_SEED"])

#: Rounds of random programs, and faults, of this simulation.
ROUNDS, FAULTS = int(os.environ.get("AMLA_ROUNDS", "8")), int(os.environ.get("AMLA_FAULTS", "12"))

MEMORIES = ("ideal", "far", "hbm", "slow")

#: Where each core's programs and data lie: from here on, at this distance.
BASE, STEP = 0x1000_0000, 0x0100_0000

#: Longer than any stall of a correct program, beside others that want memory too.
WATCHDOG = 20_000
#: Of a program at fault: shorter, as some wait for it.
FAULT_WATCHDOG = 1500
#: In which a program at fault ends.
FAULT_CYCLES = 60_000


@dataclass
class Placed:
    """A core's job in memory, and what it must give."""

    expected: Expected
    region: Region

    @classmethod
    def on(cls, bench: ClusterBench, number: int, expected: Expected) -> "Placed":
        """Map the job's memory."""
        assert BASE + number * STEP == expected.job.base and len(expected.job.memory) <= STEP
        return cls(expected, bench.memory.add(expected.job.base, expected.job.memory, name=f"of core {number}"))

    def check(self, run: CoreRun) -> None:
        """The run reached HALT; O and LSE, counters, trace and the timing of the engines are right."""
        job = self.expected.job
        assert run.status == "done", f"ended with {run.error or run.status} after {run.cycles} cycles"
        start = job.output_base - job.base
        check_levels(self.expected, self.region.data[start:start + job.output_bytes])
        check_counters(run, job.program.commands, CONFIG)
        check_timing(run, job.program.commands, CONFIG)
        check_trace(run.trace, run.cycles, len(job.program))
        assert run.bytes_read > job.bytes_read


def job_of(label: str, number: int, memory: Memory) -> Expected:
    """A random job at the core's place, and what it must give."""
    case = random_job(random.Random(f"{SEED}/{label}/{number}"), CONFIG, memory, base=BASE + number * STEP)
    return expect(case.job, case.inputs)


@cocotb.test()
async def random_programs(dut):
    """A program per core, started together or staggered, beside every memory: bit-exact, counters consistent."""
    rng = random.Random(f"{SEED}/programs")
    bench = ClusterBench(dut, CONFIG, CORES, latency=(1, 1))
    await bench.start(cycles=CORES * JOB_CYCLES * ROUNDS)
    overlapped = 0
    for number in range(ROUNDS):
        memory = Memory.load(MEMORIES[number % len(MEMORIES)])
        latency = rng.choice((None, (1, 1), (1, 80))) if memory.name == "ideal" else None
        stall = rng.choice((0.0, 0.0, 0.1, 0.5))
        staggered = number // len(MEMORIES) % 2
        bench.memory.clear()
        placed = [Placed.on(bench, core, job_of(f"round {number}", core, memory)) for core in range(CORES)]
        bench.behave(preset=memory, latency=latency, stall=stall, rng=rng)
        programs = [own.expected.job.registers for own in placed]
        try:
            if staggered:
                tasks = []
                for core in rng.sample(range(CORES), CORES):
                    tasks.append((core, cocotb.start_soon(bench.run(core, programs[core], watchdog=WATCHDOG))))
                    # The second core starts before the first one ends: no program takes less than some 400 cycles.
                    await ClockCycles(dut.clk, rng.choice((1, 200, 1500) if len(tasks) > 1 else (1, 200)))
                runs = {core: await task for core, task in tasks}
            else:
                runs = dict(enumerate(await bench.run_together(programs, watchdog=WATCHDOG)))
            for core, run in runs.items():
                placed[core].check(run)
        except AssertionError as error:
            raise AssertionError(f"round {number}, seed {SEED}, {'staggered' if staggered else 'together'}, beside "
                                 f"{memory.name}, latency {latency}, stall {stall}: {error}") from error
        assert bench.axi.quiet
        spans = sorted((run.start, run.start + run.cycles) for run in runs.values())
        overlapped += sum(b[0] < a[1] for a, b in itertools.pairwise(spans))
    assert overlapped >= ROUNDS * CORES // 2, "the cores hardly ever ran at the same time"


class Worker:
    """A core that runs one good program after the other until told to stop, two at least; every one is checked."""

    def __init__(self, bench: ClusterBench, number: int, region: Region, jobs: list[Expected]):
        self.bench, self.number, self.region = bench, number, region
        self.jobs = itertools.cycle(jobs)
        self.done = 0
        self._stop = False
        self._task = cocotb.start_soon(self._work())

    async def stop(self) -> None:
        """Let the program end, and no more begin."""
        self._stop = True
        await self._task

    async def _work(self) -> None:
        while not self._stop or self.done < 2:
            await run_good(self.bench, self.number, self.region, next(self.jobs))
            self.done += 1


async def run_good(bench: ClusterBench, number: int, region: Region, expected: Expected) -> None:
    """Run a program in a core's region; every bit must be right."""
    memory = expected.job.memory
    region.data[:len(memory)] = memory
    run = await bench.run(number, expected.job.registers, watchdog=WATCHDOG)
    Placed(expected, region).check(run)


def some_faults(rng: random.Random) -> list[FaultCase]:
    """Cases of every code, first one of each, then others; FAULTS of them."""
    cases = list(fault_cases(CONFIG))
    rng.shuffle(cases)
    firsts = {case.error.code: case for case in cases}
    return [*firsts.values(), *(case for case in cases if case not in firsts.values())][:FAULTS]


@cocotb.test()
async def a_fault_stops_its_core_alone(dut):
    """Faults of every kind on one core, then another, a soft reset of it and a good program, while the others run."""
    rng = random.Random(f"{SEED}/faults")
    memory = Memory.load("ideal")
    bench = ClusterBench(dut, CONFIG, CORES, latency=(1, 30), stall=0.1, rng=rng)
    cases = some_faults(rng)
    await bench.start(cycles=len(cases) * (FAULT_CYCLES + CORES * JOB_CYCLES))
    jobs = [[job_of(f"good {index}", core, memory) for index in range(3)] for core in range(CORES)]
    size = max(len(job.job.memory) for mine in jobs for job in mine)
    regions = [bench.memory.add(BASE + core * STEP, bytes(size), name=f"of core {core}") for core in range(CORES)]
    inputs = bench.memory.add(PROGRAM, bytes(DATA + DATA_BYTES - PROGRAM), name="inputs")
    output = bench.memory.add(OUTPUT, bytes(OUTPUT_BYTES), name="output", guard=2048)
    assert len({case.error.code for case in cases}) >= min(FAULTS, 12)
    cuts = [cases[:len(cases) // 2], cases[len(cases) // 2:]]
    for faulty, mine in zip(rng.sample(range(CORES), 2), cuts, strict=True):
        workers = [Worker(bench, core, regions[core], jobs[core]) for core in range(CORES) if core != faulty]
        for case in mine:
            program = case.binary()
            inputs.data[:] = np.random.default_rng(SEED).integers(0, 256, len(inputs.data), np.uint8)
            inputs.data[:len(program)] = np.frombuffer(program, np.uint8)
            output.data[:] = 0xA5
            for address, content in case.content.items():
                bench.memory.write(address, content)
            registers = ordinary_registers(program) | dict(case.registers)
            case.prepare(bench)
            for error in bench.memory.write_errors:  # not of the other cores
                error.addresses = error.addresses or range(*WRITE_WINDOW)
            port = bench.cores[faulty]
            try:
                run = await bench.run(faulty, registers, watchdog=FAULT_WATCHDOG, limit=FAULT_CYCLES)
                assert run.status == "error" and run.error == case.error, f"ended with {run.error or run.status}"
                check_states(run)
                bench.memory.check_guards()
                if not case.error.code.name.startswith("WRITE_"):
                    assert (output.data == 0xA5).all(), "the program wrote to its output"
                await port.registers.write("CTRL", 1)
                status = await port.registers.read_fields("STATUS")
                assert status["ERROR"] and not status["RUNNING"], "START after a fault was obeyed"
                while not any([(await bench.cores[worker.number].registers.read_fields("STATUS"))["RUNNING"]
                               for worker in workers]):
                    pass  # between two programs, all of them: the soft reset is to come while another core runs
                await port.soft_reset()
                assert not await port.registers.read("ERROR_CODE")
                await run_good(bench, faulty, regions[faulty], rng.choice(jobs[faulty]))
            except AssertionError as error:
                raise AssertionError(f"core {faulty}, {case.name}, seed {SEED}: {error}") from error
            bench.memory.read_errors.clear()
            bench.memory.write_errors.clear()
        for worker in workers:
            await worker.stop()
    assert bench.axi.quiet


@cocotb.test()
async def registers_are_each_core_s_own(dut):
    """Each page reads as a core; what one keeps, and its interrupt, are no other's."""
    rng = random.Random(f"{SEED}/registers")
    bench = ClusterBench(dut, CONFIG, CORES, latency=(1, 1))
    await bench.start()
    stored = {}
    for _ in range(60):
        core, name = rng.randrange(CORES), rng.choice(("SCALE", "WATCHDOG", "READ_BASE_HI", "WRITE_LIMIT_LO"))
        stored[core, name] = rng.getrandbits(32)
        await bench.cores[core].registers.write(name, stored[core, name])
    for (core, name), value in stored.items():
        assert await bench.cores[core].registers.read(name) == value
    for core in bench.cores:
        assert await core.registers.read("ID") == ID_VALUE
    # A program without HALT ends at once, on one core.
    for number, core in enumerate(bench.cores):
        await bench.run(number, {**ordinary_registers(b""), "PROGRAM_LENGTH": 0}, limit=1000)
        for other in bench.cores:
            status = await other.registers.read_fields("STATUS")
            assert status["ERROR"] == (other is core), f"core {number} is at fault, {other.number} says {status}"
        await core.soft_reset()
