"""Stream and memory helpers, in simulation."""

import pytest
from amla.tb.designs import Lookup
from amla.tb.runner import run_bench


@pytest.mark.smoke
def test_stream():
    run_bench(Lookup(words=24, width=40, grains=5), name="lookup", module="amla.tb.test_stream")
