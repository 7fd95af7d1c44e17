"""Spans: every command once, in bars that do not overlap."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from amla.sw.report.results import read_folder
from amla.sw.report.timeline import ENGINES, STAGES, Span, slots, spans


@pytest.fixture(scope="module")
def results(results_folder):
    return read_folder(results_folder)


def test_every_command_is_one_span(results):
    found = spans(results)
    assert sorted(span.index for span in found) == list(range(len(results.commands)))
    assert {span.stage for span in found} == set(STAGES)
    for span in found:
        command = results.commands[span.index]
        assert (span.engine, span.text, span.request) == (command["engine"], command["text"], command["request"])
        assert span.stage == ("load" if span.engine == "load" else command["stage"] or "control")
    order = [ENGINES.index(span.engine) for span in found]
    assert order == sorted(order)


def test_bars_of_an_engine_do_not_overlap(results):
    trace = dict(results.trace)
    trace["start"] = np.maximum(trace["start"] - 25, 0)  # accepted while the one before is in progress
    found = spans(replace(results, trace=trace))
    assert any(span.begin > span.start for span in found)
    for before, after in pairwise(found):
        if before.engine == after.engine:
            assert before.end <= after.begin <= after.end and after.start <= after.begin


def test_an_unfinished_command_lasts_to_the_end(results):
    trace = dict(results.trace)
    trace["end"] = trace["end"].copy()
    trace["end"][-1] = -1
    last = next(span for span in spans(replace(results, trace=trace)) if span.index == trace["index"][-1])
    assert last.end == results.report["cycles"]


def test_no_spans_without_a_run(results):
    assert spans(replace(results, trace=None)) == []


def _span(start, end):
    return Span(index=0, engine="load", stage="load", request=0, tile=0, block=0, text="", start=start, begin=start,
                end=end)


def test_slots_never_overlap():
    lane = [_span(0, 10), _span(2, 12), _span(10, 20), _span(11, 11), _span(11, 30), _span(12, 13)]
    assert slots(lane) == [0, 1, 0, 2, 3, 1]
    assert slots([]) == []
