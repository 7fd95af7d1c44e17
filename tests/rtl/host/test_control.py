"""The run control under its cocotb bench."""

import pytest
from amla.rtl.host.control import Control
from amla.tb.runner import run_bench


@pytest.mark.smoke
def test_control():
    run_bench(Control(), name="control", module="amla.tb.host.test_control")
