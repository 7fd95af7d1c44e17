"""When memory answers: a model of channels, banks and rows that times whole bursts, without a simulator.

Requests are timed as they arrive, each by what the ones before it left:

* A burst is cut where it goes on in another channel. Consecutive pieces of ``interleave_bytes`` lie in different
  channels, consecutive rows of a channel in different banks; sums of address digits choose both, so that no stride
  stays on one of them.
* A channel moves data at its share of the rate, in order of arrival, and loses ``turnaround`` between directions.
  What waits for its bank lets later requests pass: it costs the channel its transfer only.
* A bank opens a request's row as soon as the request is there and the row before is done with. An open row costs
  ``activate`` less than the idle latency, another open one ``precharge`` more.
* While a refresh lasts, channels and banks stand still. The model's arithmetic leaves these cycles out of its time,
  and puts them back into its answers.
* Beats of one ID come in order of their requests, at the rate of memory at most and never two in a cycle.

Exact integers throughout: a tick is the cycle's part in which the whole memory moves a byte (or a part of a byte, so
that both are whole numbers). :class:`Timing` is the model for benches; :func:`read_times` and :func:`write_time` are
the same for compiled code, on the arrays of a :class:`MemoryState`.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from amla.model.fp.jit import njit

from .preset import Memory

__all__ = ["MOST_BEATS", "Cache", "MemoryState", "Timing", "memory_state", "read_times", "write_time"]

#: Parts of a byte in which the rate of a cache counts.
_FINE = 64
#: Beats of a cache's block at most: each has a bit.
MOST_BEATS = 62

#: What a memory is like, in ticks where it is a time; ``cycle``: ticks of a cycle; ``together``: IDs whose answers keep
#: the order of their requests.
_RATES = np.dtype([(name, np.int64) for name in (
    "start", "cycle", "byte", "beat", "beat_bytes", "way", "closed", "open", "activate", "precharge", "row_cycle",
    "turnaround", "channels", "interleave", "banks", "row_bytes", "together", "cached_byte", "cached_way",
    "around_from", "around_to")])
#: When all that a channel was asked for could have been moved, in ticks without refresh; and its direction.
_CHANNEL = np.dtype([("free", np.int64), ("writing", np.int64)])
#: A bank: its open row, -1 for none, when that opened, when the last access to it ends.
_BANK = np.dtype([("row", np.int64), ("opened", np.int64), ("free", np.int64)])


class MemoryState(NamedTuple):
    """Rates, int64 record [1]; channels [channels]; banks [channels, banks]; last answer [read or write, ID].

    Of a cache: ``blocks`` of ``interleave_bytes``, -1 for none, which of their beats it holds, a bit each, and which of
    these memory has not, [blocks, 3]; when the last of them came, [blocks]; when its ports are free, [reads, writes].
    """

    rates: np.ndarray
    channels: np.ndarray
    banks: np.ndarray
    last: np.ndarray
    blocks: np.ndarray
    filled: np.ndarray
    ports: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A cache that all requests go through, direct mapped; what was written goes to memory when its place is taken.

    That makes memory busy; the request that takes the place does not wait for it. The cache holds beats, those of a
    block (``interleave_bytes`` of memory) together: a sectored cache, as that of GPUs.

    Attributes
    ----------
    bytes:           it holds so many at most
    bytes_per_cycle: that it gives, and takes, in a cycle
    latency:         cycles from an address to its first beat when it is there
    around:          addresses, the first and the one behind the last, that are only read, and take no place in it
    """

    bytes: int
    bytes_per_cycle: float
    latency: int
    around: tuple[int, int] = (0, 0)


