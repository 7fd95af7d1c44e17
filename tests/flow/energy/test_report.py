"""The energy report: comparisons, page, plot; and the command, on a stand-in for the measurement."""

import json

import pytest
from amla.flow.energy import command
from amla.flow.energy.figures import comparison, differences, engine_energy
from amla.flow.energy.report import markdown, write
from amla.flow.library import Library
from amla.flow.mapping import FLOWS
from amla.flow.tools import FlowError
from amla.sw.run.compare import Mismatch

pytestmark = pytest.mark.smoke

ENGINES = ("sequencer", "load", "feed", "cube", "drain", "vector", "store")


def part(engine, energy, area=100.0, fo4=30.0, instances=1):
    return {"engine": engine, "instances": instances, "bits": 8, "area_um2": area, "fo4": fo4,
            "clock": energy, "registers": energy / 2, "logic": energy / 4, "glitches": energy / 8}


def run(mode, factor, p_format="u6.10"):
    """A run whose lane takes ``factor`` times the energy and area."""
    parts = {"lane": part("drain", 800 * factor, area=50 * factor, fo4=20 * factor, instances=8),
             "vector_lane": part("vector", 160, instances=4),
             "top": part("control", 400), **{engine: part(engine, 400) for engine in ENGINES}}
    return {"mode": mode, "p_format": p_format, "cycles": 100, "accumulated": 40, "rows": 16,
            "keys": 128, "tokens": 2, "head_dim": 48, "head_dim_v": 32, "operations": dict.fromkeys(ENGINES, 10),
            "memories": [{"path": "o", "bytes": 8.0, "read_bits": 1, "written_bits": 2, "pj": 3000.0}],
            "flows": dict.fromkeys(FLOWS, parts)}


@pytest.fixture
def report():
    runs = {"amla, P u6.10": run("amla", 1), "mul, P u6.10": run("mul", 2), "mul, P operand": run("mul", 3, "operand")}
    return {"core": "tiny", "library": "some", "nm": 180.0, "voltage": 1.8, "fo4_ns": 0.1, "versions": {"yosys": "1"},
            "runs": runs, "comparison": comparison(runs), "differences": differences(runs)}


def test_comparison(report):
    rows = {(row["unit"], row["run"]): row for row in report["comparison"] if row["flow"] == "speed"}
    lane, drain = rows["lane", "amla, P u6.10"], rows["drain", "amla, P u6.10"]
    assert lane["energy"] == (400 + 200) / 40 + 800 / (100 * 8)
    assert lane["switching"] == (400 + 200) / 40 and drain["switching"] == (800 + 400) * 0.75 / 40
    assert drain["area_um2"] == 8 * 50 + 100 and drain["energy"] == (800 + 400) * 1.75 / 40 and drain["time"] == 30
    token = rows["token", "amla, P u6.10"]
    assert token["area_um2"] is None and token["time"] == 30 * 100 / 2
    assert token["energy"] == (800 + 160 + 8 * 400) * 1.75 / 2 / 1000
    vector_lane, row_pass = 160 * 0.75 / 10 + 160 / (100 * 4), 400 * 0.75 / (40 / 32) + 400 / 100
    assert rows["block", "amla, P u6.10"]["energy"] * 1000 == pytest.approx(
        512 * lane["energy"] + 64 * vector_lane + row_pass)
    over = rows["lane", "mul, P u6.10"]["over"]
    assert over == {"area_um2": 2, "time": 2, "energy": 2, "glitching": 2, "switching": 2}
    assert lane["glitching"] == lane["energy"] + 100 / 40 and drain["glitching"] == drain["energy"] + 150 / 40
    assert rows["core", "mul, P u6.10"]["over"]["time"] == 40 / 30
    assert set(rows["token", "mul, P u6.10"]["over"]) == {"time", "energy", "glitching", "switching"}
    assert "over" not in rows["lane", "mul, P operand"]  # amla was not measured with this format


