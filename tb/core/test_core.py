"""Bench of the whole core: random workloads on every level, and the registers."""

import os
import random
from dataclasses import replace

import cocotb
import numpy as np
from amla.rtl.config import MODES, P_FORMATS, CoreConfig
from amla.rtl.core import INTERFACE_VERSION
from amla.rtl.fp.word import OPERANDS
from amla.rtl.host.csr import ID_VALUE, REGISTERS
from amla.sw.compiler.memory_map import build_job
from amla.sw.memory.preset import Memory
from amla.sw.run.compare import check_levels, expect
from amla.sw.run.counters import check_counters
from amla.sw.run.model_check import MOSTLY_OFF
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.workload import Workload
from amla.tb.core.driver import CoreBench
from amla.tb.core.random_jobs import JOB_CYCLES, random_job
from amla.tb.core.special_inputs import lose_keys
from amla.tb.core.timing import check_cycles, check_timing
from amla.tb.core.trace import check_trace
from amla.tb.host.axi_lite import AxiLiteDriver, AxiLiteError

CONFIG = CoreConfig.load(os.environ.get("AMLA_CONFIG", "tiny"))

SEED = int(os.environ["AMLA_SEED"])

#: Cases of this simulation: AMLA_CASES is "first:count"; AMLA_CASE picks one of them.
FIRST, COUNT = map(int, os.environ.get("AMLA_CASES", "0:20").split(":"))
CASES = [int(os.environ["AMLA_CASE"])] if "AMLA_CASE" in os.environ else list(range(FIRST, FIRST + COUNT))

#: Memory of every case; by default each draws its own.
MEMORY = Memory.load(os.environ["AMLA_MEMORY"]) if "AMLA_MEMORY" in os.environ else None


@cocotb.test()
async def random_workloads(dut):
    """RTL = command simulator = golden model on every bit; counters fit program and trace; guard bytes, AXI rules."""
    bench = CoreBench(dut, CONFIG, latency=(1, 1))
    await bench.start(cycles=JOB_CYCLES * len(CASES))
    cycles, errors = 0, []
    for number in CASES:
        rng = random.Random(f"{SEED}/{number}")
        case = random_job(rng, CONFIG, MEMORY)
        job = case.job
        try:
            expected = expect(job, case.inputs)
            output = bench.load(job.memory, job.base, (job.output_base, job.output_bytes))
            bench.behave(preset=job.plan.memory, latency=case.latency, stall=case.stall, rng=rng)
            run = await bench.run(job.registers, watchdog=20_000)
            assert run.status == "done", f"ended with {run.error or run.status} after {run.cycles} cycles" + (
                f": {job.program.line(run.error.index).strip()}" if run.error else "")
            check_levels(expected, output.data)
            bench.memory.check_guards()
            check_counters(run, job.program.commands, CONFIG)
            check_timing(run, job.program.commands, CONFIG)
            check_trace(run.trace, run.cycles, len(job.program))
            if not case.stall and (case.latency is None or case.latency[0] == case.latency[1]):
                memory = job.plan.memory if case.latency is None else job.plan.memory.at(case.latency[0])
                errors.append(check_cycles(run, job, memory))
            assert bench.axi.quiet
            assert not (run.nonfinite and case.finite), "STATUS.NONFINITE set by finite data"
        except AssertionError as error:
            again = f"AMLA_SEED={SEED} AMLA_CASE={number} AMLA_WAVES=1 python -m pytest " \
                    f"tests/rtl/test_core.py -k random"
            raise AssertionError(f"case {number}: {case}\n{error}\nrerun: {again}") from error
        cycles += run.cycles
        dut._log.debug("case %d: %s: %d cycles", number, case, run.cycles)
    worst, counter = 100 * np.max(np.abs(errors), axis=0, initial=0) if errors else (0, 0)
    dut._log.info("%d workloads, %d cycles, seed %d; cycle model on %d of them: at most %.3f %% off, counters %.3f %%",
                  len(CASES), cycles, SEED, len(errors), worst, counter)
    assert len(CASES) and cycles > 100 * len(CASES)
    assert len(errors) < 20 or np.quantile(np.abs(errors)[:, 0], 0.95) <= MOSTLY_OFF


@cocotb.test()
async def lost_keys_change_no_bit(dut):
    """16 keys of score -inf before at most 4 others, in one KV block of any size: one result, at every preload."""
    bench = CoreBench(dut, CONFIG, latency=(1, 1))
    await bench.start()
    unit = CONFIG.beat_elements
    # 8 rows, whole row groups: the zeros of a padding row would make NaN of the infinite keys of FP16.
    load = Workload(name="lost", heads=4, q_tokens=2, causal=True, lengths=(20, 17, 16), head_dim=3 * unit,
                    head_dim_v=2 * unit, page_size=16, seed=SEED)
    inputs = lose_keys(make_inputs(load, format=CONFIG.format), [16] * 3)
    results = set()
    for kv_block in (8, 16, 32):
        for preload in range(3):
            job = build_job(load, inputs, replace(CONFIG, kv_block=kv_block), preload=preload)
            expected = expect(job, inputs)
            output = bench.load(job.memory, job.base, (job.output_base, job.output_bytes))
            run = await bench.run(job.registers, watchdog=20_000)
            assert run.status == "done" and not run.nonfinite
            check_levels(expected, output.data)
            out, lse = job.unpack(output.data)
            results.add((out.tobytes(), lse.tobytes()))
    assert len(results) == 1, "the result depends on kv_block or preload"
    lonely = np.isposinf(lse)
    assert lonely.all(axis=1).tolist() == lonely.any(axis=1).tolist() == [[False] * 2, [True, False], [True] * 2]
    assert not out.view(np.uint16)[lonely.transpose(0, 2, 1)].any()