def memory_state(memory: Memory, beat_bytes: int, *, start: int = 0, idents: int = 1,
                 port_idents: int | None = None, cache: Cache | None = None) -> MemoryState:
    """A memory at the begin of its time.

    Parameters
    ----------
    memory:     what it is like
    beat_bytes: bytes of a beat of the bus
    start:      cycle in which its time begins, all rows closed and the first refresh an interval away
    idents:     IDs are below
    port_idents: so many of them, one after the other, come by a port of their own; None: all share one
    cache:      before it; memory then has a rate
    """
    rate = Fraction(str(memory.bytes_per_cycle or beat_bytes))
    fine = _FINE if cache else 1
    cycle, byte = fine * rate.numerator, fine * rate.denominator
    closed = memory.refresh * cycle
    # Of a beat, in a channel and on the bus; where only the bus limits, data are all there at once.
    beat = max(beat_bytes * byte, cycle)
    rates = np.array([(
        start, cycle, byte * memory.channels if memory.bytes_per_cycle else 0, beat, beat_bytes,
        (memory.latency - memory.activate) * cycle, closed, memory.refresh_interval * cycle - closed,
        memory.activate * cycle, memory.precharge * cycle, memory.row_cycle * cycle, memory.turnaround * cycle,
        memory.channels, memory.interleave_bytes, memory.banks, memory.row_bytes,
        1 if memory.out_of_order else port_idents or idents,
        max(round(cycle / cache.bytes_per_cycle), 1) if cache else 0, cache.latency * cycle if cache else 0,
        *(cache.around if cache else (0, 0)))], _RATES)
    banks = np.zeros((memory.channels, memory.banks), _BANK)
    banks["row"] = -1
    last = np.empty((2, idents), np.int64)
    last[0], last[1] = -beat, -cycle
    blocks = 1 << (cache.bytes // memory.interleave_bytes).bit_length() - 1 if cache else 1
    return MemoryState(rates, np.zeros(memory.channels, _CHANNEL), banks, last,
                       np.full((blocks, 3), (-1, 0, 0), np.int64), np.zeros(blocks, np.int64), np.zeros(2, np.int64))


class Timing:
    """Times the requests of one core.

    Parameters
    ----------
    memory:     what it is like
    beat_bytes: bytes of a beat of the bus
    start:      cycle in which its time begins, all rows closed and the first refresh an interval away
    idents:     IDs are below
    """

    def __init__(self, memory: Memory, beat_bytes: int, *, start: int = 0, idents: int = 8):
        self._state, self._beat = memory_state(memory, beat_bytes, start=start, idents=idents), beat_bytes

    def read(self, ident: int, address: int, size: int, cycle: int) -> list[int]:
        """Earliest cycle of each beat of a burst whose address arrives in ``cycle``.

        ``cycle`` must not decrease from call to call, of this and of :meth:`write`, unless only the bus limits.
        """
        times = np.empty(-(-size // self._beat), np.int64)
        read_times(self._state, ident, address, size, cycle, times, 0)
        return times.tolist()

    def write(self, ident: int, address: int, size: int, cycle: int) -> int:
        """Earliest cycle of the response to a burst whose last beat arrives in ``cycle``: its data are in memory."""
        return write_time(self._state, ident, address, size, cycle)


@njit()
def read_times(state, ident, address, size, cycle, times, first):
    """:meth:`Timing.read` into ``times`` from index ``first`` on, modulo its length."""
    rates = state.rates[0]
    key = ident // rates.together * rates.together
    arrival = _without_refresh(rates, (cycle - rates.start) * rates.cycle)
    last = state.last[0, key]
    place = first
    while size > 0:
        count = size if not rates.byte else min(size, rates.interleave - address % rates.interleave)
        begin = _access(state, 0, address, count, arrival) if not rates.cached_byte else (
            _cached(state, address, count, arrival))
        for offset in range(0, count, rates.beat_bytes):
            last = max(_answer(rates, begin + offset * rates.byte), last + rates.beat)
            times[place % len(times)] = rates.start - -last // rates.cycle
            place += 1
        address, size = address + count, size - count
    state.last[0, key] = last


@njit()
def write_time(state, ident, address, size, cycle):
    """:meth:`Timing.write`."""
    rates = state.rates[0]
    key = ident // rates.together * rates.together
    arrival = _without_refresh(rates, (cycle - rates.start) * rates.cycle)
    done = 0
    while size > 0:
        count = size if not rates.byte else min(size, rates.interleave - address % rates.interleave)
        done = max(done, _kept(state, address, count, arrival) if rates.cached_byte else (
            _access(state, 1, address, count, arrival) + count * rates.byte))
        address, size = address + count, size - count
    last = max(_answer(rates, done), state.last[1, key] + rates.cycle)
    state.last[1, key] = last
    return rates.start - -last // rates.cycle


@njit()
def _cached(state, address, count, arrival):
    """Begin of a piece's data, from the cache or, of all of it, from memory, as of :func:`_access`."""
    rates = state.rates[0]
    slot = max(arrival, state.ports[0])
    state.ports[0] = slot + count * rates.cached_byte
    if rates.around_from <= address < rates.around_to:
        return max(_access(state, 0, address, count, arrival), slot)
    place, sectors = _place(state, address, count, arrival)
    if state.blocks[place, 1] & sectors == sectors:
        return max(slot, state.filled[place]) + rates.cached_way - rates.way
    begin = max(_access(state, 0, address, count, arrival), slot)
    state.blocks[place, 1] |= sectors
    state.filled[place] = begin + rates.way - rates.cached_way + count * rates.byte
    return begin


@njit()
def _kept(state, address, count, arrival):
    """End of a piece's data that the cache takes."""
    rates = state.rates[0]
    slot = max(arrival, state.ports[1])
    state.ports[1] = slot + count * rates.cached_byte
    place, sectors = _place(state, address, count, arrival)
    state.blocks[place, 1] |= sectors
    state.blocks[place, 2] |= sectors
    state.filled[place] = state.ports[1]
    return state.ports[1] + rates.cached_way - rates.way


@njit()
def _place(state, address, count, arrival):
    """The place in the cache of the block that a piece lies in, now that block's, and a bit for each of its beats."""
    rates = state.rates[0]
    block = address // rates.interleave
    place = block % len(state.blocks)
    if state.blocks[place, 0] != block:
        late, beats = state.blocks[place, 2], 0
        while late:
            late, beats = late & late - 1, beats + 1
        if beats:
            _access(state, 1, state.blocks[place, 0] * rates.interleave, beats * rates.beat_bytes, arrival)
        state.blocks[place, 0], state.blocks[place, 1], state.blocks[place, 2] = block, 0, 0
    first, last = address % rates.interleave // rates.beat_bytes, (
        address % rates.interleave + count - 1) // rates.beat_bytes
    return place, (2 << last) - (1 << first)


@njit()
def _access(state, writing, address, count, arrival):
    """Book a piece of a burst that lies in one channel: begin of its data, in ticks without refresh."""
    rates = state.rates[0]
    if not rates.byte:
        return arrival
    unit = address // rates.interleave
    row = unit // rates.channels * rates.interleave // rates.row_bytes
    number = _spread(unit, rates.channels)
    channel, bank = state.channels[number], state.banks[number, _spread(row, rates.banks)]
    if bank.row != row:
        opening = arrival
        if bank.row >= 0:
            opening = max(max(arrival, bank.free) + rates.precharge, bank.opened + rates.row_cycle)
        bank.row, bank.opened = row, opening
    slot = max(arrival, channel.free + (rates.turnaround if writing != channel.writing else 0))
    channel.free, channel.writing = slot + count * rates.byte, writing
    begin = max(slot, bank.opened + rates.activate, bank.free)
    bank.free = begin + count * rates.byte
    return begin


@njit()
def _without_refresh(rates, ticks):
    if not rates.closed:
        return ticks
    period = rates.open + rates.closed
    return ticks // period * rates.open + min(ticks % period, rates.open)


@njit()
def _answer(rates, ticks):
    """Ticks at the core, refreshes included, of what a channel does in ``ticks``."""
    return ticks + (ticks // rates.open * rates.closed if rates.closed else 0) + rates.way


@njit()
def _spread(index, ways):
    """One of ``ways``: the sum of the digits of ``index`` to that base. Each of them once from every multiple on."""
    total = index
    while index >= ways > 1:
        index //= ways
        total += index
    return total % ways
