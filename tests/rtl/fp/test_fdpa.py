# amaranth: UnusedElaboratable=no
"""The fused dot product, in simulation."""

import pytest
from amla.rtl.fp.fdpa import Fdpa
from amla.tb.fp.designs import dot_units
from amla.tb.runner import run_bench


@pytest.mark.smoke
def test_fdpa():
    run_bench(dot_units(), name="dot_units", module="amla.tb.fp.test_fdpa")


@pytest.mark.smoke
@pytest.mark.parametrize(("parameters", "message"), [
    ({"k": 0, "acc_frac_bits": 30}, "k must be at least 1, not 0"),
    ({"k": 16, "acc_frac_bits": 23}, "acc_frac_bits must be from 24 to 40, not 23"),
    ({"k": 16, "acc_frac_bits": 41}, "acc_frac_bits must be from 24 to 40, not 41"),
])
def test_fdpa_rejects(parameters, message):
    with pytest.raises(ValueError, match=message):
        Fdpa(**parameters)
