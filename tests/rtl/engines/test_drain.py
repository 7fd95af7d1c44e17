"""The drain engine under its cocotb bench."""

import pytest
from amla.tb.engines.contended import ContendedDrain
from amla.tb.engines.harness import bench_environment
from amla.tb.engines.variants import VARIANTS
from amla.tb.runner import run_bench


@pytest.mark.parametrize("variant", [
    pytest.param("square", marks=pytest.mark.smoke),
    pytest.param("wide", marks=pytest.mark.regress),
    pytest.param("tall", marks=pytest.mark.regress),
    pytest.param("integer", marks=pytest.mark.regress),
])
def test_drain(variant):
    config = VARIANTS[variant]
    run_bench(ContendedDrain(config), name=f"drain_{variant}", module="amla.tb.engines.test_drain",
              env=bench_environment(config))


@pytest.mark.regress
def test_drain_with_deep_buffers():
    """Random commands all over buffers that need every bit of their addresses."""
    config = VARIANTS["deep"]
    run_bench(ContendedDrain(config), name="drain_deep", module="amla.tb.engines.test_drain", testcase="back_to_back",
              env=bench_environment(config))
