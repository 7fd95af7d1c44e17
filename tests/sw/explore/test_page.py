"""The page: complete by itself, every point, the front in the table, what cannot be with its reason."""

import json
import re

import pytest
from amla.sw.explore.evaluate import evaluate
from amla.sw.explore.page import GOALS, render_page, workloads_of
from amla.sw.explore.space import Space

pytestmark = pytest.mark.smoke


def dominated(row, others):
    def as_good(other):
        return all(goal.sign * other[goal.name] >= goal.sign * row[goal.name] for goal in GOALS)

    return any(as_good(other) and any(other[goal.name] != row[goal.name] for goal in GOALS) for other in others)


def test_every_point_and_the_front(some_rows, some_page):
    space, rows = some_rows
    loads = workloads_of(rows, space.axes)
    assert [title for title, _ in loads] == ["tiny, lengths 64", "tiny, lengths 40, 0", "tiny, lengths 96"]
    sections = some_page.split('<section class="workload"')[1:]
    assert len(sections) == len(loads)
    for section, (_, found) in zip(sections, loads, strict=True):
        for plot in section.split("<svg ")[1:]:
            assert sorted(map(int, re.findall(r'<circle [^>]*data-i="(\d+)"', plot))) == found
        table = {int(index) for index in re.findall(r'<tr data-i="(\d+)"', section)}
        points = [rows[index] for index in found]
        assert table == {index for index in found if not dominated(rows[index], points)}
        best = max(points, key=lambda row: row["utilisation"])
        assert f"{best['cycles']:,}</td>" in section


def test_what_cannot_be(some_page):
    assert "54 points: " in some_page and "18 cannot be" in some_page
    assert "<td>tiny.yaml: lanes must be a power of two up to 128, not 3</td>" in some_page


def test_the_area_model_says_how_far_it_is_off(some_page):
    assert "tiny +0.0%, small +1.4%" in some_page


def test_it_needs_nothing_else(some_page):
    assert "{{" not in some_page and "://" not in some_page and "default-src 'none'" in some_page
    assert not re.findall(r"<(?:script|img|link)[^>]* (?:src|href)=\"(?!data:)", some_page)


def test_names_are_escaped(some_rows):
    space, rows = some_rows
    wild = "</script><b>&"
    broken = next(row for row in rows if row["reason"])
    page = render_page([{**row, "core": wild} for row in rows] + [{**broken, "core": "x", "reason": wild}], name=wild,
                       axes=space.axes, model=wild, version=wild)
    assert wild not in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert data["rows"][-1] is None and wild in data["rows"][0]


def test_nothing_can_be(some_rows):
    space, rows = some_rows
    broken = [row for row in rows if row["reason"]]
    page = render_page(broken, name="none", axes=space.axes, model="", version="")
    assert "18 points" in page and '<section class="workload"' not in page


def test_machines(space_file):
    """The fastest first, beside cores or alone."""
    text = "machines: [h800, h200]\nworkloads: [ds-1x4096]\n"
    space = Space.load(space_file(text))
    rows = [{**point.axes, **evaluate(point)} for point in space.points]
    page = render_page(rows, name="machines", axes=space.axes, model="", version="")
    times = [f"{1e6 * seconds:,.2f}" for seconds in sorted(row["seconds"] for row in rows)]
    assert re.findall(r'<td>(h\d00)</td><td>\w+</td><td class="number">([\d.]+)</td>', page) == list(
        zip(("h200", "h800"), times, strict=True))
