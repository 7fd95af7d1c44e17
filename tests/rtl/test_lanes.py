# amaranth: UnusedElaboratable=no
"""The lanes of drain and vector, in simulation."""

import pytest
from amla.rtl.config import MODES
from amla.rtl.lanes import AccumulateLane, VectorLane
from amla.tb.fp.designs import SideBySide
from amla.tb.runner import run_bench


@pytest.mark.smoke
def test_lanes():
    lanes = [lane for mode in MODES for lane in (AccumulateLane(mode=mode, comp_bits=2), VectorLane(mode=mode))]
    run_bench(SideBySide({lane.leaf_name: lane for lane in lanes}), name="lanes", module="amla.tb.test_lanes")


@pytest.mark.smoke
@pytest.mark.parametrize("lane", [lambda mode: AccumulateLane(mode=mode, comp_bits=2), lambda mode: VectorLane(mode=mode)])
def test_lanes_reject(lane):
    with pytest.raises(ValueError, match="mode must be one of amla, mul, not 'pow2'"):
        lane("pow2")
