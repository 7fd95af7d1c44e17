"""The expander of programs under its cocotb bench."""

import pytest
from amla.rtl.issue.unpack import Unpack
from amla.tb.runner import run_bench


@pytest.mark.smoke
def test_unpack():
    run_bench(Unpack(), name="unpack", module="amla.tb.issue.test_unpack")
