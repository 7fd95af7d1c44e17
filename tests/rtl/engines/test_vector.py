"""The vector engine under its cocotb bench."""

import pytest
from amla.rtl.engines.vector import Vector
from amla.tb.engines.harness import bench_environment
from amla.tb.engines.variants import VARIANTS
from amla.tb.runner import run_bench


@pytest.mark.parametrize("variant", [
    pytest.param("square", marks=pytest.mark.smoke),
    pytest.param("wide", marks=pytest.mark.regress),
    pytest.param("tall", marks=pytest.mark.regress),
    pytest.param("integer", marks=pytest.mark.regress),
])
def test_vector(variant):
    config = VARIANTS[variant]
    run_bench(Vector(config), name=f"vector_{variant}", module="amla.tb.engines.test_vector",
              env=bench_environment(config))


@pytest.mark.parametrize("variant", [
    pytest.param("square", marks=pytest.mark.smoke),
    pytest.param("wide", marks=pytest.mark.regress),
    pytest.param("tall", marks=pytest.mark.regress),
    pytest.param("integer", marks=pytest.mark.regress),
])
def test_merge(variant):
    config = VARIANTS[variant]
    run_bench(Vector(config), name=f"vector_{variant}", module="amla.tb.engines.test_merge",
              env=bench_environment(config))


@pytest.mark.regress
@pytest.mark.parametrize(("bench", "testcase"), [("test_vector", "back_to_back"), ("test_merge", "merges")])
def test_vector_with_deep_buffers(bench, testcase):
    """Random commands all over buffers that need every bit of their addresses."""
    config = VARIANTS["deep"]
    run_bench(Vector(config), name="vector_deep", module=f"amla.tb.engines.{bench}", testcase=testcase,
              env=bench_environment(config))
