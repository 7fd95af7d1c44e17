# amaranth: UnusedElaboratable=no
"""Clusters of configuration ``tiny``, in simulation: programs of all cores, faults on one of them."""

import os
import re

import pytest
from amla.rtl.cluster.cluster import MOST_CORES, AmlaCluster
from amla.rtl.config import CoreConfig
from amla.rtl.emit import emit
from amla.tb.build_core import build_core, top_of
from amla.tb.runner import BUILD_ROOT, run

TINY = CoreConfig.load("tiny")


def simulate(cores: int, name: str, *, testcase: str, env: dict[str, str] | None = None) -> None:
    waves = os.environ.get("AMLA_WAVES") == "1"
    run(build_core(TINY, cores=cores, waves=waves), name=top_of(cores), module="amla.tb.cluster.test_cluster",
        testcase=testcase, seed=int(os.environ["AMLA_SEED"]), waves=waves,
        results=BUILD_ROOT / "results" / f"cluster-{cores}-{name}", env={"AMLA_CORES": str(cores), **(env or {})})


@pytest.mark.parametrize("cores", [1, 3, MOST_CORES])
def test_any_number_of_cores(cores, tmp_path):
    """A core is emitted once, however many there are."""
    leaves = emit(AmlaCluster(TINY, cores=cores), name="amla_cluster", out=tmp_path)
    text = (tmp_path / "amla_cluster.v").read_text()
    assert leaves[-1] == "amla_core" and text.count("\nmodule amla_core(") == 1
    assert len(re.findall(r"^  amla_core ", text, re.MULTILINE)) == cores
    assert f"output [{cores - 1}:0] irq;" in text or cores == 1


@pytest.mark.parametrize("cores", [0, MOST_CORES + 1, True, 2.0])
def test_wrong_numbers_of_cores_are_named(cores):
    with pytest.raises(ValueError, match=f"^cores must be an integer from 1 to {MOST_CORES}, not {cores!r}$"):
        AmlaCluster(TINY, cores=cores)


#: The build takes longer than the runs; by day there is one.
CORES = [pytest.param(4, marks=pytest.mark.regress), pytest.param(2, marks=pytest.mark.nightly)]


@pytest.mark.parametrize("cores", CORES)
def test_random_programs(cores):
    simulate(cores, "programs", testcase="random_programs")


@pytest.mark.parametrize("cores", CORES)
def test_faults(cores):
    simulate(cores, "faults", testcase="a_fault_stops_its_core_alone")


@pytest.mark.parametrize("cores", CORES)
def test_registers(cores):
    simulate(cores, "registers", testcase="registers_are_each_core_s_own")


@pytest.mark.nightly
@pytest.mark.parametrize("cores", [2, 4])
def test_more(cores):
    simulate(cores, "more-programs", testcase="random_programs", env={"AMLA_ROUNDS": "64"})
    simulate(cores, "all-faults", testcase="a_fault_stops_its_core_alone", env={"AMLA_FAULTS": "1000"})
