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
that both are whole numbers).
"""

from fractions import Fraction

from .preset import Memory

__all__ = ["Timing"]


class Timing:
    """Times the requests of one core.

    Parameters
    ----------
    memory:     what it is like
    beat_bytes: bytes of a beat of the bus
    start:      cycle in which its time begins, all rows closed and the first refresh an interval away
    """

    def __init__(self, memory: Memory, beat_bytes: int, *, start: int = 0):
        rate = Fraction(str(memory.bytes_per_cycle or beat_bytes))
        self._memory, self._beat, self._start = memory, beat_bytes, start
        self._cycle, byte = rate.numerator, rate.denominator
        # Of a beat, in a channel and on the bus; where only the bus limits, data are all there at once.
        self._byte_ticks = byte * memory.channels if memory.bytes_per_cycle else 0
        self._beat_ticks = max(beat_bytes * byte, self._cycle)
        self._way = (memory.latency - memory.activate) * self._cycle
        self._closed = memory.refresh * self._cycle
        self._open = memory.refresh_interval * self._cycle - self._closed
        self._channels = [_Channel(memory, self._cycle) for _ in range(memory.channels)]
        self._last: dict[tuple[str, int | None], int] = {}

    def read(self, ident: int, address: int, size: int, cycle: int) -> list[int]:
        """Earliest cycle of each beat of a burst whose address arrives in ``cycle``.

        ``cycle`` must not decrease from call to call, of this and of :meth:`write`, unless only the bus limits.
        """
        key, step = self._key("read", ident), self._beat_ticks
        last = self._last.get(key, -step)
        times = []
        for begin, count in self._access(False, address, size, cycle):
            for offset in range(0, count, self._beat):
                last = max(self._answer(begin + offset * self._byte_ticks), last + step)
                times.append(self._start - -last // self._cycle)
        self._last[key] = last
        return times

    def write(self, ident: int, address: int, size: int, cycle: int) -> int:
        """Earliest cycle of the response to a burst whose last beat arrives in ``cycle``: its data are in memory."""
        key = self._key("write", ident)
        done = max(begin + count * self._byte_ticks for begin, count in self._access(True, address, size, cycle))
        last = max(self._answer(done), self._last.get(key, -self._cycle) + self._cycle)
        self._last[key] = last
        return self._start - -last // self._cycle

    def _key(self, direction: str, ident: int) -> tuple[str, int | None]:
        return direction, ident if self._memory.out_of_order else None

    def _access(self, write: bool, address: int, size: int, cycle: int) -> list[tuple[int, int]]:
        """Book the pieces of a burst: begin of each one's data, in ticks without refresh, and its bytes."""
        arrival = self._without_refresh((cycle - self._start) * self._cycle)
        if not self._byte_ticks:
            return [(arrival, size)]
        memory, pieces = self._memory, []
        while size:
            unit, offset = divmod(address, memory.interleave_bytes)
            count = min(size, memory.interleave_bytes - offset)
            row = unit // memory.channels * memory.interleave_bytes // memory.row_bytes
            channel = self._channels[_spread(unit, memory.channels)]
            pieces.append((channel.access(write, row, count * self._byte_ticks, arrival), count))
            address, size = address + count, size - count
        return pieces

    def _without_refresh(self, ticks: int) -> int:
        if not self._closed:
            return ticks
        intervals, rest = divmod(ticks, self._open + self._closed)
        return intervals * self._open + min(rest, self._open)

    def _answer(self, ticks: int) -> int:
        """Ticks at the core, refreshes included, of what a channel does in ``ticks``."""
        return ticks + (ticks // self._open * self._closed if self._closed else 0) + self._way


class _Channel:
    """One channel; all times in ticks without refresh."""

    def __init__(self, memory: Memory, cycle: int):
        self._activate, self._precharge, self._row_cycle, self._turnaround = (
            cycles * cycle for cycles in (memory.activate, memory.precharge, memory.row_cycle, memory.turnaround))
        self._banks = [_Bank() for _ in range(memory.banks)]
        self._free = 0  # when all that was asked for could have been moved
        self._writing = False

    def access(self, write: bool, row: int, ticks: int, arrival: int) -> int:
        """Move data of ``ticks`` from or to the channel's row ``row``: when they begin."""
        bank = self._banks[_spread(row, len(self._banks))]
        if bank.row != row:
            opening = arrival
            if bank.row is not None:
                opening = max(max(arrival, bank.free) + self._precharge, bank.opened + self._row_cycle)
            bank.row, bank.opened = row, opening
        slot = max(arrival, self._free + (self._turnaround if write != self._writing else 0))
        self._free, self._writing = slot + ticks, write
        begin = max(slot, bank.opened + self._activate, bank.free)
        bank.free = begin + ticks
        return begin


class _Bank:
    """A bank: its open row, when that opened, when the last access to it ends."""

    __slots__ = ("free", "opened", "row")

    def __init__(self) -> None:
        self.row: int | None = None
        self.opened = self.free = 0


def _spread(index: int, ways: int) -> int:
    """One of ``ways``: the sum of the digits of ``index`` to that base. Each of them once from every multiple on."""
    total = index
    while index >= ways > 1:
        index //= ways
        total += index
    return total % ways
