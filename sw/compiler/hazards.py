"""Proof that a program is free of races, for every timing of the engines.

The argument: an engine starts its commands and finishes them in order; a wait is granted by a signal; with
one signalling engine per semaphore the n-th wait comes after the n-th signal at the earliest, whatever the
timing. That gives each command a vector clock: per engine, the last command that has certainly finished when
this one starts. Two commands of different engines that touch the same word, one of them writing, must be
ordered by it. The same clocks bound every semaphore, and a wait whose signal comes later in program order
could deadlock.

Commands of the same engine take effect in order: that is the engine's own business. But row state is the vector
engine's alone, so that no semaphore guards its slots: a row tile may not begin in one before NORMALIZE has read it.
"""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.isa import SEMAPHORE_MAX, SEMAPHORES, Engine, Opcode, Semaphore

from .footprint import buffer_words, footprint
from .program import Command, members

__all__ = ["find_hazards"]


def find_hazards(commands: Sequence[Command], config: CoreConfig, *, limit: int = 20) -> list[str]:
    """What is wrong with the program's synchronisation, one line each; an empty list is the proof that
    nothing is.

    Reports races, row state begun anew too early, waits that no earlier command satisfies, semaphores that may exceed
    their maximum, that several engines signal or take, or that are not zero at the end.

    Parameters
    ----------
    commands: the program
    config:   the core it runs on
    limit:    stop after this many findings
    """
    check = _Check(commands, config, limit)
    check.run()
    return check.findings


class _Check:
    def __init__(self, commands: Sequence[Command], config: CoreConfig, limit: int):
        self._commands, self._config, self._limit = commands, config, limit
        self.findings: list[str] = []
        engines = len(Engine)
        # Running number (from 1) of the last command of each engine that has certainly finished, at an
        # engine's latest start; position in the program of each engine's commands.
        self._clock = np.zeros((engines, engines), np.int64)
        self._number = np.zeros(engines, np.int64)
        self._index: list[list[int]] = [[-1] for _ in Engine]
        # Per semaphore: clock at each signal, waits so far as (engine number) positions.
        self._signals: list[list[np.ndarray]] = [[] for _ in range(SEMAPHORES)]
        self._waits: list[list[int]] = [[] for _ in range(SEMAPHORES)]
        self._signaller: list[Engine | None] = [None] * SEMAPHORES
        self._waiter: list[Engine | None] = [None] * SEMAPHORES
        words = buffer_words(config)
        self._readers = {name: np.zeros((engines, size), np.int64) for name, size in words.items()}
        self._writers = {name: np.zeros((engines, size), np.int64) for name, size in words.items()}
        self._started = np.full(words["STATE"], -1, np.int64)  # SOFTMAX that began the rows, -1 once they are read

    def run(self) -> None:
        for index, command in enumerate(self._commands):
            self._step(index, command)
            if len(self.findings) >= self._limit:
                return
        for semaphore in range(SEMAPHORES):
            left = len(self._signals[semaphore]) - len(self._waits[semaphore])
            if left:
                self._report(f"{Semaphore(semaphore).name} is {left} when the program ends")

    def _report(self, text: str) -> None:
        self.findings.append(text)

    def _step(self, index: int, command: Command) -> None:
        engine = command.engine
        clock = self._clock[engine]
        if engine == Engine.SEQUENCER:
            clock[:] = self._number
        for semaphore in members(command.wait):
            self._wait(index, command, semaphore, clock)
        self._number[engine] += 1
        self._index[engine].append(index)
        if engine == Engine.SEQUENCER:
            # Dispatch goes on only now: all that was before it is finished for whatever comes.
            clock[engine] = self._number[engine]
            np.maximum(self._clock, clock, out=self._clock)
        else:
            self._races(index, command, clock)
        finished = clock.copy()
        finished[engine] = self._number[engine]
        for semaphore in members(command.signal):
            self._signal(index, command, semaphore, finished)

    def _wait(self, index: int, command: Command, semaphore: int, clock: np.ndarray) -> None:
        name, number = Semaphore(semaphore).name, len(self._waits[semaphore])
        if self._waiter[semaphore] not in (None, command.engine):
            self._report(f"command {index}: {name} is taken by {command.engine.name} and by another")
        self._waiter[semaphore] = command.engine
        self._waits[semaphore].append(int(self._number[command.engine]) + 1)
        if number >= len(self._signals[semaphore]):
            self._report(f"command {index}: no earlier command signals {name} for it")
        else:
            np.maximum(clock, self._signals[semaphore][number], out=clock)

    def _signal(self, index: int, command: Command, semaphore: int, finished: np.ndarray) -> None:
        name = Semaphore(semaphore).name
        # The sequencer's own signals come with all engines at rest, so that they cannot overtake another's.
        if command.engine != Engine.SEQUENCER:
            if self._signaller[semaphore] not in (None, command.engine):
                self._report(f"command {index}: {name} is signalled by {command.engine.name} and by another")
            self._signaller[semaphore] = command.engine
        self._signals[semaphore].append(finished)
        waiter = self._waiter[semaphore]
        taken = 0
        if waiter is not None:
            taken = bisect_right(self._waits[semaphore], int(finished[waiter]))
        most = len(self._signals[semaphore]) - taken
        if most > SEMAPHORE_MAX:
            self._report(f"command {index}: {name} may reach {most}, past its maximum of {SEMAPHORE_MAX}")

    def _races(self, index: int, command: Command, clock: np.ndarray) -> None:
        touched, engine = footprint(command, self._config), command.engine
        reads = {buffer: words.ravel() for buffer, words in touched.reads.items()}
        writes = {buffer: words.ravel() for buffer, words in touched.writes.items()}
        for buffer, words in reads.items():
            self._compare(index, command, buffer, words, self._writers[buffer], clock)
        for buffer, words in writes.items():
            self._compare(index, command, buffer, words, self._writers[buffer], clock)
            self._compare(index, command, buffer, words, self._readers[buffer], clock)
        for buffer, words in reads.items():
            self._readers[buffer][engine, words] = self._number[engine]
        for buffer, words in writes.items():
            self._writers[buffer][engine, words] = self._number[engine]
        self._state(index, command, reads, writes)

    def _state(self, index: int, command: Command, reads: dict[str, np.ndarray], writes: dict[str, np.ndarray]) -> None:
        """Report a state that begins where NORMALIZE has yet to read the last one: no semaphore guards it."""
        if command.opcode == Opcode.MERGE:  # whose factors are no state
            return
        if command.opcode == Opcode.NORMALIZE:
            self._started[reads["STATE"]] = -1
        elif "STATE" in writes and "STATE" not in reads:
            lost = int(self._started[writes["STATE"]].max())
            if lost >= 0:
                self._report(f"command {index} begins rows where those of command {lost} have not been normalised")
            self._started[writes["STATE"]] = index

    def _compare(self, index: int, command: Command, buffer: str, words: np.ndarray, users: np.ndarray,
                 clock: np.ndarray) -> None:
        """Report users of other engines that may not have finished when the command starts."""
        bound = clock.copy()
        bound[command.engine] = self._number[command.engine]
        late = users[:, words] > bound[:, None]
        if late.any():
            other, place = map(int, np.argwhere(late)[0])
            word = int(words[place])
            earlier = self._index[other][int(users[other, word])]
            self._report(f"commands {earlier} ({self._commands[earlier].opcode.name}) and {index} "
                         f"({command.opcode.name}) race for {buffer}[{word}]")
