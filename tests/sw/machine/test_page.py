"""The page is made of the figures that come with it, and says what they say."""

import json
from pathlib import Path

import pytest
from amla.sw.machine.page import markdown

pytestmark = pytest.mark.smoke

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def figures():
    return json.loads((DOCS / "machine" / "machine.json").read_text(encoding="utf-8"))


def test_the_page_is_that_of_its_figures(figures):
    assert markdown(figures) == (DOCS / "machine.md").read_text(encoding="utf-8")


def test_every_recorded_row_is_within_15_percent(figures):
    rows = figures["gpus"]["h200"]
    counted = [row for row in rows if not row["used"]]
    assert len(rows) == 19 and len(counted) == 18
    assert all(abs(row["ratio"] - 1) < 0.15 for row in counted)


def test_contributions_sum_to_the_time(figures):
    best = figures["ascend"]["best"]
    assert sum(best["parts"].values()) == pytest.approx(best["seconds"])
