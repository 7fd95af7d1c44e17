"""The timing model against arithmetic: what bandwidth, rows, refresh and turnaround leave, in exact cycles."""

import random
from collections import deque
from dataclasses import replace
from itertools import pairwise
from math import ceil

import numpy as np
import pytest
from amla.sw.memory.preset import IDEAL, Memory
from amla.sw.memory.timing import Cache, Timing, memory_state, read_times, write_time

pytestmark = pytest.mark.smoke

FAR, HBM, SLOW = (Memory.load(name) for name in ("far", "hbm", "slow"))
#: A channel of hbm for itself, without refresh: everything can be counted by hand. The bus is no limit.
CHANNEL = replace(HBM, channels=1, bytes_per_cycle=32, refresh_interval=0, refresh=0)
BANK = replace(CHANNEL, banks=1)
BEAT = 64
CACHE = Cache(bytes=1 << 16, bytes_per_cycle=64, latency=100)


def run(memory, requests, *, in_flight=None, beat=BEAT):
    """Cycle of the last answer to (write, ident, address, bytes), asked one a cycle while ``in_flight`` bytes allow."""
    timing, cycle, open_, flying = Timing(memory, beat), 0, deque(), 0
    end = 0
    for write, ident, address, size in requests:
        while in_flight and flying + size > in_flight:
            done, finished = open_.popleft()
            cycle, flying = max(cycle, done), flying - finished
        last = timing.write(ident, address, size, cycle) if write else timing.read(ident, address, size, cycle)[-1]
        open_.append((last, size))
        flying, cycle, end = flying + size, cycle + 1, max(end, last)
    return end


def cached(state, accesses):
    """Of each read (False, address) or write (True, address) of a beat, a thousand cycles apart: cycles until its
    answer, and beats that memory moves for it."""
    times, beat = np.empty(1, np.int64), BEAT * state.rates["byte"][0]
    for number, (write, address) in enumerate(accesses):
        cycle, free = 1000 * number, state.channels["free"][0]
        if write:
            times[0] = write_time(state, 0, address, BEAT, cycle)
        else:
            read_times(state, 0, address, BEAT, cycle, times, 0)
        busy = state.channels["free"][0] - max(free, cycle * state.rates["cycle"][0])
        yield times[0] - cycle, max(busy, 0) / beat


def test_a_cache_brings_what_is_asked_for():
    """A beat that misses occupies memory for itself; its neighbour in the block does so, too; both are then there."""
    found = cached(memory_state(CHANNEL, BEAT, cache=CACHE), [
        (False, address) for address in (0x1000, 0x1000, 0x1000 + BEAT, 0x1000, 0x1000 + BEAT)])
    assert [(cycles == CACHE.latency, beats) for cycles, beats in found] == [
        (False, 1), (True, 0), (False, 1), (True, 0), (True, 0)]


def test_a_cache_writes_back_what_loses_its_place():
    """Two beats written cost memory nothing before another block takes their place; then once, and both."""
    memory, other = replace(CHANNEL, turnaround=0), 0x1000 + CACHE.bytes
    found = [beats for _, beats in cached(memory_state(memory, BEAT, cache=CACHE), [
        (True, 0x1000), (True, 0x1000 + BEAT), (True, 0x1000), (False, 0x1000), (False, other), (False, other),
        (False, 0x1000), (False, other)])]
    assert found == [0, 0, 0, 0, 2 + 1, 0, 1, 1]


def test_what_goes_around_a_cache_takes_no_place():
    """Reads of such pages come from memory each time, and leave what was written where it is."""
    other = 0x1000 + CACHE.bytes
    cache = replace(CACHE, around=(other, other + 4096))
    found = [beats for _, beats in cached(memory_state(CHANNEL, BEAT, cache=cache), [
        (True, 0x1000), (False, other), (False, other), (False, 0x1000)])]
    assert found == [0, 1, 1, 0]


def share(memory, requests, **options):
    """Of its peak rate that memory reaches, without the time that the first answer takes."""
    size = sum(size for *_, size in requests)
    return size / memory.rate(BEAT) / (run(memory, requests, **options) - memory.latency)


def reads(size, addresses):
    return [(False, 0, address, size) for address in addresses]


@pytest.mark.parametrize("memory", [IDEAL, FAR], ids=lambda memory: memory.name)
def test_only_the_bus_limits(memory):
    """A beat a cycle after the latency, one request after the other; writes do not take from it."""
    timing, first = Timing(memory, BEAT), memory.latency
    assert timing.read(0, 0, 256, 10) == [first + 10, first + 11, first + 12, first + 13]
    assert timing.write(0, 0x1000, 4096, 11) == first + 11 and timing.write(0, 0x2000, 64, 11) == first + 12
    assert timing.read(1, 4096, 128, 11) == [first + 14, first + 15]
    assert timing.read(1, 4096, 64, 500) == [first + 500]


