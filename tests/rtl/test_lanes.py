# amaranth: UnusedElaboratable=no
"""The lanes of drain and vector, in simulation."""

import pytest
from amla.rtl.config import MODES
from amla.rtl.lanes import AccumulateLane, VectorLane
from amla.tb.fp.designs import SideBySide
from amla.tb.runner import run_bench


@pytest.mark.smoke
def test_lanes():
    lanes = {}
    for mode in MODES:
        for lane in AccumulateLane(mode=mode, comp_bits=2), VectorLane(mode=mode):
            lanes[lane.leaf_name] = lane
    run_bench(SideBySide(lanes), name="lanes", module="amla.tb.test_lanes")


@pytest.mark.smoke
@pytest.mark.parametrize(("lane", "parameters"), [(AccumulateLane, {"comp_bits": 2}), (VectorLane, {})])
def test_lanes_reject(lane, parameters):
    with pytest.raises(ValueError, match="mode must be one of amla, mul, pow2, not 'paper'"):
        lane(mode="paper", **parameters)