@cocotb.test()
async def identity_and_parameters(dut):
    """ID, VERSION and the parameter registers read as configured, AXI's constants too; ro registers ignore writes."""
    bench = CoreBench(dut, CONFIG, latency=(1, 1))
    await bench.start()
    for channel in ("ar", "aw"):  # normal memory, not cacheable, bufferable; unprivileged, secure data
        assert int(getattr(dut, f"m_axi_{channel}cache").value) == 0b0011
        assert int(getattr(dut, f"m_axi_{channel}prot").value) == 0
    read, fields = bench.registers.read, bench.registers.read_fields
    assert await read("ID") == ID_VALUE == int.from_bytes(b"AMLA", "big")
    assert await read("VERSION") == INTERFACE_VERSION
    assert await fields("CUBE") == {"M": CONFIG.m, "N": CONFIG.n, "K": CONFIG.k, "LANES": CONFIG.lanes}
    assert await fields("NUMERICS") == {
        "ACC_FRAC_BITS": CONFIG.acc_frac_bits,
        "COMP_BITS": CONFIG.comp_bits,
        "MODE": MODES.index(CONFIG.mode),
        "FORMAT": list(OPERANDS).index(CONFIG.format),
        "P_FORMAT": P_FORMATS.index(CONFIG.p_format),
        "BEAT_BYTES": CONFIG.axi_data_bytes,
    }
    assert await fields("STATUS") == {"RUNNING": 0, "DONE": 0, "ERROR": 0, "NONFINITE": 0, "QUIET": 1}
    for register in REGISTERS.values():
        if register.access == "ro":
            before = await read(register.name)
            await bench.registers.write(register.name, ~before & 0xFFFFFFFF)
            assert await read(register.name) == before, f"{register.name} changed by a write"


@cocotb.test()
async def registers_keep_what_is_written(dut):
    """Random writes with random byte strobes and random handshakes; unknown addresses answer SLVERR."""
    rng = random.Random(SEED)
    bench = CoreBench(dut, CONFIG, latency=(1, 1))
    await bench.start()
    registers = AxiLiteDriver(dut, rng=rng)
    names = [register.name for register in REGISTERS.values() if register.access == "rw"]
    stored = {name: await registers.read(name) for name in names}
    for _ in range(150):
        name, value, strobe = rng.choice(names), rng.getrandbits(32), rng.getrandbits(4)
        await registers.write(name, value, strobe=strobe)
        mask = sum(0xFF << 8 * byte for byte in range(4) if strobe >> byte & 1)
        stored[name] = stored[name] & ~mask | value & mask
        probe = rng.choice(names)
        assert await registers.read(probe) == stored[probe], probe
    for name in names:
        assert await registers.read(name) == stored[name], name
    known = {register.address for register in REGISTERS.values()}
    for address in rng.sample([address for address in range(0, 4096, 4) if address not in known], 5):
        for access in (registers.read(address), registers.write(address, 1)):
            try:
                await access
            except AxiLiteError as error:
                assert "response 2" in str(error)
            else:
                raise AssertionError(f"address {address:#x} without a register was answered OKAY")


@cocotb.test()
async def interrupt_follows_its_enable(dut):
    """PENDING is set at the end of a program and drives irq only while enabled; writing one clears it."""
    bench = CoreBench(dut, CONFIG, latency=(5, 5))
    await bench.start()
    case = random_job(random.Random(f"{SEED}/irq"), CONFIG)
    job = case.job
    bench.load(job.memory, job.base, (job.output_base, job.output_bytes))
    registers = bench.registers
    await registers.write("IRQ_ENABLE", 0)
    for name, value in job.registers.items():
        await registers.write(name, value)
    await registers.write("CTRL", 1)
    assert (await registers.read_fields("STATUS"))["RUNNING"] == 1
    while not await registers.read("IRQ"):
        assert int(dut.irq.value) == 0
    assert int(dut.irq.value) == 0
    status = await registers.read_fields("STATUS")
    assert status["DONE"] and not status["RUNNING"] and not status["ERROR"]
    await registers.write("IRQ_ENABLE", 1)
    assert int(dut.irq.value) == 1
    await registers.write("IRQ", 0)
    assert int(dut.irq.value) == 1 and await registers.read("IRQ") == 1
    await registers.write("IRQ", 1)
    assert int(dut.irq.value) == 0 and await registers.read("IRQ") == 0
