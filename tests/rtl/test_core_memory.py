"""The whole core beside ``hbm``, in simulation: random workloads with stalls and answers out of order, many of them."""

import os
from dataclasses import replace

import pytest
import yaml
from amla.rtl.config import CoreConfig
from amla.tb.build_core import TOP, build_core
from amla.tb.runner import BUILD_ROOT, run

TINY = CoreConfig.load("tiny")

#: A core of odd sizes: m and n differ, the KV block is no power of two, L1 holds hardly more than it must.
ODD = replace(TINY, name="odd", m=2, n=4, k=8, kv_block=24, l1_bytes=3072)


@pytest.mark.nightly
@pytest.mark.parametrize(("config", "workloads"), [(TINY, 240), (ODD, 60)], ids=["tiny", "odd"])
def test_random_workloads(config, workloads, tmp_path):
    path = tmp_path / f"{config.name}.yaml"
    path.write_text(yaml.safe_dump(vars(config)), encoding="utf-8")
    run(build_core(config), name=TOP, module="amla.tb.core.test_core", testcase="random_workloads",
        seed=int(os.environ["AMLA_SEED"]), results=BUILD_ROOT / "results" / f"core-memory-{config.name}",
        env={"AMLA_CONFIG": str(path), "AMLA_CASES": f"0:{workloads}", "AMLA_MEMORY": "hbm"})
