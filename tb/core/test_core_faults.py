"""Bench of the core's faults: each stops the program with its code, engine, index and row; the core recovers."""

import itertools
import os
import random
from collections import deque
from collections.abc import Mapping

import cocotb
import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.host.csr import REGISTERS
from amla.rtl.isa import COMMAND_BYTES, Engine, Fault, Opcode
from amla.sw.compiler.program import Command
from amla.sw.run.compare import Expected, check_levels, expect
from amla.sw.run.counters import check_counters, check_states
from amla.tb.core.driver import CoreBench, CoreRun, Error
from amla.tb.core.fault_case import (
    DATA,
    DATA_BYTES,
    OUTPUT,
    OUTPUT_BYTES,
    PROGRAM,
    WRITE_WINDOW,
    FaultCase,
    binary_of,
    load,
    ordinary_registers,
    simulated_fault,
    store,
    wide,
)
from amla.tb.core.faults import fault_cases
from amla.tb.core.random_jobs import JOB_CYCLES, random_job
from amla.tb.host.gm import PlannedError, Response
from amla.tb.signals import Pin
from amla.tb.stream import until
from cocotb.triggers import RisingEdge

CONFIG = CoreConfig.load(os.environ.get("AMLA_CONFIG", "tiny"))
SEED = int(os.environ["AMLA_SEED"])

#: Longer than any stall of a correct program below, short enough for a hundred deadlocks.
WATCHDOG = 1500

#: In which a program at fault ends.
FAULT_CYCLES = 40_000

_FENCE, _HALT = Command.build(Opcode.FENCE), Command.build(Opcode.HALT)


def good_job(number: int) -> Expected:
    """A program that must run bit-exact after every fault."""
    case = random_job(random.Random(f"{SEED}/good/{number}"), CONFIG)
    return expect(case.job, case.inputs)


async def run_good(bench: CoreBench, good: Expected) -> None:
    """Run it and compare every bit."""
    job = good.job
    output = bench.load(job.memory, job.base, (job.output_base, job.output_bytes))
    run = await bench.run(job.registers, watchdog=WATCHDOG)
    assert run.status == "done", f"the next program ended with {run.error or run.status}"
    check_levels(good, output.data)
    check_counters(run, job.program.commands, CONFIG)


def lay_out(bench: CoreBench, program: bytes, content: Mapping[int, bytes] = {}) -> dict[str, int]:
    """Map GM for a hand-written program, with ``content`` by address; return the registers."""
    data = np.random.default_rng(SEED).integers(0, 256, DATA_BYTES, np.uint8)
    gap = bytes(DATA - PROGRAM - len(program))
    memory = np.frombuffer(program + gap + data.tobytes(), np.uint8)
    bench.memory.clear()
    bench.memory.add(PROGRAM, memory, name="inputs")
    bench.memory.add(OUTPUT, b"\xa5" * OUTPUT_BYTES, name="output", guard=4096)
    for address, data in content.items():
        bench.memory.write(address, data)
    return ordinary_registers(program)


def check_fault(bench: CoreBench, run: CoreRun, error: Error) -> None:
    """The run ended with this fault, within the rules."""
    assert run.status == "error", f"ended with status {run.status}, expected {error}"
    assert run.error == error, f"ended with {run.error}, expected {error}"
    bench.memory.check_guards()
    check_states(run)


def check_simulator(case: FaultCase, registers: Mapping[str, int]) -> None:
    """The command simulator reports the same fault."""
    memory = np.zeros(WRITE_WINDOW[1] - PROGRAM, np.uint8)
    for address, data in {PROGRAM: case.binary(), **case.content}.items():
        memory[address - PROGRAM:][:len(data)] = np.frombuffer(data, np.uint8)
    found = simulated_fault(CONFIG, memory, registers)
    assert found == case.error, f"the simulator reports {found}, expected {case.error}"


