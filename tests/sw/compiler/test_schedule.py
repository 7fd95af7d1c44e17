"""Programs: traffic, order, tokens."""

from collections import Counter
from dataclasses import replace
from itertools import groupby

import pytest
from amla.rtl.isa import SEMAPHORE_MAX, Engine, Opcode
from amla.sw.compiler.items import work_items
from amla.sw.compiler.program import members
from amla.sw.workload.workload import Workload


def _of(job, opcode):
    return [command for command in job.program.commands if command.opcode == opcode]


@pytest.mark.parametrize("preload", [0, 1, 2])
def test_every_kv_byte_is_read_once(make_job, small, preload):
    load = Workload.load("decode")
    job, _ = make_job(load, small, preload)
    q_bytes = 2 * 576 * load.rows * len(load.lengths)
    assert job.bytes_read == q_bytes + 2 * 576 * sum(load.lengths)
    rows = Counter()
    for command in _of(job, Opcode.LOAD):
        for row in range(command["rows"]):
            for byte in range(0, 2 * command["cols"], 64):
                rows[command["address"] + row * command["pitch"] + byte] += 1
    assert set(rows.values()) == {1}


def test_shared_blocks_are_read_once(make_job):
    load = Workload(name="x", heads=24, q_tokens=2, head_dim=24, head_dim_v=16, lengths=(64, 40))
    job, _ = make_job(load)
    assert job.plan.resident_tiles == 2
    assert job.bytes_read == 2 * 24 * (2 * load.rows + 64 + 40)


def test_a_small_l1_reads_every_byte_once_too(make_job, tiny, tiny_workload):
    job, _ = make_job(tiny_workload, replace(tiny, l1_bytes=6144))
    assert job.bytes_read == 2 * 48 * (tiny_workload.rows * 3 + sum(tiny_workload.lengths))


@pytest.mark.parametrize("preload", [1, 2])
def test_the_cube_takes_c1_and_c2_in_turns(make_job, small, preload):
    """C2 of an item begins in the C1 of the item `preload` later and runs into the next, a slab of each by turns."""
    job, _ = make_job(Workload.load("decode"), small, preload)
    plan, items = job.plan, list(work_items(job.plan))
    numbers = {(item.request, item.index, item.block): item.sequence for item in items}
    slabs = [(note.stage, numbers[note.request, note.tile, note.block])
             for command, note in zip(job.program.commands, job.program.annotations, strict=True)
             if command.engine == Engine.CUBE]
    for stage in ("C1", "C2"):
        order = [number for kind, number in slabs if kind == stage]
        assert order == sorted(order)
    assert not plan.pressed
    for number in range(2, len(items) - preload - 1):  # after the halves of the first block
        places = [place for place, slab in enumerate(slabs) if slab == ("C2", number)]
        others = [slabs[place] for place in range(places[0], places[-1])]
        assert {other for kind, other in others if kind == "C1"} <= {number + preload, number + preload + 1}
        # Between two sub-tiles of values comes a slab of scores, as far as there are slabs.
        runs = [len(list(group)) for kind, group in groupby(others, key=lambda slab: slab[0]) if kind == "C2"]
        assert max(runs) <= -(-len(places) // len(plan.score_slabs)) + 1


def test_the_serial_baseline_fences_every_item(make_job, small):
    job, _ = make_job(Workload.load("single"), small, 0)
    stages = [note.stage or command.opcode.name
              for command, note in zip(job.program.commands, job.program.annotations, strict=True)
              if command.engine in (Engine.CUBE, Engine.VECTOR, Engine.SEQUENCER)]
    collapsed = [stage for index, stage in enumerate(stages) if not index or stages[index - 1] != stage]
    assert collapsed[:8] == ["C1", "V1", "C2", "FENCE", "C1", "V1", "C2", "FENCE"]
    assert collapsed.count("FENCE") == len(list(work_items(job.plan))) and collapsed[-1] == "HALT"


def test_waits_follow_signals_and_nothing_is_left(make_job, small):
    """In program order no wait blocks, no counter passes its maximum, and all are zero at the end."""
    job, _ = make_job(Workload.load("decode"), small, 2)
    counters = Counter()
    for command in job.program.commands:
        counters.subtract(members(command.wait))
        assert min(counters.values(), default=0) >= 0
        counters.update(members(command.signal))
        assert max(counters.values(), default=0) <= SEMAPHORE_MAX
    assert not any(counters.values())


def test_a_request_without_keys_is_written_by_the_core(make_job):
    load = Workload(name="x", heads=3, head_dim=16, head_dim_v=8, lengths=(0,))
    job, _ = make_job(load)
    loads = _of(job, Opcode.LOAD)
    assert [(c["rows"], c["rows_padded"]) for c in loads if "a_side" not in c.flags] == [(0, 4)] * len(
        [c for c in loads if "a_side" not in c.flags])
    assert {c["limit"] for c in _of(job, Opcode.SOFTMAX)} == {0}
    assert len(_of(job, Opcode.STORE)) == len(job.plan.units) + 1


def test_prefetch_precedes_use(make_job, small):
    """Program order puts the second block's loads ahead of the first block's last feeds."""
    job, _ = make_job(Workload.load("single"), small)
    notes = job.program.annotations
    loads = [i for i, c in enumerate(job.program.commands) if c.opcode == Opcode.LOAD and notes[i].block == 1]
    uses = [i for i, c in enumerate(job.program.commands) if c.engine == Engine.FEED and notes[i].block == 0]
    assert max(loads) < max(uses)


def test_scheduling_is_deterministic(make_job, tiny_workload):
    assert make_job()[0].program.binary == make_job()[0].program.binary
