"""Cycle models of the pipelined engines: when each item of a command issues, and when the command is done."""

from collections.abc import Callable, Container, Iterable
from itertools import count

from amla.rtl.config import CoreConfig
from amla.rtl.engines.drain import Drain
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


def cube_timeline(config: CoreConfig, reads: set[tuple[str, int, int]] | None = None) -> Timeline:
    """Items are (address of L0C, whether it is read): a word in the pipeline is not read again.

    ``reads`` collects what the cube reads, as :func:`drain_timeline` takes it.
    """
    issued: dict[int, int] = {}

    def earliest(item: tuple[int, bool], cycle: int) -> int:
        word, read = item
        if word in issued:
            cycle = max(cycle, issued[word] + Fdpa.latency + 2)
        issued[word] = cycle
        if read and reads is not None:
            reads.add(("l0c", word % 2, cycle))
        return cycle

    return Timeline(earliest, latency=Fdpa.latency + 2)


def drain_timeline(config: CoreConfig, taken: Container[tuple[str, int, int]] = ()) -> Timeline:
    """Items are (number in the command, fractal, buffer, word, whether it is read): "o" and its word, or "s" and its
    word of ROWMAX. ``taken`` holds (buffer, bank, cycle) of the readers that go first: of L0C and O.
    """
    lane = AccumulateLane(mode=config.mode, comp_bits=config.comp_bits).latency
    issued: dict[tuple[str, int], int] = {}
    ahead = 0  # the fractal of the next item may be read from this cycle on

    def free(buffer: str, word: int, cycle: int) -> int:
        """The first cycle from ``cycle`` on in which the bank of a word is free."""
        return next(later for later in count(cycle) if (buffer, word % 2, later) not in taken)

    def earliest(item: tuple[int, int, str, int, bool], cycle: int) -> int:
        nonlocal ahead
        index, fractal, buffer, word, reads = item
        fetch = None
        if index % (config.n // config.lanes) == 0:
            fetch = free("l0c", fractal, ahead if index else cycle)
            cycle = max(cycle, fetch)
        if (buffer, word) in issued and (buffer == "o" or reads):
            cycle = max(cycle, issued[buffer, word] + (lane + 3 if buffer == "o" else 3))
        if buffer == "o" and reads:
            cycle = free("o", word, cycle)
        ahead = cycle + (fetch == cycle)  # one fractal a cycle
        issued[buffer, word] = cycle
        return cycle

    return Timeline(earliest, latency=max(lane, Drain(config).maximum_latency) + 3)
