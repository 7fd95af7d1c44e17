"""Why engines had nothing in progress: every gap before a command, by the token that came last.

Semaphores start at zero and every command takes one token from each it waits for, in the order of the starts.
So the j-th take of a semaphore needs its j-th token, and that came when the j-th of its signallers ended. Of the
tokens a command waits for, the last to come held it up.
"""

from collections import defaultdict
from dataclasses import dataclass

from .results import Results
from .timeline import ENGINES, Span, spans

__all__ = ["Gap", "Pause", "gaps", "pauses"]


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Cycles [first, last) in which an engine had no command in progress, for one reason.

    Attributes
    ----------
    engine, stage: of the command that came next; stage "" after the last one
    reason:  name of the semaphore whose token was missing; "start" from the last token (for a command that waits
             for none, from the end before) to the start: fetch, dispatch, hand-over; "done" after the last one
    source:  engine and stage of the command that gave the missing token, else ""
    """

    engine: str
    stage: str
    reason: str
    source: str
    first: int
    last: int


@dataclass(frozen=True, kw_only=True)
class Gap:
    """All pauses of an engine before commands of one stage for one reason: cycles in all, and how many."""

    engine: str
    stage: str
    reason: str
    source: str
    cycles: int
    times: int


def pauses(results: Results) -> list[Pause]:
    """All pauses of a run, by engine and in time: with the cycles in progress they make up every engine's run.

    Empty without a run on the RTL.
    """
    found = spans(results)
    if not found:
        return []
    arrivals = _arrivals(results, found)
    free = dict.fromkeys(ENGINES, 0)
    table = []
    for span in found:
        came, semaphore, source = arrivals.get(span.index, (0, "", ""))
        before = free[span.engine]
        token = min(max(came, before), max(span.start, before))
        table += [
            Pause(engine=span.engine, stage=span.stage, reason=semaphore, source=source, first=before, last=token),
            Pause(engine=span.engine, stage=span.stage, reason="start", source="", first=token, last=span.start),
        ]
        free[span.engine] = max(before, span.end)
    table += [Pause(engine=engine, stage="", reason="done", source="", first=end, last=results.report["cycles"])
              for engine, end in free.items()]
    table.sort(key=lambda pause: (ENGINES.index(pause.engine), pause.first))
    return [pause for pause in table if pause.last > pause.first]


def gaps(results: Results) -> list[Gap]:
    """The pauses of a run summed up: by engine, the longest in all first."""
    totals: dict[tuple[str, str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for pause in pauses(results):
        total = totals[pause.engine, pause.stage, pause.reason, pause.source]
        total[0] += pause.last - pause.first
        total[1] += 1
    table = [Gap(engine=engine, stage=stage, reason=reason, source=source, cycles=cycles, times=times)
             for (engine, stage, reason, source), (cycles, times) in totals.items()]
    return sorted(table, key=lambda gap: (ENGINES.index(gap.engine), -gap.cycles, gap.stage, gap.reason))


def _arrivals(results: Results, found: list[Span]) -> dict[int, tuple[int, str, str]]:
    """Of each command that waits: cycle, semaphore and source of the token that came last."""
    tokens: dict[str, list[tuple[int, str]]] = defaultdict(list)
    takers: dict[str, list[Span]] = defaultdict(list)
    for span in found:
        command = results.commands[span.index]
        for semaphore in command["signal"]:
            tokens[semaphore].append((span.end, f"{span.engine} {span.stage}"))
        for semaphore in command["wait"]:
            takers[semaphore].append(span)
    last: dict[int, tuple[int, str, str]] = {}
    for semaphore, waiting in takers.items():
        waiting.sort(key=lambda span: (span.start, span.index))
        for span, (came, source) in zip(waiting, sorted(tokens[semaphore]), strict=False):
            last[span.index] = max(last.get(span.index, (0, "", "")), (came, semaphore, source))
    return last
