"""AXI memory model, in simulation."""

import pytest
from amla.tb.designs import AxiPins, Copier
from amla.tb.runner import run_bench


@pytest.mark.smoke
@pytest.mark.parametrize("width", [128, 512])
def test_copier(width):
    run_bench(
        Copier(width=width, id_bits=1), name=f"copier{width}", module="amla.tb.host.test_axi", env={"COPIER": "1"}
    )


@pytest.mark.smoke
def test_protocol_checks():
    run_bench(AxiPins(width=128, id_bits=1), name="axi_pins", module="amla.tb.host.test_axi")