@pytest.mark.parametrize("memory", [IDEAL, FAR, HBM, SLOW], ids=lambda memory: memory.name)
@pytest.mark.parametrize("start", [0, 12_345])
def test_a_lone_read_takes_the_latency(memory, start):
    timing = Timing(memory, BEAT, start=start)
    assert timing.read(0, 0x8000, BEAT, start + 100) == [start + 100 + memory.latency]


def test_an_open_row_is_nearer_and_another_one_farther():
    timing = Timing(BANK, BEAT)
    assert timing.read(0, 0, BEAT, 1000) == [1000 + 370]
    assert timing.read(0, 960, BEAT, 2000) == [2000 + 370 - 22]
    assert timing.read(0, 1024, BEAT, 3000) == [3000 + 370 + 26]


def test_beats_come_at_the_rate_of_memory():
    times = Timing(replace(BANK, bytes_per_cycle=37), BEAT).read(0, 0, 1024, 0)
    assert times == [ceil(370 + beat * 64 / 37) for beat in range(16)]
    assert Timing(replace(BANK, bytes_per_cycle=37), 16).read(0, 0, 128, 0) == [370 + beat for beat in range(8)]
    # Four channels give a piece each at a quarter of the rate; the last three are there when the first has gone.
    times = Timing(HBM, BEAT).read(0, 0, 1024, 0)
    assert times == [ceil(370 + min(beat, 3) * 4 * 64 / 37 + max(beat - 3, 0) * 64 / 37) for beat in range(16)]


def test_a_write_is_answered_when_its_row_has_it():
    assert Timing(BANK, BEAT).write(0, 0, 1024, 50) == 50 + 370 + 1024 // 32


def test_streaming_leaves_refresh_only():
    """Rows open under the transfer before: of 7,020 cycles 468 go to refresh. 64 KiB in flight are enough for that."""
    bursts = reads(4096, range(0, 16 << 20, 4096))
    assert share(HBM, bursts, in_flight=1 << 16) == pytest.approx(1 - 468 / 7020, rel=2e-3)
    assert share(SLOW, bursts, in_flight=1 << 16) == pytest.approx(1 - 468 / 7020, rel=2e-3)
    assert share(replace(HBM, refresh_interval=0, refresh=0), bursts, in_flight=1 << 16) == pytest.approx(1, rel=2e-3)


def test_little_in_flight_starves():
    """4 KiB in flight come once per latency and transfer."""
    bursts = reads(4096, range(0, 1 << 20, 4096))
    memory = replace(CHANNEL, banks=16, turnaround=0)
    cycles = run(memory, bursts, in_flight=4096)
    # Each burst opens four rows, in turn; but for the first they are under way before their data's turn. A beat's
    # time of the transfer is part of the latency. From the fifth burst on a bank's row before has to be closed.
    assert cycles == 256 * (370 + 63 * 2) + (256 - 4) * 26


def test_streaming_through_one_bank_pays_for_every_row():
    """1,024 bytes at 32 a cycle, 26 cycles to close the row, 22 to open the next."""
    assert share(BANK, reads(1024, range(0, 1 << 20, 1024))) == pytest.approx(32 / (32 + 26 + 22), rel=2e-3)


def test_rows_of_one_bank_come_once_per_row_cycle():
    """64 bytes take 2 of 76 cycles; opening, transfer and closing would take 50."""
    assert share(BANK, reads(64, range(0, 1 << 20, 1024))) == pytest.approx(2 / 76, rel=2e-3)
    slow = replace(BANK, row_cycle=0)
    assert share(slow, reads(64, range(0, 1 << 20, 1024))) == pytest.approx(2 / 50, rel=2e-3)


