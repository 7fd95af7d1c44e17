"""PNG plots: drawn, and refused in one line where they cannot be."""

import pytest
from amla.rtl import command
from amla.sw.errors import AmlaError
from amla.sw.report.plots import draw_plots
from amla.sw.report.results import read_folder


def test_plots_are_drawn(results_folder):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the optional extra plots)")
    plots = draw_plots(read_folder(results_folder))
    assert [*plots] == ["utilisation.png", "timeline.png", "stalls.png", "bandwidth.png"]
    for content in plots.values():
        assert content.startswith(b"\x89PNG") and int.from_bytes(content[16:20], "big") == 1500


def test_without_matplotlib(results_folder, monkeypatch):
    monkeypatch.setattr(command, "_missing", lambda extra: ["matplotlib"] if extra == "plots" else [])
    with pytest.raises(AmlaError, match=r'this needs matplotlib: pip install "amla\[plots]"'):
        draw_plots(read_folder(results_folder))


def test_without_a_run(make_results, tmp_path):
    make_results(tmp_path, rtl=False)
    with pytest.raises(AmlaError, match="--device rtl"):
        draw_plots(read_folder(tmp_path))
