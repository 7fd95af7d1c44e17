"""Tasks on in-order pipes of many cores that share memory: a discrete-event model with fluid bandwidth.

Every core runs the same program. A pipe takes its tasks in order, one at a time; a task starts when its pipe is free
and all tasks that it waits for have ended. It lasts a number of cycles, or moves bytes. Tasks that move bytes at the
same time share what the memories give, max-min fair: each gets its own path's rate where that is less than an equal
share, and the others divide the rest.
"""

from dataclasses import dataclass, field

import numpy as np
from amla.model.fp.jit import njit

__all__ = ["Program", "simulate"]

#: Cycles below which a task counts as done.
_ROUNDING = 1e-6


@dataclass
class Program:
    """Tasks of one core, in program order; indices of tasks are their places.

    Attributes
    ----------
    pipes:  names of the pipes
    pipe:   index of each task's pipe
    cycles: cycles of each task that moves no bytes; else 0
    size:   bytes of each task that moves some; else 0
    rate:   most bytes a cycle of each task's path
    far:    whether the bytes come from the far memory too
    writes: whether the bytes go to memory rather than come from it
    waits:  for each task the tasks that must have ended before it starts
    """

    pipes: tuple[str, ...]
    pipe: list[int] = field(default_factory=list)
    cycles: list[float] = field(default_factory=list)
    size: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    far: list[bool] = field(default_factory=list)
    writes: list[bool] = field(default_factory=list)
    waits: list[tuple[int, ...]] = field(default_factory=list)

    def work(self, pipe: str, cycles: float, *waits: int) -> int:
        """Add a task that takes cycles; returns its index."""
        return self._add(pipe, cycles, 0.0, 1.0, False, False, waits)

    def move(self, pipe: str, size: float, rate: float, *waits: int, far: bool = False, writes: bool = False) -> int:
        """Add a task that moves ``size`` bytes at most at ``rate`` bytes a cycle; returns its index."""
        return self._add(pipe, 0.0, size, rate, far, writes, waits)

    def _add(self, pipe: str, cycles: float, size: float, rate: float, far: bool, writes: bool,
             waits: tuple[int, ...]) -> int:
        self.pipe.append(self.pipes.index(pipe))
        self.cycles.append(cycles)
        self.size.append(size)
        self.rate.append(rate)
        self.far.append(far)
        self.writes.append(writes)
        self.waits.append(waits)
        return len(self.pipe) - 1

    def busy(self, pipe: str) -> float:
        """Cycles that a pipe's tasks take when nothing is shared: no program ends before its busiest pipe does."""
        index = self.pipes.index(pipe)
        return sum(cycles + size / rate for at, cycles, size, rate
                   in zip(self.pipe, self.cycles, self.size, self.rate, strict=True) if at == index)

    def moved(self, pipe: str) -> float:
        """Bytes that a pipe's tasks move."""
        index = self.pipes.index(pipe)
        return sum(size for at, size in zip(self.pipe, self.size, strict=True) if at == index)


def simulate(program: Program, cores: int, *, read: float, write: float, far: float,
             skew: float = 0.0) -> np.ndarray:
    """Cycle in which each core ends.

    Parameters
    ----------
    program: what every core does
    cores:   how many do
    read:    bytes a cycle that the memory which all of them share gives
    write:   bytes a cycle that it takes
    far:     bytes a cycle of the memory behind it, which tasks marked ``far`` draw on too
    skew:    cycles between the starts of one core and the next

    Returns
    -------
    float64[cores]
    """
    count = len(program.pipe)
    if not count:
        return np.arange(cores) * float(skew)
    pipe = np.array(program.pipe, np.int64)
    order = np.argsort(pipe, kind="stable")
    first = np.searchsorted(pipe[order], np.arange(len(program.pipes) + 1))
    unmet = np.array([len(waits) for waits in program.waits], np.int32)
    before = np.array([wait for waits in program.waits for wait in waits], np.int64)
    after = np.repeat(np.arange(count), unmet)
    by_cause = np.argsort(before, kind="stable")
    follows = np.searchsorted(before[by_cause], np.arange(count + 1))
    return _simulate(order, first, follows, after[by_cause], np.tile(unmet, (cores, 1)), np.array(program.cycles),
                     np.array(program.size), np.array(program.rate), np.array(program.far), np.array(program.writes),
                     float(read), float(write), float(far), float(skew))


@njit()
def _share(rates, member, capacity):
    """Lower the rates of the members so that they sum to the capacity at most, max-min fair."""
    wanted, waiting = 0.0, 0
    for slot in range(rates.size):
        if member[slot]:
            wanted += rates[slot]
            waiting += 1
    if wanted <= capacity:
        return
    fixed = np.zeros(rates.size, np.bool_)
    while True:
        level, before = capacity / waiting, waiting
        for slot in range(rates.size):
            if member[slot] and not fixed[slot] and rates[slot] <= level:
                fixed[slot] = True
                capacity -= rates[slot]
                waiting -= 1
        if waiting == before:
            break
    for slot in range(rates.size):
        if member[slot] and not fixed[slot]:
            rates[slot] = level


@njit()
def _simulate(order, first, follows, after, unmet, cycles, size, rate, far, writes,
              read_capacity, write_capacity, far_capacity, skew):
    cores, pipes = unmet.shape[0], first.size - 1
    slots = cores * pipes
    place = np.empty((cores, pipes), np.int64)  # next task of each pipe, as a place in order
    running, left, rates = np.full(slots, -1, np.int64), np.zeros(slots), np.ones(slots)  # left: cycles or bytes
    reading, writing, distant = np.zeros(slots, np.bool_), np.zeros(slots, np.bool_), np.zeros(slots, np.bool_)
    ends, now, changed = np.zeros(cores), 0.0, False
    for core in range(cores):
        place[core] = first[:-1]
    todo = np.ones(cores, np.bool_)  # cores in which a task may start
    while True:
        step = np.inf
        for core in range(cores):
            if not todo[core]:
                continue
            if now < core * skew:
                step = min(step, core * skew - now)
                continue
            todo[core] = False
            for pipe in range(pipes):
                slot = core * pipes + pipe
                if running[slot] >= 0 or place[core, pipe] == first[pipe + 1]:
                    continue
                task = order[place[core, pipe]]
                if unmet[core, task] == 0:
                    running[slot], rates[slot], left[slot] = task, 1.0, cycles[task]
                    if size[task] > 0:
                        left[slot], changed = size[task], True
                        reading[slot], writing[slot], distant[slot] = not writes[task], writes[task], far[task]
        if changed:
            for slot in range(slots):
                if reading[slot] or writing[slot]:
                    rates[slot] = rate[running[slot]]
            _share(rates, distant, far_capacity)
            _share(rates, reading, read_capacity)
            _share(rates, writing, write_capacity)
            changed = False
        for slot in range(slots):
            if running[slot] >= 0:
                step = min(step, left[slot] / rates[slot])
        if step == np.inf:
            return ends
        now += step
        for slot in range(slots):
            task = running[slot]
            if task < 0:
                continue
            left[slot] -= step * rates[slot]
            if left[slot] > _ROUNDING * rates[slot]:
                continue
            core, pipe = slot // pipes, slot % pipes
            changed |= reading[slot] or writing[slot]
            running[slot], reading[slot], writing[slot], distant[slot] = -1, False, False, False
            place[core, pipe] += 1
            ends[core], todo[core] = now, True
            for at in range(follows[task], follows[task + 1]):
                unmet[core, after[at]] -= 1
