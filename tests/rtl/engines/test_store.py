"""Store engine, in simulation."""

import pytest
from amla.rtl.engines.store import Store
from amla.tb.engines.configurations import CONFIGURATIONS
from amla.tb.engines.flat import FlatAxi
from amla.tb.runner import run_bench


@pytest.mark.parametrize("label", [
    pytest.param(label, marks=pytest.mark.smoke if label == "tiny" else pytest.mark.regress)
    for label in CONFIGURATIONS
])
def test_store(label):
    config = CONFIGURATIONS[label]
    top = FlatAxi(Store(config), address_bits=config.axi_address_bits, data_bytes=config.axi_data_bytes)
    run_bench(top, name=f"store_{label}", module="amla.tb.transfer.test_store", env={"AMLA_CONFIG": label})
