"""What a Liberty file says of energy: capacitances, functions and internal energies of its cells.

The format and the meaning of ``internal_power``: *Liberty User Guides and Reference Manual*. A pin's internal energy is
per transition of the pin, in units of capacitance · voltage².
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from ..tools import FlowError

__all__ = ["Cell", "Cells", "Pin", "evaluator", "parse"]

_COMMENT = re.compile(r"/\*.*?\*/|\\\r?\n", re.DOTALL)
_TOKEN = re.compile(r'"([^"]*)"|([{}();:,])|([^\s{}();:,"]+)')
_OPERATOR = re.compile(r"\s*([()!'&*|+^]|\w+)")


@dataclass
class _Group:
    """``kind (arguments) { attributes and groups }``; an attribute's values are text."""

    kind: str
    arguments: Sequence[str]
    attributes: dict[str, list[str]] = field(default_factory=dict)
    groups: list["_Group"] = field(default_factory=list)

    def all(self, kind: str) -> Iterator["_Group"]:
        return (group for group in self.groups if group.kind == kind)

    def number(self, name: str) -> float:
        """An attribute's number; 0 where it is left out, as the format has it."""
        return float(self.attributes[name][0]) if name in self.attributes else 0.0


def parse(text: str) -> _Group:
    """The group ``library`` of a Liberty file.

    Raises
    ------
    FlowError: the text is in another format.
    """
    tokens = iter([match.groups() for match in _TOKEN.finditer(_COMMENT.sub(" ", text))])
    root = _Group("", ())
    open_groups = [root]
    try:
        for string, mark, word in tokens:
            if mark == "}":
                open_groups.pop()
            if mark:
                continue
            name = word or string
            values, ends = [], (";",) if next(tokens)[1] == ":" else (")",)
            for value, mark, word in tokens:
                if mark in ends:
                    break
                if mark != ",":
                    values.append(mark or word or value)
            if ends == (")",) and next(tokens)[1] == "{":
                group = _Group(name, values)
                open_groups[-1].groups.append(group)
                open_groups.append(group)
            else:
                open_groups[-1].attributes[name] = values
        (library,), (_,) = root.all("library"), open_groups
    except (StopIteration, IndexError, ValueError):
        raise FlowError("a Liberty file must hold one library, and its groups must end") from None
    return library


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A pin of a cell.

    Attributes
    ----------
    capacitance: pF
    function:    of an output, in Liberty's notation; ``""`` of an input
    clock:       whether it is a register's clock
    internal:    pJ per transition, the mean of rise and fall and of the inputs that cause it, by load (pF)
    """

    capacitance: float
    function: str
    clock: bool
    internal: Callable[[float], float]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """``register``: it holds a bit."""

    register: bool
    pins: Mapping[str, Pin]


@dataclass(frozen=True, kw_only=True)
class Cells:
    """A library: ``voltage`` in V, its cells by name."""

    voltage: float
    cells: Mapping[str, Cell]

    @classmethod
    def read(cls, path: Path, *, transition: float) -> "Cells":
        """A Liberty file; the transitions of all inputs take so long, in the file's unit of time.

        Raises
        ------
        FlowError: it is in another format, or its unit of capacitance is neither pF nor fF.
        """
        library = parse(path.read_text(encoding="utf-8", errors="replace"))
        number, unit = library.attributes.get("capacitive_load_unit", ["1", "pf"])
        if unit.lower() not in ("pf", "ff"):
            raise FlowError(f"{path}: capacitive_load_unit must be in pf or ff, not {unit!r}")
        picofarad = float(number) * (1.0 if unit.lower() == "pf" else 1e-3)
        templates = {group.arguments[0]: group for group in library.all("power_lut_template")}

        def pin(group: _Group) -> Pin:
            tables = [[_table(table, templates, transition) for kind in ("rise_power", "fall_power")
                       for table in power.all(kind)] for power in group.all("internal_power")]

            def internal(load: float) -> float:
                means = [sum(table(load / picofarad) for table in pair) / len(pair) for pair in tables if pair]
                return picofarad * sum(means) / len(means) if means else 0.0

            return Pin(capacitance=group.number("capacitance") * picofarad, internal=internal,
                       function=" ".join(group.attributes.get("function", [])),
                       clock=group.attributes.get("clock") == ["true"])

        return cls(voltage=library.number("nom_voltage"), cells={
            cell.arguments[0]: Cell(register=any(cell.all("ff")),
                                    pins={group.arguments[0]: pin(group) for group in cell.all("pin")})
            for cell in library.all("cell")})


def _numbers(values: Sequence[str]) -> np.ndarray:
    return np.array([[float(number) for number in row.replace(",", " ").split()] for row in values])


def _table(table: _Group, templates: Mapping[str, _Group], transition: float) -> Callable[[float], float]:
    """A table at a transition, as a function of the load in the file's unit; outside it the nearest entry counts."""
    values = _numbers(table.attributes["values"])
    template = templates.get(table.arguments[0])
    variables = [template.attributes.get(f"variable_{axis}", [""])[0] for axis in (1, 2)] if template else ["", ""]
    axes = {}
    for axis, variable in enumerate(variables, 1):
        if variable and template:
            axes[variable] = _numbers((table.attributes if f"index_{axis}" in table.attributes
                                       else template.attributes)[f"index_{axis}"])[0]
    values = values.reshape([len(axis) for axis in axes.values()])
    slews = axes.get("input_net_transition", axes.get("input_transition_time"))
    loads = axes.get("total_output_net_capacitance")
    if slews is not None and loads is not None:
        rows = values if variables[0] == "total_output_net_capacitance" else values.T
        values = np.array([np.interp(transition, slews, row) for row in rows])
    elif slews is not None:
        constant = float(np.interp(transition, slews, values))
        return lambda load: constant
    if loads is None:
        return lambda load: float(values.reshape(-1)[0])
    return lambda load: float(np.interp(load, loads, values))


