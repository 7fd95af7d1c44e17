"""The whole core on configuration ``tiny``, in simulation: random workloads, faults, registers."""

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

#: L1 for FP8 keys at every preload depth and in several row groups; that of ``tiny`` takes them at depths 0 and 1.
WIDE = replace(TINY, name="wide", l1_bytes=32768)

#: Random workloads in all, at night, and simulations that share them out.
WORKLOADS, NIGHTLY, SIMULATIONS = 180, 300, 4


@pytest.fixture(scope="module")
def core():
    """Build folder of the core, with waves when AMLA_WAVES is 1."""
    return build_core(TINY, waves=os.environ.get("AMLA_WAVES") == "1")


def simulate(core, name: str, *, module: str = "amla.tb.core.test_core", testcase: str | list[str] | None = None,
             env: dict[str, str] | None = None) -> None:
    run(core, name=TOP, module=module, testcase=testcase, seed=int(os.environ["AMLA_SEED"]),
        waves=os.environ.get("AMLA_WAVES") == "1", results=BUILD_ROOT / "results" / f"core-{name}", env=env)


@pytest.mark.regress
@pytest.mark.parametrize("part", range(1 if "AMLA_CASE" in os.environ else SIMULATIONS))
def test_random_workloads(core, part):
    share = WORKLOADS // SIMULATIONS
    simulate(
        core, f"random-{part}", testcase="random_workloads", env={"AMLA_CASES": f"{part * share}:{share}"}
    )


@pytest.mark.regress
def test_random_splits(core):
    simulate(core, "splits", module="amla.tb.split.test_split")


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(SIMULATIONS))
def test_more_random_workloads(core, part):
    """Others than by day."""
    share = NIGHTLY // SIMULATIONS
    simulate(core, f"more-random-{part}", testcase="random_workloads",
             env={"AMLA_CASES": f"{WORKLOADS + part * share}:{share}"})


@pytest.mark.nightly
@pytest.mark.parametrize(("config", "workloads"), [(TINY, 240), (ODD, 60), (WIDE, 60)], ids=["tiny", "odd", "wide"])
def test_random_workloads_beside_hbm(config, workloads, tmp_path):
    """With stalls and answers out of order, many of them."""
    path = tmp_path / f"{config.name}.yaml"
    path.write_text(yaml.safe_dump(vars(config)), encoding="utf-8")
    simulate(build_core(config), f"memory-{config.name}", testcase="random_workloads",
             env={"AMLA_CONFIG": str(path), "AMLA_CASES": f"0:{workloads}", "AMLA_MEMORY": "hbm"})


@pytest.mark.smoke
def test_registers(core):
    simulate(core, "registers", testcase=["identity_and_parameters", "registers_keep_what_is_written",
                                          "interrupt_follows_its_enable"])


@pytest.mark.regress
def test_lost_keys(core):
    simulate(core, "lost-keys", testcase="lost_keys_change_no_bit")


@pytest.mark.regress
def test_faults(core):
    simulate(core, "faults", module="amla.tb.core.test_core_faults")


@pytest.mark.regress
def test_random_faults(core):
    simulate(core, "random-faults", module="amla.tb.core.test_random_faults")
