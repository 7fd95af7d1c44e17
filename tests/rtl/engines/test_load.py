"""Load engine, in simulation."""

import pytest
from amla.rtl.engines.load import Load
from amla.tb.engines.configurations import CONFIGURATIONS
from amla.tb.engines.flat import FlatAxi
from amla.tb.runner import run_bench

_LABELS = pytest.mark.parametrize("label", [
    pytest.param(label, marks=pytest.mark.smoke if label == "tiny" else pytest.mark.regress)
    for label in CONFIGURATIONS
])


def _run(label, bench):
    config = CONFIGURATIONS[label]
    top = FlatAxi(Load(config), address_bits=config.axi_address_bits, data_bytes=config.axi_data_bytes)
    run_bench(top, name=f"load_{label}", module=f"amla.tb.transfer.{bench}", env={"AMLA_CONFIG": label})


@_LABELS
def test_load(label):
    _run(label, "test_load")


@_LABELS
def test_gather(label):
    _run(label, "test_gather")
