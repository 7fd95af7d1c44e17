"""Workloads shared out over the cores of a cluster on the RTL: golden split merge, cycles of the machine model."""

from dataclasses import replace

import numpy as np
import pytest
from amla.model import mla_decode
from amla.sw.cluster.job import share_job
from amla.sw.cycles.model import simulate_cores
from amla.sw.memory.preset import IDEAL, Memory
from amla.sw.run.job_folder import ClusterJob, run_cluster
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.workload import Workload

LONG = Workload(name="long", heads=16, head_dim=48, head_dim_v=32, lengths=(400,), page_size=16, seed=1)
#: Name -> workload, ranges of rows, keys from cut to cut; None: as it is best.
LOADS = {
    "long": (LONG, None, None), "rows": (LONG, 2, 104),
    "batch": (replace(LONG, lengths=(130, 64, 99, 17, 80)), None, None),
    "over": (replace(LONG, heads=32, lengths=(300, 320, 290, 310, 330)), None, None),
    "lists": (replace(Workload.load("tiny-sparse"), topk=90, topk_lengths=None), 1, 32),
    "causal": (replace(LONG, heads=8, q_tokens=2, causal=True, lengths=(200, 33, 0)), 1, 64),
    "sinks": (replace(LONG, sink=True, lengths=(150, 90)), 2, 48),
}
#: By which a phase's longest core may be off the model's, as a share of its cycles.
MOST_OFF = 0.02


@pytest.mark.regress
@pytest.mark.parametrize("cores", [pytest.param(2, marks=pytest.mark.nightly), 4])
def test_shared_workloads(tiny, cores, seed, tmp_path):
    off = {}
    for memory in (IDEAL, Memory.load("hbm")):
        inputs = {name: make_inputs(load) for name, (load, *_) in LOADS.items()}
        shared = {name: share_job(load, inputs[name], tiny, cores, row_parts=rows, cut=cut, memory=memory)
                  for name, (load, rows, cut) in LOADS.items()}
        runs = run_cluster({name: ClusterJob(
            base=one.job.base, memory=one.memory, phases=one.registers(),
            outputs={"output": (one.job.output_base, one.job.output_bytes)}) for name, one in shared.items()},
            tiny, memory=memory, out=tmp_path, seed=seed).runs
        for name, one in shared.items():
            load = LOADS[name][0]
            golden = mla_decode(**inputs[name].arguments(), head_dim_v=load.head_dim_v, softmax_scale=load.scale,
                                causal=load.causal, numerics=one.job.numerics, cuts=one.partition.cuts)
            for got, wanted in zip(one.job.unpack(runs[name].outputs["output"]), golden, strict=True):
                word = np.dtype(f"u{got.itemsize}")
                assert (got.view(word) == wanted.view(word)).all(), name
            model = simulate_cores(one.commands, tiny, memory, one_port=True, places=one.places, gm=one.memory,
                                   base=one.job.base)
            for number, (phase, expected) in enumerate(zip(runs[name].phases, model, strict=True)):
                ran = max(core.cycles for core in phase.cores if core is not None)
                off[memory.name, name, number] = max(run.cycles for run in expected if run is not None) / ran - 1
    print({key: f"{100 * error:+.2f} %" for key, error in off.items()})
    assert all(abs(error) <= MOST_OFF for error in off.values()), off
