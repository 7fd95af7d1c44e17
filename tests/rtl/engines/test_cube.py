"""The cube engine under its cocotb bench."""

import pytest
from amla.rtl.engines.cube import Cube
from amla.tb.engines.harness import bench_environment
from amla.tb.engines.variants import VARIANTS
from amla.tb.runner import run_bench


@pytest.mark.parametrize("variant", [
    pytest.param("square", marks=pytest.mark.smoke),
    pytest.param("wide", marks=pytest.mark.regress),
    pytest.param("tall", marks=pytest.mark.regress),
    pytest.param("deep", marks=pytest.mark.regress),
])
def test_cube(variant):
    config = VARIANTS[variant]
    run_bench(Cube(config), name=f"cube_{variant}", module="amla.tb.engines.test_cube",
              env=bench_environment(config))
