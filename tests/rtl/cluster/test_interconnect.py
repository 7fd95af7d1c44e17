# amaranth: UnusedElaboratable=no
"""The interconnect, in simulation."""

import pytest
from amla.rtl.cluster.interconnect import Interconnect
from amla.tb.engines.flat import FlatAxi
from amla.tb.runner import run_bench


@pytest.mark.smoke
@pytest.mark.parametrize("managers", [2, 3, 4])
def test_interconnect(managers):
    run_bench(FlatAxi(Interconnect(32, 128, managers), address_bits=32, data_bytes=16),
              name=f"interconnect_{managers}", module="amla.tb.cluster.test_interconnect")


def test_one_manager_needs_no_interconnect():
    with pytest.raises(ValueError, match=r"^clients must be an integer of at least 2, not 1$"):
        Interconnect(32, 128, 1)
