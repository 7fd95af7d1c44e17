"""Energy of a mapped netlist from what its registers held in every cycle.

What a gate gives in all cycles is computed from the words of its inputs at once, so that each transition of each net is
counted where it happens. Without delays a net changes at most once in a cycle; what it changes more often if every gate
takes the same delay is its glitches, the most that they may be: a real gate swallows short ones.

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
    glitches:  what gates take more where each of them takes the same delay, in none of the others
    """

    clock: float = 0.0
    registers: float = 0.0
    logic: float = 0.0
    glitches: float = 0.0

    def __add__(self, other: "Energy") -> "Energy":
        return Energy(clock=self.clock + other.clock, registers=self.registers + other.registers,
                      logic=self.logic + other.logic, glitches=self.glitches + other.glitches)


def transitions(word: int, cycles: int) -> int:
    """How often a bit changes from one cycle to the next; ``word``: its value in cycle t at bit t."""
    return ((word ^ word >> 1) & (1 << cycles - 1) - 1).bit_count()


#: Net numbers of yosys's JSON are integers from 2 on; constants are texts, and here the two numbers left.
_CONSTANTS = {"0": 0, "x": 0, "1": 1}


@dataclass(frozen=True)
class _Gate:
    """``function`` of the words at ``pins`` (net by pin) is the word at the net ``output``."""

    pins: Mapping[str, int]
    output: int
    function: Callable[[Mapping[str, int], int], int]

    def word(self, words: Mapping[int, int], ones: int) -> int:
        """What it gives to the ``words`` of nets."""
        return self.function({pin: words[net] for pin, net in self.pins.items()}, ones)


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

    Raises
    ------
    FlowError: a cell is not in the library, or a register or port of memory is not in ``holds``.
    """

    def __init__(self, netlist: Path, cells: Cells, *, added: Iterable[str], holds: Mapping[str, Sequence[str]]):
        module = json.loads(netlist.read_text(encoding="utf-8"))["modules"]["top"]
        around = frozenset(added)
        placed = {name.lstrip("\\"): (_kind(cell["type"], cells), {
            pin: _CONSTANTS.get(bits[0], bits[0]) for pin, bits in cell["connections"].items()})
            for name, cell in module["cells"].items() if cell["type"] != "$scopeinfo"}
        inside = {name: cell for name, cell in placed.items() if name not in around}
        self._switched = cells.voltage ** 2 / 2
        self._weights: dict[str, dict[int, float]] = {"registers": {}, "logic": {}}  # pJ of a transition, by net
        self._clock = 0.0  # pJ of a cycle
        self._steps: dict[int, int] = {}  # what a register holds → what it will hold
        self._load: dict[int, float] = {}  # pF, of the pins in the design, by net
        self.sources: dict[int, Sequence[str]] = {}
        self.registers = len([kind for kind, _ in inside.values() if kind.register])
        for kind, pins in inside.values():
            for pin, net in pins.items():
                self._load[net] = self._load.get(net, 0.0) + kind.pins[pin].capacitance
        for port, content in module["ports"].items():
            if content["direction"] == "input" and port not in (CLOCK, "operands"):
                for index, net in enumerate(content["bits"]):
                    self._operand(net, f"{port}[{index}]", holds)
        gates: dict[int, _Gate] = {}
        for name, (kind, pins) in placed.items():
            outputs = {pin: net for pin, net in pins.items() if kind.pins[pin].function}
            inputs = {pin: net for pin, net in pins.items() if pin not in outputs}
            if name in inside:
                self._weigh_pins(kind, inputs, outputs)
            if not kind.register:
                gates |= {net: _Gate(inputs, net, evaluator(kind.pins[pin].function)) for pin, net in outputs.items()}
            elif name in inside:
                held, = outputs.values()
                self._source(held, name, holds)
                self._steps[held], = (net for pin, net in inputs.items() if not kind.pins[pin].clock)
            elif name in holds:  # an operand's; a result's holds nothing that the RTL has a name for
                held, = outputs.values()
                self._operand(held, name, holds)
        order = TopologicalSorter({net: [other for other in gate.pins.values() if other in gates]
                                   for net, gate in gates.items()}).static_order()
        self._gates = [gates[net] for net in order]
        self._readers: dict[int, list[_Gate]] = {}
        for gate in self._gates:
            for net in gate.pins.values():
                self._readers.setdefault(net, []).append(gate)

    def _source(self, net: int, name: str, holds: Mapping[str, Sequence[str]]) -> None:
        if name not in holds:
            raise FlowError(f"{name} must be a register, an operand or a memory's output of the design")
        self.sources[net] = holds[name]

    def _operand(self, net: int, name: str, holds: Mapping[str, Sequence[str]]) -> None:
        """A net that something around the design drives: its charge counts, what drives it does not."""
        self._source(net, name, holds)
        self._weigh("logic", net, self._load.get(net, 0.0) * self._switched)

    def _weigh(self, where: str, net: int, energy: float) -> None:
        self._weights[where][net] = self._weights[where].get(net, 0.0) + energy

    def _weigh_pins(self, kind: Cell, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        """A cell's pins, and the nets that it drives."""
        where = "registers" if kind.register else "logic"
        for pin, net in inputs.items():
            energy = kind.pins[pin].internal(0.0)
            if kind.pins[pin].clock:
                self._clock += 2 * (energy + kind.pins[pin].capacitance * self._switched)
            else:
                self._weigh(where, net, energy)
        for pin, net in outputs.items():
            load = self._load.get(net, 0.0)
            self._weigh(where, net, load * self._switched + kind.pins[pin].internal(load))

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
        words = {0: 0, 1: ones, **held}
        for gate in self._gates:
            words[gate.output] = gate.word(words, ones)
        for register, data in self._steps.items():
            if (words[register] >> 1 ^ words[data]) & ones >> 1:
                raise FlowError(f"register {self.sources[register][0]} must hold what the mapped gates give")
        sums = {where: sum(weight * transitions(words[net], cycles) for net, weight in weights.items())
                for where, weights in self._weights.items()}
        return Energy(clock=self._clock * cycles, glitches=self._glitches(words, cycles), **sums)

    def _glitches(self, words: Mapping[int, int], cycles: int) -> float:
        """pJ of the transitions beyond :func:`transitions`: each gate follows its inputs one step later."""
        ones = (1 << cycles) - 1
        now = dict(words)
        for gate in self._gates:  # a cycle begins with what the one before ended with
            now[gate.output] = (words[gate.output] << 1 | words[gate.output] & 1) & ones
        moved = set(words) - {gate.output for gate in self._gates}
        energy = 0.0
        while moved:
            gates = {gate.output: gate for net in moved for gate in self._readers.get(net, ())}
            found = {net: gate.word(now, ones) for net, gate in gates.items()}
            moved = {net for net, word in found.items() if word != now[net]}
            energy += sum(self._weight(net) * (found[net] ^ now[net]).bit_count() for net in moved)
            now |= found
        return energy - sum(self._weight(gate.output) * transitions(words[gate.output], cycles) for gate in self._gates)

    def _weight(self, net: int) -> float:
        return sum(weights.get(net, 0.0) for weights in self._weights.values())


def _kind(name: str, cells: Cells) -> Cell:
    if name not in cells.cells:
        raise FlowError(f"the library must have the cell {name}")
    return cells.cells[name]
