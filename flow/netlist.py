"""Gate netlists as data (yosys's JSON): a design between registers, and each stage of its pipeline by itself.

The register in front of every operand and behind every result makes each path one from register to register, with
its clock-to-output and set-up time. A stage is what lies between the registers of one level and those of the next; the
level of a register is the largest number of registers on a way to it from an input.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

__all__ = ["CLOCK", "MEMORY", "Netlist"]

CLOCK = "clk"

#: Type of a register after ``dfflegalize``.
_REGISTER = "$_DFF_P_"

#: Ports that stand for a memory's output begin with this.
MEMORY = "memory_"


class Netlist:
    """One module of gates and registers of one clock; memories are cells of a type that begins with ``ram_``.

    Other cells that are neither gates nor registers are modules apart, mapped by themselves.

    Parameters
    ----------
    module: its entry in yosys's JSON, not changed

    Attributes
    ----------
    added: names of the registers that :meth:`between_registers` or :meth:`stages` put around the design
    holds: with them, every name that the RTL has for what a register or a bit of a memory's port holds, its index
           in brackets where it is part of a word; by the cell's name, or the port's with its index. Nothing where
           the RTL has no name
    """

    def __init__(self, module: Mapping[str, Any], *, added: Sequence[str] = (),
                 holds: Mapping[str, Sequence[str]] | None = None):
        self.added = added
        self.holds = holds or {}
        self._ports: Mapping[str, Any] = module["ports"]
        self._cells: Mapping[str, Any] = module["cells"]
        self._names: Mapping[str, Any] = module["netnames"]
        self._aliases = _aliases(self._names)
        self._label = {bit: names[0] for bit, names in self._aliases.items()}
        self._driver = {bit: name for name, cell in self._cells.items() for bit in _pins(cell, "output")}

    @classmethod
    def read(cls, path: Path, top: str) -> "Netlist":
        """The module ``top`` of a file."""
        return cls(json.loads(path.read_text(encoding="utf-8"))["modules"][top])

    def write(self, path: Path, top: str, *, grouped: bool = False) -> None:
        """The module alone, under the name ``top``; ``grouped``: its gates in modules, those of one shape in one.

        Gates that feed one another have one shape: how many they are, and how many levels deep.
        """
        modules = self._groups() if grouped else {}
        inside = {name for module in modules.values() for name in module["cells"]}
        cells = {name: cell for name, cell in self._cells.items() if name not in inside}
        cells |= {f"{name}_": {
            "hide_name": 0, "type": name, "parameters": {}, "attributes": {},
            "port_directions": {port: value["direction"] for port, value in module["ports"].items()},
            "connections": {port: value["bits"] for port, value in module["ports"].items()},
        } for name, module in modules.items()}
        module = {"attributes": {"top": "1"}, "ports": self._ports, "cells": cells, "netnames": self._names}
        path.write_text(json.dumps({"modules": {top: module, **modules}}), encoding="utf-8")

    def _groups(self) -> dict[str, Any]:
        """Modules of gates by name, the shallowest first."""
        gates = {name for name, cell in self._cells.items() if cell["type"].startswith("$") and
                 cell["type"] != _REGISTER}
        feeds = {name: [self._driver[bit] for bit in _pins(self._cells[name], "input")
                        if self._driver.get(bit) in gates] for name in gates}
        depth: dict[str, int] = {}
        for name in TopologicalSorter(feeds).static_order():
            depth[name] = 1 + max((depth[other] for other in feeds[name]), default=0)
        leader = {name: name for name in gates}

        def find(name: str) -> str:
            while leader[name] != name:
                leader[name] = leader[leader[name]]
                name = leader[name]
            return name

        for name, others in feeds.items():
            for other in others:
                leader[find(name)] = find(other)
        parts: dict[str, list[str]] = {}
        for name in sorted(gates):
            parts.setdefault(find(name), []).append(name)
        members: dict[tuple[int, int], list[str]] = {}
        for names in parts.values():
            members.setdefault((max(depth[name] for name in names), len(names)), []).extend(names)
        outside = {bit for name, cell in self._cells.items() if name not in gates for bit in _pins(cell, "input")}
        outside |= {bit for port in self._ports.values() if port["direction"] == "output"
                    for bit in _nets(port["bits"])}
        return {f"group_{levels}_{count}": self._module(names, outside)
                for (levels, count), names in sorted(members.items())}

    def _module(self, names: Iterable[str], outside: Iterable[int]) -> dict[str, Any]:
        """These gates as a module, whose results are what is needed ``outside``."""
        cells = {name: self._cells[name] for name in names}
        made = {bit for cell in cells.values() for bit in _pins(cell, "output")}
        used = {bit for cell in cells.values() for bit in _pins(cell, "input")}
        # A port for every bit: OpenSTA reads no assignments of words.
        ports = {f"n{bit}": {"direction": direction, "bits": [bit]} for direction, bits in (
            ("input", used - made), ("output", made.intersection(outside))) for bit in sorted(bits)}
        return {"attributes": {}, "ports": ports, "cells": cells, "netnames": {}}

    @property
    def registers(self) -> list[str]:
        """Names of the register cells."""
        return [name for name, cell in self._cells.items() if cell["type"] == _REGISTER]

    @property
    def instances(self) -> Counter[str]:
        """How often each module apart occurs."""
        return Counter(cell["type"] for cell in self._cells.values() if not cell["type"].startswith(("$", "ram_")))

    def named(self) -> "Netlist":
        """The same, registers named after what they hold, to be linked into another netlist."""
        cells: dict[str, Any] = {}
        taken = dict(self._ports)
        for name, cell in self._cells.items():
            label = self._label.get(cell["connections"]["Q"][0], name) if cell["type"] == _REGISTER else name
            identifier = _identifier(label, taken)
            cells[identifier] = taken[identifier] = cell
        return Netlist({"ports": self._ports, "cells": cells, "netnames": {}})

    def between_registers(self, *, linked: bool = False) -> "Netlist":
        """The whole design: a register at every operand and result; a memory's output is a port, its inputs results.

        What a module apart gives are operands, what it takes are results; ``linked``: it stays an instance.
        """
        sources: set[int] = {bit for name, port in self._ports.items() if port["direction"] == "input" and name != CLOCK
                             for bit in _nets(port["bits"])}
        sinks = {bit: f"{name}[{index}]" for name, port in self._ports.items() if port["direction"] == "output"
                 for index, bit in enumerate(port["bits"]) if isinstance(bit, int)}
        cells, memories = {}, {}
        for name, cell in self._cells.items():
            memory = cell["type"].startswith("ram_")
            if cell["type"].startswith("$") or (linked and not memory):
                cells[name] = cell
                continue
            sinks |= {bit: f"{name}.{pin}[{index}]" for pin, bits in cell["connections"].items()
                      if cell["port_directions"][pin] == "input" and pin != CLOCK
                      for index, bit in enumerate(bits) if isinstance(bit, int)}
            if memory:
                memories[name] = list(_pins(cell, "output"))
            else:
                sources.update(_pins(cell, "output"))
        return self._cut(cells, sources, sinks, memories)

    def stages(self) -> dict[str, "Netlist"]:
        """Each stage with logic in it by its name, from the first on; none where registers feed each other in circles.

        A name is the stage's number and the name of the registers that take most of its results.
        """
        levels = self._levels()
        if levels is None:
            return {}
        targets: dict[int, list[tuple[int, str]]] = {}
        for name in self.registers:
            cell = self._cells[name]["connections"]
            targets.setdefault(levels[name], []).append((cell["D"][0], self._label.get(cell["Q"][0], "")))
        last = max(targets, default=0) + 1
        for port_name, port in self._ports.items():
            if port["direction"] == "output":
                for bit in _nets(port["bits"]):
                    targets.setdefault(last, []).append((bit, port_name))
        found = {}
        for level in sorted(targets):
            logic = [(bit, label) for bit, label in targets[level] if isinstance(bit, int) and self._is_gate(bit)]
            if not logic:
                continue
            cells, sources = self._cone(bit for bit, _ in logic)
            words = Counter(re.sub(r"\d+", "", label.split("[")[0]) for _, label in logic)
            found[f"{level} {words.most_common(1)[0][0]}".strip()] = self._cut(
                cells, sources, dict(logic), {})
        return found

    def _is_gate(self, bit: int) -> bool:
        return bit in self._driver and self._cells[self._driver[bit]]["type"] != _REGISTER

    def _cone(self, bits: Iterable[int]) -> tuple[dict[str, Any], set[int]]:
        """Gates between the registers and these bits, and the bits at which they begin."""
        cells: dict[str, Any] = {}
        sources: set[int] = set()
        waiting = list(bits)
        while waiting:
            bit = waiting.pop()
            if not self._is_gate(bit):
                sources.add(bit)
                continue
            name = self._driver[bit]
            if name not in cells:
                cells[name] = self._cells[name]
                waiting += _pins(cells[name], "input")
        return cells, sources

    def _levels(self) -> dict[str, int] | None:
        """Level of every register; None where one lies on a circle through another one."""
        before = {}
        for name in self.registers:
            data = self._cells[name]["connections"]["D"]
            _, sources = self._cone(_nets(data))
            before[name] = {self._driver[bit] for bit in sources if bit in self._driver} - {name}
        levels: dict[str, int] = {}
        while len(levels) < len(before):
            ready = [name for name, needed in before.items() if name not in levels and needed <= levels.keys()]
            if not ready:
                return None
            levels |= {name: 1 + max((levels[other] for other in before[name]), default=0) for name in ready}
        return levels

    def _cut(
        self, cells: Mapping[str, Any], sources: Iterable[int], sinks: Mapping[int, str],
        memories: Mapping[str, list[int]],
    ) -> "Netlist":
        """These cells between new registers at ``sources`` and, by name, ``sinks``; what they hold names registers."""
        used = [bit for cell in self._cells.values() for pins in cell["connections"].values() for bit in _nets(pins)]
        used += [bit for port in self._ports.values() for bit in _nets(port["bits"])]
        free = 1 + max(used, default=1)
        clock = self._ports[CLOCK]["bits"][0] if CLOCK in self._ports else free
        free += 1
        kept: dict[str, Any] = {}
        holds: dict[str, Sequence[str]] = {}
        ports: dict[str, Any] = {CLOCK: {"direction": "input", "bits": [clock]}}
        for name, cell in cells.items():
            label = self._label.get(cell["connections"]["Q"][0], name) if cell["type"] == _REGISTER else name
            identifier = _identifier(label, kept)
            kept[identifier] = cell
            if cell["type"] == _REGISTER:
                holds[identifier] = self._aliases.get(cell["connections"]["Q"][0], ())
        operands, results, added = [], [], []
        for bit in sorted(sources):
            operands.append(free)
            added.append(_identifier(f"in.{self._label.get(bit, bit)}", kept))
            kept[added[-1]] = _register(clock, free, bit)
            holds[added[-1]] = self._aliases.get(bit, ())
            free += 1
        for bit, name in sinks.items():
            results.append(free)
            added.append(_identifier(f"out.{name}", kept))
            kept[added[-1]] = _register(clock, bit, free)
            free += 1
        if operands:
            ports["operands"] = {"direction": "input", "bits": operands}
        if results:
            ports["results"] = {"direction": "output", "bits": results}
        for name, bits in memories.items():
            port = _identifier(f"{MEMORY}{name}", ports)
            ports[port] = {"direction": "input", "bits": bits}
            holds |= {f"{port}[{index}]": self._aliases.get(bit, ()) for index, bit in enumerate(bits)}
        # Names of nets have served: cells carry what matters of them.
        return Netlist({"ports": ports, "cells": kept, "netnames": {}}, added=added, holds=holds)


def _register(clock: int, data: int, output: int) -> dict[str, Any]:
    return {"hide_name": 0, "type": _REGISTER, "parameters": {}, "attributes": {},
            "port_directions": {"C": "input", "D": "input", "Q": "output"},
            "connections": {"C": [clock], "D": [data], "Q": [output]}}


def _nets(bits: Iterable[int | str]) -> list[int]:
    """Bits that are no constants."""
    return [bit for bit in bits if isinstance(bit, int)]


def _pins(cell: Mapping[str, Any], direction: str) -> list[int]:
    """Nets at a cell's pins of a direction, the clock's apart."""
    return [bit for pin, bits in cell["connections"].items()
            if cell["port_directions"][pin] == direction and pin not in ("C", CLOCK) for bit in _nets(bits)]


def _aliases(names: Mapping[str, Any]) -> dict[int, list[str]]:
    """Names of the RTL for every net that has one, the shortest first, with its bit."""
    found: dict[int, list[str]] = {}
    for name in sorted((name for name, value in names.items() if not value.get("hide_name")), key=len):
        bits, label = names[name]["bits"], name.lstrip("\\")  # of a name that begins like one of yosys's own
        for index, bit in enumerate(bits):
            if isinstance(bit, int):
                found.setdefault(bit, []).append(f"{label}[{index}]" if len(bits) > 1 else label)
    return found


def _identifier(name: str, taken: Mapping[str, Any]) -> str:
    """A cell's name that tools print as it is."""
    base = re.sub(r"\W+", "_", name).strip("_")
    base = f"{base}_" if base in (CLOCK, "operands", "results") else base
    found, number = base, 1
    while found in taken:
        number += 1
        found = f"{base}__{number}"
    return found
