"""Figures of a run: every bar, every mark of the roofline, every figure with its unit."""

import math
import re

import pytest
from amla.sw.report.figures import figures, roofline, utilisation

CORE = {"m": 8, "n": 8, "k": 16, "axi_data_bytes": 64}


@pytest.fixture
def report():
    """16 cycles' worth of MACs in 20 cycles, the baseline in 32; 512 bytes read, 64 written, a beat a cycle."""
    return {
        "cycles": 20, "macs": 16 * 1024, "utilisation": 0.8, "cube_active": 0.85,
        "bytes_read": 512, "bytes_written": 64,
        "peak_bytes_per_cycle": {"read": 64.0, "write": 32.0}, "traffic": "KV read once", "nonfinite": False,
        "bound": {"by": "compute", "cycles": 16, "start": 2, "end": 1, "utilisation": 1.0, "reached": 0.8},
        "serial_baseline": {"cycles": 32, "utilisation": 0.5},
        "memory": {"name": "ideal", "latency": 20, "bytes_per_cycle": 64, "sustained_bytes_per_cycle": 64.0,
                   "used": 0.4},
        "kv_block": 64, "sram_kib": {"l1": 552.0, "state": 13.5},
        "error": {"relative_frobenius": 1e-3, "max_abs": 0.25, "lse_max_abs": 1e-6},
        "error_mul": {"relative_frobenius": 2e-3, "max_abs": 0.5, "lse_max_abs": 2e-6},
        "simulation": {"wall_seconds": 2.0, "cycles_per_second": 10.0, "build_seconds": 3.0},
    }


def _marks(svg):
    pattern = r'<circle class="(\w+)" cx="([\d.]+)" cy="([\d.]+)" r="5"><title>([\w ]+): ([\d.]+) MAC/cycle'
    return {name: (colour, float(x), float(y), float(rate))
            for colour, x, y, name, rate in re.findall(pattern, svg.replace(",", ""))}


def test_bars(report):
    page = utilisation(report)
    bars = re.findall(r'<th scope="row">([\w ]+)</th>.*?<b>([\d.]+) %</b>.*?width:([\d.]+)%', page)
    assert bars == [("this run", "80.0", "80.00"), ("cube active", "85.0", "85.00"),
                    ("bound", "100.0", "100.00"), ("serial baseline", "50.0", "50.00")]
    assert "32 cycles, 1.60 times" in page
    report["serial_baseline"] = None
    assert "serial baseline" not in utilisation(report)
    report["cycles"] = None
    assert "counts no cycles" in utilisation(report)


def test_the_roofline_marks_the_run_and_its_baseline(report):
    svg = roofline(report, CORE)
    marks = _marks(svg)
    assert {name: mark[::3] for name, mark in marks.items()} == {
        "this run": ("run", 819.2), "serial baseline": ("other", 512.0)}
    assert marks["this run"][1] == marks["serial baseline"][1] and marks["this run"][2] < marks["serial baseline"][2]
    assert "● this run, ○ serial baseline, 32.0 MAC/B; memory-bound below 16.0" in svg
    report["serial_baseline"] = None
    assert set(_marks(roofline(report, CORE))) == {"this run"}


def test_the_roof_bends_at_the_ridge(report):
    svg = roofline(report, CORE)
    (points,) = re.findall(r'<polyline class="roof" points="([^"]+)"', svg)
    (x0, y0), (x1, y1), (x2, y2) = ((float(x), float(y)) for x, y in (pair.split(",") for pair in points.split(" ")))
    assert x0 < x1 < x2 and y0 > y1 == y2
    # Both axes have their decades; on the slope, intensity and rate grow alike.
    low = math.log10(min(32, 16) / 8)
    assert (y0 - y1) > 0 and math.isclose(math.log10(16) - low, math.log10(1024 / (10**low * 64)))
    # The run lies on neither side of its place: between the roof's end and the ridge.
    assert x1 < _marks(svg)["this run"][1] < x2


def test_a_slower_memory_shares_its_bytes_and_moves_the_ridge(report):
    report["memory"]["bytes_per_cycle"] = 32
    svg = roofline(report, CORE)
    assert "28.4 MAC/B; memory-bound below 32.0" in svg and "of the busier direction" not in svg


def test_nothing_to_plot(report):
    report["macs"] = 0
    assert "No MACs" in roofline(report, CORE)


def test_every_figure_has_its_unit(report):
    table = dict(re.findall(r'<th scope="row">([^<]+)</th><td>([^<]+)</td>', figures(report)))
    assert table == {
        "memory read": "512 B; 25.6 B/cycle, peak 64.0", "memory written": "64 B; 3.2 B/cycle, peak 32.0",
        "bandwidth": "40.0 % of the 64.0 B/cycle that memory sustains",
        "reuse": "KV read once", "KV block": "64 keys",
        "SRAM": "565.5 KiB: L1 552.0, STATE 13.5", "O against float64": "Frobenius 1.00e-03, largest 2.5e-01",
        "plain FlashAttention": "Frobenius 2.00e-03, largest 5.0e-01", "LSE against float64": "largest 1.0e-06",
        "non-finite values": "none", "simulation": "2.0 s, 10 cycles/s; build 3.0 s",
    }
