"""One configuration: its runs, how names of a netlist are found in a trace, what engines did."""

import pytest
from amla.flow.energy.decode import WORKLOAD, operations
from amla.flow.energy.measure import ENGINES, configurations, locate
from amla.flow.tools import FlowError
from amla.rtl.config import MODES, P_FORMATS, CoreConfig
from amla.sw.compiler.memory_map import build_job
from amla.sw.workload.generate import make_inputs

pytestmark = pytest.mark.smoke


def test_configurations():
    found = configurations(CoreConfig.load("tiny"))
    assert {(config.mode, config.p_format) for config in found.values()} == {
        (mode, p_format) for mode in MODES for p_format in P_FORMATS}
    assert len({config.name for config in found.values()}) == len(found) == 6


def test_locate():
    """The first name that the trace has, by itself or as a bit of a word."""
    trace = {"drain.lane.word", "drain.flag", "irq", "drain.cells[3]"}
    assert locate(["gone", "word[5]"], "drain.lane", trace) == ("drain.lane.word", 5)
    assert locate(["irq"], "", trace) == ("irq", 0) and locate(["flag"], "drain", trace) == ("drain.flag", 0)
    assert locate(["cells[3][1]"], "drain", trace) == ("drain.cells[3]", 1)
    with pytest.raises(FlowError, match="the trace must hold gone of drain"):
        locate(["gone"], "drain", trace)
    with pytest.raises(FlowError, match="the trace must hold a register without a name of the core"):
        locate([], "", trace)


def test_operations():
    """By the workload's shape: P and O by row, key and column; the cube's products of both."""
    config = CoreConfig.load("tiny")
    job = build_job(WORKLOAD, make_inputs(WORKLOAD, format=config.format), config, preload=1)
    found = operations(job.program.commands, config, read=100, written=10)
    rows, keys = WORKLOAD.rows, sum(WORKLOAD.lengths)
    blocks = -(-keys // job.plan.kv_block)
    assert set(found) == set(ENGINES) and found["load"] == 100 and found["store"] == 10
    assert found["cube"] == rows * keys * (WORKLOAD.head_dim + WORKLOAD.head_dim_v)
    assert found["vector"] == rows * keys
    assert found["drain"] == rows * (keys + blocks * WORKLOAD.head_dim_v)
    assert found["sequencer"] == len(job.program)
