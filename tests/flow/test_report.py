"""The price report: tables, page, plots, files."""

import io
import json

import pytest
from amla.flow.report import comparisons, markdown, render, write
from amla.flow.units import TARGET_FO4
from rich.console import Console

pytestmark = pytest.mark.smoke


def _unit(area, fo4, **more):
    figures = {"area_um2": area, "fo4": fo4, "fmax_mhz": 100.0, "levels": 12, "start": "a_1", "end": "y_2",
               "power_mw": 1.25}
    return {**figures, "stages": {"1 sum": fo4, "2 y": 10.0}, "digest": "0",
            "default": {**figures, "area_um2": area / 2, "fo4": 2 * fo4}, **more}


@pytest.fixture
def report():
    ecp5 = {"lut4": 1234, "fmax_mhz": 60.0, "fmax_runs": [59.0, 60.0, 62.5]}
    return {
        "library": "some", "fo4_ns": 0.1, "flows": {}, "ecp5": ["--45k"], "versions": {"yosys": "1"},
        "units": {"rescale_0": _unit(1000.0, 25.0), "mul": _unit(12_000.0, 47.5, ecp5=ecp5)},
        "cores": {"tiny": {**_unit(15e6, 79.0), "stages": {}, "path": ["a_1", "y_2"]}},
    }


def test_comparisons(report):
    assert [(pair["flow"], pair["area_um2"], pair["fo4"]) for pair in comparisons(report["units"])] == [
        ("speed", 12.0, 1.9), ("default", 12.0, 1.9)]
    assert comparisons({"mul": report["units"]["mul"]}) == []


def test_page(report):
    page = markdown(report)
    assert "| rescale unit, comp_bits 0 | 1,000 | 25.0 | 100 | 12 | 1.25 | a_1 → y_2 | 500 | 50.0 |" in page
    assert "| core (tiny) | 15,000,000 | 79.0 |" in page
    assert "| FP32 multiplier | 1 sum | 47.5 | above the target |" in page and TARGET_FO4 == 30
    assert "| rescale unit, comp_bits 0 | 1 sum | 25.0 |  |" in page
    assert "| FP32 multiplier ÷ rescale unit, comp_bits 0 | default | 12.00 | 1.90 |" in page
    assert "| FP32 multiplier | 1,234 | 60.0 | 59.0 – 62.5 |" in page
    assert "Not measured: rescale unit, comp_bits 1, " in page
    assert "On an FPGA" not in markdown({**report, "units": {"rescale_0": report["units"]["rescale_0"]}})


def test_tables(report):
    console = Console(file=io.StringIO(), width=200)
    render(report, console)
    text = console.file.getvalue()
    for word in ("FP32 multiplier", "15,000,000", "above the target", "59.0 – 62.5", "0.1000 ns"):
        assert word in text


def test_files(report, tmp_path):
    write(report, tmp_path / "a", docs=tmp_path / "b")
    assert json.loads((tmp_path / "a" / "report.json").read_text()) == report
    names = {"results.md", "area.png", "stages.png"}
    assert {path.name for path in (tmp_path / "b").iterdir()} == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / "area.png").read_bytes().startswith(b"\x89PNG")
