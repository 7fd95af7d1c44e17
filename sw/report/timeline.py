"""The run as spans: which command each engine worked on, when, and for which request, block and stage.

Engines accept a command while the one before is in progress and finish in order. So the work of an engine is
seen best as one bar after the other: a command's bar begins when it is accepted and the one before has ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amla.rtl.isa import Engine

from .results import Results

__all__ = ["ENGINES", "STAGES", "Span", "slots", "spans", "stage_of"]

#: Engines in the order of the data's way through the core, the sequencer last.
ENGINES = tuple(engine.name.lower() for engine in (
    Engine.LOAD, Engine.FEED, Engine.CUBE, Engine.DRAIN, Engine.VECTOR, Engine.STORE, Engine.SEQUENCER))

#: Stages in the order of the work, with what they do.
STAGES = {
    "load": "Q, KV: memory → L1",
    "C1": "scores S = Q·Kᵀ",
    "V1": "softmax: P and row offsets",
    "C2": "values O = rescaled O + P·V",
    "end": "normalise, store",
    "control": "FENCE, HALT",
}


@dataclass(frozen=True, kw_only=True)
class Span:
    """One command in time; cycles from START.

    Attributes
    ----------
    index:  in the program
    engine, stage: keys of :data:`ENGINES` and :data:`STAGES`
    request, tile, block: what it works on, -1 where that does not apply
    text:   the command as one readable line
    start:  the engine accepted the command
    begin:  the engine had nothing older in progress: ``start``, or the end of the command before
    end:    all its writes had landed
    """

    index: int
    engine: str
    stage: str
    request: int
    tile: int
    block: int
    text: str
    start: int
    begin: int
    end: int


def stage_of(command) -> str:
    """Stage of a command of program.json: loads are their own stage, whatever they load for."""
    if command["engine"] == "load":
        return "load"
    return command["stage"] if command["stage"] in STAGES else "control"


def spans(results: Results) -> list[Span]:
    """Spans of a run, by engine and then in time; an unfinished command lasts until the last cycle.

    Empty without a run on the RTL.
    """
    if results.trace is None:
        return []
    found: dict[str, list[Span]] = {engine: [] for engine in ENGINES}
    columns = (results.trace[name].tolist() for name in ("index", "start", "end"))
    for index, start, end in sorted(zip(*columns, strict=True), key=lambda row: (row[1], row[0])):
        command = results.commands[index]
        lane = found[command["engine"]]
        end = results.report["cycles"] if end < 0 else end
        lane.append(Span(
            index=index, engine=command["engine"], stage=stage_of(command), request=command["request"],
            tile=command["tile"], block=command["block"], text=command["text"], start=start, end=end,
            begin=min(end, max(start, lane[-1].end)) if lane else start,
        ))
    return [span for lane in found.values() for span in lane]


def slots(lane: Sequence[Span]) -> list[int]:
    """A row for every span of one engine such that the spans [start, end) of a row do not overlap."""
    ends: list[int] = []
    rows = []
    for span in lane:
        row = next((row for row, end in enumerate(ends) if end <= span.start), len(ends))
        ends[row:row + 1] = [max(span.end, span.start + 1)]
        rows.append(row)
    return rows
