"""The study's plots: readable axes, nothing silently cut off."""

import io

import pytest
from amla.sw.accuracy import plots as accuracy_plots

_MODES = ("mul", "amla", "paper")


def _entry(key, length, name, error, ratio):
    return {"distribution": key, "keys": length, "variant": name, "errors": [error, error and 1.1 * error],
            "ratio": ratio, "histogram": [0, 5, 5, 0]}


@pytest.fixture
def data():
    errors = {"near": (4e-4, 4.1e-4, 4.4e-4), "far": (1e-7, 3e-7, 2e-2), "lost": (1e-4, 1e-4, None)}
    ratios = {"near": (1, 1.02, 1.1), "far": (1, 3, 2e5), "lost": (1, 0.01, None)}
    return accuracy_plots._Data({
        "distributions": {key: {"title": key.title()} for key in errors},
        "variants": {name: {"mode": name, "comp_bits": 2} for name in _MODES},
        "bin_edges": [1e-9, 1e-6, 1e-3, 1e-1, 1e1],
        "results": [_entry(key, length, name, errors[key][index], ratios[key][index])
                    for key in errors for length in (2048, 16384) for index, name in enumerate(_MODES)],
    })


def test_every_panel_labels_its_decades(data):
    figure = accuracy_plots._error_growth(data)
    figure.savefig(io.BytesIO(), format="png")
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert high / low >= 2.99
        labels = [tick.label1.get_text() for tick in axes.yaxis.get_major_ticks() if low <= tick.get_loc() <= high]
        assert len(labels) >= 2 and len({*labels}) == len(labels), labels
        assert [label.get_text() for label in axes.get_xticklabels()] == ["2,048", "16,384"]


def test_ratios_beyond_the_axis_are_written_out(data):
    for axes in accuracy_plots._ratio_by_mode(data).axes:
        assert [text.get_text() for text in axes.texts] == ["200,000 →", "← 0.01"]
        assert axes.get_xlim() == accuracy_plots._RATIO_LIMITS


def test_all_that_has_a_number_is_drawn(data):
    figure = accuracy_plots._error_by_mode(data)
    for axes in figure.axes:
        markers = [line for line in axes.lines if line.get_marker() not in ("None", "")]
        assert len(markers) == 8, "three modes times three distributions, less the one without a number"


def test_unused_panels_are_hidden(data):
    data.titles["more"] = "More"
    figure, panels = accuracy_plots._panels(data, 2.0)
    assert [key for key, _ in panels] == ["near", "far", "lost", "more"]
    assert [axes.get_visible() for axes in figure.axes] == [True] * 4 + [False] * 2
