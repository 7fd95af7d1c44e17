"""Netlists between registers, and cut into stages: by yosys from small designs."""

import json

import pytest
from amla.flow.mapping import gates
from amla.flow.netlist import Netlist

pytestmark = pytest.mark.smoke

PIPELINE = """
module dut(input clk, input hold, input [3:0] a, input [3:0] b, output [3:0] y);
  reg [3:0] sum, late, kept, word7;
  always @(posedge clk) begin
    sum <= a + b; late <= a; if (!hold) kept <= a ^ b; word7 <= (sum & late) - kept;
  end
  assign y = ~word7;
endmodule
"""
CIRCLE = """
module dut(input clk, input a, output y);
  reg p, q;
  always @(posedge clk) begin p <= q ^ a; q <= ~p; end
  assign y = p;
endmodule
"""
MEMORY = """
module ram_4x2_1w1r(input clk, input [1:0] w_addr, input w_en, input [1:0] w_data, input [1:0] r0_addr,
                    input r0_en, output reg [1:0] r0_data);
endmodule
module dut(input clk, input [1:0] a, output reg [1:0] y);
  wire [1:0] word;
  ram_4x2_1w1r cells(.clk(clk), .w_addr(a), .w_en(a[0]), .w_data(~a), .r0_addr(a), .r0_en(1'b1), .r0_data(word));
  always @(posedge clk) y <= word + a;
endmodule
"""


def netlist(folder, source):
    (folder / "dut.v").write_text(source)
    return gates(folder, "dut")


def module(netlist, folder):
    netlist.write(folder / "cut.json", "top")
    return json.loads((folder / "cut.json").read_text())["modules"]["top"]


def named(cut, prefix):
    return sorted(name for name in cut["cells"] if name.startswith(prefix))


def test_stages_of_a_pipeline(tmp_path):
    """A register that holds its word is of one level, one that only passes on is no stage; digits leave a name."""
    whole = netlist(tmp_path, PIPELINE)
    stages = whole.stages()
    assert list(stages) == ["1 sum", "2 word", "3 y"]
    first = module(stages["1 sum"], tmp_path)
    operands = {"in_hold", *(f"in_{name}_{bit}" for name in "ab" for bit in range(4)),
                *(f"in_kept_{bit}" for bit in range(4))}
    assert {*named(first, "in_")} == operands
    assert named(first, "out_") == sorted(f"out_{name}_{bit}" for name in ("sum", "kept") for bit in range(4))
    assert len(stages["1 sum"].added) == len(operands) + 8
    second = module(stages["2 word"], tmp_path)
    assert {name.rsplit("_", 1)[0] for name in named(second, "in_")} == {"in_sum", "in_late", "in_kept"}
    assert {cell["type"] for cell in module(stages["3 y"], tmp_path)["cells"].values()} == {"$_DFF_P_", "$_NOT_"}


def test_between_registers(tmp_path):
    """Every operand and result gets a register, and those of the design are named after what they hold."""
    whole = netlist(tmp_path, PIPELINE)
    between = whole.between_registers()
    assert len(whole.registers) == 16 and len(between.registers) == 16 + 9 + 4 and len(between.added) == 13
    cut = module(between, tmp_path)
    assert {"sum_0", "late_3", "kept_1", "word7_2", "in_hold", "in_a_0", "out_y_3"} <= cut["cells"].keys()
    assert {name: len(port["bits"]) for name, port in cut["ports"].items()} == {"clk": 1, "operands": 9, "results": 4}


def test_circles_have_no_stages(tmp_path):
    whole = netlist(tmp_path, CIRCLE)
    assert whole.stages() == {} and len(whole.between_registers().registers) == 4


def test_a_memory_is_a_port_and_results(tmp_path):
    between = netlist(tmp_path, MEMORY).between_registers()
    cut = module(between, tmp_path)
    assert not any(cell["type"].startswith("ram_") for cell in cut["cells"].values())
    assert len(cut["ports"]["memory_cells"]["bits"]) == 2 and cut["ports"]["memory_cells"]["direction"] == "input"
    assert {name.split("_")[1] for name in named(cut, "out_")} == {"cells", "y"}
    assert isinstance(between, Netlist) and named(cut, "in_a_")


def test_names_of_what_is_held(tmp_path):
    """Registers, operands and memory outputs, a result's register apart, by their names in the RTL."""
    assert netlist(tmp_path, MEMORY).between_registers().holds == {
        **{f"in_a_{bit}": [f"a[{bit}]"] for bit in range(2)}, **{f"y_{bit}": [f"y[{bit}]"] for bit in range(2)},
        **{f"memory_cells[{bit}]": [f"word[{bit}]"] for bit in range(2)}}


def test_a_module_apart_is_operands_and_results(tmp_path):
    """What it gives comes from a register, what it takes goes into one."""
    (tmp_path / "dut.v").write_text(MEMORY.replace("ram_4x2_1w1r", "box"), encoding="utf-8")
    cut = module(gates(tmp_path, "dut", apart=["box"]).between_registers(), tmp_path)
    assert {*named(cut, "in_")} == {"in_a_0", "in_a_1", "in_word_0", "in_word_1"} and set(cut["ports"]) == {
        "clk", "operands", "results"}
    assert any(name.startswith("out_cells_w_data") for name in cut["cells"])


def test_groups_of_one_shape(tmp_path):
    """All gates are in one group each, and none feeds a gate of another one; a group is of gates of one shape."""
    between = netlist(tmp_path, PIPELINE).between_registers()
    flat = module(between, tmp_path)["cells"]
    between.write(tmp_path / "groups.json", "top", grouped=True)
    modules = json.loads((tmp_path / "groups.json").read_text())["modules"]
    top = modules.pop("top")["cells"]
    held = [name for part in modules.values() for name in part["cells"]]
    assert sorted(held) == sorted(name for name, cell in flat.items() if cell["type"] != "$_DFF_P_")
    assert {name: cell for name, cell in top.items() if cell["type"] == "$_DFF_P_"}.items() <= flat.items()
    made = {name: {bit for cell in part["cells"].values() for bit in cell["connections"]["Y"]}
            for name, part in modules.items()}
    assert len(modules) > 1
    for name, part in modules.items():
        read = {bit for port in part["ports"].values() if port["direction"] == "input" for bit in port["bits"]}
        assert not any(read & bits for bits in made.values())
        assert top[f"{name}_"]["connections"] == {name: port["bits"] for name, port in part["ports"].items()}
        levels, count = map(int, name.split("_")[1:])
        assert levels <= count and len(part["cells"]) % count == 0
    assert any(name.startswith("out_y") for name in top) and {
        cell["type"] for cell in modules["group_1_1"]["cells"].values()} == {"$_NOT_"}
