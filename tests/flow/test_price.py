"""The command: what is measured, kept and reported, and what a failing tool does. The tools are stand-ins."""

import json
from dataclasses import replace
from typing import NamedTuple

import pytest
from amla.flow import price
from amla.flow.library import Library
from amla.flow.tools import FlowError
from amla.flow.units import CORES, DESIGNS, ON_ECP5, QUICK, UNITS

pytestmark = pytest.mark.smoke


class _Netlist:
    def between_registers(self, *, linked):
        assert not linked
        return self

    def stages(self):
        return {"1 sum": self, "2 y": self}


class _Tools(NamedTuple):
    patch: pytest.MonkeyPatch
    library: Library
    mapped: list[tuple[str, str]]


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """Stand-ins that note what is mapped; a design's Verilog is its name."""
    liberty = tmp_path / "some.lib"
    liberty.write_text("library(some) {}")
    library = Library(name="some", path=liberty, fo4_ns=0.1, inverter="INV", register_area=96.0)
    mapped = []

    def timed(netlist, folder, name, flow, library, *, modules=None):
        assert not modules
        mapped.append((name, flow))
        return {"area_um2": 1000.0 if flow == "speed" else 500.0, "fo4": 31.0 if flow == "speed" else 60.0,
                "fmax_mhz": 100.0, "levels": 9, "start": "a_0", "end": "y_1", "power_mw": 1.5}

    monkeypatch.setattr(price, "emit", lambda component, *, name, out: (out / f"{name}.v").write_text(name))
    monkeypatch.setattr(price, "gates", lambda folder, name: _Netlist())
    monkeypatch.setattr(price, "map_and_time", timed)
    monkeypatch.setattr(price, "map_ecp5", lambda folder, name: {"lut4": 10})
    monkeypatch.setattr(price, "place", lambda folder, name, *, seed: {1: 50.0, 2: 90.0, 3: 60.0}[seed])
    monkeypatch.setattr(price, "find_liberty", lambda: liberty)
    monkeypatch.setattr(price.Library, "measure", classmethod(lambda cls, path, folder: library))
    monkeypatch.setattr(price, "Registered", lambda component: component)
    monkeypatch.setattr(price, "DESIGNS", {name: replace(unit, make=lambda: None) for name, unit in DESIGNS.items()})
    return _Tools(monkeypatch, library, mapped)


def test_figures(tools, tmp_path):
    lines = []
    figures = price.price(["mul", "exp2"], out=tmp_path, library=tools.library, say=lines.append)
    assert figures["mul"]["fo4"] == 31 and figures["mul"]["default"]["fo4"] == 60
    assert figures["mul"]["stages"] == {"1 sum": 31.0, "2 y": 31.0}
    assert figures["mul"]["ecp5"] == {"lut4": 10, "fmax_mhz": 60.0, "fmax_runs": [50.0, 90.0, 60.0]}
    assert "ecp5" not in figures["exp2"] and "exp2" not in ON_ECP5
    assert len(lines) == 2 and lines[1].startswith("[2/2]")


def test_command_reports_and_resumes(tools, tmp_path, capsys):
    """A second run measures what changed alone; docs get the page of all that is known."""
    out = tmp_path / "out"
    assert price.main(["rescale_0", "mul", "tiny", "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert list(report["units"]) == ["rescale_0", "mul"] and report["cores"]["tiny"]["path"] == ["a_0", "y_1"]
    assert report["fo4_ns"] == 0.1 and set(report["flows"]) == {"default", "speed"}
    first = len(tools.mapped)
    assert price.main(["rescale_0", "exp2", "--out", str(out), "--docs", str(tmp_path / "docs")]) == 0
    assert {name for name, _ in tools.mapped[first:]} == {"exp2", "stage1", "stage2"}
    page = (tmp_path / "docs" / "results.md").read_text()
    assert page == (out / "results.md").read_text() and "Not measured: " in page
    assert {path.name for path in (tmp_path / "docs").iterdir()} == {"results.md", "area.png", "stages.png"}
    assert "FP32 multiplier" in capsys.readouterr().out


def test_quick_takes_its_units(tools, tmp_path):
    assert price.main(["--quick", "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {*report["units"]} == {*QUICK} and not any("ecp5" in unit for unit in report["units"].values())


def test_a_failing_tool_loses_nothing(tools, tmp_path, capsys):
    def fail(folder, name):
        if name == "rescale_0":
            raise FlowError(f"yosys failed on {name}")
        return _Netlist()

    tools.patch.setattr(price, "gates", fail)
    tools.patch.setattr(price, "PROCESSES", 1)
    assert price.main(["rescale_0", "mul", "--out", str(tmp_path / "out")]) == 1
    assert "yosys failed on rescale_0" in capsys.readouterr().err
    assert list(json.loads((tmp_path / "out" / "report.json").read_text())["units"]) == ["mul"]


def test_unknown_designs(tools, tmp_path, capsys):
    with pytest.raises(SystemExit):
        price.main(["divider"])
    assert "NAME must be one of rescale_0, " in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"name must be one of rescale_0, .*, not 'divider'"):
        price.measure("divider", out=tmp_path, library=tools.library)


def test_designs():
    assert {*QUICK, *ON_ECP5} <= {*UNITS} and not {*CORES} & {*UNITS}
