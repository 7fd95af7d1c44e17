"""Spaces around the configuration ``tiny``."""

import pytest
from amla.sw.explore.evaluate import MODEL, evaluate, version
from amla.sw.explore.page import render_page
from amla.sw.explore.space import Space

#: Two cores that can be and one whose lanes break a rule, beside two memories, at three lengths.
SPACE = """
cores:
  - core: tiny
    lanes: [2, 3]
  - core: tiny
    l1_bytes: 8192
memories: [ideal, {memory: hbm, bytes_per_cycle: [4, 8]}]
workloads:
  - workload: tiny
    lengths: [[64], [40, 0], [96]]
preload: [0, 1]
"""


@pytest.fixture
def space_file(tmp_path):
    """``space_file(text)``: the path of a space."""
    def make(text=SPACE, name="some.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path
    return make


@pytest.fixture(scope="session")
def some_rows(tmp_path_factory):
    """Space and rows of SPACE, as of a table."""
    path = tmp_path_factory.mktemp("space") / "some.yaml"
    path.write_text(SPACE, encoding="utf-8")
    space = Space.load(path)
    return space, [{"key": point.key(version()), **point.axes, **evaluate(point)} for point in space.points]


@pytest.fixture(scope="session")
def some_page(some_rows):
    """The page of SPACE."""
    space, rows = some_rows
    return render_page(rows, name=space.name, axes=space.axes, model=MODEL, version=version())
