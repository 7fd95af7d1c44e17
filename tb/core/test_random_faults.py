"""Bench of the order of checks: programs that break several rules at once, against the command simulator."""

import os
import random
from collections import Counter

import cocotb
import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.isa import Fault
from amla.sw.compiler.program import Command
from amla.tb.core.driver import CoreBench
from amla.tb.core.fault_case import DATA, PROGRAM, WRITE_WINDOW, binary_of, ordinary_registers, simulated_fault
from amla.tb.core.random_faults import random_lists, random_program

CONFIG = CoreConfig.load(os.environ.get("AMLA_CONFIG", "tiny"))
SEED = int(os.environ["AMLA_SEED"])
COUNT = int(os.environ.get("AMLA_PROGRAMS", "600"))

#: More cycles than any command below keeps its engine waiting.
WATCHDOG = 400

#: Each of these must be among the faults that were met.
MET = (Fault.NONE, Fault.UNKNOWN_OPCODE, Fault.BAD_FIELD, Fault.READ_WINDOW, Fault.WRITE_WINDOW, Fault.BUFFER_OVERRUN,
       Fault.SEMAPHORE_OVERFLOW, Fault.WATCHDOG)


@cocotb.test()
async def core_and_simulator_name_the_same_fault(dut):
    """Code, engine, index and row, or neither finds a fault."""
    rng = random.Random(f"{SEED}/random faults")
    bench = CoreBench(dut, CONFIG, latency=(1, 1))
    await bench.start(cycles=10_000 * COUNT)
    met: Counter[Fault] = Counter()
    rows = 0  # faults at another row than the first
    failures = []
    for number in range(COUNT):
        commands = random_program(rng, CONFIG)
        program = binary_of(commands)
        memory = np.zeros(WRITE_WINDOW[1] - PROGRAM, np.uint8)
        for address, content in ((PROGRAM, program), (DATA, random_lists(rng))):
            memory[address - PROGRAM:][:len(content)] = np.frombuffer(content, np.uint8)
        bench.memory.clear()
        bench.memory.add(PROGRAM, memory)
        registers = ordinary_registers(program)
        expected = simulated_fault(CONFIG, memory, registers)
        latency = rng.choice((1, 10))
        bench.behave(latency=(latency, latency + 5), stall=rng.choice((0.0, 0.3)), rng=rng)
        run = await bench.run(registers, watchdog=WATCHDOG, limit=300_000)
        assert run.status != "timeout", f"program {number} does not end:\n{_listing(commands)}"
        if run.error != expected:
            failures.append(f"program {number}: the core reports {run.error}, the simulator {expected}:\n"
                            f"{_listing(commands)}")
        rows += expected is not None and expected.row > 0
        met[expected.code if expected else Fault.NONE] += 1
        await bench.soft_reset()
    dut._log.info("%d programs: %s, %d at a later row", COUNT, {code.name: count for code, count in met.items()}, rows)
    assert not failures, f"{len(failures)} of {COUNT} programs, seed {SEED}:\n" + "\n".join(failures[:5])
    assert COUNT < 300 or (all(met[code] for code in MET) and rows), (met, rows)


def _listing(commands: list[Command | int]) -> str:
    return "\n".join(f"  {f'{command:#x}' if isinstance(command, int) else command}" for command in commands)
