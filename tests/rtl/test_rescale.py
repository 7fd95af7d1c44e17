# amaranth: UnusedElaboratable=no
"""The rescale word operation, in simulation."""

import pytest
from amla.rtl.rescale import Rescale
from amla.tb.fp.compiled import run_compiled
from amla.tb.fp.table import side_by_side
from amla.tb.rescale import RESCALE_UNITS
from amla.tb.runner import run_bench


@pytest.mark.smoke
def test_rescale():
    run_bench(side_by_side(RESCALE_UNITS), name="rescale", module="amla.tb.test_rescale")


def test_rescale_a_million():
    run_compiled(RESCALE_UNITS, name="rescale_compiled")


@pytest.mark.smoke
@pytest.mark.parametrize("comp_bits", [-1, 9])
def test_rescale_rejects(comp_bits):
    with pytest.raises(ValueError, match=f"comp_bits must be from 0 to 8, not {comp_bits}"):
        Rescale(comp_bits=comp_bits)
