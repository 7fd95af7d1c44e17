"""The price report: bars, Markdown, files."""

import io
import json

import pytest
from amla.tb.synth_report import bars, markdown, render, write
from amla.tb.synth_units import UNITS
from rich.console import Console

pytestmark = pytest.mark.smoke


def _unit(transistors, *, lut4=100, fmax=100.0, booth=None):
    return {"transistors": min(transistors, booth or transistors), "flip_flops": 7, "lut4": lut4,
            "by_multiplier": {"array": transistors, "booth": booth or transistors},
            "fmax_mhz": fmax, "fmax_runs": [fmax - 1, fmax, fmax + 2]}


@pytest.fixture
def units():
    return {"rescale_0": _unit(1000), "rescale_2": _unit(2000), "mul": _unit(20000, booth=14000),
            "lane_amla": _unit(5000, lut4=50, fmax=120.0), "lane_mul": _unit(9000, lut4=90, fmax=60.0)}


@pytest.fixture
def report(units):
    return {"tools": {"yosys": "1"}, "device": ["--45k"], "seeds": [1, 2, 3], "units": units, "bars": bars(units)}


def test_bars(units):
    assert [(bar["value"], bar["limit"], bar["met"]) for bar in bars(units)] == [
        (20.0, 15.0, True), (14.0, 15.0, False), (10.0, 10.0, True), (7.0, 10.0, False),
        (1.8, 1.0, True), (1.8, 1.0, True), (2.0, 1.0, True)]


def test_an_equal_lane_is_not_smaller(units):
    units["lane_mul"] = dict(units["lane_amla"])
    assert [bar["met"] for bar in bars(units)[-3:]] == [False] * 3


def test_without_seeds_there_is_no_bar_on_the_clock(units):
    for unit in units.values():
        del unit["fmax_mhz"], unit["fmax_runs"]
    assert not any("Fmax" in bar["name"] for bar in bars(units))


def test_markdown(report):
    page = markdown(report)
    assert "| accumulate lane, mul | 9,000 | 0.643 | 7 | 90 | 60.0 | 59.0 – 62.0 |" in page
    assert "| transistors: FP32 multiplier (booth) ÷ rescale, comp_bits 2 | 7.00 | ≥ 10 | short |" in page
    assert "| Fmax: amla lane ÷ mul lane | 2.00 | > 1 | met |" in page


def test_render(report):
    console = Console(width=120, record=True, file=io.StringIO())
    render(report, console)
    text = console.export_text()
    for name in report["units"]:
        assert UNITS[name].title in text
    assert "yosys 1" in text


def test_write(report, tmp_path):
    write(report, tmp_path / "price")
    assert json.loads((tmp_path / "price" / "report.json").read_text()) == report
    assert (tmp_path / "price" / "report.md").read_text() == markdown(report)
