"""Program order by expected start: engines' orders stay, waiters stay behind their signallers."""

import numpy as np
import pytest
from amla.rtl.fp.fdpa import Fdpa
from amla.rtl.isa import Engine, Opcode, Semaphore
from amla.sw.compiler.drafts import Draft
from amla.sw.compiler.key_cache import KeyCache, Paged
from amla.sw.compiler.loads import Addresses
from amla.sw.compiler.order import by_expected_start, duration
from amla.sw.compiler.program import Annotation
from amla.sw.compiler.schedule import _Scheduler
from amla.sw.compiler.tiling import plan_tiles
from amla.sw.errors import AmlaError
from amla.sw.memory.preset import Memory
from amla.sw.workload.workload import Workload

pytestmark = pytest.mark.smoke


def _draft(opcode, wait=(), signal=(), **operands):
    draft = Draft(opcode, operands, Annotation())
    for semaphore in wait:
        draft.waits_for(semaphore)
    for semaphore in signal:
        draft.signals(semaphore)
    return draft


def _mmad(cycles, **masks):
    steps = -(-cycles // 50)  # in as many words as L0C has
    return _draft(Opcode.MMAD, mt=cycles // steps, nt=1, kt=steps, **masks)


def _feed(words, **masks):
    return _draft(Opcode.FEED_A, outer=words, inner=1, **masks)


def _ordered(drafts, config):
    """The drafts in program order."""
    return [drafts[index] for index in by_expected_start([draft.command() for draft in drafts], config)]


def test_an_early_starter_moves_ahead(tiny):
    first, second = _mmad(500), _mmad(500)
    feeds = [_feed(10), _feed(10)]
    ordered = _ordered([first, second, *feeds], tiny)
    assert ordered.index(feeds[1]) < ordered.index(second)
    assert ordered.index(first) < ordered.index(second) and ordered.index(feeds[0]) < ordered.index(feeds[1])


def test_a_waiter_stays_behind(tiny):
    signaller = _feed(400, signal=[Semaphore.L0_READY])
    waiter = _mmad(1, wait=[Semaphore.L0_READY])
    late = _feed(1)
    assert _ordered([waiter, signaller, late], tiny) == [signaller, late, waiter]


def test_nothing_passes_a_fence(tiny):
    before, fence, after, halt = _mmad(900), _draft(Opcode.FENCE), _feed(1), _draft(Opcode.HALT)
    assert _ordered([before, fence, after, halt], tiny) == [before, fence, after, halt]


def test_streams_that_wait_for_each_other(tiny):
    crossed = [_mmad(1, wait=[Semaphore.L0_READY], signal=[Semaphore.L0_FREE]),
               _feed(1, wait=[Semaphore.L0_FREE], signal=[Semaphore.L0_READY])]
    with pytest.raises(AmlaError, match="waits for ever"):
        _ordered(crossed, tiny)


@pytest.mark.parametrize(("draft", "cycles"), [
    (_draft(Opcode.LOAD, rows=3, rows_padded=4, cols=24), 12), (_feed(7), 7), (_mmad(9), 9),
    (_draft(Opcode.LOAD, rows=2, rows_padded=2, cols=576, fp8_656=True), 144),
    (_draft(Opcode.GATHER, rows=3, rows_padded=3, cols=24), 10),  # 3 times 3 beats of a row, and 12 bytes
    (_draft(Opcode.GATHER, rows=1, rows_padded=3, cols=24), 9),
    (_draft(Opcode.MMAD, mt=3, nt=2, kt=3), 6 + 2 * (Fdpa.latency + 2)), (_draft(Opcode.MMAD, mt=9, nt=2, kt=3), 54),
    (_draft(Opcode.FEED_B, outer=2, inner=3, transpose=True), 6),
    (_draft(Opcode.DRAIN_S, mt=2, nt=3), 12), (_draft(Opcode.SOFTMAX, mt=2, kt=3), 12),
    (_draft(Opcode.NORMALIZE, mt=2, nt=3), 24), (_draft(Opcode.STORE, rows=5, cols=16), 10),
    (_draft(Opcode.STORE, rows=5, lse=True), 1), (_draft(Opcode.HALT), 1),
], ids=lambda value: value.opcode.name if isinstance(value, Draft) else str(value))
def test_durations_on_tiny(tiny, draft, cycles):
    assert duration(draft, tiny) == cycles


def test_memory_sets_how_long_moving_takes(tiny):
    load, store = _draft(Opcode.LOAD, rows=3, rows_padded=4, cols=24), _draft(Opcode.STORE, rows=5, cols=16)
    half = Memory(name="half", latency=20, bytes_per_cycle=8)
    assert [duration(draft, tiny, half) for draft in (load, store)] == [2 * 9, 2 * 10]
    # FP8 rows take L1 longer than such a memory; listed ones need whole beats, and of scales apart one more.
    fp8 = _draft(Opcode.LOAD, rows=4, rows_padded=4, cols=512, fp8_584=True)
    listed = _draft(Opcode.GATHER, rows=4, rows_padded=4, cols=512, fp8_584=True)
    assert [duration(draft, tiny, half) for draft in (fp8, listed)] == [4 * 584 // 8, 4 * (576 + 16 + 4) // 8]
    # What only pads is written without memory, a beat a cycle.
    zeros = _draft(Opcode.LOAD, rows=0, rows_padded=8, cols=24)
    assert duration(zeros, tiny, half) == duration(zeros, tiny) == 8 * 3


def test_engine_orders_survive(small):
    """Each engine's commands stand in the program in the order in which the scheduler wrote them."""
    load = Workload.load("decode")
    table = np.zeros((5, 17), np.int32)
    drafts = _Scheduler(plan_tiles(load, small), Addresses(q=0, o=0, lse=0), Paged(KeyCache.of(load), table)).drafts()
    ordered = _ordered(drafts, small)
    for engine in Engine:
        assert [d for d in ordered if d.engine == engine] == [d for d in drafts if d.engine == engine]
    assert ordered != drafts
