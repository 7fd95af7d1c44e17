"""Gaps: their sum is right, and so is what they are blamed on."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from amla.rtl.isa import Engine
from amla.sw.report.results import Results, read_folder
from amla.sw.report.waits import Gap, gaps


def test_gaps_and_work_sum_to_the_cycles(results_folder):
    results = read_folder(results_folder)
    found = gaps(results)
    total = Counter()
    for gap in found:
        assert gap.cycles >= gap.times > 0
        total[gap.engine] += gap.cycles
    for engine in Engine:  # in the toy run no commands overlap
        own = results.trace["engine"] == engine
        work = (results.trace["end"] - results.trace["start"])[own].sum()
        assert total[engine.name.lower()] + work == results.report["cycles"], engine
    # Commands of the toy run start as soon as they can.
    assert {gap.engine for gap in found if gap.reason == "start"} <= {"sequencer"}


def _command(engine, stage, wait=(), signal=()):
    return {"engine": engine, "text": "X", "stage": stage, "request": 0, "tile": 0, "block": 0, "wait": list(wait),
            "signal": list(signal)}


@pytest.fixture
def by_hand():
    """Two feeds, each followed by a multiplication; the second also waits for a drain, which comes last."""
    commands = [
        _command("feed", "C1", signal=["L0_READY"]), _command("cube", "C1", ["L0_READY"], ["L0C_READY"]),
        _command("drain", "C1", ["L0C_READY"], ["VALUES_FREE"]), _command("feed", "C2", signal=["L0_READY"]),
        _command("cube", "C2", ["L0_READY", "VALUES_FREE"]),
    ]
    trace = {"engine": np.array([2, 3, 2, 4, 3]), "index": np.array([0, 1, 3, 2, 4]),
             "start": np.array([0, 12, 10, 52, 80]), "end": np.array([10, 50, 30, 75, 100])}
    return Results(report={"cycles": 110}, core={}, commands=commands, trace=trace, traffic=None)


def test_the_last_token_is_to_blame(by_hand):
    cube = {(gap.reason, gap.source): (gap.stage, gap.cycles, gap.times) for gap in gaps(by_hand)
            if gap.engine == "cube"}
    assert cube == {
        ("L0_READY", "feed C1"): ("C1", 10, 1),  # 0 to 10
        ("VALUES_FREE", "drain C1"): ("C2", 25, 1),  # 50 to 75
        ("start", ""): ("C2", 5, 1),  # 75 to 80
        ("done", ""): ("", 10, 1),
    } | {("start", ""): cube["start", ""]}
    assert Gap(engine="cube", stage="C1", reason="start", source="", cycles=2, times=1) in gaps(by_hand)
    assert Gap(engine="cube", stage="C2", reason="start", source="", cycles=5, times=1) in gaps(by_hand)


def test_no_gaps_without_a_run(by_hand):
    assert gaps(replace(by_hand, trace=None)) == []
