"""The price report: bars, Markdown, files."""

import io
import json

import pytest
from amla.flow.report import bars, markdown, render, write
from amla.flow.units import UNITS
from rich.console import Console

pytestmark = pytest.mark.smoke


def _unit(transistors, *, lut4=100, fmax=100.0, booth=None):
    by_multiplier = {"array": {"speed": transistors, "area": transistors // 2},
                     "booth": {"speed": booth or transistors, "area": (booth or transistors) // 2}}
    return {"transistors": {effort: min(way[effort] for way in by_multiplier.values()) for effort in ("speed", "area")},
            "by_multiplier": by_multiplier, "flip_flops": 7, "lut4": lut4,
            "fmax_mhz": fmax, "fmax_runs": [fmax - 1, fmax, fmax + 2]}


@pytest.fixture
def units():
    return {"rescale_0": _unit(1000), "rescale_2": _unit(2000), "mul": _unit(20000, booth=14000),
            "lane_amla": _unit(5000, lut4=50, fmax=125.0), "lane_mul": _unit(9000, lut4=90, fmax=60.0)}


@pytest.fixture
def report(units):
    return {"tools": {"yosys": "1"}, "device": ["--45k"], "seeds": [1, 2, 3], "processes": 2, "seconds": 600.0,
            "units": units, "bars": bars(units)}


def test_bars(units):
    units["mul"]["by_multiplier"]["booth"]["area"] = 5000
    assert [(bar["value"], bar["limit"], bar["met"]) for bar in bars(units)] == [
        (20.0, 15.0, True), (20.0, 15.0, True), (14.0, 15.0, False), (10.0, 15.0, False),
        (10.0, 10.0, True), (10.0, 10.0, True), (7.0, 10.0, False), (5.0, 10.0, False),
        (1.8, 1.0, True), (1.8, 1.0, True), (1.8, 1.0, True), (2.0, 1.0, True)]


@pytest.mark.parametrize(("amla", "met"), [([61.0, 70.0, 80.0], False), ([62.0, 70.0, 80.0], False),
                                           ([62.1, 62.2, 62.3], True), ([90.0, 50.0, 90.0], False)])
def test_the_lane_is_faster_only_if_every_seed_says_so(units, amla, met):
    units["lane_amla"]["fmax_runs"] = amla
    (clock,) = (bar for bar in bars(units) if bar["name"].startswith("Fmax"))
    assert clock["value"] == min(amla) / 62.0 and clock["met"] is met


def test_an_equal_lane_is_not_smaller(units):
    units["lane_mul"] = dict(units["lane_amla"])
    assert [bar["met"] for bar in bars(units)[-4:]] == [False] * 4


def test_without_seeds_there_is_no_bar_on_the_clock(units):
    for unit in units.values():
        del unit["fmax_mhz"], unit["fmax_runs"]
    assert not any("Fmax" in bar["name"] for bar in bars(units))


def test_markdown(report):
    page = markdown(report)
    assert "| accumulate lane, mul | 9,000 | 0.643 | 4,500 | 0.643 | 7 | 90 | 60.0 | 59.0 – 62.0 |" in page
    assert "| transistors, area first: FP32 multiplier (booth) ÷ rescale, comp_bits 2 | 7.00 | ≥ 10 | short |" in page
    assert "| Fmax: slowest amla lane ÷ fastest mul lane | 2.00 | > 1 | met |" in page
    assert "Fmax is the median over the seeds 1, 2, 3. Measured in 10 minutes, 2 processes at a time." in page


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
    assert (tmp_path / "price" / "results.md").read_text() == markdown(report)
