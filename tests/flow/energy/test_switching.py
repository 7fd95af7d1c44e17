"""Energy of mapped gates: on a toy library by hand, and on a small unit from Verilog to pJ."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from amla.flow.energy.cells import Cell, Cells, Pin
from amla.flow.energy.mapped import mapped
from amla.flow.energy.parts import Part
from amla.flow.energy.switching import Energy, Switching, transitions
from amla.flow.library import Library, find_liberty
from amla.flow.mapping import gates, map_and_time
from amla.flow.tools import FlowError, opensta

needs_opensta = pytest.mark.skipif(
    shutil.which("sta") is None or not Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib").exists(),
    reason="needs Debian's opensta and qflow-tech-osu018")


def pin(capacitance=0.0, internal=0.0, function="", clock=False):
    return Pin(capacitance=capacitance, function=function, clock=clock, internal=lambda load: internal + load)


#: 2 V: a transition of a net takes twice its capacitance.
CELLS = Cells(voltage=2.0, cells={
    "NAND": Cell(register=False, pins={
        "A": pin(1.0), "B": pin(10.0), "Y": pin(internal=0.5, function="!(A B)")}),
    "FF": Cell(register=True, pins={
        "C": pin(0.25, internal=0.125, clock=True), "D": pin(100.0, internal=0.75), "Q": pin(function="IQ")}),
})


def cell(kind, **nets):
    return {"type": kind, "connections": {name: [net] for name, net in nets.items()}}


def toy(folder, **others):
    """y <= !(y and a): operand a in front, a result behind."""
    module = {
        "ports": {"clk": {"direction": "input", "bits": [2]}, "operands": {"direction": "input", "bits": [3]},
                  "results": {"direction": "output", "bits": [7]}},
        "cells": {"in_a": cell("FF", C=2, D=3, Q=4), "g": cell("NAND", A=4, B=6, Y=5), "y": cell("FF", C=2, D=5, Q=6),
                  "out_y": cell("FF", C=2, D=6, Q=7), **others},
    }
    path = folder / "toy.json"
    path.write_text(json.dumps({"modules": {"top": module}}), encoding="utf-8")
    return Switching(path, CELLS, added=["in_a", "out_y"], holds={"in_a": ["a"], "y": ["y"]})


@pytest.mark.smoke
def test_transitions():
    assert [transitions(word, 4) for word in (0b0000, 0b1111, 0b0101, 0b0110, 0b1000)] == [0, 0, 3, 2, 1]


@pytest.mark.smoke
def test_energy_by_hand(tmp_path):
    """Cycles a 1111, y 0101 from the left: the gate gives 1010."""
    netlist = toy(tmp_path)
    assert netlist.sources == {4: ["a"], 6: ["y"]} and netlist.registers == 1
    found = netlist.energy({4: 0b1111, 6: 0b1010}, 4)
    assert found.clock == 4 * 2 * (0.125 + 0.25 * 2)
    # y drives B, 10 pF, the result's register apart: charge, internal at that load; D's charge is the gate's
    assert found.registers == 3 * (10 * 2 + 10) + 3 * 0.75
    assert found.logic == 3 * (100 * 2 + 0.5 + 100)
    assert found.glitches == 0  # y and a change at the same time
    # a falls once and y rises: their own nets alone
    moved = netlist.energy({4: 0b0001, 6: 0b1110}, 4)
    assert moved.registers == 10 * 2 + 10 and moved.logic == 1 * 2
    assert found + moved == Energy(clock=2 * found.clock, registers=found.registers + moved.registers,
                                   logic=found.logic + moved.logic)


@pytest.mark.smoke
def test_glitches_by_hand(tmp_path):
    """!(a and !a): where a rises the gate falls for one step, as its other input has not fallen yet."""
    pins = {"inner": cell("NAND", A=4, B="1", Y=8), "outer": cell("NAND", A=4, B=8, Y=9)}
    netlist = toy(tmp_path, **pins)
    rises, falls = netlist.energy({4: 0b1100, 6: 0b0111}, 4), netlist.energy({4: 0b0011, 6: 0b1010}, 4)
    assert rises.glitches == 2 * 0.5 and falls.glitches == 0  # nothing hangs on the gate: its internal energy alone


@pytest.mark.smoke
def test_what_the_gates_do_not_give(tmp_path):
    with pytest.raises(FlowError, match="register y must hold what the mapped gates give"):
        toy(tmp_path).energy({4: 0b1111, 6: 0b1110}, 4)


@pytest.mark.smoke
def test_unknown_cells(tmp_path):
    with pytest.raises(FlowError, match="the library must have the cell OR"):
        toy(tmp_path, h=cell("OR", A=4, Y=8))
    with pytest.raises(FlowError, match="z must be a register, an operand or a memory's output of the design"):
        toy(tmp_path, z=cell("FF", C=2, D=4, Q=8))


UNIT = r"""
module \core.unit (clk, a, b, y);
  input clk;
  input [3:0] a, b;
  output reg [7:0] y;
  reg [3:0] p, q;
  always @(posedge clk) begin p <= a; q <= b; y <= p * q; end
