"""The semaphores under their cocotb bench."""

import pytest
from amla.rtl.issue.semaphores import Semaphores
from amla.tb.runner import run_bench


@pytest.mark.smoke
def test_semaphores():
    run_bench(Semaphores(), name="semaphores", module="amla.tb.issue.test_semaphores")
