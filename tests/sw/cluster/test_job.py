"""Jobs of several cores on the command simulator: bit-exact to the golden split merge."""

import numpy as np
import pytest
from amla.model import mla_decode
from amla.sw.cluster.job import share_job
from amla.sw.cycles.model import simulate_cores
from amla.sw.memory.preset import IDEAL
from amla.sw.simulator.simulator import Simulator
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.workload import Workload

LOADS = {
    "one": Workload(name="one", heads=16, head_dim=48, head_dim_v=32, lengths=(100,), page_size=16, seed=1),
    "causal": Workload(name="causal", heads=8, q_tokens=2, causal=True, head_dim=48, head_dim_v=32,
                       lengths=(61, 33, 0, 7), page_size=16, seed=2),
    "sinks": Workload(name="sinks", heads=8, head_dim=48, head_dim_v=32, lengths=(90, 20), page_size=16, sink=True,
                      seed=3),
    "lists": Workload(name="lists", heads=8, q_tokens=2, head_dim=48, head_dim_v=32, lengths=(100, 60), page_size=16,
                      topk=40, window=8, seed=4),
}


def _run(shared):
    """Memory as the programs leave it, one after the other."""
    memory = shared.memory.copy()
    for phase, registers in zip(shared.phases, shared.registers(), strict=True):
        for program, values in zip(phase, registers, strict=True):
            if program is not None:
                Simulator(shared.job.config, memory, base=shared.job.base, read_window=program.read_window,
                          write_window=program.write_window, scale_word=program.scale_word).run(
                    program.symbols["PROGRAM"], values["PROGRAM_LENGTH"])
    return memory


def _golden(shared, load, inputs):
    return mla_decode(**inputs.arguments(), head_dim_v=load.head_dim_v, softmax_scale=load.scale, causal=load.causal,
                      mode=shared.job.config.mode, numerics=shared.job.numerics, cuts=shared.partition.cuts)


@pytest.mark.parametrize(("cores", "row_parts", "cut"), [(2, 1, 32), (4, 2, 16), (3, None, None), (4, 1, 200)])
@pytest.mark.parametrize("name", LOADS)
def test_bit_exact_to_the_golden_split_merge(tiny, name, cores, row_parts, cut):
    load = LOADS[name]
    inputs = make_inputs(load)
    shared = share_job(load, inputs, tiny, cores, row_parts=row_parts, cut=cut)
    start = shared.job.output_base - shared.job.base
    found = shared.job.unpack(_run(shared)[start:start + shared.job.output_bytes])
    for got, wanted in zip(found, _golden(shared, load, inputs), strict=True):
        word = np.dtype(f"u{got.itemsize}")
        assert (got.view(word) == wanted.view(word)).all()
    runs = simulate_cores(shared.commands, tiny, IDEAL)
    assert len(runs) == len(shared.phases) and all(
        (run is None) == (program is None) for phase, ran in zip(shared.phases, runs, strict=True)
        for program, run in zip(phase, ran, strict=True))
