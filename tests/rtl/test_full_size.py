"""What the counters of the RTL say: utilisation at full size (nightly), and that rescaling costs no cycle."""

from dataclasses import replace

import pytest
from amla.rtl.config import CoreConfig
from amla.rtl.isa import Opcode
from amla.sw.compiler.memory_map import build_job
from amla.sw.run.experiment import prepare
from amla.sw.run.rtl_job import run_rtl, write_job
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.workload import Workload

#: Bars of achieved / bound on ``deepseek``. For all but ds-16heads the bound is the cube, so it is the utilisation.
BARS = {"ds-1x4096": 0.96, "ds-4x4096": 0.985, "ds-1x16384": 0.985, "ds-mtp-4096": 0.97, "ds-16heads": 0.95,
        "ds-ragged": 0.93}


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "bar"), BARS.items())
def test_near_the_bound(tmp_path, name, bar):
    """Bit-exact (``report`` raises otherwise), every byte of KV read once, and no slower than the bar."""
    experiment = prepare(Workload.load(name), CoreConfig.load("deepseek"), preload=1, baseline=False, progress=print)
    write_job(tmp_path, experiment.jobs())
    report = experiment.report(run_rtl(tmp_path).runs[name])
    assert report["traffic"] == "KV read once"
    assert bar <= report["bound"]["reached"] < 1


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
    commands = tuple(replace(command, flags=frozenset({"first"})) if command.opcode == Opcode.DRAIN_O else command
                     for command in job.program.commands)
    program = replace(job.program, commands=commands)
    memory = job.memory.copy()
    start = program.symbols["PROGRAM"] - job.base
    binary = program.assemble()
    memory[start:start + len(binary)] = bytearray(binary)
    write_job(tmp_path, {"rescaling": job, "overwriting": replace(job, program=program, memory=memory)})
    runs = run_rtl(tmp_path).runs
    assert runs["rescaling"].status == runs["overwriting"].status == "done"
    assert runs["rescaling"].output.tobytes() != runs["overwriting"].output.tobytes()
    assert runs["rescaling"].cycles == runs["overwriting"].cycles
