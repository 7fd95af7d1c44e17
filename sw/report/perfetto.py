"""A run in the trace-event format that Perfetto (ui.perfetto.dev) and chrome://tracing open.

Format: "Trace Event Format", Google, complete ("X"), counter ("C") and metadata ("M") events. Its time is in
microseconds; here one microsecond stands for one cycle. An engine whose commands overlap has several rows.
"""

from itertools import groupby
from typing import Any

from .results import Results
from .timeline import ENGINES, slots, spans

__all__ = ["trace_events"]

_ROWS = 16  # thread ids of one engine


def trace_events(results: Results) -> dict[str, Any]:
    """Content of trace.json.

    Raises
    ------
    ValueError: there was no run on the RTL.
    """
    if results.trace is None or results.traffic is None:
        raise ValueError("results must be of a run on the RTL or the cycle model, not of the command simulator")
    report = results.report
    name = f"{report['workload']} on {report['config']} (1 µs = 1 cycle)"
    events: list[dict[str, Any]] = [_metadata("process_name", 0, name=name)]
    for engine, group in groupby(spans(results), key=lambda span: span.engine):
        lane = list(group)
        first = _ROWS * (1 + ENGINES.index(engine))
        rows = slots(lane)
        for row in range(max(rows) + 1):
            events.append(_metadata("thread_name", first + row, name=engine if row == 0 else f"{engine} ({row + 1})"))
            events.append(_metadata("thread_sort_index", first + row, sort_index=first + row))
        for span, row in zip(lane, rows, strict=True):
            opcode, _, operands = span.text.partition(" ")
            place = {key: value for key in ("request", "tile", "block") if (value := getattr(span, key)) >= 0}
            events.append({
                "ph": "X", "pid": 0, "tid": first + row, "ts": span.start, "dur": span.end - span.start,
                "name": f"{span.stage} {opcode}", "cat": span.stage,
                "args": {"index": span.index, "operands": operands.strip(), **place},
            })
    bucket = int(results.traffic["bucket"])
    for number, (read, written) in enumerate(zip(results.traffic["read"], results.traffic["written"], strict=True)):
        cycles = min(bucket, report["cycles"] - number * bucket)
        events.append({"ph": "C", "pid": 0, "ts": number * bucket, "name": "B/cycle",
                       "args": {"read": round(read / cycles, 3), "written": round(written / cycles, 3)}})
    return {"displayTimeUnit": "ms", "traceEvents": events,
            "otherData": {"time": "1 us is 1 cycle", "cycles": report["cycles"], "config": report["config"],
                          "workload": report["workload"]}}


def _metadata(kind: str, thread: int, **arguments: Any) -> dict[str, Any]:
    return {"ph": "M", "pid": 0, "tid": thread, "name": kind, "args": arguments}
