"""Cycle models of the pipelined engines: when each item of a command issues, and when the command is done."""

from collections.abc import Callable, Iterable

from amla.rtl.config import CoreConfig
from amla.rtl.fp.fdpa import Fdpa
from amla.rtl.issue.dispatch import MAX_UNFINISHED
from amla.rtl.softmax.lanes import AccumulateLane

__all__ = ["BLOCK", "Timeline", "cube_timeline", "drain_timeline", "feed_timeline"]

#: The item of FEED that begins a block to transpose.
BLOCK = object()


class Timeline:
    """Cycle model of an engine: an item per cycle, a command's first one cycle after its acceptance.

    Parameters
    ----------
    earliest: (item, cycle) -> cycle in which the item issues, at least ``cycle``; may keep state
    latency:  cycles from the issue of a command's last item to ``done``
    """

    def __init__(self, earliest: Callable[..., int], latency: int):
        self._earliest = earliest
        self._latency = latency
        self._free = 0  # the issue stage may accept a command in this cycle
        self._dones: list[int] = []
        self.stalls = 0

    def next_accept(self) -> int:
        """First cycle in which the engine can accept the next command."""
        index = len(self._dones) - MAX_UNFINISHED
        return max(self._free, self._dones[index] + 1 if index >= 0 else 0)

    def accept(self, items: Iterable, cycle: int) -> int:
        """Accept a command in ``cycle``; return the cycle of its ``done``."""
        for item in items:
            issue = self._earliest(item, cycle + 1)
            self.stalls += issue - cycle - 1
            cycle = issue
        self._free = cycle
        self._dones.append(cycle + self._latency)
        return self._dones[-1]


def feed_timeline(config: CoreConfig) -> Timeline:
    """Items are words of L0, :data:`BLOCK` the first of a block to transpose: it waits for a place of the ring."""
    group = config.k // config.n
    head = 0

    def earliest(item: object, cycle: int) -> int:
        nonlocal head
        if item is BLOCK:
            wait = -head % group
            head, cycle = head + wait, cycle + wait
        head += 1
        return cycle

    return Timeline(earliest, latency=group + 2)


def cube_timeline(config: CoreConfig) -> Timeline:
    """Items are addresses of L0C: a word in the pipeline is not read again."""
    issued: dict[int, int] = {}

    def earliest(word: int, cycle: int) -> int:
        if word in issued:
            cycle = max(cycle, issued[word] + Fdpa.latency + 2)
        issued[word] = cycle
        return cycle

    return Timeline(earliest, latency=Fdpa.latency + 2)


def drain_timeline(config: CoreConfig) -> Timeline:
    """Items are (buffer, address, whether ROWMAX is read): "o" and its word, "s" and its word of ROWMAX."""
    lane = AccumulateLane(mode=config.mode, comp_bits=config.comp_bits).latency
    issued: dict[tuple[str, int], int] = {}

    def earliest(item: tuple[str, int, bool], cycle: int) -> int:
        buffer, word, reads = item
        if (buffer, word) in issued and (buffer == "o" or reads):
            cycle = max(cycle, issued[buffer, word] + (lane + 2 if buffer == "o" else 3))
        issued[buffer, word] = cycle
        return cycle

    return Timeline(earliest, latency=max(lane, 3) + 2)
