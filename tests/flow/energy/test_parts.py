"""A core cut into parts: every module in one of them."""

import pytest
from amla.flow.energy.parts import cut, rams
from amla.rtl.config import CoreConfig
from amla.rtl.core import AmlaCore
from amla.rtl.emit import emit
from amla.rtl.isa import Engine
from amla.rtl.memories import memories

TOY = r"""
module lane(a, y, clk);
  input clk;
  wire clk;
  input [3:0] a;
  wire [3:0] a;
  output [3:0] y;
  wire [3:0] y;
  \lane.add  add (
    .a(a)
  );
endmodule
module \lane.add (a);
  input [3:0] a;
endmodule
module ram_4x2_1w1r(
  input clk, input [1:0] w_addr);
  reg [1:0] cells [0:3];
endmodule
module top(clk);
  input clk;
  \top.drain  drain (
    .clk(clk)
  );
  \top.rest  \rest$1  (
    .clk(clk)
  );
endmodule
module \top.drain (clk, \port$9133$5 );
  input clk;
  input \port$9133$5 ;
  lane one (
    .clk(clk)
  );
  lane two (
    .clk(clk)
  );
endmodule
module \top.rest (clk);
  input clk;
  ram_4x2_1w1r cells (
    .clk(clk)
  );
endmodule
"""


@pytest.mark.smoke
def test_parts():
    parts = {part.name: part for part in cut(TOY, top="top", engines=["drain"])}
    assert {name: (part.places, part.apart) for name, part in parts.items()} == {
        "lane": (("drain.one", "drain.two"), ()), "drain": (("drain",), ("lane",)), "top": (("",), ("top.drain",))}
    assert "lane.add" in parts["lane"].verilog and "lane.add" not in parts["drain"].verilog
    assert "output [3:0] y;" in parts["drain"].verilog and "one" not in parts["top"].verilog
    assert "port$0$5" in parts["drain"].verilog and parts["drain"].in_core("a.port$0$5") == "a.port$9133$5"
    ram, = rams(TOY, top="top")
    assert (ram.path, ram.words, ram.width, ram.enables, ram.reads) == ("rest$1.cells", 4, 2, 1, 1)


@pytest.mark.smoke
def test_unknown_engine():
    with pytest.raises(ValueError, match="the core must hold 'cube', not only drain, rest"):
        cut(TOY, top="top", engines=["cube"])


def test_the_core(tmp_path):
    """Leaves as often as they are placed; the memories are those of docs/memories.md."""
    config = CoreConfig.load("tiny")
    leaves = emit(AmlaCore(config), name="amla_core", out=tmp_path)
    verilog = (tmp_path / "amla_core.v").read_text(encoding="utf-8")
    engines = [engine.name.lower() for engine in Engine]
    parts = {part.name: part for part in cut(verilog, top="amla_core", engines=engines)}
    assert set(parts) == {*leaves, *engines, "top"}
    counts = {parts[leaf].places[0].partition(".")[0]: len(parts[leaf].places) for leaf in leaves}
    lanes = config.m * config.lanes
    assert counts == {"cube": config.m * config.n, "drain": lanes, "vector": lanes}
    # A memory of one word is written as a register.
    macros = {use.name: (use.words, use.width) for use in memories(config)
              if use.writes and use.synchronous and use.words > 1}
    assert sorted((ram.words, ram.width) for ram in rams(verilog, top="amla_core")) == sorted(macros.values())
