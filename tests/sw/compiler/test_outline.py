"""Programs without inputs: the commands of the job with inputs, but for addresses."""

from collections import Counter
from dataclasses import replace

import pytest
from amla.sw.compiler.memory_map import build_job, bytes_read
from amla.sw.compiler.outline import outline
from amla.sw.cycles.model import simulate
from amla.sw.errors import AmlaError
from amla.sw.memory.preset import Memory
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.workload import Workload

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize("preload", [0, 1, 2])
def test_a_dense_program(make_job, tiny, tiny_workload, preload):
    job, _ = make_job(preload=preload)
    plan, commands, annotations = outline(tiny_workload, tiny, preload=preload)
    assert replace(plan, why="") == replace(job.plan, why="")
    assert len(commands) == len(annotations)
    assert Counter(command.opcode for command in commands) == Counter(
        command.opcode for command in job.program.commands)
    assert bytes_read(commands) == job.bytes_read
    assert simulate(commands, tiny).cycles == pytest.approx(simulate(job.program.commands, tiny).cycles, rel=0.01)


@pytest.mark.parametrize("name", ["sparse", "ds-sparse-extra-1"])
def test_a_sparse_program(small, name):
    """Lists are as long as they can be, which is as long as those of inputs that see enough keys."""
    load, memory = Workload.load(name), Memory.load("hbm")
    job = build_job(load, make_inputs(load), small, memory=memory)
    _, commands, _ = outline(load, small, memory)
    assert bytes_read(commands) >= job.bytes_read
    assert simulate(commands, small, memory).cycles == pytest.approx(
        simulate(job.program.commands, small, memory).cycles, rel=0.02)


def test_what_does_not_suit_the_core_is_refused(tiny, tiny_workload):
    with pytest.raises(AmlaError, match="cache must be bf16"):
        outline(replace(tiny_workload, cache="fp16"), tiny)
    with pytest.raises(AmlaError, match="sinks of 96 heads"):
        outline(replace(tiny_workload, heads=96, sink=True), replace(tiny, state_rows=32))
