"""A cell library: its Liberty file, the cells that measure it, and its FO4, the unit of delay of this project.

FO4 is the delay of an inverter that drives four of its own kind, the mean of rise and fall; a path in FO4 means about
the same in every technology. Debian's `qflow-tech-osu018` (180 nm) is taken where ``LIBERTY`` names no other file.
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from .tools import FlowError, opensta, yosys

__all__ = ["Library", "find_liberty"]

#: Where Debian's package has its library.
_DEBIAN = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")

#: Inverters in the chain that is measured; the first two and the last do not count.
_CHAIN = 8


@dataclass(frozen=True, kw_only=True)
class Library:
    """A Liberty file and what was measured with it.

    Attributes
    ----------
    name:          of the library
    path:          the Liberty file
    fo4_ns:        delay of an inverter with four of its kind as load
    inverter:      the inverter
    register_area: of a D flip-flop, in the library's unit (µm² as a rule)
    """

    name: str
    path: Path
    fo4_ns: float
    inverter: str
    register_area: float

    @classmethod
    def measure(cls, path: Path, folder: Path) -> "Library":
        """Find an inverter and a flip-flop by mapping them, then time a chain of inverters.

        Raises
        ------
        FlowError: a tool fails, or the library lacks one of both cells.
        """
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / "cells.lib")
        (folder / "probe.v").write_text(
            "module probe(input clk, input a, output y, output reg q);\n"
            "  assign y = ~a;\n  always @(posedge clk) q <= a;\nendmodule\n", encoding="utf-8")
        yosys(["read_verilog probe.v", "synth -top probe", "dfflibmap -liberty cells.lib", "abc -liberty cells.lib",
               "opt_clean", "write_verilog -noattr probe.net.v"], folder / "probe.log")
        text = (folder / "probe.net.v").read_text(encoding="utf-8")
        cells = re.findall(r"^  (\w+) \w+ \(\n((?:    \..*\n)+)", text, re.MULTILINE)
        pins = {kind: dict(re.findall(r"\.(\w+)\((\w+)\)", body)) for kind, body in cells}
        inverter = next((kind for kind, nets in pins.items() if sorted(nets.values()) == ["a", "y"]), None)
        register = next((kind for kind, nets in pins.items() if "q" in nets.values()), None)
        if inverter is None or register is None:
            raise FlowError(f"{path} must have an inverter and a D flip-flop, not the cells {', '.join(pins)} alone")
        entry, leave = (next(pin for pin, net in pins[inverter].items() if net == name) for name in ("a", "y"))
        areas = dict(re.findall(r"cell\s*\(\s*\"?(\w+)\"?\s*\)\s*\{.*?area\s*:\s*([\d.]+)", path.read_text(
            encoding="utf-8", errors="replace"), re.DOTALL))
        return cls(name=_name(path), path=path, inverter=inverter, register_area=float(areas[register]),
                   fo4_ns=_fo4(folder, inverter, entry, leave))


def _fo4(folder: Path, inverter: str, entry: str, leave: str) -> float:
    lines = ["module chain(input a, output y);", f"  wire [{_CHAIN}:0] n;", "  assign n[0] = a;",
             f"  assign y = n[{_CHAIN}];"]
    for i in range(_CHAIN):
        lines.append(f"  {inverter} c{i} (.{entry}(n[{i}]), .{leave}(n[{i + 1}]));")
        lines += [f"  {inverter} l{i}_{j} (.{entry}(n[{i + 1}]));" for j in range(3)]
    (folder / "chain.v").write_text("\n".join([*lines, "endmodule", ""]), encoding="utf-8")
    answer = opensta([
        "read_liberty cells.lib", "read_verilog chain.v", "link_design chain", "create_clock -name c -period 100",
        "set_input_delay 0 -clock c [get_ports a]", "set_output_delay 0 -clock c [get_ports y]",
        "report_checks -digits 5",
    ], folder / "chain.log")
    delays = [float(value) for value in re.findall(r"^\s+([\d.]+)\s+[\d.]+ [v^] c\d+/", answer, re.MULTILINE)]
    if len(delays) != _CHAIN:
        raise FlowError(f"OpenSTA must time {_CHAIN} inverters, not {len(delays)}; log: {folder / 'chain.log'}")
    steady = delays[2:-1]
    rise, fall = steady[::2], steady[1::2]
    return (sum(rise) / len(rise) + sum(fall) / len(fall)) / 2


def _name(path: Path) -> str:
    found = re.search(r"library\s*\(\s*\"?(\w+)", path.read_text(encoding="utf-8", errors="replace")[:10_000])
    return found.group(1) if found else path.stem


def find_liberty() -> Path:
    """The file that the environment's ``LIBERTY`` names, or Debian's.

    Raises
    ------
    FlowError: there is no such file.
    """
    named = os.environ.get("LIBERTY")
    path = Path(named) if named else _DEBIAN
    if not path.is_file():
        raise FlowError(f"LIBERTY must name a Liberty file, not {named!r}" if named else
                        "a cell library is needed: Debian's qflow-tech-osu018, or LIBERTY=FILE")
    return path
