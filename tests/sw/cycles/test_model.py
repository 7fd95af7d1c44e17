"""The cycle model: against the RTL's record, against arithmetic, and what it refuses. On the RTL itself: tb/core."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from amla.rtl.fp.fdpa import Fdpa
from amla.rtl.isa import Opcode, Semaphore
from amla.sw.compiler.program import Command
from amla.sw.cycles.model import expected_starts, simulate, simulate_cores
from amla.sw.errors import AmlaError
from amla.sw.memory.preset import IDEAL, Memory
from amla.sw.run.model_check import compare, digest, job_of
from amla.sw.run.model_job import run_model

ROOT = Path(__file__).parents[3]
RECORD = json.loads((ROOT / "docs" / "cycle_model" / "rtl.json").read_text(encoding="utf-8"))
HALT = Command.build(Opcode.HALT)
L0, L0C = Semaphore.L0_READY, Semaphore.L0C_READY


def feed(words, **masks):
    return Command.build(Opcode.FEED_A, outer=words, inner=1, **masks)


def mmad(words, steps=1, **masks):
    return Command.build(Opcode.MMAD, mt=words, nt=1, kt=steps, **masks)


def load(rows=4, **masks):
    return Command.build(Opcode.LOAD, rows=rows, rows_padded=rows, cols=24, pitch=48, **masks)


def span(run, index):
    return int(run.end[index] - run.start[index])


def _check(key):
    config, workload, memory, preload = key.split()
    job = job_of((config, workload, memory, int(preload)))
    assert digest(job) == RECORD[key]["digest"], f"{key} is on record with another program: make cycle-model"
    run = run_model(job)
    assert compare(run, RECORD[key]["cycles"], RECORD[key]["counters"]) == (0, 0), key


@pytest.mark.parametrize("key", [key for key, found in RECORD.items() if found["cycles"] < 50_000])
def test_against_the_record(key):
    """CYCLES and every counter, of short programs, are those of the RTL."""
    _check(key)


@pytest.mark.nightly
@pytest.mark.parametrize("key", [key for key, found in RECORD.items() if found["cycles"] >= 50_000])
def test_against_the_whole_record(key):
    _check(key)


def test_words_a_cycle(tiny):
    """A feed takes its words and its latency, a product its steps; each waits for the semaphore of the one before."""
    run = simulate([feed(8, signal=[L0]), mmad(20, 3, wait=[L0], signal=[L0C]), HALT], tiny)
    assert span(run, 0) == 8 + tiny.k // tiny.n + 2
    assert span(run, 1) == 20 * 3 + Fdpa.latency + 2
    assert run.cube_active == 60
    assert run.start[1] > run.end[0]
    assert sum(run.counters["cube"].values()) == run.cycles


def test_a_short_tile_waits_for_the_dot_units(tiny):
    run = simulate([mmad(4, 5), HALT], tiny)
    assert run.counters["cube"]["wait_memory"] == 4 * (Fdpa.latency + 2 - 4)


def test_no_more_is_in_flight_than_may_be(tiny):
    """Four times the beats that may be in flight: four times the way, behind the fetch; and not a beat less."""
    beats = 4 * tiny.axi_in_flight_bytes // tiny.axi_data_bytes
    wide = Command.build(Opcode.LOAD, rows=128, rows_padded=128, cols=16, pitch=32)
    program = [wide] * (beats // 256) + [HALT]
    near, far = (simulate(program, tiny, IDEAL.at(cycles)) for cycles in (6000, 6100))
    assert far.cycles - near.cycles == (1 + 4) * 100


@pytest.mark.parametrize("latency", [20, 500])
def test_memory_is_as_far_as_it_is(tiny, latency):
    """A load, and the fetch before it: two latencies."""
    program = [load(signal=[L0]), mmad(4, wait=[L0]), HALT]
    near, far = (simulate(program, tiny, IDEAL.at(cycles)) for cycles in (latency, latency + 100))
    assert far.cycles - near.cycles == 200
    assert (far.reads[:, 2] == near.reads[:, 2]).all() and near.reads[:, 2].sum() >= 4 * 48


def test_beats_come_one_after_the_other():
    """Bursts are parted by another's beats where memory has those sooner; what is noted does not overlap and is all."""
    job = job_of(("small", "fp8", "hbm", 1))
    run, other = (simulate(job.program.commands, job.config, memory, gm=job.memory, base=job.base,
                           program=job.program.symbols["PROGRAM"]) for memory in (job.plan.memory, IDEAL))
    beat, reads = job.config.axi_data_bytes, run.reads
    assert (reads[1:, 0] > reads[:-1, 1]).all() and (reads[:, 2] <= beat * (reads[:, 1] - reads[:, 0] + 1)).all()
    assert len(reads) > len(other.reads)
    assert run.traffic.read_bytes == other.traffic.read_bytes >= job.bytes_read + len(job.program.binary)
    assert run.traffic.peak(run.traffic.reads) <= beat + 1e-9


def test_a_full_queue_holds_up_what_follows(tiny):
    """Of two dozen long products the queue takes sixteen and the engine its own: the feed behind them waits."""
    long = [mmad(50, 20) for _ in range(40)]
    behind, alone = (simulate([*program, HALT], tiny) for program in ([*long, feed(1)], [feed(1)]))
    assert behind.start[40] > alone.start[0] + 5_000
    deep = simulate([*long, feed(1), HALT], replace(tiny, queue_depth=64))
    assert deep.start[40] < behind.start[40] - 5_000
    # Without queues and fetch only engine and semaphores decide.
    assert expected_starts([*long, feed(1), HALT], tiny)[40] < 20


def test_a_fence_waits_for_all(tiny):
    run = simulate([mmad(40, 20), Command.build(Opcode.FENCE), feed(1), HALT], tiny)
    assert run.end[1] > run.end[0] and run.start[2] > run.end[1]
    assert run.counters["sequencer"]["busy"] == 4


def test_waiting_for_ever_is_an_error(tiny):
    with pytest.raises(AmlaError, match="waits for ever"):
        simulate([mmad(4, wait=[L0]), HALT], tiny)


def test_words_past_a_buffer_are_an_error(tiny):
    with pytest.raises(AmlaError, match="word 99 of L0C, which has 64"):
        simulate([mmad(100), HALT], tiny)


def test_cores_share_what_memory_gives(tiny):
    """Beside a memory for all of them they run as each alone; with half of its rate they need longer."""
    program = [*(load(128, address=4096 * number) for number in range(4)), HALT]
    half = Memory(name="half", latency=20, bytes_per_cycle=16)
    alone = simulate(program, tiny, half)
    pair = simulate_cores([[program, program]], tiny, replace(half, bytes_per_cycle=32))[0]
    crowd = simulate_cores([[program, program]], tiny, half)[0]
    assert max(run.cycles for run in pair) < 1.15 * alone.cycles  # a few bursts behind the other one
    assert max(run.cycles for run in crowd) > 1.7 * alone.cycles
    assert [sum(run.reads[:, 2]) for run in crowd] == [sum(alone.reads[:, 2])] * 2
