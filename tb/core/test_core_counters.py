"""Bench of the counters: what engines wait for in programs made to wait, and that reading changes nothing."""

import os
import random
from collections.abc import Mapping

import cocotb
from amla.rtl.config import CoreConfig
from amla.rtl.fp.fdpa import Fdpa
from amla.rtl.isa import ENGINE_STATES, Engine, Opcode
from amla.rtl.softmax.lanes import AccumulateLane
from amla.sw.compiler.program import Command, assemble
from amla.sw.run.counters import check_counters
from amla.tb.core.driver import CoreBench, CoreRun
from amla.tb.core.fault_case import DATA, LIST, OUTPUT
from amla.tb.core.random_jobs import JOB_CYCLES, random_job
from amla.tb.core.test_core_faults import lay_out
from amla.tb.core.timing import check_timing

CONFIG = CoreConfig.load(os.environ.get("AMLA_CONFIG", "tiny"))
SEED = int(os.environ["AMLA_SEED"])

_HALT = Command.build(Opcode.HALT)


async def run(bench: CoreBench, *commands: Command, content: Mapping[int, bytes] = {}) -> CoreRun:
    """Run a program on random data, and ``content`` by address."""
    program = [*commands, _HALT]
    result = await bench.run(lay_out(bench, assemble(program), content))
    assert result.status == "done", result.error or result.status
    check_counters(result, program, CONFIG)
    check_timing(result, program, CONFIG)
    return result


def waits(result: CoreRun) -> dict[str, int]:
    """WAIT_MEMORY of the engines that ever waited; the sequencer fetches."""
    return {engine: states["wait_memory"] for engine, states in result.counters.items()
            if states["wait_memory"] and engine != "sequencer"}


@cocotb.test()
async def memory_makes_load_and_store_wait(dut):
    """A latency of 100 cycles more is 100 cycles more of WAIT_MEMORY in the engine that waits, and nothing else."""
    beat = CONFIG.axi_data_bytes
    load = Command.build(Opcode.LOAD, address=DATA, pitch=beat, rows=1, rows_padded=1, cols=CONFIG.beat_elements)
    store = Command.build(Opcode.STORE, address=OUTPUT, pitch=beat, rows=1, cols=CONFIG.beat_elements, out_pitch=1)
    bench = CoreBench(dut, CONFIG, latency=(1, 1))
    await bench.start()
    for name, command in (("load", load), ("store", store)):
        results = []
        for latency in (20, 120):
            bench.behave(latency=(latency, latency))
            results.append(await run(bench, command))
            waited = waits(results[-1])
            assert list(waited) == [name] and latency - 5 <= waited[name] <= latency + 5, waited
        near, far = (result.counters[name] for result in results)
        assert far["wait_memory"] - near["wait_memory"] == 100 and far["busy"] == near["busy"], (near, far)
    padding = Command.build(Opcode.LOAD, rows_padded=9, cols=CONFIG.beat_elements)
    assert not waits(await run(bench, padding)), "a LOAD that reads nothing waited for memory"


@cocotb.test()
async def a_listed_row_waits_for_its_list_too(dut):
    """100 cycles more are 200 more of WAIT_MEMORY for a row, 100 for a negative entry, which needs its list alone."""
    beat = CONFIG.axi_data_bytes
    gather = Command.build(Opcode.GATHER, address=DATA, list=LIST, page_bytes=beat, page_size=1, rows=1, rows_padded=1,
                           cols=CONFIG.beat_elements)
    bench = CoreBench(dut, CONFIG, latency=(1, 1))
    await bench.start()
    for entry, times in ((3, 2), (-1, 1)):
        waited = []
        for latency in (20, 120):
            bench.behave(latency=(latency, latency))
            found = waits(await run(bench, gather, content={LIST: entry.to_bytes(4, "little", signed=True)}))
            assert list(found) == ["load"]
            waited.append(found["load"])
        assert waited[1] - waited[0] == 100 * times, waited


@cocotb.test()
async def hazards_make_feed_cube_and_drain_wait(dut):
    """The waits for a place of the ring, a word of L0C and a word of O that is in the pipeline, to the cycle."""
    bench = CoreBench(dut, CONFIG, latency=(1, 1))
    await bench.start()
    group = CONFIG.k // CONFIG.n
    plain = Command.build(Opcode.FEED_B, outer=1, inner=1)
    block = Command.build(Opcode.FEED_B, outer=1, inner=1, transpose=True)
    found = waits(await run(bench, plain, block))
    assert found == ({"feed": group - 1} if group > 1 else {}), found

    steps = 9
    found = waits(await run(bench, Command.build(Opcode.MMAD, mt=1, nt=1, kt=steps)))
    assert found == {"cube": (steps - 1) * (Fdpa.latency + 1)}, found

    # One word of O per row group, so that all lane groups of the rows fall on the same words.
    lane = AccumulateLane(mode=CONFIG.mode, comp_bits=CONFIG.comp_bits).latency
    rows, groups = 5, CONFIG.n // CONFIG.lanes
    drain = Command.build(Opcode.DRAIN_O, mt=rows, nt=1, o_pitch=0, first=True)
    found = waits(await run(bench, drain))
    assert found == {"drain": (rows - 1) * max(lane + 3 - groups, 0)}, found


@cocotb.test()
async def counters_are_passive(dut):
    """A host that reads all counters without pause changes neither them nor the time, and none ever falls."""
    bench, count = CoreBench(dut, CONFIG, latency=(20, 20)), 3
    await bench.start(cycles=2 * count * JOB_CYCLES)
    registers = bench.registers
    names = ["CYCLES", "CUBE_ACTIVE", *(f"{engine.name}_{state}" for engine in Engine for state in ENGINE_STATES)]
    for number in range(count):
        job = random_job(random.Random(f"{SEED}/passive/{number}"), CONFIG).job
        output = (job.output_base, job.output_bytes)
        bench.load(job.memory, job.base, output)
        alone = await bench.run(job.registers)
        bench.load(job.memory, job.base, output)
        for name, value in job.registers.items():
            await registers.write(name, value)
        await registers.write("CTRL", 1)
        seen, reads = dict.fromkeys(names, 0), 0
        while not (await registers.read_fields("STATUS"))["DONE"]:
            for name in names:
                value = await registers.read(name)
                assert value >= seen[name], f"{name} fell from {seen[name]} to {value}"
                seen[name], reads = value, reads + 1
        assert reads > len(names)
        after = {name: await registers.read(name) for name in names}
        states = {f"{engine}_{state}".upper(): value for engine, each in alone.counters.items()
                  for state, value in each.items()}
        assert after == {"CYCLES": alone.cycles, "CUBE_ACTIVE": alone.cube_active, **states}
        await registers.write("IRQ", 1)