@cocotb.test()
async def every_fault_stops_and_recovers(dut):
    """Code, engine, index, row; nothing written that should not be; START is refused; then a clean program."""
    rng = random.Random(f"{SEED}/faults")
    bench = CoreBench(dut, CONFIG, latency=(1, 1))
    cases, failures = list(fault_cases(CONFIG)), []
    await bench.start(cycles=len(cases) * (FAULT_CYCLES + JOB_CYCLES))
    goods = [good_job(number) for number in range(6)]
    for case, good in zip(cases, itertools.cycle(goods)):
        latency = rng.choice((1, 10, 60))
        bench.behave(latency=(latency, latency + 9), stall=rng.choice((0.0, 0.3)), rng=rng)
        registers = lay_out(bench, case.binary(), case.content) | dict(case.registers)
        case.prepare(bench)
        try:
            if case.simulated:
                check_simulator(case, registers)
            run = await bench.run(registers, watchdog=WATCHDOG, limit=FAULT_CYCLES)
            check_fault(bench, run, case.error)
            region = bench.memory.read(OUTPUT, OUTPUT_BYTES)
            if not case.error.code.name.startswith("WRITE_"):
                assert (region == 0xA5).all(), "the program wrote to its output"
            assert (region[:256] == 0xA5).all() and (region[0x800:] == 0xA5).all()
            await bench.registers.write("CTRL", 1)
            status = await bench.registers.read_fields("STATUS")
            assert status["ERROR"] and not status["RUNNING"], (
                "START without soft reset after a fault was obeyed"
            )
        except AssertionError as error:
            failures.append(f"{case.name}: {error}")
        await bench.soft_reset()
        await check_clean(bench)
        await run_good(bench, good)
    assert len(cases) > 50
    assert not failures, f"{len(failures)} of {len(cases)} faults, seed {SEED}:\n" + "\n".join(failures)


@cocotb.test()
async def windows_may_end_the_address_space(dut):
    """Program, data and output up to the last byte that AXI can address, windows up to it and past it: it runs."""
    bench = CoreBench(dut, CONFIG, latency=(1, 1))
    await bench.start()
    space = 1 << CONFIG.axi_address_bits
    base = space - 0x4000
    for limit in (space, (1 << 64) - 1):
        for program_at, output_at in ((space - 4 * COMMAND_BYTES, base), (base, space - 96)):
            program = binary_of([load(address=space - 512, pitch=32, rows=16, rows_padded=16), _FENCE,
                                 store(address=output_at, pitch=32), _HALT])
            bench.memory.clear()
            region = bench.memory.add(base, b"\xa5" * 0x4000)
            bench.memory.write(program_at, program)
            registers = ordinary_registers(program) | wide("PROGRAM_BASE", program_at)
            for window in ("READ", "WRITE"):
                registers |= wide(f"{window}_BASE", base) | wide(f"{window}_LIMIT", limit)
            run = await bench.run(registers, watchdog=WATCHDOG, limit=FAULT_CYCLES)
            assert run.status == "done", f"limit {limit:#x}: ended with {run.error or run.status}"
            bench.memory.write(program_at, b"\xa5" * len(program))
            written = np.flatnonzero(region.data != 0xA5)
            assert len(written) and written.min() >= output_at - base and written.max() < output_at - base + 96


async def check_clean(bench: CoreBench) -> None:
    """After a soft reset errors and counters are zero."""
    for name, register in REGISTERS.items():
        if name.startswith("ERROR") or name in ("CYCLES", "CUBE_ACTIVE") or register.address >= 0x100:
            assert await bench.registers.read(name) == 0, f"{name} is not zero after a soft reset"
    assert not await bench.registers.read("IRQ")


