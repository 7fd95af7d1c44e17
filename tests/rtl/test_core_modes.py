"""The whole core in modes, format and proportions that ``tiny`` does not have, in simulation: random workloads."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from amla.rtl.config import MODES, P_FORMATS, CoreConfig
from amla.rtl.fp.word import OPERANDS
from amla.tb.build_core import TOP, build_core
from amla.tb.runner import BUILD_ROOT, run

#: Random workloads per core.
WORKLOADS = 30

TINY = CoreConfig.load("tiny")

#: Modes and formats, each on a cube of other proportions: m > n with a whole word of S per column, m < n, and blocks of
#: two fractals to transpose behind a single L1 bank.
CHANGES: list[dict[str, str | int]] = [
    {"mode": "mul", "n": 2, "lanes": 1}, {"mode": "pow2", "m": 2, "p_format": "operand"},
    {"format": "fp16", "m": 2, "k": 8},
]


def test_no_mode_or_format_is_left_out():
    configs = [TINY, *(replace(TINY, **change) for change in CHANGES)]
    assert {config.mode for config in configs} == set(MODES)
    assert {config.format for config in configs} == set(OPERANDS)
    assert {config.p_format for config in configs} == set(P_FORMATS)


def variant(change: dict[str, str | int], folder: Path) -> tuple[CoreConfig, Path]:
    """``tiny`` with a change, and a file that says so."""
    config = replace(TINY, name=f"tiny-{'-'.join(map(str, change.values()))}", **change)
    path = folder / f"{config.name}.yaml"
    path.write_text(yaml.safe_dump(vars(config)))
    return config, path


@pytest.mark.regress
@pytest.mark.parametrize(
    "change", CHANGES, ids=lambda change: "-".join(map(str, change.values())))
def test_random_workloads(change, tmp_path):
    """The register NUMERICS too, which the bench compares with the configuration."""
    config, path = variant(change, tmp_path)
    core = build_core(config, waves=os.environ.get("AMLA_WAVES") == "1")
    run(core, name=TOP, module="amla.tb.core.test_core",
        testcase=["random_workloads", "lost_keys_change_no_bit", "identity_and_parameters"],
        seed=int(os.environ["AMLA_SEED"]), waves=os.environ.get("AMLA_WAVES") == "1",
        results=BUILD_ROOT / "results" / f"core-{config.name}",
        env={"AMLA_CONFIG": str(path), "AMLA_CASES": f"0:{WORKLOADS}"})
