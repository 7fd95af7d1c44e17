"""Area by parts: the measured areas are those of docs/price/results.md, and whole cores come out of them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from amla.rtl.config import CoreConfig
from amla.sw.explore import area
from amla.sw.explore.area import AREAS, area_of, parts_of, priced_errors

pytestmark = pytest.mark.smoke

DOCS = Path(__file__).parents[3] / "docs"


def test_measured_areas_are_those_of_the_page():
    page = (DOCS / "price" / "results.md").read_text(encoding="utf-8")
    designs = page[:page.index("## Stages")]
    measured = {title: int(value.replace(",", "")) for title, value in
                re.findall(r"^\| ([^|]+) \| ([\d,]+) \|", designs, re.MULTILINE)}
    assert measured.items() >= AREAS.items()
    line = re.search(r"^\| load engine without them \| ([\d,]+) \|", (DOCS / "price.md").read_text(encoding="utf-8"),
                     re.MULTILINE)
    assert int(line[1].replace(",", "")) == area._PLAIN_LOAD


def test_whole_cores():
    """The parts are those of tiny; small, which is 5.3 times as large, has not been used."""
    errors = priced_errors()
    assert errors["tiny"] == pytest.approx(0, abs=1e-9)
    assert 0.01 < errors["small"] < 0.02


def test_what_grows_with_what(small):
    parts = parts_of(small)

    def grown(**changes):
        return {name: value / parts[name] for name, value in parts_of(replace(small, **changes)).items()
                if parts[name] and value != parts[name]}

    assert grown(m=16) == {"dot units": 2, "drain": 2, "vector": 2}
    assert grown(lanes=8) == {"drain": 2, "vector": 2}
    assert grown(axi_data_bytes=128) == {"load": 2, "FP8": 2, "feed": 2, "store": 2}
    assert grown(l1_bytes=540672, kv_block=256, max_rows=128, axi_in_flight_bytes=8192) == {}
    assert parts_of(replace(small, format="fp16"))["FP8"] == 0


def test_units_of_other_modes_and_formats(small):
    parts = parts_of(small)
    lanes, dots = small.m * small.lanes, small.m * small.n

    def more(part, **changes):
        return parts_of(replace(small, **changes))[part] - parts[part]

    of = AREAS
    assert more("drain", mode="mul") == pytest.approx(
        lanes * (of["accumulate lane, mul"] - of["accumulate lane, amla, comp_bits 0"]))
    assert more("drain", comp_bits=2) == pytest.approx(
        lanes * (of["rescale unit, comp_bits 2"] - of["rescale unit, comp_bits 0"]))
    assert more("dot units", p_format="operand") == pytest.approx(
        dots * (of["dot unit, k = 16, P in BF16"] - of["dot unit, k = 16"]))
    assert more("vector", p_format="operand") == pytest.approx(
        lanes * (of["vector lane, amla, P in BF16"] - of["vector lane, amla"]))


def test_dot_units_of_measured_depths(tiny, small):
    assert parts_of(small)["dot units"] == pytest.approx(64 * AREAS["dot unit, k = 16"])
    assert parts_of(tiny)["dot units"] == pytest.approx(AREAS["cube engine (tiny)"])
    assert area_of(CoreConfig.load("deepseek")) == pytest.approx(370e6, rel=0.01)
