"""Load engine, in simulation."""

import pytest
from amla.rtl.engines.load import Load
from amla.tb.engines.configurations import CONFIGURATIONS
from amla.tb.engines.flat import FlatAxi
from amla.tb.runner import run_bench


@pytest.mark.parametrize("label", [
    pytest.param(label, marks=pytest.mark.smoke if label == "tiny" else pytest.mark.regress)
    for label in CONFIGURATIONS
])
def test_load(label):
    config = CONFIGURATIONS[label]
    top = FlatAxi(Load(config), address_bits=config.axi_address_bits, data_bytes=config.axi_data_bytes)
    run_bench(top, name=f"load_{label}", module="amla.tb.engines.test_load", env={"AMLA_CONFIG": label})