endmodule
"""


@needs_opensta
def test_a_unit(tmp_path):
    """A multiplier: idle it takes the clock's energy alone, busy more; the netlist computes what the RTL says."""
    library = Library.measure(find_liberty(), tmp_path / "library")
    part = Part(name="unit", module="core.unit", verilog=UNIT, numbers=(), apart=(), places=("unit",))
    flows = mapped(part, library=library, out=tmp_path)
    stamp = flows["speed"]["cells"].stat().st_mtime_ns
    assert mapped(part, library=library, out=tmp_path) == flows and flows["speed"]["cells"].stat().st_mtime_ns == stamp
    cells = Cells.read(library.path, transition=library.fo4_ns)
    cycles = 64
    a, b = [(5 * t + t // 7) % 16 for t in range(cycles)], [(3 * t * t) % 16 for t in range(cycles)]
    values = {"a": a, "b": b, "p": [0, *a[:-1]], "q": [0, *b[:-1]]}
    values["y"] = [0, *(p * q for p, q in zip(values["p"][:-1], values["q"][:-1], strict=True))]

    def word(name):
        signal, _, bit = name.rstrip("]").partition("[")
        return sum((value >> int(bit or 0) & 1) << t for t, value in enumerate(values[signal]))

    for found in flows.values():
        netlist = Switching(found["cells"], cells, added=found["added"], holds=found["holds"])
        assert netlist.registers == 16 and len(netlist.sources) == 24
        held = {net: word(names[0]) for net, names in netlist.sources.items()}
        busy, idle = netlist.energy(held, cycles), netlist.energy(dict.fromkeys(held, 0), cycles)
        assert idle.registers == idle.logic == 0 and busy.clock == idle.clock > 0
        assert busy.logic > busy.registers > 0
        register = next(net for net, names in netlist.sources.items() if names[0].startswith("y["))
        with pytest.raises(FlowError, match="must hold what the mapped gates give"):
            netlist.energy({**held, register: held[register] ^ 1 << 20}, cycles)
        first, second = (next(net for net, names in netlist.sources.items() if name in names)
                         for name in ("a[0]", "b[2]"))
        with pytest.raises(FlowError, match="must hold what the mapped gates give"):
            netlist.energy({**held, first: held[second], second: held[first]}, cycles)


@needs_opensta
def test_energy_is_that_of_opensta(tmp_path):
    """Where every net changes in every cycle, OpenSTA's switching power times the period is the nets' charge, and half
    of its internal power the gates' energy, as it adds rise and fall where their mean is meant. So it does for the
    clock pins, whose charge it leaves out."""
    library = Library.measure(find_liberty(), tmp_path / "library")
    (tmp_path / "dut.v").write_text(
        "module dut(input clk, output reg y); reg q;\n"
        "always @(posedge clk) begin q <= ~q; y <= q ^ 1'b1; end endmodule\n",
        encoding="utf-8")
    map_and_time(gates(tmp_path, "dut").between_registers(), tmp_path, "dut", "default", library)

    def opensta_energy(activity):
        """pJ of a cycle, 10 ns, by kind of cell: internal, switching."""
        answer = opensta([
            "read_liberty cells.lib", "read_verilog dut.default.v", "link_design top",
            "create_clock -name c -period 10 [get_ports clk]", f"set_power_activity -global -activity {activity}",
            "report_power -digits 8"], tmp_path / "power.log")
        return {kind: (float(internal) * 1e4, float(switching) * 1e4) for kind, internal, switching in re.findall(
            r"^(Sequential|Combinational|Total) +(\S+) +(\S+)", answer, re.MULTILINE)}

    cells = Cells.read(library.path, transition=library.fo4_ns)
    still = replace(cells, cells={name: replace(cell, pins={
        key: replace(pin, internal=lambda load: 0.0) for key, pin in cell.pins.items()})
        for name, cell in cells.cells.items()})
    holds = {"q": ["q"], "y": ["y"], "out_y_0": ["out"]}
    phases = {"q": 0b0101, "y": 0b1010, "out": 0b0101}

    def energy(library):
        found = Switching(tmp_path / "dut.default.cells.json", library, added=[], holds=holds)
        return found.energy({net: phases[names[0]] for net, names in found.sources.items()}, 4)

    moved, charge, theirs = energy(cells), energy(still), opensta_energy(1)
    assert (charge.registers + charge.logic) / 3 == pytest.approx(theirs["Total"][1], rel=1e-3)
    assert (moved.logic - charge.logic) / 3 == pytest.approx(theirs["Combinational"][0] / 2, rel=0.05)
    internal, switching = opensta_energy(0)["Sequential"]
    assert (moved.clock - charge.clock) / 4 == pytest.approx(internal / 2, rel=0.1)
    assert switching == 0 and charge.clock > 0
