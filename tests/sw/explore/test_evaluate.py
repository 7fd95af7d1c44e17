"""What a point takes: the compiler's, the bound's and the area's own figures; a reason where it cannot be."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from amla.sw.cycles.model import simulate
from amla.sw.explore import evaluate as module
from amla.sw.explore.area import area_of
from amla.sw.explore.evaluate import RESULTS, evaluate, version
from amla.sw.explore.space import Point
from amla.sw.machine.machine import load_machine
from amla.sw.machine.prediction import predict
from amla.sw.memory.preset import Memory
from amla.sw.report.utilisation import bound_of, macs_of
from amla.sw.workload.workload import Workload

pytestmark = pytest.mark.smoke


@pytest.fixture
def point(tiny, tiny_workload):
    return Point(axes={}, core=tiny, memory=Memory.load("hbm"), workload=tiny_workload, preload=2)


def test_the_figures(point, make_job, tiny, tiny_workload):
    row = evaluate(point)
    assert list(row) == list(RESULTS) and row["reason"] is None
    of_machines = {"reason", "seconds", "cores_at_work"}
    assert all(type(value) is RESULTS[name][0] for name, value in row.items() if name not in of_machines)
    assert {row[name] for name in of_machines} == {None}
    bound, macs = bound_of(tiny_workload, tiny, point.memory), macs_of(tiny_workload)
    assert (row["bound_by"], row["bound_cycles"]) == (bound.by, bound.cycles)
    assert row["bound_reached"] == bound.cycles / row["cycles"]
    assert row["utilisation"] == macs / row["cycles"] / 64 and row["macs_per_cycle"] == macs / row["cycles"]
    assert row["bytes_per_cycle"] == (row["bytes_read"] + row["bytes_written"]) / row["cycles"]
    assert (row["multipliers"], row["bandwidth"]) == (64, 16)
    assert row["sram_kib"] == sum(tiny.sram_bytes.values()) / 1024 and row["area_mm2"] == area_of(tiny) / 1e6
    job, _ = make_job(preload=2)
    rows = len(tiny_workload.lengths) * tiny_workload.rows
    ideal = evaluate(replace(point, memory=Memory.load("ideal")))
    assert ideal["cycles"] == pytest.approx(simulate(job.program.commands, tiny).cycles, rel=0.01)  # by addresses
    assert ideal["bytes_read"] == job.bytes_read and ideal["kv_block"] == job.plan.kv_block
    assert ideal["bytes_written"] == rows * (2 * tiny_workload.head_dim_v + 4)


def test_a_machine(point):
    machine, load = load_machine("h200"), Workload.load("ds-1x4096")
    on = replace(point, core=None, memory=None, preload=None, machine=machine)
    found, row = predict(load, machine), evaluate(replace(on, workload=load))
    assert {name: value for name, value in row.items() if value is not None} == {
        "seconds": found.seconds, "utilisation": found.utilisation, "cores_at_work": found.cores,
        "bound_by": found.bound["by"], "bound_reached": found.bound["seconds"] / found.seconds}
    assert "head_dim must be 576 on h200" in evaluate(on)["reason"]


def test_points_that_cannot_be(point):
    """The workload does not suit the core, or the core never was one: nothing but the reason."""
    for broken, reason in (
        (replace(point, workload=replace(point.workload, cache="fp16")), "cache must be bf16"),
        (replace(point, workload=replace(point.workload, head_dim=100, head_dim_v=90)), "head_dim"),
        (replace(point, core=None, reason="lanes must be 1"), "lanes must be 1"),
    ):
        row = evaluate(broken)
        assert reason in row.pop("reason") and set(row.values()) == {None}


def test_the_version_covers_all_code_that_counts():
    """Whatever comes with an import of evaluate.py is in the digest, but for empty files."""
    root = Path(module.__file__).resolve().parents[2]
    code = ("import sys, amla.sw.explore.evaluate\n"
            "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('amla.') and m.__file__))")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=True)
    needed = {Path(name).resolve() for name in found.stdout.split()}
    covered = {path for name in module._SOURCES for path in (sorted((root / name).rglob("*.py")) or [root / name])}
    assert Path(module.__file__).resolve() in needed and all(path.exists() for path in covered)
    assert {path for path in needed if path.stat().st_size} <= covered
    assert len(version()) == 16