@pytest.mark.parametrize("banks", [4, 16])
def test_random_reads_leave_what_banks_and_row_cycles_do(banks, seed):
    """Each bank gives 64 bytes per row cycle; the busiest of them is a little busier than the mean."""
    rng = random.Random(seed)
    requests = reads(64, [rng.randrange(1 << 34) // 64 * 64 for _ in range(8000)])
    found = share(replace(CHANNEL, banks=banks), requests)
    assert 0.85 * banks * 2 / 76 < found <= banks * 2 / 76
    assert share(HBM, requests) < 1 - 468 / 7020


def test_turnaround_is_lost_between_directions():
    """Eight cycles of data, then 26 of nothing. Two of each at a time lose half as much."""
    count = 2000

    def mixed(group):
        return [(index // group % 2 == 1, 0, index % 4 * 256, 256) for index in range(count)]

    assert share(BANK, mixed(1)) == pytest.approx(8 / (8 + 26), rel=5e-3)
    assert share(BANK, mixed(2)) == pytest.approx(16 / (16 + 26), rel=5e-3)
    assert share(BANK, mixed(count)) == pytest.approx(1, rel=5e-3)
    assert share(replace(BANK, turnaround=0), mixed(1)) == pytest.approx(1, rel=5e-3)


def test_nothing_moves_while_a_refresh_lasts():
    """The last 468 of 7,020 cycles: what arrives in them waits, what moves then goes on after them."""
    for arrival in (6552, 6700, 7019):
        assert Timing(HBM, BEAT).read(0, 0, BEAT, 7020 + arrival) == [2 * 7020 + 370]
    assert Timing(HBM, BEAT).read(0, 0, BEAT, 6551) == [6551 + 370 + 468]  # its row opens when the refresh begins
    assert Timing(HBM, BEAT).read(0, 0, BEAT, 6552 - 22 - 1) == [6552 - 22 - 1 + 370]
    timing = Timing(replace(BANK, refresh_interval=7020, refresh=468), BEAT)
    timing.read(0, 0, BEAT, 0)
    assert timing.read(0, 0, 512, 6546) == [6894, 6896, 6898, *range(6900 + 468, 6910 + 468, 2)]


@pytest.mark.parametrize("stride", [1 << bits for bits in range(9, 17)])
def test_no_stride_stays_on_one_channel(stride):
    """64 pieces of a power-of-two stride take not much longer than as many in a row."""
    memory = replace(HBM, refresh_interval=0, refresh=0)
    near, far = (run(memory, reads(256, range(0, 64 * step, step))) - 370 for step in (256, stride))
    assert far < 1.35 * near


def test_a_waiting_bank_lets_others_pass():
    """Between IDs: the second row of a bank comes last, though another ID asked for more after it."""
    timing = Timing(CHANNEL, BEAT)
    timing.read(0, 0, BEAT, 0)
    conflict = 31 * 1024  # row 31: digits 1 and 15 to the base 16, the bank of row 0
    assert timing.read(0, conflict, BEAT, 1) == [76 + 370]
    assert timing.read(1, 1024, 256, 2) == [372, 374, 376, 378]
    in_order = Timing(replace(CHANNEL, out_of_order=False), BEAT)
    in_order.read(0, 0, BEAT, 0)
    assert in_order.read(0, conflict, BEAT, 1) == [76 + 370]
    assert in_order.read(1, 1024, 256, 2)[0] == 76 + 370 + 2


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("beat", [16, 64])
@pytest.mark.parametrize("memory", [IDEAL, FAR, HBM, SLOW, replace(HBM, out_of_order=False), CHANNEL, BANK],
                         ids=lambda memory: f"{memory.name}-{memory.channels}-{memory.banks}-{memory.out_of_order}")
def test_random_streams_keep_every_promise(memory, beat, number, seed):
    """All beats come, none early, in order within an ID and at most at its rate, never more in all than channels move;
    between IDs out of order where that is allowed, and only there; the same again from another start."""
    rng = random.Random(f"{seed}/{number}")
    timing, again = Timing(memory, beat), Timing(memory, beat, start=777)
    cycle, last, moved, overtaken = 0, {}, [], 0
    newest = {False: -1, True: -1}
    gap = max(beat, memory.rate(beat)) / memory.rate(beat)
    for _ in range(600):
        cycle += rng.choice((0, 1, 1, 5, 40, 400)) if rng.random() < 0.9 else rng.randrange(8000)
        write, ident = rng.random() < 0.3, rng.randrange(3)
        size = rng.choice((1, 2, 4, 16, 4096 // beat)) * beat
        address = rng.randrange(64) * 4096 + rng.randrange(4096 // beat - size // beat + 1) * beat
        arguments = ident, address, size
        times = [timing.write(*arguments, cycle)] if write else timing.read(*arguments, cycle)
        shifted = [again.write(*arguments, cycle + 777)] if write else again.read(*arguments, cycle + 777)
        assert [time - 777 for time in shifted] == times
        assert len(times) == (1 if write else size // beat)
        assert times[0] >= cycle + memory.latency - memory.activate
        assert all(later > earlier for earlier, later in pairwise(times))
        assert times[-1] - times[0] >= (len(times) - 1) * gap - 1
        key = write, ident if memory.out_of_order else None
        assert times[0] > last.get(key, -1)
        last[key] = times[-1]
        overtaken += times[0] < newest[write]
        newest[write] = max(newest[write], times[-1])
        moved += [(time, size if write else beat) for time in times]
    assert overtaken or not memory.out_of_order or memory.banks == 1
    assert memory.out_of_order or not overtaken
    if memory.bytes_per_cycle:
        way, total = memory.latency - memory.activate, 0
        for time, size in sorted(moved):
            total += size  # a beat of each channel may be on its way: its transfer is part of the latency
            assert total <= (time - way) * memory.bytes_per_cycle + beat * memory.channels
