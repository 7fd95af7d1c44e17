"""Shares of a workload and their merge, by the command simulator: the golden split merge; no races, no waits."""

import random

import numpy as np
import pytest
from amla.sw.compiler.hazards import find_hazards
from amla.tb.core.random_jobs import random_job
from amla.tb.split.split_jobs import SplitJob, random_cuts


@pytest.mark.parametrize("seed", range(30))
def test_shares_and_their_merge_are_the_golden_split_decode(tiny, seed):
    rng = random.Random(seed)
    case = random_job(rng, tiny)
    split = SplitJob.build(case.job, case.inputs, random_cuts(rng, tiny, case.job.plan.workload.lengths), rng)
    out, lse = split.unpack(split.simulate())
    wanted, wanted_lse = split.golden()
    assert (lse.view(np.uint32) == wanted_lse.view(np.uint32)).all()
    assert (out.view(np.uint16) == wanted.view(np.uint16)).all()
    for program in split.programs:
        assert not find_hazards(program.commands, tiny)
