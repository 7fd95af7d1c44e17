"""A core's Verilog cut into parts that are mapped by themselves: the leaves, the engines, and what is left.

A leaf (:class:`~amla.rtl.emit.Leaf`) is mapped once however often it is placed; an engine is mapped without its leaves,
the rest of the core without its engines. So the whole core is covered, every gate once.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

__all__ = ["Part", "RamInstance", "cut", "rams"]

_MODULE = re.compile(r"^module (\\\S+|\w+)\s?\((.*?)\);\n(.*?)^endmodule\n", re.MULTILINE | re.DOTALL)
_INSTANCE = re.compile(r"^  (\\\S+|\w+) +(\\\S+|\w+) +\($", re.MULTILINE)
_PORT = re.compile(r"^  (?:input|output) .*\n", re.MULTILINE)

#: Amaranth gives a port without a name the number of a cell of the whole core.
_NUMBER = re.compile(r"(?<=port\$)\d+(?=\$)")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A module of the core with all that is in it, modules that are parts themselves as empty shells.

    Attributes
    ----------
    name:    a file name: the leaf's, the engine's, or ``top``
    module:  its top module
    verilog: source, its ports without a name numbered from 0 on: the same in every core that holds the part
    numbers: of these ports in the core
    apart:   modules that are shells in it
    places:  paths of its instances in the core, ``""`` the core itself
    """

    name: str
    module: str
    verilog: str
    numbers: tuple[str, ...]
    apart: tuple[str, ...]
    places: tuple[str, ...]

    def in_core(self, name: str) -> str:
        """The core's name for a signal of the part."""
        return _NUMBER.sub(lambda found: self.numbers[int(found[0])], name)


@dataclass(frozen=True, kw_only=True)
class RamInstance:
    """A memory: its path in the core, words, bits of a word, write enables, read ports."""

    path: str
    words: int
    width: int
    enables: int
    reads: int


def _modules(verilog: str) -> dict[str, str]:
    """Name, without the backslash, → the module's text."""
    return {found.group(1).lstrip("\\"): found.group(0) for found in _MODULE.finditer(verilog)}


def _instances(modules: Mapping[str, str]) -> dict[str, list[tuple[str, str]]]:
    """Module → (instance, its module) of what it holds."""
    return {name: [(instance.lstrip("\\"), kind.lstrip("\\")) for kind, instance in _INSTANCE.findall(text)
                   if kind.lstrip("\\") in modules] for name, text in modules.items()}


def _walk(inside: Mapping[str, Iterable[tuple[str, str]]], module: str, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, module) of every instance in ``module``, itself first."""
    yield path, module
    for instance, kind in inside[module]:
        yield from _walk(inside, kind, f"{path}.{instance}".lstrip("."))


def cut(verilog: str, *, top: str, engines: Iterable[str]) -> list[Part]:
    """The parts of a core as :func:`~amla.rtl.emit.emit` writes it.

    Parameters
    ----------
    top:     the core's module
    engines: names of its instances that are parts of their own

    Raises
    ------
    ValueError: the core lacks one of the engines.
    """
    modules = _modules(verilog)
    inside = _instances(modules)
    held = dict(inside[top])
    for engine in engines:
        if engine not in held:
            raise ValueError(f"the core must hold {engine!r}, not only {', '.join(held)}")
    leaves = {name for name in modules if "." not in name and name != top and not name.startswith("ram_")}
    parts = {**{leaf: leaf for leaf in sorted(leaves)}, **{engine: held[engine] for engine in engines}, "top": top}
    places: dict[str, list[str]] = {}
    for path, module in _walk(inside, top):
        places.setdefault(module, []).append(path)
    found = []
    for name, module in parts.items():
        shells = {*parts.values()} - {module}
        reached: list[str] = []

        def reach(kind: str, shells: set[str] = shells, reached: list[str] = reached) -> None:
            if kind not in reached:
                reached.append(kind)
                for _, other in inside[kind] if kind not in shells else ():
                    reach(other)

        reach(module)
        text = "\n".join(_shell(modules[kind]) if kind in shells else modules[kind] for kind in sorted(reached))
        numbered, numbers = _numbered(text)
        found.append(Part(name=name, module=module, verilog=numbered, numbers=numbers, places=tuple(places[module]),
                          apart=tuple(sorted(shells.intersection(reached)))))
    return found


def _numbered(text: str) -> tuple[str, tuple[str, ...]]:
    """A part's text with the ports without a name numbered from 0 on, and their numbers before."""
    numbers = tuple(dict.fromkeys(_NUMBER.findall(text)))
    return _NUMBER.sub(lambda found: str(numbers.index(found[0])), text), numbers


def _shell(text: str) -> str:
    """A module with its ports alone."""
    return f"{text[:text.index(');')]});\n{''.join(_PORT.findall(text))}endmodule\n"


def rams(verilog: str, *, top: str) -> list[RamInstance]:
    """Every memory of a core (``rtl/ram.py`` has their modules)."""
    modules = _modules(verilog)
    found = []
    for path, module in _walk(_instances(modules), top):
        if shape := re.fullmatch(r"ram_(\d+)x(\d+)_(\d+)w(\d+)r", module):
            words, width, enables, reads = map(int, shape.groups())
            found.append(RamInstance(path=path, words=words, width=width, enables=enables, reads=reads))
    return found
