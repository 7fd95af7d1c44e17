"""The report: what a person sees and what is written."""

import io

from amla.rtl.isa import Engine
from amla.sw.report.report import render
from rich.console import Console


def _report():
    engines = {e.name.lower(): {"busy": 600, "wait_semaphore": 200, "wait_memory": 50, "idle": 150} for e in Engine}
    return {
        "config": "small",
        "workload": "mine",
        "device": "rtl",
        "mode": "amla",
        "preload": 1,
        "memory": {"name": "hbm", "latency": 370, "bytes_per_cycle": 37.0, "sustained_bytes_per_cycle": 34.53,
                   "used": 0.43},
        "kv_block": 64,
        "sram_kib": {"l1": 552.0, "state": 13.5},
        "description": "a workload",
        "cycles": 1000,
        "macs": 960_000,
        "utilisation": 0.9375,
        "cube_active": 0.95,
        "engines": engines,
        "bytes_read": 64_000,
        "bytes_written": 2_000,
        "traffic": "KV read once",
        "bound": {"by": "compute", "cycles": 950, "start": 40, "end": 20, "utilisation": 0.9, "reached": 0.95},
        "serial_baseline": {"cycles": 1500, "utilisation": 0.625},
        "bit_exact": {"golden": True, "simulator": True},
        "error": {"relative_frobenius": 4e-4, "max_abs": 1e-3, "lse_max_abs": 1e-6},
        "error_mul": {"relative_frobenius": 5e-4, "max_abs": 1e-3, "lse_max_abs": 1e-6},
        "simulation": {"build_seconds": 60.0, "wall_seconds": 0.1, "cycles_per_second": 10_000.0},
    }


def _text(report):
    console = Console(file=io.StringIO(), width=132, highlight=False)
    render(report, console)
    return console.file.getvalue()


def test_every_figure_is_shown():
    text = _text(_report())
    for figure in (
        "93.8 %",
        "95.0 %",
        "62.5 %",
        "1.50 times",
        "960,000 MACs",
        "64.0 B/cycle",
        "60.0 %",
        "20.0 %",
        "5.0 %",
        "15.0 %",
        "= golden",
        "= simulator",
        "4.000e-04",
        "43.0 %",
        "of the 34.5 B/cycle that memory sustains",
        "565.5 KiB: L1 552.0, STATE 13.5",
        "64 keys",
        "10,000 cycles/s",
        "by compute, at best 950 cycles",
        "memory hbm: 370 cycles, 37 B/cycle",
        "KV read once",
    ):
        assert figure in text, figure
    assert all(engine.name.lower() in text for engine in Engine)
    assert "…" not in text, "a cell is cut off"


def test_differences_are_said():
    report = _report() | {"bit_exact": {"golden": False, "simulator": None}}
    assert "differs from golden" in _text(report) and "simulator" not in _text(report).replace(
        "command simulator", ""
    )


def test_without_cycles():
    report = _report() | {"cycles": None, "engines": {}, "utilisation": None, "device": "simulator"}
    report["simulation"]["cycles_per_second"] = None
    assert "counts no cycles" in _text(report)
