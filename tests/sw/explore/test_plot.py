"""Plots: every point is a dot, the front a staircase, ticks are round."""

import re

import pytest
from amla.sw.explore.plot import Mark, Scale, scatter

pytestmark = pytest.mark.smoke

MARKS = [Mark(index, x, y, group, 0, index == 1) for index, (x, y, group) in enumerate(
    [(10, 0.5, 0), (20, 0.9, 0), (15, 0.4, 0), (12, 0.7, 1), (30, 0.8, 1)])]


@pytest.mark.parametrize(("together", "corners"), [(False, [[10, 20], [12, 30]]), (True, [[10, 12, 20]])])
def test_dots_and_fronts(together, corners):
    text = scatter(MARKS, x="SRAM", y="share & more", percent=True, together=together)
    dots = {int(index): (float(x), float(y)) for index, x, y in
            re.findall(r'data-i="(\d+)" cx="([\d.]+)" cy="([\d.]+)"', text)}
    assert sorted(dots) == [0, 1, 2, 3, 4] and 'class="g0 chosen" data-i="1"' in text
    paths = re.findall(r'<path class="front (\w+)" d="M([\d.]+) ([\d.]+)([^"]*)"', text)
    assert [name for name, *_ in paths] == (["all"] if together else ["g0", "g1"])
    place = {mark.x: dots[mark.index] for mark in MARKS}
    for (_, x, y, rest), of_group in zip(paths, corners, strict=True):
        steps = [(float(x), float(y)), *((float(a), float(b)) for a, b in re.findall(r"H([\d.]+)V([\d.]+)", rest))]
        assert steps == [place[corner] for corner in of_group]
    assert "share &amp; more" in text and ">50 %</text>" in text


@pytest.mark.parametrize(("values", "ticks"), [
    ((0.12, 0.97), [0.2, 0.4, 0.6, 0.8]), ((582, 1142), [600, 800, 1000]), ((5, 5), [5]), ((0, 0), [0])])
def test_ticks_are_round(values, ticks):
    scale = Scale.of(values, 0, 100)
    assert set(ticks) <= {round(tick, 9) for tick in scale.ticks}
    assert 0 <= scale(min(values)) <= scale(max(values)) <= 100
