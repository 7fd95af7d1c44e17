"""``amla report`` end to end, without a simulation."""

import json
import sys

import pytest
from amla.sw.cli import main


@pytest.fixture
def report(monkeypatch, capsys):
    """Run ``amla report``; returns (status, lines of stdout, stderr)."""
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["amla", "report", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            main()
        captured = capsys.readouterr()
        return exit_info.value.code, captured.out.split(), captured.err

    return call


def test_writes_page_and_trace(report, make_results, tmp_path):
    make_results(tmp_path)
    status, lines, err = report(tmp_path)
    assert (status, err) == (0, "") and lines == [str(tmp_path / "report.html"), str(tmp_path / "trace.json")]
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert not [*tmp_path.glob("*.partial")]


def test_a_folder_without_results_is_refused(report, tmp_path):
    status, _, err = report(tmp_path)
    assert status == 2 and err.startswith("amla: cannot read") and err.count("\n") == 1 and "amla run" in err


def test_a_folder_that_cannot_be_written_is_refused(report, make_results, tmp_path):
    make_results(tmp_path)
    (tmp_path / "report.html").mkdir()
    status, _, err = report(tmp_path)
    assert status == 2 and "cannot write" in err and err.count("\n") == 1
