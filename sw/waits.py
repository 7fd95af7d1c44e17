"""Why engines had nothing in progress: every gap before a command, by the token that came last.

Semaphores start at zero and every command takes one token from each it waits for, in the order of the starts.
So the j-th take of a semaphore needs its j-th token, and that came when the j-th of its signallers ended. Of the
tokens a command waits for, the last to come held it up.
"""

from collections import defaultdict
from dataclasses import dataclass

from .results import Results
from .timeline import ENGINES, Span, spans

__all__ = ["Gap", "gaps"]


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Cycles in which an engine had no command in progress, for one reason.

    Attributes
    ----------
    engine, stage: of the command that came next; stage "" after the last one
    reason:  name of the semaphore whose token was missing; "start" from the last token (for a command that waits
             for none, from the end before) to the start: fetch, dispatch, hand-over; "done" after the last one
    source:  engine and stage of the command that gave the missing token, else ""
    cycles, times: in all, and in how many gaps
    """

    engine: str
    stage: str
    reason: str
    source: str
    cycles: int
    times: int


def gaps(results: Results) -> list[Gap]:
    """All gaps of a run: by engine, the longest in all first. Their sum per engine, with the cycles in
    progress, is the run's cycles. Empty without a run on the RTL."""
    found = spans(results)
    if not found:
        return []
    arrivals = _arrivals(results, found)
    totals: dict[tuple[str, str, str, str], list[int]] = defaultdict(lambda: [0, 0])

    def count(cycles: int, *key: str) -> None:
        if cycles > 0:
            totals[key[0], key[1], key[2], key[3]][0] += cycles
            totals[key[0], key[1], key[2], key[3]][1] += 1

    free = dict.fromkeys(ENGINES, 0)
    for span in found:
        came, semaphore, source = arrivals.get(span.index, (0, "", ""))
        token = min(max(came, free[span.engine]), span.start)
        count(token - free[span.engine], span.engine, span.stage, semaphore, source)
        count(span.start - max(token, free[span.engine]), span.engine, span.stage, "start", "")
        free[span.engine] = max(free[span.engine], span.end)
    for engine, end in free.items():
        count(results.report["cycles"] - end, engine, "", "done", "")
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