@cocotb.test()
async def memory_that_does_not_answer(dut):
    """Fetch or LOAD without answer: WATCHDOG; the soft reset takes effect once the answers have come."""
    bench = CoreBench(dut, CONFIG, latency=(5, 5))
    await bench.start(cycles=2 * (FAULT_CYCLES + JOB_CYCLES))
    good = good_job(0)
    program = binary_of([_FENCE, load(), load(address=DATA + 0x1000), _HALT])
    for engine, index, at in ((Engine.SEQUENCER, 0, PROGRAM), (Engine.LOAD, 1, DATA)):
        registers = lay_out(bench, program)
        holder = cocotb.start_soon(_hold_at(dut, bench, at))
        run = await bench.run(registers, watchdog=WATCHDOG, limit=FAULT_CYCLES)
        check_fault(bench, run, Error(Fault.WATCHDOG, engine, index))
        await bench.registers.write("CTRL", 2)
        for _ in range(20):
            status = await bench.registers.read_fields("STATUS")
            assert status["ERROR"] and not status["QUIET"], (
                f"soft reset with a transaction outstanding: {status}"
            )
        bench.axi.hold = False
        await bench.soft_reset()
        await check_clean(bench)
        await run_good(bench, good)
        assert holder.done()


async def _hold_at(dut, bench: CoreBench, address: int) -> None:
    """Stop answering when a burst at ``address`` is asked for."""
    valid, asked = Pin(dut, "m_axi_arvalid"), Pin(dut, "m_axi_araddr")
    while not (valid.get() and asked.get() == address):
        await RisingEdge(dut.clk)
    bench.axi.hold = True


@cocotb.test()
async def soft_reset_abandons_a_program(dut):
    """Soft reset at random times of a running program; the next one is bit-exact."""
    rng = random.Random(f"{SEED}/abandon")
    bench, count = CoreBench(dut, CONFIG, latency=(1, 1)), 12
    await bench.start(cycles=count * JOB_CYCLES)
    for number in range(count):
        good = good_job(number)
        job = good.job
        bench.behave(latency=(1, 40), stall=rng.choice((0.0, 0.4)), rng=rng)
        bench.load(job.memory, job.base, (job.output_base, job.output_bytes))
        for name, value in job.registers.items():
            await bench.registers.write(name, value)
        await bench.registers.write("CTRL", 1)
        for _ in range(rng.choice((0, 1, 10, 100, 400))):
            await RisingEdge(dut.clk)
        await bench.soft_reset()
        bench.memory.check_guards()
        await check_clean(bench)
        assert bench.axi.quiet
        await run_good(bench, good)


@cocotb.test()
async def zero_watchdog_is_off(dut):
    """WATCHDOG = 0: a deadlocked program waits for ever, and a soft reset still ends it."""
    bench = CoreBench(dut, CONFIG, latency=(1, 1))
    await bench.start()
    binary = binary_of([Command.build(Opcode.FENCE, wait=1)])
    run = await bench.run(lay_out(bench, binary), watchdog=0, limit=30_000)
    assert run.status == "timeout" and run.error is None and run.cycles >= 30_000
    await bench.soft_reset()
    await run_good(bench, good_job(0))


class _InFlight:
    """Counts the beats that are requested and not answered, reads and writes, and what is left at the interrupt."""

    def __init__(self, dut):
        self.reads = self.writes = self.most_reads = self.most_writes = 0
        self.left: int | None = None
        self._bursts: deque[int] = deque()
        self._pins = {name: Pin(dut, name).get for name in ("irq", *(f"m_axi_{name}" for name in (
            "arvalid", "arready", "arlen", "rvalid", "rready", "awvalid", "awready", "awlen", "bvalid", "bready")))}
        self._edge = RisingEdge(dut.clk)
        self.task = cocotb.start_soon(self._watch())

    async def _watch(self) -> None:
        get, irq = self._pins, False
        while True:
            await self._edge
            if get["irq"]() and not irq:
                self.left = self.reads + self.writes
            irq = get["irq"]()
            if get["m_axi_arvalid"]() and get["m_axi_arready"]():
                self.reads += get["m_axi_arlen"]() + 1
            if get["m_axi_awvalid"]() and get["m_axi_awready"]():
                self._bursts.append(get["m_axi_awlen"]() + 1)
                self.writes += self._bursts[-1]
            self.reads -= get["m_axi_rvalid"]() and get["m_axi_rready"]()
            if get["m_axi_bvalid"]() and get["m_axi_bready"]():
                self.writes -= self._bursts.popleft()
            self.most_reads, self.most_writes = max(self.most_reads, self.reads), max(self.most_writes, self.writes)


