"""Counters against program and trace: those of a run pass, and each wrong one is named."""

from dataclasses import dataclass

import numpy as np
import pytest
from amla.rtl.config import CoreConfig
from amla.rtl.isa import Opcode
from amla.sw.compiler.program import Command
from amla.sw.run.compare import Mismatch
from amla.sw.run.counters import check_counters, check_states, counter_bounds, triples

CONFIG = CoreConfig.load("tiny")

#: Two MMADs that overlap, a third after a pause, a FENCE in between whose semaphores come three cycles late.
COMMANDS = [
    Command.build(Opcode.MMAD, mt=2, nt=3, kt=5),
    Command.build(Opcode.MMAD, mt=1, nt=1, kt=7),
    Command.build(Opcode.FENCE),
    Command.build(Opcode.MMAD, mt=1, nt=4, kt=1),
    Command.build(Opcode.HALT),
]
SPANS = [(10, 50), (40, 60), (20, 63), (70, 80), (66, 81)]
IDLE = {"busy": 0, "wait_semaphore": 0, "wait_memory": 0, "idle": 100}


@dataclass
class Run:
    """A run of COMMANDS in 100 cycles."""

    cycles: int
    cube_active: int
    counters: dict[str, dict[str, int]]
    trace: dict[str, np.ndarray]


@pytest.fixture
def run():
    order = [2, 0, 1, 4, 3]  # the trace lists commands as they started, not as they stand in the program
    start, end = (np.array([SPANS[index][column] for index in order]) for column in (0, 1))
    counters = {name: dict(IDLE) for name in ("load", "feed", "drain", "vector", "store")}
    counters["sequencer"] = {"busy": 5, "wait_semaphore": 2, "wait_memory": 30, "idle": 63}
    counters["cube"] = {"busy": 50, "wait_semaphore": 9, "wait_memory": 12, "idle": 29}
    return Run(100, 30 + 7 + 4, counters, {"index": np.array(order), "start": start, "end": end})


def test_right_counters_pass(run):
    check_counters(run, COMMANDS, CONFIG)
    assert triples(COMMANDS) == run.cube_active


def test_the_bounds(run):
    bounds = counter_bounds(run.trace, COMMANDS, 100, CONFIG)
    assert bounds["sequencer"] == {("busy",): (5, 5), ("wait_semaphore",): (2, 2)}
    # In progress from 10 to 60 and from 70 to 80. The first entered at some time before its own start; the third
    # after the FENCE's end in cycle 63, and before the HALT behind it started in cycle 66.
    assert bounds["cube"] == {("busy", "wait_memory"): (62, 62), ("wait_semaphore",): (4, 14)}
    assert bounds["vector"]["wait_memory",] == (0, 0)
    assert all(lane["busy", "wait_memory"] == lane["wait_semaphore",] == (0, 0)
               for name, lane in bounds.items() if name not in ("sequencer", "cube"))


def test_a_full_queue_keeps_commands_out(run):
    """A LOAD behind more MMADs than the queue holds: it cannot have entered, nor waited, before the first started."""
    depth = CONFIG.queue_depth
    commands = [Command.build(Opcode.MMAD, mt=1, nt=1, kt=1)] * (depth + 2) + [
        Command.build(Opcode.LOAD), Command.build(Opcode.HALT)]
    starts = [*(1000 + 100 * index for index in range(depth + 2)), 1500, 5000]
    trace = {"index": np.arange(depth + 4), "start": np.array(starts), "end": np.array(starts) + 50}
    least, most = counter_bounds(trace, commands, 6000, CONFIG)["load"]["wait_semaphore",]
    assert (least, most) == (1, 1500 - 1002)


@pytest.mark.parametrize(("engine", "state", "other", "name"), [
    ("cube", "busy", "idle", r"BUSY \+ WAIT_MEMORY of cube is 63, .* must be 62"),
    ("feed", "busy", "idle", r"BUSY \+ WAIT_MEMORY of feed is 1, .* must be 0"),
    ("cube", "wait_semaphore", "idle", "WAIT_SEMAPHORE of cube is 18, .* from 4 to 14"),
    ("store", "wait_semaphore", "idle", "WAIT_SEMAPHORE of store is 1, .* must be 0"),
    ("sequencer", "busy", "idle", "BUSY of sequencer is 6, .* must be 5"),
    ("sequencer", "wait_semaphore", "idle", "WAIT_SEMAPHORE of sequencer is 3, .* must be 2"),
])
def test_a_wrong_state_is_named(run, engine, state, other, name):
    by = 9 if name.endswith("14") else 1
    run.counters[engine][state] += by
    run.counters[engine][other] -= by
    with pytest.raises(Mismatch, match=name):
        check_counters(run, COMMANDS, CONFIG)


def test_the_vector_engine_never_waits_for_memory(run):
    commands = [*COMMANDS[:4], Command.build(Opcode.SOFTMAX, mt=1, kt=1), COMMANDS[4]]
    spans = np.array([*SPANS[:4], (75, 85), (72, 86)])
    run.trace = {"index": np.arange(6), "start": spans[:, 0], "end": spans[:, 1]}
    run.counters["vector"] = {"busy": 11, "wait_semaphore": 5, "wait_memory": 0, "idle": 84}
    run.counters["sequencer"] = {"busy": 6, "wait_semaphore": 2, "wait_memory": 30, "idle": 62}
    check_counters(run, commands, CONFIG)
    run.counters["vector"] |= {"busy": 10, "wait_memory": 1}
    with pytest.raises(Mismatch, match=r"WAIT_MEMORY of vector is 1, .* must be 0"):
        check_counters(run, commands, CONFIG)


def test_cube_active_counts_triples(run):
    run.cube_active += 1
    with pytest.raises(Mismatch, match="CUBE_ACTIVE is 42, the program has 41 fractal triples"):
        check_counters(run, COMMANDS, CONFIG)


def test_states_sum_to_the_cycles(run):
    run.counters["load"]["idle"] -= 1
    with pytest.raises(Mismatch, match="the counters of load sum to 99, not to CYCLES = 100"):
        check_states(run)


def test_a_trace_without_every_command_is_refused(run):
    run.trace = {name: column[:-1] for name, column in run.trace.items()}
    with pytest.raises(Mismatch, match="each of 5 commands once"):
        check_counters(run, COMMANDS, CONFIG)


def test_a_command_that_did_not_end_is_refused(run):
    run.trace["end"][0] = -1
    with pytest.raises(Mismatch, match="each of 5 commands once"):
        check_counters(run, COMMANDS, CONFIG)
