"""Energy of a mapped netlist from what its registers held in every cycle.

What a gate gives in all cycles is computed from the words of its inputs at once, so that each transition of each net is
counted where it happens. No delays: a net changes at most once in a cycle, glitches are not counted.

Energy of a transition: half of what charges the net, C · V² / 2 with C of the pins it leads to, and the internal energy
of the pins at its ends (``cells.py``). The clock has two transitions in a cycle at every register.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

from ..netlist import CLOCK
from ..tools import FlowError
from .cells import Cell, Cells, evaluator

__all__ = ["Energy", "Switching", "transitions"]


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Energy in pJ over a run.

    Attributes
    ----------
    clock:     of the registers' clock pins, every cycle
    registers: of the registers besides, with the nets that they drive
    logic:     of gates and operands, with the nets that they drive
    """

    clock: float = 0.0
    registers: float = 0.0
    logic: float = 0.0

    @property
    def total(self) -> float:
        return self.clock + self.registers + self.logic

    def __add__(self, other: "Energy") -> "Energy":
        return Energy(clock=self.clock + other.clock, registers=self.registers + other.registers,
                      logic=self.logic + other.logic)


def transitions(word: int) -> int:
    """How often a bit changes from one cycle to the next; ``word``: its value in cycle t at bit t, of cycles ≥ 1."""
    return (word ^ word >> 1).bit_count() - (word.bit_length() > 0)


@dataclass(frozen=True)
class _Gate:
    """``pins``: nets of the inputs by pin, of which ``output`` is ``function``."""

    pins: Mapping[str, int | str]
    output: int
    function: Callable[[Mapping[str, int], int], int]


class Switching:
    """A mapped netlist, ready for any number of runs.

    Parameters
    ----------
    netlist: yosys's JSON, module ``top``
    cells:   the library it was mapped to
    added:   registers around it, which do not count
    holds:   as :class:`~amla.flow.netlist.Netlist` has it

    Attributes
    ----------
    sources:   net of each register, operand and memory output → its names in the RTL
    registers: how many, without those around it
    leakage:   nW

    Raises
    ------
    FlowError: a cell is not in the library, or a register or port of memory is not in ``holds``.
    """

    def __init__(self, netlist: Path, cells: Cells, *, added: Iterable[str], holds: Mapping[str, Sequence[str]]):
        module = json.loads(netlist.read_text(encoding="utf-8"))["modules"]["top"]
        placed = {name.lstrip("\\"): cell for name, cell in module["cells"].items() if cell["type"] != "$scopeinfo"}
        around = frozenset(added)
        kinds = {name: _kind(cell["type"], cells) for name, cell in placed.items()}
        connections: dict[str, dict[str, int | str]] = {
            name: {pin: bits[0] for pin, bits in cell["connections"].items()} for name, cell in placed.items()}
        load: dict[int | str, float] = {}
        for name, kind in kinds.items():
            for pin, net in connections[name].items():
                if name not in around:
                    load[net] = load.get(net, 0.0) + kind.pins[pin].capacitance
        self.leakage = sum(kind.leakage for name, kind in kinds.items() if name not in around)
        self.sources: dict[int, Sequence[str]] = {}
        self._steps: dict[int, int] = {}  # D → Q of the registers
        self._weights: dict[str, dict[int, float]] = {"registers": {}, "logic": {}}  # pJ of a transition, by net
        self._clock = 0.0
        gates: dict[int, _Gate] = {}
        functions: dict[str, Callable[[Mapping[str, int], int], int]] = {}
        switched = cells.voltage ** 2 / 2
        for port, content in module["ports"].items():
            if content["direction"] == "input" and port not in (CLOCK, "operands"):
                for index, net in enumerate(content["bits"]):
                    self.sources[net] = _names(holds, f"{port}[{index}]")
                    self._weigh("logic", net, load.get(net, 0.0) * switched)
        for name, kind in kinds.items():
            pins = connections[name]
            outputs = [pin for pin in pins if kind.pins[pin].function]
            where = "registers" if kind.register and name not in around else "logic"
            inputs = {pin: net for pin, net in pins.items() if pin not in outputs}
            if kind.register:
                output, = outputs
                held = pins[output]
                assert isinstance(held, int)
                if name in holds:
                    self.sources[held] = holds[name]
                elif name not in around:
                    raise FlowError(f"{netlist}: register {name} must come from the design")
            if name in around:
                if name in holds:  # an operand's
                    self._weigh(where, held, load.get(held, 0.0) * switched)
                continue
            for pin, net in inputs.items():
                if kind.pins[pin].clock:
                    self._clock += 2 * (kind.pins[pin].internal(0.0) + kind.pins[pin].capacitance * switched)
                else:
                    self._weigh(where, net, kind.pins[pin].internal(0.0))
                    if kind.register and isinstance(net, int):
                        self._steps[held] = net
            for pin in outputs:
                net, function = pins[pin], kind.pins[pin].function
                charge = load.get(net, 0.0)
                self._weigh(where, net, charge * switched + kind.pins[pin].internal(charge))
                if not kind.register:
                    if function not in functions:
                        functions[function] = evaluator(function)
                    assert isinstance(net, int)
                    gates[net] = _Gate(inputs, net, functions[function])
        self.registers = sum(kind.register and name not in around for name, kind in kinds.items())
        order = TopologicalSorter({net: [other for other in gate.pins.values() if other in gates]
                                   for net, gate in gates.items()}).static_order()
        self._gates = [gates[net] for net in order]  # type: ignore[index]

    def _weigh(self, where: str, net: int | str, energy: float) -> None:
        if isinstance(net, int):
            self._weights[where][net] = self._weights[where].get(net, 0.0) + energy

    def energy(self, held: Mapping[int, int], cycles: int) -> Energy:
        """Energy of a run.

        Parameters
        ----------
        held:   word of every net in :attr:`sources`, its value in cycle t at bit t
        cycles: of the run

        Raises
        ------
        FlowError: a register holds in some cycle what its logic did not give in the one before.
        """
        ones = (1 << cycles) - 1
        words: dict[int | str, int] = {"0": 0, "1": ones, "x": 0, **held}
        for gate in self._gates:
            words[gate.output] = gate.function({pin: words[net] for pin, net in gate.pins.items()}, ones)
        for register, data in self._steps.items():
            if (words[register] >> 1 ^ words[data]) & ones >> 1:
                raise FlowError(f"register {self.sources[register][0]} must hold what the mapped gates give")
        sums = {where: sum(weight * _changes(words[net], ones) for net, weight in weights.items())
                for where, weights in self._weights.items()}
        return Energy(clock=self._clock * cycles, **sums)


def _changes(word: int, ones: int) -> int:
    return ((word ^ word >> 1) & ones >> 1).bit_count()


def _kind(name: str, cells: Cells) -> Cell:
    if name not in cells.cells:
        raise FlowError(f"the library must have the cell {name}")
    return cells.cells[name]


def _names(holds: Mapping[str, Sequence[str]], name: str) -> Sequence[str]:
    if name not in holds:
        raise FlowError(f"{name} must be of the design")
    return holds[name]
