# amaranth: UnusedElaboratable=no
"""The rescale word operation, in simulation."""

import pytest
from amla.rtl.rescale import Rescale
from amla.tb.fp.designs import SideBySide
from amla.tb.runner import run_bench


@pytest.mark.smoke
def test_rescale():
    units = {f"rescale_{comp_bits}": Rescale(comp_bits=comp_bits) for comp_bits in range(4)}
    run_bench(SideBySide(units), name="rescale", module="amla.tb.test_rescale")


@pytest.mark.smoke
@pytest.mark.parametrize("comp_bits", [-1, 9])
def test_rescale_rejects(comp_bits):
    with pytest.raises(ValueError, match=f"comp_bits must be from 0 to 8, not {comp_bits}"):
        Rescale(comp_bits=comp_bits)
