# amaranth: UnusedElaboratable=no
"""The fused dot product, in simulation."""

import pytest
from amla.rtl.fp.fdpa import Fdpa
from amla.tb.fp.compiled import run_compiled
from amla.tb.fp.dot_units import DOT_UNITS
from amla.tb.fp.table import side_by_side
from amla.tb.runner import run_bench


@pytest.mark.smoke
def test_fdpa():
    run_bench(side_by_side(DOT_UNITS), name="dot_units", module="amla.tb.fp.test_fdpa")


def test_fdpa_a_million():
    run_compiled(DOT_UNITS, name="dot_units_compiled")


@pytest.mark.smoke
@pytest.mark.parametrize(("parameters", "message"), [
    ({"k": 0, "acc_frac_bits": 30}, "k must be at least 1, not 0"),
    ({"k": 16, "acc_frac_bits": 23}, "acc_frac_bits must be from 24 to 40, not 23"),
    ({"k": 16, "acc_frac_bits": 41}, "acc_frac_bits must be from 24 to 40, not 41"),
])
def test_fdpa_rejects(parameters, message):
    with pytest.raises(ValueError, match=message):
        Fdpa(**parameters)
