"""The Perfetto trace: well-formed, complete, and rows in which events do not overlap."""

import json
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from amla.sw.report.perfetto import trace_events
from amla.sw.report.results import read_folder


@pytest.fixture(scope="module")
def results(results_folder):
    results = read_folder(results_folder)
    trace = dict(results.trace)
    trace["start"] = np.maximum(trace["start"] - 90, 0)  # commands that overlap
    return replace(results, trace=trace)


def test_complete_events(results):
    content = json.loads(json.dumps(trace_events(results)))
    names = {event["tid"]: event["args"]["name"] for event in content["traceEvents"] if event["name"] == "thread_name"}
    rows = defaultdict(list)
    for event in content["traceEvents"]:
        if event["ph"] == "X":
            rows[event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
            command = results.commands[event["args"]["index"]]
            assert names[event["tid"]].split(" (")[0] == command["engine"]
            assert event["name"].split()[-1] == command["text"].split()[0]
    assert sum(map(len, rows.values())) == len(results.commands)
    assert "load (2)" in names.values()
    for row in rows.values():
        assert all(before[1] <= after[0] for before, after in pairwise(sorted(row)))


def test_bandwidth_counters(results):
    counters = [event for event in trace_events(results)["traceEvents"] if event["ph"] == "C"]
    bucket, cycles = int(results.traffic["bucket"]), results.report["cycles"]
    assert [event["ts"] for event in counters] == list(range(0, cycles, bucket))
    assert counters[0]["args"] == {"read": 4.0, "written": 0.0}
    assert counters[1]["args"]["written"] == pytest.approx(1 / 64, abs=1e-3)


def test_needs_a_run_on_the_rtl(results):
    with pytest.raises(ValueError, match="not of the command simulator"):
        trace_events(replace(results, trace=None))
