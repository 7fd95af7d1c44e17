"""The report page as text: self-contained, every figure in it, nothing from the results unescaped."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from amla.sw.errors import AmlaError
from amla.sw.report.figures import roofline
from amla.sw.report.page import render_page
from amla.sw.report.report_folder import write_pages
from amla.sw.report.results import REPORT_FILE, read_folder

_VOID = {"meta", "link", "input"}


class _Reader(HTMLParser):
    """Elements, ids and the embedded data; fails on elements that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.ids, self.data = [], [], [], ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in _VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop()[0] == tag, tag

    def handle_data(self, data):
        if self.open and self.open[-1][1].get("id") == "data":
            self.data += data


@pytest.fixture(scope="module")
def results(results_folder):
    return read_folder(results_folder)


def test_self_contained(results):
    text = render_page(results)
    reader = _Reader(text)
    assert len(reader.ids) == len(set(reader.ids))
    for _, attributes in reader.elements:
        assert "src" not in attributes and attributes.get("href", "data:,") == "data:,"
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest", text)
    assert "default-src 'none'" in text and "{{" not in text.replace("${{", "")
    assert len(text) < 2_000_000


def test_every_figure_is_shown(results):
    text, report = render_page(results), results.report
    for figure in (f"{100 * report['utilisation']:.1f} %", f"{report['cycles']:,} cycles", f"{report['macs']:,} MACs",
                   f"preload 0: {report['serial_baseline']['cycles']:,} cycles", "bit-exact: rtl = golden = simulator",
                   f"{report['bound']['cycles']:,} cycles", "memory ideal: 20 cycles, 16 B/cycle",
                   "64 MAC/cycle", "4,096 B", "KV read once",
                   f"{100 * report['engines']['vector']['busy'] / report['cycles']:.1f} %"):
        assert figure in text, figure


def test_embedded_data(results):
    data = json.loads(_Reader(render_page(results)).data)
    assert len(data["commands"]) == len(data["spans"]) == len(results.commands)
    for index, start, begin, end in data["spans"]:
        assert 0 <= start <= begin <= end <= data["cycles"] and 0 <= index < len(data["commands"])
    assert data["traffic"]["read"] == [256.0] * len(data["traffic"]["read"])
    assert data["commands"][0][-1] == results.commands[0]["text"]


def test_everything_is_escaped(results):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>{{data}}&"
    report = {**results.report, "workload": evil, "config": evil, "description": evil, "traffic": evil, "mode": evil,
              "seed": evil, "versions": {evil: evil}, "bound": {**results.report["bound"], "by": evil}}
    commands = [{**command, "text": evil, "wait": [evil], "signal": [evil]} for command in results.commands]
    text = render_page(replace(results, report=report, commands=commands))
    assert "<script>alert" not in text and "<img" not in text
    reader = _Reader(text)
    assert [tag for tag, _ in reader.elements].count("script") == 2
    assert json.loads(reader.data)["commands"][0][-1] == evil


def test_a_run_of_the_simulator_has_no_timeline(make_results, tmp_path):
    make_results(tmp_path)
    write_pages(tmp_path)
    make_results(tmp_path, rtl=False)
    assert [path.name for path in write_pages(tmp_path)] == ["report.html"]
    text = (tmp_path / "report.html").read_text()
    assert "counts no cycles" in text and 'id="plot"' not in text and _Reader(text)


def test_roofline_of_a_slow_memory(results):
    """Its roof rises at memory's rate, and bytes of both directions count: 4,096 read and 512 written."""
    report, core = results.report, results.core
    bus = roofline(report, core)
    assert "16 B/cycle" in bus and "busier" in bus and f"{report['macs'] / 4096:,.1f} MAC/B" in bus
    memory = {"name": "slow", "latency": 370, "bytes_per_cycle": 9.25}
    slow = roofline({**report, "memory": memory}, core)
    assert "9.25 B/cycle" in slow and "busier" not in slow and f"{report['macs'] / (4096 + 512):,.1f} MAC/B" in slow
    assert f"memory-bound below {64 / 9.25:,.1f}" in slow


def test_roofline_of_no_work(results):
    assert "No MACs" in roofline({**results.report, "macs": 0}, results.core)


def test_broken_reports_are_refused(make_results, tmp_path):
    make_results(tmp_path)
    report = json.loads((tmp_path / REPORT_FILE).read_text())
    del report["bound"]
    (tmp_path / REPORT_FILE).write_text(json.dumps(report))
    with pytest.raises(AmlaError, match=r"must hold what `amla run` leaves, not KeyError\('bound'\)"):
        write_pages(tmp_path)
    assert not (tmp_path / "report.html").exists()
