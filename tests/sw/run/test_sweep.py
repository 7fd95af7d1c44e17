"""The sweep: on tiny in seconds; cores just large enough, what a pass over O would cost, and the RTL beside it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from amla.rtl.config import CoreConfig
from amla.rtl.isa import Opcode
from amla.sw.compiler.outline import outline
from amla.sw.compiler.program import Command
from amla.sw.compiler.tiling import plan_tiles
from amla.sw.cycles.model import CycleRun, simulate
from amla.sw.memory.preset import IDEAL
from amla.sw.report.utilisation import macs_of
from amla.sw.run import sweep
from amla.sw.run.rtl_job import RtlResults
from amla.sw.workload.workload import Workload

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def load():
    """A full row tile of tiny, long enough for many blocks."""
    return Workload(name="long", heads=32, head_dim=48, head_dim_v=32, lengths=(256,))


def test_against_latency(tiny, load):
    rows = sweep.latency_sweep(load, [tiny, replace(tiny, name="wide", l1_bytes=131072)], (20, 200, 1000))
    assert [(row["latency"], row["config"]) for row in rows] == [
        (latency, name) for latency in (20, 200, 1000) for name in ("tiny", "wide")]
    cycles = [row["cycles"] for row in rows if row["config"] == "tiny"]
    assert cycles[0] < cycles[1] < cycles[2]
    for row in rows:
        assert row["utilisation"] == macs_of(load) / 64 / row["cycles"]
        assert row["utilisation"] < row["bound"] < 1
        assert row["rtl_cycles"] is row["rtl_utilisation"] is None
    assert rows[1]["sram_kib"] == rows[0]["sram_kib"] + 128 - tiny.l1_bytes / 1024


@pytest.mark.parametrize("block", [4, 8, 16, 32, 64])
def test_buffers_are_just_large_enough(tiny, load, block):
    core = sweep.core_for(tiny, load, block)
    plan = plan_tiles(load, core, kv_block=block)
    assert plan.kv_block == core.kv_block == block
    # Plans of fewer rows would leave room: these rows take all of it.
    rows = 32
    assert core.s_words == 2 * rows // 4 * block // 2 and core.l0c_words == 2 * rows // 4 * (block + 32) // 4
    words = {name: rows // 4 * size // 4 for name, size in (("P", block), ("Q", 48))} | {"KV": block // 4 * 48 // 4}
    words["P"] += words["P"] % core.l1_banks
    assert core.l1_words == 2 * words["P"] + words["Q"] + 4 * words["KV"]
    assert (core.l0a_bytes, core.o_bytes, core.out_bytes) == (tiny.l0a_bytes, tiny.o_bytes, tiny.out_bytes)


def test_deepseek_holds_its_rings():
    """The rings that the page names are those of the plan, and L1 and L0C have no word more."""
    load, deepseek = Workload.load("ds-1x4096"), CoreConfig.load("deepseek")
    for block in (32, 64, 128):
        core = sweep.core_for(deepseek, load, block)
        regions = plan_tiles(load, core, kv_block=block).regions
        assert {name: regions[name].slots for name in ("S", "P", "KV", "SCORES", "VALUES")} == {
            "S": 2, "P": 2, "KV": 4, "SCORES": 2, "VALUES": 2}
        assert regions["KV"].stop == core.l1_words and regions["VALUES"].stop == core.l0c_words
        assert regions["S"].stop == core.s_words


def test_against_sram(tiny, load):
    rows = sweep.sram_sweep(load, tiny, (4, 8, 16, 32), IDEAL)
    sizes = [row["sram_kib"] for row in rows]
    assert [row["kv_block"] for row in rows] == [4, 8, 16, 32] and sizes == sorted(set(sizes))
    for row in rows:
        assert row["utilisation"] == macs_of(load) / 64 / row["cycles"]
        assert 0 < row["with_pass"] <= row["utilisation"]
    lost = [row["utilisation"] - row["with_pass"] for row in rows]
    assert lost[0] > lost[-1] and lost[0] > 0


def test_cost_of_a_pass(tiny):
    """By hand: a block writes 16 words of O in two drains, and all of them once more unless it is the first."""
    def block(*, first):
        return [Command.build(opcode, **fields) for opcode, fields in (
            (Opcode.DRAIN_S, {"mt": 1, "nt": 2}), *[(Opcode.DRAIN_O, {"mt": 1, "nt": 4, "first": first})] * 2)]

    def cost(*blocks, span):
        commands = [command for block in blocks for command in block]
        start = np.zeros(len(commands), np.int64)
        start[1:] = 100
        run = CycleRun(cycles=1000, cube_active=0, counters={}, start=start, end=start + span,
                       reads=np.empty(0), writes=np.empty(0))
        return sweep._pass_cycles(commands, run, tiny)

    assert cost(block(first=True), span=16) == 0
    assert cost(block(first=True), block(first=False), span=32) == 16
    assert cost(block(first=True), block(first=False), span=40) == 8
    assert cost(block(first=True), block(first=False), span=500) == 0


def test_programs_are_those_of_a_run(small):
    """But for where their arrays lie: a few cycles from the RTL's on record beside ``ideal``."""
    record = json.loads((ROOT / "tests" / "rtl" / "cycles.json").read_text())["small"]
    for name in ("single", "decode"):
        found = simulate(outline(Workload.load(name), small, IDEAL)[1], small).cycles
        assert abs(found - record[f"{name}, preload 1, latency 20"]) < 10


