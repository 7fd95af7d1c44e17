"""The whole core on configuration ``tiny``, in simulation: random workloads, faults, registers."""

import os
import random
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import yaml
from amla.rtl.config import CoreConfig
from amla.sw.cycles.model import simulate as simulate_cycles
from amla.sw.memory.preset import IDEAL
from amla.sw.run.job_folder import ClusterJob, run_cluster
from amla.sw.run.model_check import COUNTER_OFF, MOST_OFF, MOSTLY_OFF, compare
from amla.tb.build_core import TOP, build_core
from amla.tb.core.random_jobs import random_job
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
@pytest.mark.parametrize(("config", "workloads"), [(TINY, 220), (CoreConfig.load("small"), 60)], ids=["tiny", "small"])
def test_cycle_model_on_random_workloads(config, workloads, seed, tmp_path):
    """Without stalls at random, each beside the memory that it draws."""
    jobs = defaultdict(dict)
    for number in range(workloads):
        case = random_job(random.Random(f"{seed}/{number}"), config)
        memory = case.job.plan.memory if case.latency is None else IDEAL.at(case.latency[0])
        jobs[memory][str(number)] = case.job
    errors = []
    for memory, some in jobs.items():
        runs = run_cluster({name: ClusterJob.of([job]) for name, job in some.items()}, config, memory=memory,
                           out=tmp_path).runs
        for name, job in some.items():
            (run,) = runs[name].phases[0].cores
            model = simulate_cycles(job.program.commands, config, memory, gm=job.memory, base=job.base,
                                    program=job.program.symbols["PROGRAM"])
            errors.append(compare(model, run.cycles, run.counters))
    cycles, counters = np.abs(errors).T
    print(f"{len(errors)} workloads, {(cycles == 0).sum()} exact; off in CYCLES by {100 * cycles.max():.3f} % at most, "
          f"by {100 * np.quantile(cycles, 0.95):.3f} % in 95 of 100; in a counter by {100 * counters.max():.3f} %")
    assert cycles.max() <= MOST_OFF and np.quantile(cycles, 0.95) <= MOSTLY_OFF and counters.max() <= COUNTER_OFF


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