@cache
def evaluator(function: str) -> Callable[[Mapping[str, int], int], int]:
    """A function in Liberty's notation on words: (word by pin, all ones) → word, bit by bit.

    From the strongest to the weakest: ``!`` and ``'``, ``^``, and (``&``, ``*`` or nothing), or (``|``, ``+``).

    Raises
    ------
    FlowError: it is in another notation.
    """
    tokens = _OPERATOR.findall(function)
    if "".join(tokens) != "".join(function.split()):
        raise FlowError(f"a cell's function must be in Liberty's notation, not {function!r}")
    tokens.append("")

    def chain(marks: Sequence[str], operator: str, operand: Callable[[], str]) -> str:
        text = operand()
        while tokens[0] in marks:
            tokens.pop(0)
            text = f"({text}{operator}{operand()})"
        return text

    def either() -> str:
        return chain(("|", "+"), "|", both)

    def both() -> str:
        text = chain(("&", "*"), "&", differ)
        while tokens[0] not in ("", ")", "|", "+"):  # nothing stands between the operands
            text = f"({text}&{chain(('&', '*'), '&', differ)})"
        return text

    def differ() -> str:
        return chain(("^",), "^", atom)

    def atom() -> str:
        token = tokens.pop(0)
        if token == "!":
            text = f"(ones^{atom()})"
        elif token == "(":
            text = either()
            if tokens.pop(0) != ")":
                raise FlowError(f"a cell's function must close its brackets, not {function!r}")
        elif token in ("0", "1"):
            text = "ones" if token == "1" else "0"
        elif token.isidentifier():
            text = f"pins[{token!r}]"
        else:
            raise FlowError(f"a cell's function must be in Liberty's notation, not {function!r}")
        while tokens[0] == "'":
            tokens.pop(0)
            text = f"(ones^{text})"
        return text

    text = either()
    if tokens != [""]:
        raise FlowError(f"a cell's function must be in Liberty's notation, not {function!r}")
    return eval(f"lambda pins, ones: {text}")
