"""What the counters of the RTL say: utilisation at full size (nightly), and that rescaling costs no cycle."""

from dataclasses import replace

import numpy as np
import pytest
from amla.rtl.config import CoreConfig
from amla.rtl.isa import COMMAND_BYTES, Opcode
from amla.sw.compiler.memory_map import build_job
from amla.sw.memory.preset import IDEAL, Memory
from amla.sw.run.experiment import prepare
from amla.sw.run.rtl_job import run_rtl, write_job
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.workload import Workload

#: Bars on ``deepseek`` at preload 1 by memory: of utilisation, or of the bound.
UTILISATION = {
    "ideal": {"ds-1x4096": 0.975, "ds-4x4096": 0.99, "ds-1x16384": 0.99, "ds-mtp-4096": 0.98, "ds-ragged": 0.985},
    "hbm": {"ds-fp8-4096": 0.9325},  # what BF16 reaches
    "far": {"ds-1x4096": 0.96, "ds-4x4096": 0.985, "ds-1x16384": 0.985, "ds-mtp-4096": 0.97, "ds-ragged": 0.975},
}
REACHED = {
    "ideal": {"ds-16heads": 0.97},
    "far": {"ds-16heads": 0.96},
    "hbm": {"ds-1x4096": 0.97, "ds-4x4096": 0.98, "ds-1x16384": 0.98, "ds-mtp-4096": 0.97, "ds-ragged": 0.97,
            "ds-16heads": 0.97, "ds-fp8-16heads": 0.95, "ds-sparse": 0.92, "ds-sparse-extra": 0.90,
            "ds-16tokens": 0.97},
}
BARS = [(memory, workload, figure, bar)
        for figure, bars in (("utilisation", UTILISATION), ("bound", REACHED))
        for memory, of_memory in bars.items() for workload, bar in of_memory.items()]


@pytest.mark.nightly
@pytest.mark.parametrize(("memory", "workload", "figure", "bar"), BARS)
def test_near_the_bound(tmp_path, memory, workload, figure, bar):
    """Bit-exact (``report`` raises otherwise) and no slower than the bar, in the SRAM of an Ascend 910 core."""
    config = CoreConfig.load("deepseek")
    assert sum(config.sram_bytes.values()) <= 1152 * 1024
    experiment = prepare(Workload.load(workload), config, preload=1, baseline=False, progress=print,
                         memory=Memory.load(memory))
    write_job(tmp_path, experiment.jobs())
    report = experiment.report(run_rtl(tmp_path).runs[workload])
    assert bar <= (report["utilisation"] if figure == "utilisation" else report["bound"]["reached"]) < 1


@pytest.mark.nightly
def test_a_thousand_cycles_away(tmp_path):
    experiment = prepare(Workload.load("ds-1x4096"), CoreConfig.load("deepseek"), preload=1, baseline=False,
                         progress=print, memory=replace(IDEAL, name="ideal-1000", latency=1000))
    write_job(tmp_path, experiment.jobs())
    assert experiment.report(run_rtl(tmp_path).runs["ds-1x4096"])["utilisation"] >= 0.94


def _whole(job, commands):
    """The job with these commands, each giving all its halfwords: the program's size does not depend on them."""
    binary = b"".join(command.encode().to_bytes(COMMAND_BYTES, "little") for command in commands)
    start = job.program.symbols["PROGRAM"]
    read_limit = start + len(binary) + -len(binary) % job.config.axi_data_bytes
    memory = np.concatenate([job.memory[:start - job.base], np.frombuffer(
        binary.ljust(read_limit - start, b"\0"), np.uint8)])
    program = replace(job.program, commands=tuple(commands), binary=binary,
                      read_window=(job.program.read_window[0], read_limit))
    return replace(job, program=program, memory=memory)


@pytest.mark.parametrize(("config", "workload"), [
    pytest.param("tiny", "tiny", marks=pytest.mark.regress),
    pytest.param("deepseek", "ds-1x4096", marks=pytest.mark.nightly),
])
def test_rescaling_costs_no_cycle(tmp_path, config, workload):
    """The same program takes as many cycles when no DRAIN_O reads O, let alone rescales it: P V overwrites O."""
    load = Workload.load(workload)
    job = build_job(load, make_inputs(load), CoreConfig.load(config))
    drains = [command for command in job.program.commands if command.opcode == Opcode.DRAIN_O]
    assert any("first" not in command.flags for command in drains)
    commands = [replace(command, flags=frozenset({"first"})) if command.opcode == Opcode.DRAIN_O else command
                for command in job.program.commands]
    write_job(tmp_path, {"rescaling": _whole(job, job.program.commands), "overwriting": _whole(job, commands)})
    runs = run_rtl(tmp_path).runs
    assert runs["rescaling"].status == runs["overwriting"].status == "done"
    assert runs["rescaling"].output.tobytes() != runs["overwriting"].output.tobytes()
    assert runs["rescaling"].cycles == runs["overwriting"].cycles
