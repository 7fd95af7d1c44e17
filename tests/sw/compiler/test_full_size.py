"""Full-size workloads on the configuration ``deepseek``: race-free programs near the roofline, by the cycle model."""

import pytest
from amla.rtl.config import CoreConfig
from amla.rtl.isa import Opcode, Semaphore
from amla.sw.compiler.hazards import find_hazards
from amla.sw.compiler.outline import outline
from amla.sw.cycles.model import simulate
from amla.sw.report.utilisation import bound_of
from amla.sw.run.compare import check_levels, expect
from amla.sw.workload.workload import Workload

#: Bars of achieved / bound. For all but ds-16heads the bound is the cube, so it is the utilisation.
BARS = {"ds-1x4096": 0.976, "ds-4x4096": 0.992, "ds-1x16384": 0.992, "ds-mtp-4096": 0.986, "ds-16heads": 0.97,
        "ds-ragged": 0.987}
#: The same on ``small``, where regression runs on the RTL.
SMALL_BARS = {"single": 0.97, "decode": 0.965, "decode-mtp": 0.97}


@pytest.fixture(scope="module")
def deepseek():
    """The configuration ``deepseek``."""
    return CoreConfig.load("deepseek")


@pytest.mark.parametrize(("name", "bar"), BARS.items())
def test_near_the_bound(deepseek, name, bar):
    load = Workload.load(name)
    plan, commands, _ = outline(load, deepseek)
    bound = bound_of(load, deepseek)
    assert bound.by == ("memory" if name == "ds-16heads" else "compute")
    assert plan.traffic == ("KV read 2 times: O holds 1 of 2 row tiles" if name == "ds-mtp-4096" else "KV read once")
    assert bar < bound.cycles / simulate(commands, deepseek).cycles < 1


@pytest.mark.parametrize(("name", "bar"), SMALL_BARS.items())
def test_small_keeps_its_utilisation(small, name, bar):
    load = Workload.load(name)
    _, commands, _ = outline(load, small)
    assert bar < bound_of(load, small).cycles / simulate(commands, small).cycles < 1


@pytest.mark.parametrize("preload", [0, 1, 2])
@pytest.mark.parametrize("name", ["ds-1x4096", "ds-mtp-4096", "ds-16heads", "ds-ragged"])
def test_free_of_races(deepseek, name, preload):
    _, commands, _ = outline(Workload.load(name), deepseek, preload=preload)
    assert find_hazards(commands, deepseek) == []


@pytest.mark.parametrize("preload", [0, 1, 2])
@pytest.mark.parametrize("load", [
    Workload(name="compute-bound", heads=128, lengths=(1100, 17)),
    Workload(name="memory-bound", heads=16, lengths=(1100, 17)),
    Workload(name="shared blocks", heads=128, q_tokens=2, causal=True, lengths=(700,)),
], ids=lambda load: load.name)
def test_golden_and_simulator_agree(make_job, deepseek, load, preload):
    check_levels(expect(*make_job(load, deepseek, preload)), None)


def test_serial_baseline_is_far_behind(deepseek):
    """Bubbles of softmax and drains cost the serial baseline more than 5 % of the cycles."""
    load = Workload.load("ds-1x4096")
    serial, overlapped = (simulate(outline(load, deepseek, preload=preload)[1], deepseek).cycles for preload in (0, 1))
    assert serial > 1.05 * overlapped


def test_the_cube_follows_the_first_loads_a_panel_behind(deepseek):
    """In the first blocks every panel of keys has a token of its own, and then every block."""
    plan, commands, notes = outline(Workload.load("ds-1x4096"), deepseek)
    waits = [note.block for command, note in zip(commands, notes, strict=True)
             if command.opcode == Opcode.FEED_B and note.stage == "C1" and command.wait >> Semaphore.KV_READY & 1]
    panels = len(plan.panels)
    assert [waits.count(block) for block in range(5)] == [panels, panels, panels, 1, 1]
