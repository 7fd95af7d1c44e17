"""One configuration: its runs, how names of a netlist are found in a trace, what engines did."""

import shutil

import pytest
from amla.flow.energy.cells import Cells
from amla.flow.energy.decode import WORKLOAD, build_traced, decode, operations
from amla.flow.energy.mapped import mapped
from amla.flow.energy.measure import ENGINES, configurations, locate
from amla.flow.energy.parts import cut
from amla.flow.energy.switching import Switching
from amla.flow.library import Library, find_liberty
from amla.flow.tools import FlowError
from amla.rtl.config import MODES, P_FORMATS, CoreConfig
from amla.sw.compiler.memory_map import build_job
from amla.sw.workload.generate import make_inputs
from amla.tb.build_core import TOP


@pytest.mark.smoke
def test_configurations():
    found = configurations(CoreConfig.load("tiny"))
    assert {(config.mode, config.p_format) for config in found.values()} == {
        (mode, p_format) for mode in MODES for p_format in P_FORMATS}
    assert len({config.name for config in found.values()}) == len(found) == 6


@pytest.mark.smoke
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


@pytest.mark.smoke
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


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which("sta") is None, reason="needs Debian's opensta and qflow-tech-osu018")
def test_a_lane_in_the_core(tmp_path):
    """A decode, traced, drives the mapped accumulate lane: in each of its instances the gates give what the RTL did."""
    config = next(iter(configurations(CoreConfig.load("tiny")).values()))
    built = build_traced(config)
    lane = next(part for part in cut((built / f"{TOP}.v").read_text(encoding="utf-8"), top=TOP, engines=ENGINES)
                if part.name.startswith("accumulate_lane"))
    library = Library.measure(find_liberty(), tmp_path / "library")
    found = mapped(lane, library=library, out=tmp_path)["default"]
    cells = Cells.read(library.path, transition=library.fo4_ns)
    netlist = Switching(found["cells"], cells, added=found["added"], holds=found["holds"])
    with decode(config, built) as run:
        assert run.accumulated == run.operations["drain"] - run.operations["vector"]
        for place in lane.places:
            places = {net: locate(names, place, run.trace) for net, names in netlist.sources.items()}
            words = run.read([name for name, _ in places.values()])
            held = {net: words[name][bit] for net, (name, bit) in places.items()}
            energy = netlist.energy(held, run.cycles)
            assert 0 < energy.registers < energy.logic < energy.clock
            register = next(net for net, names in netlist.sources.items() if "." in names[0])  # an operand has no dot
            with pytest.raises(FlowError, match="must hold what the mapped gates give"):
                netlist.energy({**held, register: held[register] ^ 1 << 100}, run.cycles)
