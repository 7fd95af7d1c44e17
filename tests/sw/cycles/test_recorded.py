"""The cycle model against what the RTL took on ``tiny``, command by command; and that against the RTL."""

import hashlib
import json
import random
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pytest
from amla.sw.cluster.job import share_job
from amla.sw.cycles.model import simulate
from amla.sw.memory.preset import IDEAL, Memory
from amla.sw.run.job_folder import ClusterJob, run_cluster
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.workload import Workload
from amla.tb.core.random_jobs import random_job

#: Program -> cycles by the RTL, and a digest of when each command starts and ends: random workloads of 16 bits and FP8,
#: by lists of one cache and of two, with sinks, at every preload depth; a share of split keys, and its merge.
RECORD = {
    "100": [4799, "7f227478b4a2e893"], "105": [3283, "c96c23cd757eb41e"], "112": [10123, "ed374d4916154f14"],
    "125": [6843, "6a599ac8ab9ddd7f"], "129": [8017, "6a4dd566bbedc350"], "136": [5129, "fd9468b492ee3a8a"],
    "143": [5802, "00aeebc4937a79c4"], "150": [3494, "5ee1af7b0a85966c"], "158": [15705, "3dcbf5a0c5be2e3e"],
    "168": [2178, "d43909a4d4b1840e"], "173": [6977, "3e4011f807ec0f2d"], "180": [5866, "aabf22a369808f39"],
    "share": [11866, "9b9736ccd897799e"], "merge": [3089, "ed97f59a3bd367f3"],
}
SPLIT = Workload(name="split", heads=16, head_dim=48, head_dim_v=32, lengths=(150, 90), page_size=16, seed=1, sink=True)


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A program of one core, its memory, and for the simulation its data."""

    program: object
    memory: Memory
    run: ClusterJob


@pytest.fixture(scope="module")
def cases(tiny):
    found = {}
    for number in (100, 105, 112, 125, 129, 136, 143, 150, 158, 168, 173, 180):
        one = random_job(random.Random(f"1/{number}"), tiny)
        memory = one.job.plan.memory if one.latency is None else IDEAL.at(one.latency[0])
        found[str(number)] = Case(program=one.job.program, memory=memory, run=ClusterJob.of([one.job]))
    hbm = Memory.load("hbm")
    shared = share_job(SPLIT, make_inputs(SPLIT), tiny, 2, row_parts=2, cut=48, memory=hbm)
    for name, programs, registers in zip(("share", "merge"), shared.phases, shared.registers(), strict=True):
        found[name] = Case(program=programs[0], memory=hbm, run=ClusterJob(
            base=shared.job.base, memory=shared.memory, phases=[[registers[0]]], outputs={}))
    return found


def figures(cycles, start, end):
    return [cycles, hashlib.sha256(np.stack([start, end]).astype("<i8").tobytes()).hexdigest()[:16]]


def test_every_command_is_where_the_rtl_has_it(cases, tiny):
    found = {}
    for name, case in cases.items():
        job = case.run
        model = simulate(case.program.commands, tiny, case.memory, gm=job.memory, base=job.base,
                         program=case.program.symbols["PROGRAM"])
        found[name] = figures(model.cycles, model.start, model.end)
    assert found == RECORD


@pytest.mark.regress
def test_the_record_is_the_rtl_s(cases, tiny, tmp_path):
    runs = defaultdict(dict)
    for name, case in cases.items():
        runs[case.memory][name] = case.run
    found = {}
    for memory, jobs in runs.items():
        for name, run in run_cluster(jobs, tiny, memory=memory, out=tmp_path).runs.items():
            (core,) = run.phases[0].cores
            assert core.status == "done"
            order = np.argsort(core.trace["index"])
            found[name] = figures(core.cycles, core.trace["start"][order], core.trace["end"][order])
    assert found == RECORD, f"the RTL takes\n{json.dumps(found)}"
