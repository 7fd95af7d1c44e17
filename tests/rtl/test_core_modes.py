"""The whole core in the modes and the format that ``tiny`` does not have, in simulation: random workloads."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from amla.rtl.config import MODES, CoreConfig
from amla.tb.build_core import TOP, build_core
from amla.tb.runner import BUILD_ROOT, run

#: Random workloads per core.
WORKLOADS = 30

TINY = CoreConfig.load("tiny")


def variant(change: dict[str, str], folder: Path) -> tuple[CoreConfig, Path]:
    """``tiny`` in another mode or format, and a file that says so."""
    config = replace(TINY, name=f"tiny-{'-'.join(change.values())}", **change)
    path = folder / f"{config.name}.yaml"
    path.write_text(yaml.safe_dump(vars(config)))
    return config, path


@pytest.mark.regress
@pytest.mark.parametrize(
    "change", [*({"mode": mode} for mode in MODES if mode != TINY.mode), {"format": "fp16"}],
    ids=lambda change: "-".join(change.values()))
def test_random_workloads(change, tmp_path):
    """The register NUMERICS too, which the bench compares with the configuration."""
    config, path = variant(change, tmp_path)
    core = build_core(config, waves=os.environ.get("AMLA_WAVES") == "1")
    run(core, name=TOP, module="amla.tb.core.test_core",
        testcase=["random_workloads", "lost_keys_change_no_bit", "identity_and_parameters"],
        seed=int(os.environ["AMLA_SEED"]), waves=os.environ.get("AMLA_WAVES") == "1",
        results=BUILD_ROOT / "results" / f"core-{config.name}",
        env={"AMLA_CONFIG": str(path), "AMLA_CASES": f"0:{WORKLOADS}"})
