"""Verilog emission: each distinct leaf once.

Amaranth emits one module per instance, so a cube of 256 dot units would be 256 copies. A component
placed through :class:`Leaf` is emitted as one module of its own and instantiated by name; Amaranth's own
simulator and the formal flow see a normal submodule instead.

``python -m amla.rtl --config small --out build/small`` writes the core.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from amaranth import ClockSignal, Instance, Module, ResetSignal, Value
from amaranth.back import verilog
from amaranth.lib import memory, wiring

from .files import make_folder, write
from .ram import ram, ram_instance

__all__ = ["Emission", "Leaf", "emit"]

#: Every width is explicit in Amaranth, the default of a switch is the assignment before it, and ``== 0`` is
#: written as ``!`` of a vector.
_FORMAL_WARNINGS = ("WIDTHEXPAND", "WIDTHTRUNC", "CASEINCOMPLETE")


@dataclass
class Emission:
    """Platform object handed to ``elaborate`` while Verilog is written: collects the modules met on the way.

    Attributes
    ----------
    leaves: name -> Verilog of every leaf
    inputs: leaf -> names of its input ports
    rams:   name -> Verilog of every memory that starts as zeros
    """

    leaves: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, list[str]] = field(default_factory=dict)
    rams: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, component: wiring.Component) -> str:
        """Emit ``component`` as module ``name`` unless it is already there; return its Verilog."""
        if name not in self.leaves:
            self.leaves[name] = _convert(component, name, self)
            self.inputs[name] = [port for port, member, _ in _ports(component) if member.flow is wiring.In]
        return self.leaves[name]

    def get_memory(self, cells: memory.Memory):
        """How Amaranth asks the platform for a memory."""
        found = ram(cells)
        if found is None:
            return cells.elaborate(None)
        name, self.rams[name] = found
        return ram_instance(name, cells)


class Leaf(wiring.Component):
    """Stands for ``component`` in a parent; has the same ports.

    Parameters
    ----------
    component: the component; its class attribute or property ``leaf_name`` names the emitted module and must
               differ between components that differ in their parameters.
    """

    def __init__(self, component: wiring.Component):
        self.component = component
        component._MustUse__silence = True  # only the first of its kind is elaborated when Verilog is written
        super().__init__(component.signature)

    def elaborate(self, platform):
        m = Module()
        if not isinstance(platform, Emission):
            m.submodules.inner = self.component
            wiring.connect(m, wiring.flipped(self), self.component)
            return m
        leaf_name = self.component.leaf_name
        text = platform.add(leaf_name, self.component)
        ports: dict[str, Value] = {}
        for domain_port in ("clk", "rst"):
            if re.search(rf"^\s*input {domain_port};", text, re.MULTILINE):
                ports[f"i_{domain_port}"] = ClockSignal() if domain_port == "clk" else ResetSignal()
        for name, member, value in _ports(self):
            ports[f"{'i' if member.flow is wiring.In else 'o'}_{name}"] = Value.cast(value)
        m.submodules.inner = Instance(leaf_name, **ports)
        return m


def emit(component: wiring.Component, *, name: str, out: Path, leaf_waves: bool = False) -> list[str]:
    """Write ``<out>/<name>.v`` (top and leaves, leaves first) and ``<out>/<name>.vlt``; return the leaves' names.

    The control file publishes the top's ports and nothing inside (a public net cannot be optimised away), and
    silences the warnings that Amaranth's output trips by its form. It keeps every leaf and its inputs apart from
    the surroundings: what remains of the instances of a leaf is then the same code, which Verilator writes and
    the compiler sees once. Waves show no leaf's inside without ``leaf_waves``: they would hold it once per instance.
    """
    emission = Emission()
    top = _convert(component, name, emission)
    make_folder(out)
    control = ["`verilator_config", *(f"lint_off -rule {rule}" for rule in _FORMAL_WARNINGS),
               *(f'public_flat_rw -module "{name}" -var "{port}"'
                 for port in ("clk", "rst", *(port for port, *_ in _ports(component))))]
    for leaf, inputs in emission.inputs.items():
        control += [f'no_inline -module "{leaf}"',
                    *(f'public_flat_rd -module "{leaf}" -var "{port}"' for port in inputs)]
    leaves = "\n".join(emission.leaves.values())
    if leaves and not leaf_waves:
        control.append(f'tracing_off -file "*{name}.v" -lines 1 - {leaves.count(chr(10))}')
    _write(out / f"{name}.vlt", "\n".join(control) + "\n")
    _write(out / f"{name}.v", "\n".join([leaves, *emission.rams.values(), top]))
    return list(emission.leaves)


#: A wire of no bits, such as the address of a memory of one word. Nothing is connected to it, and Verilog lacks it:
#: Yosys writes a declaration, which would make it two bits.
_EMPTY_WIRE = re.compile(r"^ *wire \[-1:0\] .*\n", re.MULTILINE)


def _convert(component: wiring.Component, name: str, emission: Emission) -> str:
    return _EMPTY_WIRE.sub("", verilog.convert(component, name=name, platform=emission, emit_src=False))


def _ports(component: wiring.Component):
    """(flattened name, member, value) of every port."""
    for path, member, value in component.signature.flatten(component):
        yield "__".join(map(str, path)), member, value


def _write(path: Path, text: str) -> None:
    """Write ``text`` unless the file already holds it, so that an unchanged design is not rebuilt."""
    if not path.exists() or path.read_bytes() != text.encode():
        write({path: text})