def test_rtl_is_measured_as_by_run(monkeypatch, tmp_path, tiny, tiny_workload, toy_run):
    """Through a job folder that is gone afterwards, with every check of a run."""
    kept = []

    def prepare(*arguments, **options):
        kept.append(sweep_prepare(*arguments, **options))
        return kept[-1]

    def run_rtl(folder):
        content = json.loads((folder / "job.json").read_text())
        assert content["memory"]["latency"] == 200 and [run["name"] for run in content["runs"]] == ["tiny"]
        return RtlResults(runs={"tiny": toy_run("tiny", kept[-1].expected)}, build_seconds=0, simulation_seconds=1,
                          cycles_per_second=1)

    sweep_prepare = sweep.prepare
    monkeypatch.setattr(sweep, "prepare", prepare)
    monkeypatch.setattr(sweep, "run_rtl", run_rtl)
    rows = sweep.latency_sweep(tiny_workload, [tiny, replace(tiny, name="other")], (200,), rtl=tmp_path)
    cycles = toy_run("tiny", kept[0].expected).cycles
    assert [row["rtl_cycles"] for row in rows] == [cycles, None] and len(kept) == 1
    assert rows[0]["rtl_utilisation"] == macs_of(tiny_workload) / 64 / cycles
    assert not [*tmp_path.iterdir()]


def test_the_command_writes_the_same_every_time(monkeypatch, tmp_path):
    monkeypatch.setattr(sweep, "WORKLOADS", ("ds-1x4096",))
    monkeypatch.setattr(sweep, "LATENCIES", (20, 500))
    monkeypatch.setattr(sweep, "BLOCKS", (48, 64))
    for name in ("one", "two"):
        sweep.main(["--out", str(tmp_path / name)])
    files = {path.relative_to(tmp_path / "one"): path.read_bytes() for path in (tmp_path / "one").rglob("*.*")}
    assert {str(path) for path in files} == {"sweep.md", "sweep/sweep.json", "sweep/latency.png", "sweep/sram.png"}
    assert all((tmp_path / "two" / path).read_bytes() == content for path, content in files.items())
    study = json.loads(files[Path("sweep/sweep.json")])
    assert len(study["latency"]) == 4 and [row["kv_block"] for row in study["sram"]["rows"]] == [48, 64]
