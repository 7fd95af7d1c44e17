"""The engine queue under its cocotb bench."""

import pytest
from amla.rtl.issue.dispatch import EngineQueue
from amla.tb.runner import run_bench


@pytest.mark.smoke
def test_dispatch():
    run_bench(EngineQueue(depth=4), name="engine_queue", module="amla.tb.issue.test_dispatch")