def test_differences(report):
    """Only what differs, and only where mode amla was measured."""
    assert differences(report["runs"]) == [
        {"flow": flow, "run": "mul, P u6.10", "part": "drain: its lanes or units", "area_um2": 8 * 50,
         "clock": 0.4, "switching": pytest.approx(0.3), "glitches": pytest.approx(0.05)} for flow in FLOWS]


def test_engines(report):
    found = engine_energy(report["runs"]["amla, P u6.10"], "speed")
    assert list(found) == [*ENGINES, "control"] and found["drain"] == 1200 * 1.75 and found["cube"] == 400 * 1.75
    core = next(row for row in report["comparison"] if row["unit"] == "core")
    assert sum(found.values()) == pytest.approx(core["energy"] * 100 * 1000)


def test_page(report):
    page = markdown(report)
    lane = "accumulate lane (element of O, pJ)"
    assert f"| {lane} | speed | mul, P u6.10 | 100.0 | 40.0 | 32.0 | 37.0 | 30.0 |{' 2.00 |' * 5}" in page
    assert "| speed | mul, P u6.10 | drain: its lanes or units | +400 | +0.4 | +0.3 | +0.1 |" in page
    assert "| drain | 1.1 | 1.8 | 2.5 |" in page  # nJ of a token
    assert "| memories, 45 nm | 1.50 | 1.50 | 1.50 |" in page
    assert "| memories, scaled to 180 nm | 24.00 | 24.00 | 24.00 |" in page
    assert "drain: element of S or O" in page


def test_files(report, tmp_path):
    write(report, tmp_path / "out", docs=tmp_path / "docs")
    assert json.loads((tmp_path / "out" / "energy.json").read_text(encoding="utf-8"))["core"] == "tiny"
    for name in ("energy.md", "energy.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "docs" / name).read_bytes()
    assert (tmp_path / "docs" / "energy.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Stand-ins for library and measurement; what was measured."""
    liberty = tmp_path / "some.lib"
    liberty.write_text("library (some) { nom_voltage : 1.5; }", encoding="utf-8")
    library = Library(name="some", path=liberty, fo4_ns=0.1, inverter="INV", register_area=96.0)
    calls = []

    def measure(config, *, library, out, jobs, say):
        calls.append((config.mode, config.p_format))
        say("measuring")
        return run(config.mode, 2 if config.mode == "mul" else 1, config.p_format)

    monkeypatch.setattr(command, "find_liberty", lambda: liberty)
    monkeypatch.setattr(command.Library, "measure", classmethod(lambda cls, path, folder: library))
    monkeypatch.setattr(command, "measure", measure)
    return calls


def test_command(measured, tmp_path, capsys):
    """It measures what is asked for, and everything where nothing is."""
    out = tmp_path / "out"
    assert command.main(["--out", str(out), "--mode", "amla", "mul", "--p-format", "u6.10"]) == 0
    assert measured == [("amla", "u6.10"), ("mul", "u6.10")]
    assert "[2/2] mul, P u6.10" in capsys.readouterr().err
    assert command.main(["--out", str(out), "--docs", str(tmp_path / "docs")]) == 0
    assert len({*measured}) == 6
    report = json.loads((out / "energy.json").read_text(encoding="utf-8"))
    assert len(report["runs"]) == 6 and report["voltage"] == 1.5 and report["workload"]["heads"] == 16
    assert (tmp_path / "docs" / "energy.md").exists()


@pytest.mark.parametrize("error", [FlowError("yosys failed"), Mismatch("O differs in row 3")])
def test_a_failing_run(error, measured, tmp_path, monkeypatch, capsys):
    """A tool that fails and bits that are wrong are a line and status 1."""
    def fail(config, **options):
        raise error

    monkeypatch.setattr(command, "measure", fail)
    assert command.main(["--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"{error}\n" and not (tmp_path / "out" / "energy.json").exists()


@pytest.mark.parametrize("arguments", [["--jobs", "0"], ["--nm", "0"], ["--nm", "nan"]])
def test_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2 and "--jobs must be at least 1 and --nm above 0" in capsys.readouterr().err
