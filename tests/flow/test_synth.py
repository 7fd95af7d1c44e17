"""The command: how the jobs' results become figures, and what a failing tool does. The tools are stand-ins."""

import json

import pytest
from amla.flow import synth
from amla.flow.tools import SynthError
from amla.flow.units import QUICK, UNITS

pytestmark = pytest.mark.smoke

_CLOCKS = {1: 50.0, 2: 90.0, 3: 60.0}


@pytest.fixture
def tools(monkeypatch):
    monkeypatch.setattr(synth, "emit_unit", lambda name, *, out: out)
    monkeypatch.setattr(synth, "map_cmos", lambda folder, name, *, multiplier: {
        "speed": 300 if name == "mul" and multiplier == "array" else 200,
        "area": 150 if name == "mul" and multiplier == "booth" else 140, "flip_flops": len(name)})
    monkeypatch.setattr(synth, "map_ecp5", lambda folder, name: {"lut4": 10})
    monkeypatch.setattr(synth, "place", lambda folder, name, *, seed: _CLOCKS[seed])
    return monkeypatch


def test_price_takes_the_smaller_mapping_and_the_median(tools, tmp_path):
    lines = []
    figures = synth.price(["mul", "exp2"], seeds=(1, 2, 3), out=tmp_path, say=lines.append)
    assert list(figures) == ["mul", "exp2"]
    assert figures["mul"] == {
        "transistors": {"speed": 200, "area": 140}, "flip_flops": 3,
        "by_multiplier": {"array": {"speed": 300, "area": 140}, "booth": {"speed": 200, "area": 150}},
        "lut4": 10, "fmax_mhz": 60.0, "fmax_runs": [50.0, 90.0, 60.0]}
    assert len(lines) == 2 * 3 + 2 * 3 and lines[5].startswith("[6/6]")


def test_price_without_seeds_has_no_clock(tools, tmp_path):
    assert "fmax_mhz" not in synth.price(["mul"], seeds=(), out=tmp_path)["mul"]


def test_command_writes_the_report(tools, tmp_path, capsys):
    assert synth.main(["--quick", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert tuple(report["units"]) == QUICK and report["seeds"] == [1]
    assert not any(bar["met"] for bar in report["bars"])
    assert "short" in capsys.readouterr().out
    assert (tmp_path / "results.md").exists()


def test_docs_get_the_page_of_all_units(tools, tmp_path):
    tools.setattr(synth, "SEEDS", (1, 2, 3))
    docs = tmp_path / "docs"
    assert synth.main(["--out", str(tmp_path / "out"), "--docs", str(docs)]) == 0
    assert [path.name for path in docs.iterdir()] == ["results.md"]
    page = (docs / "results.md").read_text()
    assert page == (tmp_path / "out" / "results.md").read_text()
    assert all(f"| {unit.title} |" in page for unit in UNITS.values())


def test_docs_refuse_a_part_of_the_units(tools, tmp_path, capsys):
    with pytest.raises(SystemExit):
        synth.main(["--quick", "--docs", str(tmp_path)])
    assert "--docs takes the figures of all units" in capsys.readouterr().err


def test_command_tells_a_failing_tool(tools, tmp_path, capsys):
    def fail(folder, name):
        raise SynthError(f"yosys failed on {name}")

    tools.setattr(synth, "map_ecp5", fail)
    assert synth.main(["--quick", "--out", str(tmp_path)]) == 1
    assert "yosys failed on" in capsys.readouterr().err
    assert not (tmp_path / "report.json").exists()
