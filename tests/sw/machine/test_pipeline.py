"""Pipes, tasks and shared memory against times worked out by hand, and against what must hold for any program."""

from math import inf

import numpy as np
import pytest
from amla.sw.machine.pipeline import Program, simulate

pytestmark = pytest.mark.smoke

FREE = {"read": inf, "write": inf, "far": inf}


def test_in_order_and_after_what_is_waited_for():
    program = Program(("a", "b"))
    first = program.work("a", 10)
    program.move("b", 100, 10, first)
    program.work("a", 5)
    program.work("b", 1)
    assert simulate(program, 1, **FREE).tolist() == [21]
    assert program.busy("a") == 15 and program.busy("b") == 11 and program.moved("b") == 100


def test_a_pipe_waits_for_its_head():
    program = Program(("a", "b"))
    long = program.work("b", 100)
    program.work("a", 1, long)
    program.work("a", 1)
    assert simulate(program, 1, **FREE).tolist() == [102]


def moves(*tasks):
    """A program of one transfer on each pipe."""
    program = Program(tuple(str(index) for index in range(len(tasks))))
    for index, (size, rate, options) in enumerate(tasks):
        program.move(str(index), size, rate, **options)
    return program


def test_capacity_is_shared_max_min_fair():
    # 2 of 12 bytes a cycle go to the slow path, 5 to each of the others; then 12 at most to what is left.
    program = moves((20, 2, {}), (50, 100, {}), (100, 100, {}))
    assert simulate(program, 1, read=12, write=inf, far=inf).tolist() == pytest.approx([10 + 50 / 12])


def test_reads_writes_and_the_far_memory_are_apart():
    both = moves((100, 10, {}), (100, 10, {"writes": True}))
    assert simulate(both, 1, read=10, write=10, far=1).tolist() == [10]
    assert simulate(both, 1, read=10, write=5, far=1).tolist() == [20]
    assert simulate(moves((100, 10, {"far": True})), 2, read=inf, write=inf, far=10).tolist() == [20, 20]


def test_cores_share_and_start_one_after_the_other():
    program = moves((100, 10, {}))
    assert simulate(program, 3, read=10, write=inf, far=inf).tolist() == [30, 30, 30]
    assert simulate(program, 3, read=10, write=inf, far=inf, skew=10).tolist() == [10, 20, 30]
    assert simulate(Program(("a",)), 3, **FREE, skew=4).tolist() == [0, 4, 8]


def test_no_faster_than_the_busiest_pipe_and_monotone_in_every_capacity():
    rng = np.random.default_rng(3)
    for _ in range(20):
        program = Program(("a", "b", "c"))
        for index in range(30):
            waits = tuple(map(int, rng.choice(index, min(index, 2), replace=False))) if index else ()
            pipe = "abc"[rng.integers(3)]
            if rng.random() < 0.4:
                program.work(pipe, float(rng.integers(20)), *waits)
            else:
                program.move(pipe, float(rng.integers(1, 200)), float(rng.integers(1, 20)), *waits,
                             far=bool(rng.random() < 0.3), writes=bool(rng.random() < 0.3))
        free = simulate(program, 2, **FREE)
        assert free.max() >= max(map(program.busy, program.pipes)) - 1e-6
        assert (simulate(program, 2, read=12, write=12, far=6) >= free - 1e-6).all()
        # All bytes go through the one or the other: no end before they can have.
        reads = 2 * sum(size for size, out in zip(program.size, program.writes, strict=True) if not out)
        assert simulate(program, 2, read=5, write=inf, far=inf).max() >= reads / 5 - 1e-6
