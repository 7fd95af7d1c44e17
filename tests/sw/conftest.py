"""Random workloads on small cores, one per seed."""

import random
from dataclasses import replace

import pytest
from amla.rtl.config import MODES
from amla.sw.generate import make_inputs
from amla.sw.memory_map import build_job
from amla.sw.workload import Workload


@pytest.fixture(scope="session")
def tiny_workload():
    """The workload tiny: two query tokens, causal, ragged, one request without keys."""
    return Workload.load("tiny")


@pytest.fixture(scope="session")
def make_job(tiny, tiny_workload):
    """Build a job; returns it with its inputs."""
    def make(workload=tiny_workload, config=tiny, preload=1):
        inputs = make_inputs(workload)
        return build_job(workload, inputs, config, preload=preload), inputs
    return make


@pytest.fixture(scope="session")
def random_case(tiny):
    """``random_case(seed)``: a workload, a configuration around tiny and a preload depth."""
    def draw(seed):
        rng = random.Random(seed)
        config = tiny
        if seed % 2:
            config = replace(
                tiny, l1_bytes=rng.choice((4096, 8192, 16384, 65536)), max_rows=rng.choice((4, 8, 16, 32)),
                l0a_bytes=rng.choice((512, 1024, 4096)), l0b_bytes=rng.choice((512, 1024, 4096)),
                l0c_bytes=rng.choice((512, 1024, 4096)), o_bytes=rng.choice((2048, 8192, 16384)),
                out_bytes=rng.choice((512, 2048)), s_bytes=rng.choice((4096, 16384)),
                state_rows=rng.choice((0, 32, 64)),
                lanes=rng.choice((1, 2, 4)), kv_block=rng.choice((8, 32, 64)),
                mode=rng.choice(MODES),
                comp_bits=rng.randrange(4), acc_frac_bits=rng.choice((24, 30)),
            )
        long = rng.randrange(301)
        lengths = rng.choice(((long,), (long, 0), (5, 1, 0, 2, 33), (long // 2, long // 3), (0,)))
        workload = Workload(
            name="random", heads=rng.randint(1, 40), q_tokens=rng.randint(1, 4), causal=rng.random() < 0.5,
            head_dim=(width := rng.choice((8, 16, 32))) + rng.choice((8, 16)), head_dim_v=width,
            lengths=lengths,
            page_size=rng.choice((1, 3, 16, 64, 128)), seed=seed, inputs=rng.choice(("layer", "normal")),
        )
        return workload, config, rng.randrange(3)
    return draw
