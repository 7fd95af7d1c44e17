"""The hazard check: clean on every program, and able to fail."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from amla.rtl.isa import SEMAPHORE_MAX, Opcode, Semaphore
from amla.sw.compiler.hazards import find_hazards
from amla.sw.compiler.memory_map import build_job
from amla.sw.compiler.program import Command, members
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.workload import Workload
from amla.tb.core.random_jobs import random_job


@pytest.mark.parametrize("preload", [0, 1, 2])
@pytest.mark.parametrize("name", ["decode", "decode-mtp"])
def test_main_programs_are_free_of_hazards(make_job, small, name, preload):
    job, _ = make_job(Workload.load(name), small, preload)
    assert find_hazards(job.program.commands, small) == []


@pytest.mark.parametrize("seed", range(30))
def test_random_programs_are_free_of_hazards(random_case, seed):
    workload, config, preload = random_case(1000 + seed)
    job = build_job(workload, make_inputs(workload, format=config.format), config, preload=preload)
    assert find_hazards(job.program.commands, config) == []


@pytest.mark.parametrize("seed", range(30))
def test_programs_of_every_cache_are_free_of_hazards(tiny, seed):
    """Lists, FP8 keys and sinks among them."""
    assert find_hazards(random_job(random.Random(f"hazards/{seed}"), tiny).job.program.commands, tiny) == []


def test_sinks_must_have_come(tiny):
    ready = (Semaphore.Q_READY,)
    load = Command.build(Opcode.LOAD, rows=2, rows_padded=2, cols=8, sinks=True)
    rows = Command.build(Opcode.LOAD, rows_padded=1, cols=8, signal=ready)
    normalize = {"mt": 1, "nt": 1, "o_pitch": 8, "out_pitch": 1, "sink": 1, "first": True, "sinks": True}
    assert find_hazards([load, rows, Command.build(Opcode.NORMALIZE, **normalize, wait=ready)], tiny) == []
    [finding] = find_hazards([load, Command.build(Opcode.NORMALIZE, **normalize)], tiny)
    assert "SINK" in finding


def _pairs(commands):
    """(semaphore, signaller, waiter): indices of the commands that hand over each token."""
    signals, waits = {}, {}
    for index, command in enumerate(commands):
        for semaphore in members(command.wait):
            waits.setdefault(semaphore, []).append(index)
        for semaphore in members(command.signal):
            signals.setdefault(semaphore, []).append(index)
    return [(semaphore, *pair) for semaphore in signals
            for pair in zip(signals[semaphore], waits[semaphore], strict=True)]


#: Tokens that other ones imply as long as the cube alternates C1 and C2.
_IMPLIED = {Semaphore.S_FREE, Semaphore.P_FREE}


def test_a_dropped_token_is_a_race(make_job, tiny):
    """Dropping any READY token, or one of every FREE kind, lets two commands race, and the check says so."""
    load = Workload(name="x", heads=8, q_tokens=4, head_dim=24, head_dim_v=16, lengths=(10, 7, 64, 0, 3))
    job, _ = make_job(load, replace(tiny, l1_bytes=8192))  # so that KV has few slots
    commands = list(job.program.commands)
    dropped, racing = Counter(), Counter()
    for semaphore, signaller, waiter in _pairs(commands):
        broken = list(commands)
        broken[signaller] = replace(broken[signaller], signal=broken[signaller].signal & ~(1 << semaphore))
        broken[waiter] = replace(broken[waiter], wait=broken[waiter].wait & ~(1 << semaphore))
        dropped[semaphore] += 1
        racing[semaphore] += any(" race for " in finding for finding in find_hazards(broken, tiny, limit=3))
    assert set(dropped) == set(Semaphore)
    for semaphore in set(Semaphore) - _IMPLIED:
        assert racing[semaphore] > 0, semaphore.name
        # The keys of a row tile's first block come before its queries, whose tokens imply theirs.
        if semaphore.name.endswith("READY") and semaphore != Semaphore.KV_READY:
            assert racing[semaphore] == dropped[semaphore], semaphore.name


def _feed(l0, **masks):
    return Command.build(Opcode.FEED_A, outer=1, inner=1, l0=l0, **masks)


def _mmad(l0a, **masks):
    return Command.build(Opcode.MMAD, mt=1, nt=1, kt=1, l0a=l0a, **masks)


def test_a_race_names_both_commands_and_the_word(tiny):
    assert find_hazards([_feed(5), _mmad(5)], tiny) == ["commands 0 (FEED_A) and 1 (MMAD) race for L0A[5]"]
    assert find_hazards([_feed(5), _mmad(6)], tiny) == []
    # A reader is in the way of a later writer.
    assert find_hazards([_mmad(5), _feed(5)], tiny) == ["commands 0 (MMAD) and 1 (FEED_A) race for L0A[5]"]


def test_a_token_orders_what_came_before_its_signal(tiny):
    ready = (Semaphore.L0_READY,)
    assert find_hazards([_feed(5), _feed(6, signal=ready), _mmad(9, wait=ready), _mmad(5)], tiny) == []
    late = [_feed(5, signal=ready), _feed(6), _mmad(5, wait=ready), _mmad(6)]
    assert find_hazards(late, tiny) == ["commands 1 (FEED_A) and 3 (MMAD) race for L0A[6]"]


def test_a_fence_orders_everything(tiny):
    assert find_hazards([_feed(5), Command.build(Opcode.FENCE), _mmad(5)], tiny) == []


def test_order_passes_through_a_third_engine(tiny):
    a, b = (Semaphore.L0_READY,), (Semaphore.L0C_READY,)
    drain = Command.build(Opcode.DRAIN_S, mt=1, nt=1, l0c=7, wait=b, signal=(Semaphore.DRAINED,))
    softmax = Command.build(Opcode.SOFTMAX, mt=1, kt=1, p=0, s=0, s_pitch=2, wait=(Semaphore.DRAINED,))
    chain = [_feed(0, signal=a), _mmad(0, wait=a, signal=b), drain, softmax]
    # SOFTMAX overwrites L1[0], which FEED read three engines earlier.
    assert find_hazards(chain, tiny) == []
    assert any("race for L1[0]" in finding for finding in find_hazards([_feed(0), softmax], tiny))


def test_semaphore_misuse(tiny):
    ready = (Semaphore.L0_READY,)
    assert find_hazards([_mmad(0, wait=ready)],
                        tiny)[0] == "command 0: no earlier command signals L0_READY for it"
    assert find_hazards([_feed(0, signal=ready)], tiny) == ["L0_READY is 1 when the program ends"]
    full = SEMAPHORE_MAX
    many = [_feed(0, signal=ready)] * (full + 1) + [_mmad(9, wait=ready)] * (full + 1)
    assert find_hazards(many, tiny)[0] == (
        f"command {full}: L0_READY may reach {full + 1}, past its maximum of {full}")
    two = [_feed(0, signal=ready), Command.build(Opcode.STORE, rows=1, cols=8, signal=ready),
           _mmad(9, wait=ready), _mmad(9, wait=ready)]
    assert find_hazards(two, tiny)[0] == "command 1: L0_READY is signalled by STORE and by another"
    takers = [_feed(0, signal=ready), _feed(0, signal=ready), _mmad(9, wait=ready), _feed(0, wait=ready)]
    assert find_hazards(takers, tiny)[0] == "command 3: L0_READY is taken by FEED and by another"


def test_the_bound_counts_tokens_that_may_wait(small):
    """A token too many is fine when one has certainly been taken before it is signalled."""
    ready, free = (Semaphore.L0_READY,), (Semaphore.L0_FREE,)
    commands = [_feed(0, signal=ready)] * SEMAPHORE_MAX
    commands += [_mmad(9, wait=ready, signal=free), _feed(8, wait=free, signal=ready)]
    commands += [_mmad(9, wait=ready)] * SEMAPHORE_MAX
    assert find_hazards(commands, small) == []


def test_row_state_is_read_before_its_slot_begins_again(tiny):
    def softmax(state, first=True):
        return Command.build(Opcode.SOFTMAX, mt=2, kt=1, p=0, s=0, s_pitch=2, state=state, first=first)

    def normalize(state, first=False):
        return Command.build(Opcode.NORMALIZE, mt=2, nt=1, o_pitch=8, out_pitch=1, state=state, first=first)

    again = [softmax(4), softmax(4, first=False), normalize(4, first=True), normalize(4), softmax(4)]
    assert find_hazards(again, tiny) == []
    assert find_hazards([softmax(4), softmax(6), softmax(2)], tiny) == []
    assert find_hazards([softmax(4), softmax(5)], tiny) == [
        "command 1 begins rows where those of command 0 have not been normalised"]


@pytest.mark.parametrize("preload", [0, 1, 2])
@pytest.mark.parametrize("lengths", [(137, 9, 156), (137, 0, 9, 3, 156), (3, 2, 1, 0, 7)])
def test_row_tiles_of_one_block_among_others(make_job, tiny, preload, lengths):
    """They follow each other faster than the state's slots allow for."""
    load = Workload(name="x", heads=2, q_tokens=4, head_dim=48, head_dim_v=32, lengths=lengths)
    job, _ = make_job(load, replace(tiny, kv_block=20), preload)
    assert find_hazards(job.program.commands, tiny) == []


def test_findings_stop_at_the_limit(tiny):
    commands = [_feed(0)] + [_mmad(0)] * 50
    assert len(find_hazards(commands, tiny, limit=5)) == 5
