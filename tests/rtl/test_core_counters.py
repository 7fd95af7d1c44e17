"""The counters of the core in simulation; on ``small`` too, whose feed can wait."""

import os

import pytest
from amla.rtl.config import CoreConfig
from amla.tb.build_core import TOP, build_core
from amla.tb.runner import BUILD_ROOT, run


@pytest.mark.parametrize("name", [
    pytest.param("tiny", marks=pytest.mark.smoke), pytest.param("small", marks=pytest.mark.regress),
])
def test_counters(name):
    waves = os.environ.get("AMLA_WAVES") == "1"
    run(build_core(CoreConfig.load(name), waves=waves), name=TOP, module="amla.tb.core.test_core_counters", waves=waves,
        seed=int(os.environ["AMLA_SEED"]), results=BUILD_ROOT / "results" / f"core-counters-{name}",
        env={"AMLA_CONFIG": name})
