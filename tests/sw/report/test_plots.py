"""PNG plots: written, and refused in one line where they cannot be."""

import sys

import pytest
from amla.sw.errors import AmlaError
from amla.sw.report.plots import write_plots
from amla.sw.report.results import read_folder


def test_plots_are_written(results_folder, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the optional extra plots)")
    paths = write_plots(read_folder(results_folder), tmp_path)
    assert [path.name for path in paths] == ["utilisation.png", "timeline.png", "stalls.png", "bandwidth.png"]
    for path in paths:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG") and int.from_bytes(content[16:20], "big") == 1500


def test_without_matplotlib(results_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(AmlaError, match=r"pip install 'amla\[plots\]'"):
        write_plots(read_folder(results_folder), tmp_path)


def test_without_a_run(make_results, tmp_path):
    make_results(tmp_path, rtl=False)
    with pytest.raises(AmlaError, match="--device rtl"):
        write_plots(read_folder(tmp_path), tmp_path)
