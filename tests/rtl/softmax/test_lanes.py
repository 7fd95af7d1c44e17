# amaranth: UnusedElaboratable=no
"""The lanes of drain and vector, in simulation."""

import pytest
from amla.rtl.softmax.lanes import AccumulateLane, VectorLane
from amla.tb.fp.compiled import run_compiled
from amla.tb.fp.table import side_by_side
from amla.tb.runner import run_bench
from amla.tb.softmax.lanes import LANES


@pytest.mark.smoke
def test_lanes():
    run_bench(side_by_side(LANES), name="lanes", module="amla.tb.softmax.test_lanes")


def test_lanes_a_million():
    run_compiled(LANES, name="lanes_compiled")


@pytest.mark.smoke
@pytest.mark.parametrize(("lane", "parameters"), [(AccumulateLane, {"comp_bits": 2}), (VectorLane, {})])
def test_lanes_reject(lane, parameters):
    with pytest.raises(ValueError, match="mode must be one of amla, mul, pow2, not 'paper'"):
        lane(mode="paper", **parameters)