@cocotb.test()
async def much_in_flight(dut):
    """All that may be in flight, on each channel: an error amid it is named and the core waits for the rest; so do the
    interrupt of a program without error and a soft reset in the middle. The next program runs clean."""
    bench = CoreBench(dut, CONFIG, latency=(1, 1))
    await bench.start(cycles=10 * JOB_CYCLES)
    good, limit, beat = good_job(0), CONFIG.axi_in_flight_bytes // CONFIG.axi_data_bytes, CONFIG.axi_data_bytes
    rows = 8  # of half a KiB each, so that a LOAD is of 4 KiB; a STORE is of two beats a row
    loads = [load(address=DATA + index % 4 * 0x1000, pitch=512, rows=rows, rows_padded=rows, cols=256)
             for index in range(3 + limit * beat // 4096)]
    out_rows = CONFIG.out_words // 2 * CONFIG.m
    stores = [store(address=OUTPUT, pitch=3 * beat, rows=out_rows, cols=2 * CONFIG.beat_elements)
              for _ in range(4 + limit // (2 * out_rows))]
    errors, writes = bench.memory.read_errors, bench.memory.write_errors
    fetched = PROGRAM + 40 * COMMAND_BYTES
    for name, commands, error, plan in (
        ("loads", loads, None, None), ("stores", stores, None, None),
        ("a load", loads, Error(Fault.READ_SLVERR, Engine.LOAD, 3, row=rows - 1),
         (errors, PlannedError(Response.SLVERR, addresses=range(DATA + 0x2200, DATA + 0x2201), beat=-1))),
        ("a store", stores, Error(Fault.WRITE_SLVERR, Engine.STORE, 4),
         (writes, PlannedError(Response.SLVERR, burst=3 * out_rows + out_rows // 2))),
        ("fetch", [_FENCE] * 200, Error(Fault.READ_SLVERR, Engine.SEQUENCER, 40),
         (errors, PlannedError(Response.SLVERR, addresses=range(fetched, fetched + 1),
                              beat=40 * COMMAND_BYTES // beat % 8))),
        ("a soft reset of loads", loads, None, None), ("a soft reset of stores", stores, None, None),
    ):
        bench.behave(latency=(limit + 100, limit + 100))
        registers = lay_out(bench, binary_of([_FENCE, *commands, _HALT]))
        if plan:
            plan[0].append(plan[1])
        seen = _InFlight(dut)
        if name.startswith("a soft reset"):
            for register, value in registers.items():
                await bench.registers.write(register, value)
            await bench.registers.write("CTRL", 1)
            await until(dut, lambda seen=seen: max(seen.reads, seen.writes) >= limit, "all in flight")
            await bench.registers.write("CTRL", 2)
            assert not (await bench.registers.read_fields("STATUS"))["QUIET"], f"{name}: quiet"
        else:
            run = await bench.run(registers, watchdog=2 * limit, limit=100_000)
            if error:
                check_fault(bench, run, error)
            assert run.error == error, f"{name}: {run.error or run.status}"
            assert seen.left == 0, f"{name}: {seen.left} beats in flight at the interrupt"
            if name != "fetch":
                assert max(seen.most_reads, seen.most_writes) >= limit, f"{name}: {vars(seen)}"
        await bench.soft_reset()
        seen.task.cancel()
        assert bench.axi.quiet and seen.reads == seen.writes == 0
        await check_clean(bench)
        bench.memory.check_guards()
        bench.behave(latency=(1, 1))
        await run_good(bench, good)
